package sink

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/store"
)

// TestListPlan: a listing walks the log, or a call's part of it, in order and
// stops when it has enough; nothing is sorted.
func TestListPlan(t *testing.T) {
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "plan.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f := func(f Filter, direction, want string) {
		t.Helper()
		where, args, err := f.conditions()
		if err != nil {
			t.Fatal(err)
		}
		rows, err := db.Read.Query("EXPLAIN QUERY PLAN "+listSQL(where, direction), append(append([]any{1, 9}, args...), 100)...)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var plan []string
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, detail)
		}
		all := strings.Join(plan, "\n")
		if rows.Err() != nil || !strings.Contains(all, want) || strings.Contains(all, "TEMP B-TREE") || strings.Contains(all, "SCAN") {
			t.Errorf("%+v:\n%s\nwant %s", f, all, want)
		}
	}
	const log = "SEARCH v USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"
	const call = "SEARCH v USING INDEX verdict_call (call=? AND change_seq>? AND change_seq<?)"
	f(Filter{}, "DESC", log)
	f(Filter{}, "ASC", log)
	f(Filter{Source: "s", Status: "booked,parked", Caller: "+1555"}, "DESC", log)
	f(Filter{CallID: "c1"}, "DESC", call)
	f(Filter{CallID: "c1", Source: "s", Status: "booked"}, "DESC", call)
}
