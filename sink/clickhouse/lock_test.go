package clickhouse_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/pressly/goose/v3"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
)

// holders counts the shippers that say they have the lock.
func holders(list ...*clickhouse.Shipper) (n int) {
	for _, s := range list {
		if s.Status().Holding {
			n++
		}
	}
	return n
}

// lockSession is the process on the server that holds the shipping lock.
const lockSession = `SELECT coalesce((SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())), 0)`

// Of three nodes one ships. When its session dies another one goes on, and
// nothing is lost or doubled.
func TestLockHandover(t *testing.T) {
	t.Parallel()
	w := postgresWorld(t)
	s := open(t, services.ClickHouse(t))
	var list []*clickhouse.Shipper
	for i := range 3 {
		cfg := w.config()
		cfg.Node = fmt.Sprintf("node-%d", i)
		sh, _ := run(t, s, cfg)
		list = append(list, sh)
	}
	for i := range 4 {
		w.tell(some(200, int64(i)*200+1)...)
		w.shipped(list[0])
		if n := holders(list...); n != 1 {
			t.Errorf("%d nodes ship", n)
		}
		w.exec(`SELECT pg_terminate_backend(` + fmt.Sprint(w.number(lockSession)) + `)`)
	}
	fence := w.number(`SELECT fence FROM shipping`)
	eventually(t, "a handover", func() bool { return w.number(`SELECT fence FROM shipping`) > fence || holders(list...) == 1 })
	w.tell(some(200, 801)...)
	w.shipped(list[0])
	w.converged(s)
	// Nodes that only stand by know how shipping gets on.
	eventually(t, "the others' status", func() bool {
		for _, sh := range list {
			if st := sh.Status(); st.Through != w.change || st.LagRows != 0 {
				return false
			}
		}
		return true
	})
}

// A holder that is stopped gives the lock back at once.
func TestLockReleased(t *testing.T) {
	t.Parallel()
	w := postgresWorld(t)
	s := open(t, services.ClickHouse(t))
	first, stop := run(t, s, w.config())
	w.tell(some(10, 1)...)
	w.shipped(first)
	stop()
	if pid := w.number(lockSession); pid != 0 {
		eventually(t, "the end of the session", func() bool { return w.number(lockSession) == 0 })
	}
	second, _ := run(t, s, w.config())
	w.tell(some(10, 11)...)
	w.shipped(second)
	w.converged(s)
}

// A holder whose insert hangs loses the lock, and another one ships the same
// range. The insert that arrives late changes nothing.
func TestFrozenHolder(t *testing.T) {
	t.Parallel()
	w := postgresWorld(t)
	url := services.ClickHouse(t)
	m := newMiddleman(t, url)
	frozen, thaw, late := make(chan struct{}), make(chan struct{}), make(chan struct{})
	m.will(func(insert int, stored bool) fate {
		switch {
		case insert == 1 && !stored:
			close(frozen)
			<-thaw
		case insert == 1:
			close(late)
		}
		return passes
	})
	a := w.config()
	a.Node = "a"
	_, stopFirst := run(t, open(t, m.URL), a)
	w.tell(some(300, 1)...)
	<-frozen
	// What the server does to a session that says nothing for too long.
	w.exec(`SELECT pg_terminate_backend(` + fmt.Sprint(w.number(lockSession)) + `)`)
	b := w.config()
	b.Node = "b"
	s := open(t, url)
	second, _ := run(t, s, b)
	w.shipped(second)
	w.tell(some(300, 301)...)
	w.shipped(second)
	through, fence := w.number(`SELECT through FROM shipping`), w.number(`SELECT fence FROM shipping`)
	close(thaw)
	<-late
	stopFirst()
	if got := w.number(`SELECT through FROM shipping`); got != through {
		t.Errorf("through was %d and is %d", through, got)
	}
	if got := w.number(`SELECT fence FROM shipping`); got < fence {
		t.Errorf("the fence was %d and is %d", fence, got)
	}
	w.converged(s)
}

// Who was replaced writes nothing any more, whatever it thinks, and who comes
// after finds the range under way as it was planned.
func TestFence(t *testing.T) {
	t.Parallel()
	for name, openWorld := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			w.tell(some(10, 1)...)
			a, err := clickhouse.BeginTerm(t.Context(), w.write)
			if err != nil {
				t.Fatal(err)
			}
			if err := a.Plan(7); err != nil {
				t.Fatal(err)
			}
			b, err := clickhouse.BeginTerm(t.Context(), w.write)
			if err != nil {
				t.Fatal(err)
			}
			before := w.number(`SELECT fence * 1000 + through * 100 + range_to FROM shipping`)
			for what, err := range map[string]error{"done": a.Done(), "plan": a.Plan(9), "check": a.Check(w.read)} {
				if !errors.Is(err, clickhouse.ErrReplaced) {
					t.Errorf("%s of who was replaced: %v", what, err)
				}
			}
			if after := w.number(`SELECT fence * 1000 + through * 100 + range_to FROM shipping`); after != before {
				t.Errorf("the row was %d and is %d", before, after)
			}
			if a.Range() != b.Range() || b.Range() == "" {
				t.Errorf("planned %s, found %s", a.Range(), b.Range())
			}
			if err := errors.Join(b.Check(w.read), b.Done()); err != nil {
				t.Error(err)
			}
			if got := w.number(`SELECT through FROM shipping`); got != 7 {
				t.Errorf("through %d", got)
			}
		})
	}
}

// The server ends the session of a holder that says nothing, so a frozen
// process does not keep the lock.
func TestIdleSessionEnds(t *testing.T) {
	t.Parallel()
	w := postgresWorld(t)
	l, ok, err := clickhouse.TryLock(t.Context(), w.pool)
	if err != nil || !ok {
		t.Fatalf("no lock: %t, %v", ok, err)
	}
	if _, ok, err := clickhouse.TryLock(t.Context(), w.pool); ok || err != nil {
		t.Fatalf("a second lock: %t, %v", ok, err)
	}
	eventually(t, "the end of the idle session", func() bool { return w.number(lockSession) == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := clickhouse.KeepLock(ctx, l); err == nil || ctx.Err() != nil {
		t.Errorf("the holder does not notice: %v", err)
	}
	again, ok, err := clickhouse.TryLock(t.Context(), w.pool)
	if err != nil || !ok {
		t.Fatalf("no lock after the end of its session: %t, %v", ok, err)
	}
	if err := clickhouse.ReleaseLock(again); err != nil {
		t.Error(err)
	}
}

// Postgres goes away and comes back; shipping goes on by itself.
func TestPostgresRestarts(t *testing.T) {
	t.Parallel()
	server := services.OwnPostgres(t)
	if err := migrate(t.Context(), goose.DialectPostgres, "pgx", server.URL); err != nil {
		t.Fatal(err)
	}
	w := postgresWorldAt(t, server.URL)
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.tell(some(100, 1)...)
	w.shipped(sh)
	server.Stop()
	eventually(t, "a fault", func() bool { return sh.Status().LastError != "" && !sh.Status().Holding })
	server.Start()
	eventually(t, "the store's return", func() bool { return w.read.Ping() == nil })
	w.tell(some(100, 101)...)
	w.shipped(sh)
	w.converged(s)
	eventually(t, "the end of the fault", func() bool { return sh.Status().LastError == "" })
}
