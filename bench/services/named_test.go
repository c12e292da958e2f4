package services_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/bench/services/server"
)

// watched is a test that sees how it ends.
type watched struct {
	testing.TB
	fatal, skip string
}

func (w *watched) Fatalf(format string, args ...any) {
	w.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

func (w *watched) Skipf(format string, args ...any) {
	w.skip = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// watch runs f as a test of its own.
func watch(t *testing.T, f func(testing.TB)) *watched {
	w := &watched{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(w)
	}()
	<-done
	return w
}

func TestNamedRedisGivesEachTestADatabase(t *testing.T) {
	foreign := services.Redis(t)
	outside := dialRedis(t, foreign.URL)
	if err := outside.Set(t.Context(), "theirs", "1", 0).Err(); err != nil {
		t.Fatal(err)
	}
	t.Setenv(server.Redis.Variable(), foreign.URL)
	t.Run("inner", func(t *testing.T) {
		a, b := services.Redis(t), services.Redis(t)
		if a.URL == b.URL || a.URL == foreign.URL || b.URL == foreign.URL {
			t.Fatalf("%s, %s and the server's %s are not three databases", a.URL, b.URL, foreign.URL)
		}
		if err := dialRedis(t, a.URL).Set(t.Context(), "ours", "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := dialRedis(t, b.URL).DBSize(t.Context()).Result(); n != 0 || err != nil {
			t.Fatalf("the second database holds %d keys, %v", n, err)
		}
	})
	if keys, err := outside.Keys(t.Context(), "*").Result(); len(keys) != 1 || keys[0] != "theirs" || err != nil {
		t.Fatalf("the server's own database holds %q, %v; want what it held", keys, err)
	}
}

func TestNamedRedisIsNotStopped(t *testing.T) {
	foreign := services.Redis(t)
	t.Setenv(server.Redis.Variable(), foreign.URL)
	stop := func(t testing.TB) { services.Redis(t).Stop() }
	t.Setenv("CI", "")
	if w := watch(t, stop); !strings.Contains(w.skip, server.Redis.Variable()) {
		t.Fatalf("skipped with %q", w.skip)
	}
	t.Setenv("CI", "true")
	if w := watch(t, stop); !strings.Contains(w.fatal, server.Redis.Variable()) {
		t.Fatalf("failed with %q", w.fatal)
	}
	if err := dialRedis(t, foreign.URL).Ping(t.Context()).Err(); err != nil {
		t.Fatalf("the foreign server: %v", err)
	}
}

// A machine without a server skips loudly, and never where CI counts on it.
func TestMissingServerSkipsOrFails(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no redis-server, and nothing to install it with
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv(server.Redis.Variable(), "")
	start := func(t testing.TB) { services.Redis(t) }
	t.Setenv("CI", "")
	if w := watch(t, start); !strings.Contains(w.skip, "REDIS is missing") {
		t.Fatalf("skipped with %q, failed with %q", w.skip, w.fatal)
	}
	t.Setenv("CI", "true")
	if w := watch(t, start); !strings.Contains(w.fatal, "CI=true") {
		t.Fatalf("skipped with %q, failed with %q", w.skip, w.fatal)
	}
}

func TestNamedPostgresAndClickHouseGiveDatabases(t *testing.T) {
	// What follows the shared servers' URLs works the same for any other.
	for kind, open := range map[server.Kind]func(testing.TB) string{server.Postgres: services.Postgres, server.ClickHouse: services.ClickHouse} {
		t.Run(string(kind), func(t *testing.T) {
			open(t) // starts the shared server where there is none
			root, err := server.Root()
			if err != nil {
				t.Fatal(err)
			}
			s, ok, err := server.Running(t.Context(), root, kind)
			if !ok || err != nil {
				t.Fatalf("%t, %v", ok, err)
			}
			t.Setenv(kind.Variable(), s.URL)
			t.Setenv("TMPDIR", t.TempDir()) // nobody keeps anything there
			if version, err := server.Ask(t.Context(), kind, open(t)); version != s.Version || err != nil {
				t.Fatalf("version %q, %v; want %q", version, err, s.Version)
			}
		})
	}
}
