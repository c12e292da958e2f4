package store_test

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/store"
)

func TestPostgresConnections(t *testing.T) {
	at := services.Postgres(t)
	weak := at + "?"
	if strings.Contains(at, "?") {
		weak = at + "&"
	}
	db := open(t, weak+"synchronous_commit=off&default_transaction_read_only=on&statement_timeout=1000")
	f := func(pool *sql.DB, setting, want string) {
		t.Helper()
		var got string
		if err := pool.QueryRow("SELECT current_setting($1)", setting).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v: want %q", setting, got, err, want)
		}
	}
	f(db.Write, "synchronous_commit", "on")
	f(db.Write, "default_transaction_read_only", "off")
	f(db.Write, "idle_in_transaction_session_timeout", "10s")
	f(db.Write, "tcp_user_timeout", "10000")
	f(db.Write, "application_name", "tallyhook")
	f(db.Read, "default_transaction_read_only", "on")
	f(db.Read, "statement_timeout", "30s")
	f(db.Read, "tcp_user_timeout", "10000")
	if n := db.Pool.Config().MaxConns; n != store.PoolConnsMax {
		t.Errorf("%d connections", n)
	}
	if !db.Postgres() || db.Path != "" {
		t.Errorf("path %q", db.Path)
	}
	if n := open(t, weak+"pool_max_conns=3").Pool.Config().MaxConns; n != 3 {
		t.Errorf("%d connections: the URL says 3", n)
	}
}

// as gives the URL with another user and password, or database.
func as(t *testing.T, at, user, password, database string) string {
	t.Helper()
	u := must[*url.URL](t)(url.Parse(at))
	if user != "" {
		u.User = url.UserPassword(user, password)
	}
	if database != "" {
		u.Path = "/" + database
	}
	return u.String()
}

func TestPostgresRefusals(t *testing.T) {
	at := services.Postgres(t)
	host := must[*url.URL](t)(url.Parse(at)).Host
	f := func(url string, want ...string) {
		t.Helper()
		err := refuses(t, store.Open, url, append(want, host)...)
		for _, secret := range []string{"hunter2", "ann_user", "ann_base"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("error %v tells %q", err, secret)
			}
		}
		if errors.Is(err, store.ErrUnavailable) {
			t.Errorf("error %v: trying again will not help", err)
		}
	}
	f(as(t, at, "ann_user", "hunter2", ""), "refuses this user, its password", "check the URL")
	f(as(t, at, "", "", "ann_base"), "no such database", "create it")
}

// TestPostgresAway follows a node that starts while its database is away.
func TestPostgresAway(t *testing.T) {
	server := services.OwnPostgres(t)
	node := open(t, server.URL)
	id := node.ID
	server.Stop()

	db := must[*store.DB](t)(store.Dial(server.URL))
	defer db.Close()
	for name, err := range map[string]error{
		"prepare": db.Prepare(t.Context()), "ready": node.Ready(t.Context()), "pool": db.Explain(db.Pool.Ping(t.Context())),
	} {
		wantKind(t, err, store.ErrUnavailable)
		u := must[*url.URL](t)(url.Parse(server.URL))
		if user := u.User.Username(); !strings.Contains(err.Error(), u.Host) || strings.Contains(err.Error(), user) {
			t.Errorf("%s: error %v: want one that names %s and not %s", name, err, u.Host, user)
		}
	}
	server.Start()
	if err := db.Prepare(t.Context()); err != nil || db.ID != id {
		t.Fatalf("store %q, %v: want %q", db.ID, err, id)
	}
	eventually(t, func() error { return node.Ready(t.Context()) })

	server.Freeze()
	wantKind(t, node.Ready(t.Context()), store.ErrUnavailable)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	late := must[*store.DB](t)(store.Dial(server.URL))
	defer late.Close()
	wantKind(t, late.Prepare(ctx), store.ErrUnavailable)
	server.Thaw()
	eventually(t, func() error { return node.Ready(t.Context()) })
}

// TestPostgresLost asks everything of a store whose server has just crashed.
func TestPostgresLost(t *testing.T) {
	server := services.OwnPostgres(t)
	node := open(t, server.URL)
	objects := &store.Objects{DB: node, Seal: must[*store.Seal](t)(store.NewSeal(sealKey))}
	for name, ask := range map[string]func() error{
		"check":    func() error { return objects.Check(t.Context()) },
		"snapshot": func() error { _, err := objects.Snapshot(t.Context()); return err },
		"version":  func() error { _, err := objects.Version(t.Context()); return err },
		"key":      func() error { _, _, err := objects.KeyByHash(t.Context(), [32]byte{}); return err },
		"keys":     func() error { _, _, err := objects.ListKeys(t.Context(), "", 0); return err },
		"audit":    func() error { _, _, err := objects.ListAudit(t.Context(), "", 0); return err },
		"buyers":   func() error { _, _, err := objects.ListBuyers(t.Context(), "", 0); return err },
		"change": func() error {
			_, _, err := objects.CreateKey(t.Context(), "ann", store.KeySpec{Name: "k", Role: store.RoleAdmin})
			return err
		},
		"stream": func() error { _, err := node.NewStream(t.Context(), "node", time.Now()); return err },
		"nodes":  func() error { _, err := node.Nodes(t.Context()); return err },
	} {
		eventually(t, ask)
		server.Stop() // under open connections
		if err := ask(); !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s, first: %v", name, err)
		}
		if err := ask(); !errors.Is(err, store.ErrUnavailable) { // and with none
			t.Errorf("%s, then: %v", name, err)
		}
		server.Start()
	}
}

func TestPostgresMigrationWaits(t *testing.T) {
	at := services.Postgres(t)
	db, _ := raw(t, at)
	defer db.Close()
	other := must[*sql.Conn](t)(db.Conn(t.Context()))
	defer other.Close()
	const lockMigrations = 0x74616c6c79_0002 // tx.go
	if _, err := other.ExecContext(t.Context(), `SELECT pg_advisory_lock($1)`, lockMigrations); err != nil {
		t.Fatal(err)
	}
	short := func(ctx context.Context, url string) (*store.DB, error) {
		ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		return store.Open(ctx, url)
	}
	wantKind(t, refuses(t, short, at, "wait for the node that migrates"), store.ErrUnavailable)
	opened := make(chan error)
	go func() {
		db, err := store.Open(t.Context(), at)
		if err == nil {
			err = db.Close()
		}
		opened <- err
	}()
	if _, err := other.ExecContext(t.Context(), `SELECT pg_advisory_unlock($1)`, lockMigrations); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Fatal(err)
	}
}

// eventually tries until it works, for a minute.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestPostgresListen(t *testing.T) {
	at := services.Postgres(t)
	one, _ := openObjects(t, at)
	two := open(t, at)
	heard := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		two.Listen(ctx, func() {
			select {
			case heard <- struct{}{}:
			default:
			}
		})
		close(ended)
	}()
	next := func(what string) {
		t.Helper()
		select {
		case <-heard:
		case <-time.After(time.Minute):
			t.Fatalf("%s was not heard of", what)
		}
	}
	next("the connection")
	adminKey(t, one, "console")
	next("a change")
	if _, err := two.Read.Exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %'`); err != nil {
		t.Fatal(err)
	}
	next("the second connection")
	adminKey(t, one, "feed")
	next("a change after it")
	cancel()
	<-ended
}

func TestSQLiteListenOnlyWaits(t *testing.T) {
	db := open(t, backends["sqlite"](t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	db.Listen(ctx, func() { t.Error("it called") })
}
