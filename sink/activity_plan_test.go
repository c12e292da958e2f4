package sink

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/store"
	"github.com/tallyhook/tallyhook/store/storetest"
)

// plan gives the steps in which a store looks up the answer to a statement.
func plan(t *testing.T, db *store.DB, query string, args ...any) string {
	t.Helper()
	explain := "EXPLAIN QUERY PLAN "
	if db.Postgres() {
		explain = "EXPLAIN (COSTS OFF) "
	}
	var steps []string
	err := lookUp(t.Context(), db.Read, func(tx *sql.Tx) error {
		return eachRow(t.Context(), tx, explain+query, func(rows *sql.Rows) error {
			var step string
			var no, parent, unused int
			into := []any{&no, &parent, &unused, &step}
			if db.Postgres() {
				into = into[3:]
			}
			err := rows.Scan(into...)
			steps = append(steps, step)
			return err
		}, args...)
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(steps, "\n")
}

// TestListPlan: a listing walks the log, or a call's part of it, in order and
// stops when it has enough; nothing is sorted, nothing is read whole.
func TestListPlan(t *testing.T) {
	walk := func(url string, never []string, log, call string) {
		db, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		if db.Postgres() {
			fillForPlan(t, db)
		}
		f := func(f Filter, direction, want string) {
			t.Helper()
			l, err := f.listing()
			if err != nil {
				t.Fatal(err)
			}
			all := plan(t, db, l.sql(direction), append(append([]any{10_000, 20_000}, l.args...), 100)...)
			bad := !strings.Contains(all, want)
			for _, n := range never {
				bad = bad || strings.Contains(all, n)
			}
			if bad {
				t.Errorf("%+v:\n%s\nwant %s", f, all, want)
			}
		}
		f(Filter{}, "DESC", log)
		f(Filter{}, "ASC", strings.ReplaceAll(log, " Backward", ""))
		f(Filter{Source: "s1", Status: "booked,parked", Caller: "+1555"}, "DESC", log)
		f(Filter{Source: "nobody"}, "DESC", log)
		f(Filter{CallID: "c1"}, "DESC", call)
		f(Filter{CallID: "c1", Source: "s1", Status: "booked"}, "DESC", call)
	}
	walk(storetest.SQLite(t), []string{"TEMP B-TREE", "SCAN"},
		"SEARCH v USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)", "SEARCH v USING INDEX verdict_call (call=? AND change_seq>? AND change_seq<?)")
	walk(storetest.Postgres(t), []string{"Sort", "Seq Scan", "Hash", "Merge"},
		"Index Scan Backward using verdict_pkey on verdict v", "Index Scan Backward using verdict_call on verdict v")
}

// TestPostgresPlans: what nodes ask again and again is read by an index.
func TestPostgresPlans(t *testing.T) {
	db, err := store.Open(t.Context(), storetest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	fillForPlan(t, db)
	f := func(query, want string, args ...any) {
		t.Helper()
		if all := plan(t, db, query, args...); !strings.Contains(all, want) || strings.Contains(all, "Seq Scan on verdict") || strings.Contains(all, "Seq Scan on call") {
			t.Errorf("%s:\n%s\nwant %s", query, all, want)
		}
	}
	f(qCallsSince, "Index Scan using call_change on call", 4000, 0, 1000)
	f(qScanCalls, "Index Scan using call_pkey on call", 4000, 1000)
	f(qFirstKept, "Index Scan using verdict_pkey on verdict v", 1, 500, 1, 1)
	f(qDropRaw, "Index Scan using verdict_event on verdict", 1, 500)
}

// fillForPlan gives a Postgres planner something to think of: 20,000 verdicts
// of 5,000 calls.
func fillForPlan(t *testing.T, db *store.DB) {
	t.Helper()
	for _, fill := range []string{
		`INSERT INTO call (no, call_id, ranks, change_seq) SELECT i, 'c' || i, ''::bytea, i FROM generate_series(1, 5000) AS s (i)`,
		`INSERT INTO verdict (change_seq, stream, seq, n, revision, final, status, reason, source, received_at, decided_at, kind, strategy, candidates, call, call_id, caller, delta, share_delta,
mapper, peer, us_queue, us_map, us_match, us_total, report, raw)
SELECT i, 1, i, 0, 1, 1, 'booked', '', 's' || i % 7, i, i, 'conversion', 'ref_id', 1, i % 5000 + 1, 'c' || i % 5000 + 1, '+1555' || i, 0, 0, 'builtin', '::1', 1, 1, 1, 1,
repeat('report', 40), decode(repeat('00', 200), 'hex') FROM generate_series(1, 20000) AS s (i)`,
		`ANALYZE`,
	} {
		if _, err := db.Write.Exec(fill); err != nil {
			t.Fatal(err)
		}
	}
}
