package sink

import (
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/store"
	"github.com/tallyhook/tallyhook/store/storetest"
)

// TestBooksPlan: held events are walked in the order in which they are listed,
// and of the ledger a statement reads what belongs to its account.
func TestBooksPlan(t *testing.T) {
	walk := func(url string, never ...string) {
		db, err := store.Open(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		f := func(query string, args []any, uses ...string) {
			t.Helper()
			steps := plan(t, db, query, args...)
			for _, index := range uses {
				if !strings.Contains(steps, index) {
					t.Errorf("%s is not used:\n%s", index, steps)
				}
			}
			for _, step := range never {
				if strings.Contains(steps, step) {
					t.Errorf("%s:\n%s", step, steps)
				}
			}
		}
		f(heldSQL(heldBehind+heldFirst), []any{0, 0, 0, 0, 100}, "held_since", "verdict_event")
		f(statementSQL, []any{"user:alice", 1000, 0, 100}, "call_target", "posting_call", "verdict_event")
	}
	t.Run("sqlite", func(*testing.T) { walk(storetest.SQLite(t), "SCAN held", "SCAN c", "SCAN p", "SCAN t", "SCAN v") })
	t.Run("postgres", func(*testing.T) { walk(storetest.Postgres(t), "Seq Scan") })
}
