package services_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/bench/services/server"
)

// patience bounds what is expected to be answered; a frozen server is asked for
// a moment only.
const (
	patience = time.Minute
	moment   = 300 * time.Millisecond
)

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func dialRedis(t *testing.T, rawURL string) *redis.Client {
	t.Helper()
	options, err := redis.ParseURL(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	options.MaxRetries = -1
	options.ContextTimeoutEnabled = true
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestRedisIsOfThisTestAlone(t *testing.T) {
	a, b := services.Redis(t), services.Redis(t)
	if a.URL == b.URL {
		t.Fatalf("two servers share %s", a.URL)
	}
	one, two := dialRedis(t, a.URL), dialRedis(t, b.URL)
	if err := one.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, err := two.DBSize(t.Context()).Result(); n != 0 || err != nil {
		t.Fatalf("the second server holds %d keys, %v", n, err)
	}
}

func TestStoppedRedisRefusesAndForgets(t *testing.T) {
	s := services.Redis(t)
	client := dialRedis(t, s.URL)
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := dialRedis(t, s.URL).Ping(within(t, patience)).Err(); err == nil {
		t.Fatal("a stopped server answers")
	}
	s.Start()
	if err := dialRedis(t, s.URL).Get(within(t, patience), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Fatalf("after the start: %v, want no such key", err)
	}
}

func TestFrozenRedisTakesConnectionsAndAnswersAfterThaw(t *testing.T) {
	s := services.Redis(t)
	client := dialRedis(t, s.URL)
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	options, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", options.Addr, patience)
	if err != nil {
		t.Fatalf("dial a frozen server: %v", err)
	}
	_ = conn.Close()
	var late net.Error
	if err := client.Get(within(t, moment), "k").Err(); !errors.As(err, &late) || !late.Timeout() {
		t.Fatalf("a frozen server: %v, want no answer in time", err)
	}
	s.Thaw()
	if v, err := client.Get(within(t, patience), "k").Result(); v != "v" || err != nil {
		t.Fatalf("after the thaw %q, %v", v, err)
	}
}

func dialPostgres(t *testing.T, rawURL string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(within(t, patience), rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), moment)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

func TestPostgresDatabaseIsEmptyAndDroppedWithTheTest(t *testing.T) {
	var rawURL string
	t.Run("inner", func(t *testing.T) {
		rawURL = services.Postgres(t)
		conn := dialPostgres(t, rawURL)
		var tables int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'").Scan(&tables); err != nil || tables != 0 {
			t.Fatalf("%d tables, %v", tables, err)
		}
		for _, statement := range []string{"CREATE TABLE a (b bigint)", "CREATE ROLE services_test_role", "DROP ROLE services_test_role"} {
			if _, err := conn.Exec(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", statement, err)
			}
		}
		var super bool
		if err := conn.QueryRow(t.Context(), "SELECT rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&super); err != nil || super {
			t.Fatalf("the owner is a superuser: %t, %v", super, err)
		}
	})
	_, err := pgx.Connect(within(t, patience), rawURL)
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code != "3D000" {
		t.Fatalf("after the test: %v, want no such database", err)
	}
}

func TestClickHouseDatabaseIsEmptyAndDroppedWithTheTest(t *testing.T) {
	var rawURL, name string
	exists := func() string {
		t.Helper()
		answer, err := server.QueryClickHouse(t.Context(), rawURL, "SELECT count() FROM system.databases WHERE name = '"+name+"'")
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	t.Run("inner", func(t *testing.T) {
		rawURL = services.ClickHouse(t)
		name = rawURL[strings.LastIndexByte(rawURL, '/')+1:]
		if got := exists(); got != "1" {
			t.Fatalf("%s databases %s", got, name)
		}
		tables, err := server.QueryClickHouse(t.Context(), rawURL, "SELECT count() FROM system.tables WHERE database = '"+name+"'")
		if tables != "0" || err != nil {
			t.Fatalf("%s tables, %v", tables, err)
		}
	})
	if got := exists(); got != "0" {
		t.Fatalf("after the test: %s databases %s", got, name)
	}
}

func TestStoppedPostgresKeepsWhatWasCommitted(t *testing.T) {
	s := services.OwnPostgres(t)
	conn := dialPostgres(t, s.URL)
	for _, statement := range []string{"CREATE TABLE a (b bigint)", "INSERT INTO a VALUES (7)", "BEGIN", "INSERT INTO a VALUES (8)"} {
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	s.Stop()
	if n := s.Processes(); len(n) != 0 {
		t.Fatalf("stopped, and processes %v run", n)
	}
	if _, err := conn.Exec(within(t, patience), "COMMIT"); err == nil {
		t.Fatal("a stopped server commits")
	}
	s.Start()
	var sum int
	if err := dialPostgres(t, s.URL).QueryRow(t.Context(), "SELECT sum(b)::int FROM a").Scan(&sum); err != nil || sum != 7 {
		t.Fatalf("after the start the sum is %d, %v; want 7", sum, err)
	}
}

// A backend of PostgreSQL is a process of its own; a frozen server whose
// backends go on would commit.
func TestFrozenPostgresStandsWithItsBackends(t *testing.T) {
	s := services.OwnPostgres(t)
	conn := dialPostgres(t, s.URL)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE a (b bigint)"); err != nil {
		t.Fatal(err)
	}
	s.Freeze()
	if _, err := conn.Exec(within(t, moment), "INSERT INTO a VALUES (1)"); err == nil {
		t.Fatal("a frozen backend answers")
	}
	s.Thaw()
	if _, err := dialPostgres(t, s.URL).Exec(within(t, patience), "INSERT INTO a VALUES (2)"); err != nil {
		t.Fatalf("after the thaw: %v", err)
	}
}

func TestFrozenServerCanBeStopped(t *testing.T) {
	for name, open := range map[string]func(testing.TB) *services.Server{"redis": services.Redis, "postgres": services.OwnPostgres} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			s.Freeze()
			s.Stop()
			s.Start()
			if len(s.Processes()) == 0 {
				t.Fatal("no process after the start")
			}
		})
	}
}
