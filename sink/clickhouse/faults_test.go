package clickhouse_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
)

// converged is the promise: distinct events in ClickHouse are the decisions of
// the log, no view shows one twice, and the money is the same.
func (w *world) converged(s *clickhouse.Server) {
	w.t.Helper()
	events := w.number(`SELECT count(*) FROM verdict WHERE revision = 1`)
	delta := w.number(`SELECT sum(delta) FROM verdict`)
	f := func(query string, want string) {
		w.t.Helper()
		if got := table(w.t, s, query); got != want {
			w.t.Errorf("%s\ngave %s, want %s", query, got, want)
		}
	}
	f(`SELECT count(), uniqExact(event), sum(delta_micros) FROM activity`, fmt.Sprintf("%d | %d | %d", events, events, delta))
	f(`SELECT count(), uniqExact(event, revision) FROM activity_revisions`, fmt.Sprintf("%d | %d", w.change, w.change))
	f(`SELECT sum(received) FROM activity_per_minute`, fmt.Sprint(events))
	f(`SELECT sum(toInt64(value * 1000000)) FROM money_per_hour`, fmt.Sprint(delta))
	f(`SELECT sum(verdicts) FROM latency_per_minute`, fmt.Sprint(events))
	f(`SELECT sum(received) FROM mapper_versions`, fmt.Sprint(events))
}

// some is n verdicts over two days, every tenth of them parked first.
func some(n int, from int64) (list []verdict) {
	for i := range int64(n) {
		v := verdict{seq: from + i, at: day0.Add(time.Duration(from+i) * 30 * time.Second), source: fmt.Sprintf("s%d", i%3), callID: fmt.Sprintf("c%d", from+i), delta: 1_000_000 + i, shareDelta: 800_000, currency: "USD", value: 1_000_000 + i}
		if i%10 == 0 {
			parked := v
			parked.status, parked.interim, parked.callID, parked.delta, parked.shareDelta, parked.value = "parked", true, "", 0, 0, nil
			list = append(list, parked)
			v.revision, v.after = 2, time.Minute
		}
		list = append(list, v)
	}
	return list
}

// The answer to an insert is lost, before or after it was stored, any number
// of times: everything is there once.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, openWorld := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			m := newMiddleman(t, services.ClickHouse(t))
			dice := rand.New(rand.NewPCG(1, 2))
			var broken atomic.Int64
			m.will(func(insert int, stored bool) fate {
				if insert%4 != 0 && dice.IntN(2) == 0 {
					broken.Add(1)
					return breaks
				}
				return passes
			})
			s := open(t, m.URL)
			sh, _ := run(t, s, w.config())
			for i := range 2 {
				w.tell(some(3000, int64(i)*3000+1)...)
				w.shipped(sh)
			}
			if broken.Load() == 0 {
				t.Fatal("no answer was lost")
			}
			w.converged(s)
			if st := sh.Status(); st.Faults == 0 || st.LastError != "" {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// A process that dies between the insert and its mark is followed by one that
// looks first. The range that it finds is the one that was planned, also when
// more has been told since.
func TestCrashBeforeTheMark(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	m := newMiddleman(t, services.ClickHouse(t))
	stop := make(chan struct{}, 1)
	m.will(func(insert int, stored bool) fate {
		if stored {
			select {
			case stop <- struct{}{}:
			default:
			}
			return breaks
		}
		return passes
	})
	w.tell(some(100, 1)...)
	_, halt := run(t, open(t, m.URL), w.config())
	<-stop
	halt()
	if got := w.number(`SELECT range_to - through FROM shipping`); got != w.change {
		t.Fatalf("%d changes are under way, want %d", got, w.change)
	}
	batch := w.number(`SELECT batch FROM shipping`)
	w.tell(some(50, 101)...)
	m.will(func(int, bool) fate { return passes })
	s := open(t, m.URL)
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	w.converged(s)
	if got := table(t, s, fmt.Sprintf(`SELECT max(change_seq) FROM activity_revisions WHERE batch = %d`, batch)); got != "110" {
		t.Errorf("the planned range ends at change %s, want 110", got)
	}
}

// ClickHouse dies in the midst of inserts, again and again.
func TestEngineKilled(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	server := services.OwnClickHouse(t)
	s := open(t, server.URL)
	sh, _ := run(t, s, w.config())
	for i := range 3 {
		w.tell(some(6000, int64(i)*7000+1)...)
		time.Sleep(time.Duration(900+150*i) * time.Millisecond)
		server.Stop()
		w.tell(some(10, int64(i)*7000+6001)...) // where it was fast, nothing else is left to ship
		eventually(t, "a fault, and a lag", func() bool {
			st := sh.Status()
			return st.LastError != "" && st.LagRows > 0 && st.Lag > 0
		})
		server.Start()
		w.shipped(sh)
	}
	w.converged(s)
}

// A database that was emptied is another one: it gets everything anew.
func TestDatabaseEmptied(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	url := services.ClickHouse(t)
	s := open(t, url)
	w.tell(some(200, 1)...)
	sh, stop := run(t, s, w.config())
	w.shipped(sh)
	stop()
	for _, name := range strings.Fields(table(t, s, `SELECT name FROM system.tables WHERE database = currentDatabase() ORDER BY name`)) {
		clickhouse.Drop(t.Context(), s, name)
	}
	w.tell(some(20, 201)...)
	sh, _ = run(t, s, w.config())
	eventually(t, "shipping", func() bool { return sh.Status().Rows == w.change })
	w.converged(s)
}

// One database holds one store's activity.
func TestOtherStoreRefused(t *testing.T) {
	t.Parallel()
	url := services.ClickHouse(t)
	w := sqliteWorld(t)
	w.tell(some(10, 1)...)
	sh, _ := run(t, open(t, url), w.config())
	w.shipped(sh)
	other := sqliteWorld(t)
	other.tell(some(10, 1)...)
	cfg := other.config()
	cfg.StoreID = "store-2"
	sh, _ = run(t, open(t, url), cfg)
	eventually(t, "the refusal", func() bool { return strings.Contains(sh.Status().LastError, "database of its own") })
}

// Shipped again from any point, everything still counts once.
func TestRewind(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	s := open(t, services.ClickHouse(t))
	w.tell(some(500, 1)...)
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	// A day is lost over there, with no trace in the store.
	if err := clickhouse.DropDay(t.Context(), s, "2026-03-02"); err != nil {
		t.Fatal(err)
	}
	if got := table(t, s, `SELECT count() FROM activity`); got != "0" {
		t.Fatalf("%s events are left", got)
	}
	if err := clickhouse.Rewind(t.Context(), w.write, 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "shipping", func() bool { return sh.Status().Rows >= 2*w.change })
	w.shipped(sh)
	w.converged(s)
	if err := clickhouse.Rewind(t.Context(), w.write, w.change+1); err == nil {
		t.Error("a rewind into the future")
	}
}

// What retention dropped before it was shipped is said, and holds up nothing.
func TestPrunedBeforeShipping(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	s := open(t, services.ClickHouse(t))
	w.tell(some(30, 1)...)
	w.exec(`DELETE FROM verdict WHERE change_seq <= 10`)
	sh, stop := run(t, s, w.config())
	w.shipped(sh)
	if st := sh.Status(); st.Lost != 0 || st.Rows != w.change-10 {
		t.Errorf("a new database lacks what was dropped before its time: %+v", st)
	}
	from, held, err := clickhouse.KeepFrom(t.Context(), w.read, time.Now())
	if err != nil || !held || from != w.change+1 {
		t.Errorf("keep from %d, %t, %v", from, held, err)
	}
	stop()
	w.tell(some(30, 31)...)
	w.exec(`DELETE FROM verdict WHERE change_seq <= $1`, w.change-5)
	sh, _ = run(t, s, w.config())
	w.shipped(sh)
	if st := sh.Status(); st.Lost != 28 || st.LagRows != 0 {
		t.Errorf("status %+v", st)
	}
	if _, held, err := clickhouse.KeepFrom(t.Context(), w.read, time.Now().Add(clickhouse.AbandonedAfter+time.Hour)); held || err != nil {
		t.Errorf("an abandoned ClickHouse holds retention: %v", err)
	}
}

// A log with a hole in its midst is not shipped past it.
func TestGap(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.tell(some(30, 1)...)
	w.exec(`DELETE FROM verdict WHERE change_seq = 20`)
	sh, _ := run(t, open(t, services.ClickHouse(t)), w.config())
	eventually(t, "the fault", func() bool { return strings.Contains(sh.Status().LastError, "change 21 follows 19") })
	if got := w.number(`SELECT through FROM shipping`); got != 0 {
		t.Errorf("shipped through %d", got)
	}
}

// A ClickHouse that is away is noticed with nothing to ship, too, and its
// return as well.
func TestIdleOutage(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	server := services.OwnClickHouse(t)
	sh, _ := run(t, open(t, server.URL), w.config())
	eventually(t, "the first look", func() bool { st := sh.Status(); return !st.At.IsZero() && st.LastError == "" })
	server.Stop()
	eventually(t, "the fault", func() bool { return sh.Status().LastError != "" })
	server.Start()
	eventually(t, "its end", func() bool { return sh.Status().LastError == "" })
}
