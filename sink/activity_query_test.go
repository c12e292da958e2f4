package sink_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

func newActivity(t testing.TB) (*fixture, *sink.Activity) {
	f := newSQLiteFixture(t)
	f.ledger()
	return f, &sink.Activity{DB: f.db.Read}
}

func TestEventOfLedger(t *testing.T) {
	onEveryStore(t, func(t *testing.T, f *fixture) {
		f.ledger()
		eventOfLedger(t, &sink.Activity{DB: f.db.Read})
	})
}

func eventOfLedger(t *testing.T, a *sink.Activity) {
	tl, err := a.Event(t.Context(), event.ID{Stream: 1, Seq: 4})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(tl.Postings)
	want := `[{"no":2,"cause":"conversion","currency":"USD","value":"60.00","share":"48.00","delta":"10.00","share_delta":"8.00","transfers":[` +
		`{"line":1,"debit":"buyer:acme:receivable","credit":"network:revenue","amount":"10.00","currency":"USD"},` +
		`{"line":2,"debit":"network:publisher_cost","credit":"publisher:p1:pending","amount":"8.00","currency":"USD"}]}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if tl, err = a.Event(t.Context(), event.ID{Stream: 1, Seq: 6}); err != nil || tl.ParkedUntil == nil || *tl.ParkedUntil != sink.Instant(day0+10*minute) {
		t.Errorf("parked: %+v, %v", tl, err)
	}
}

func TestQuery(t *testing.T) {
	_, a := newActivity(t)
	f := func(text, want string) {
		t.Helper()
		table, err := a.Query(t.Context(), text, 3)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got, err := json.Marshal(table); err != nil || string(got) != want {
			t.Errorf("%s:\n got %s, %v\nwant %s", text, got, err, want)
		}
	}
	f(`SELECT status, count(*) FROM activity GROUP BY status ORDER BY 2 DESC, 1 LIMIT 2`, `{"columns":["status","count(*)"],"rows":[["booked",4],["duplicate",1]],"truncated":false}`)
	f("  -- a comment\n/* another */ select 1 AS a, 2 AS a, 'x;y' AS b;  -- end", `{"columns":["a","a","b"],"rows":[[1,2,"x;y"]],"truncated":false}`)
	f(`VALUES (1), (2.5), (NULL), (4)`, `{"columns":["column1"],"rows":[[1],[2.5],[null]],"truncated":true}`)
	f(`WITH t(x) AS (SELECT x'00ff' UNION ALL SELECT 9e999) SELECT x FROM t`, `{"columns":["x"],"rows":[["AP8="],["+Inf"]],"truncated":false}`)
	f(`SELECT 1 WHERE 0`, `{"columns":["1"],"rows":[],"truncated":false}`)
	f(`SELECT call_id, ref_id FROM call WHERE no = 1`, `{"columns":["call_id","ref_id"],"rows":[["c1","r1"]],"truncated":false}`)
	f(`SELECT * FROM meta`, `{"columns":["hidden"],"rows":[],"truncated":false}`)
	f(`EXPLAIN QUERY PLAN SELECT 1`, `{"columns":["id","parent","notused","detail"],"rows":[[1,0,0,"SCAN CONSTANT ROW"]],"truncated":false}`)
}

func TestQueryRefuses(t *testing.T) {
	fx, a := newActivity(t)
	f := func(text, want string) {
		t.Helper()
		table, err := a.Query(t.Context(), text, 3)
		if !errors.Is(err, sink.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want an error with %q", text, table, err, want)
		}
	}
	f(``, "empty")
	f(` ; `, "empty")
	f(`DELETE FROM verdict`, `"delete"`)
	f(`PRAGMA query_only = 0`, `"pragma"`)
	f(`ATTACH 'x' AS y`, `"attach"`)
	f(`EXPLAIN DELETE FROM verdict`, `"explain"`)
	f(`EXPLAIN QUERY PLAN`, "begins with")
	f(`SELECT 1; DELETE FROM verdict`, `found "DELETE"`)
	f(`SELECT 1) ; DROP TABLE call; --`, `found "DROP"`)
	f(`SELECT 1) UNION SELECT (2`, "syntax error")
	f(`WITH x AS (SELECT 1) DELETE FROM verdict`, "syntax error")
	f(`SELECT nonsuch FROM activity`, "no such column: nonsuch")
	f(`SELECT * FROM nowhere`, "no such table: nowhere")
	f(`SELECT key FROM call`, "no such column: key")
	f(`SELECT key FROM main.call`, "without main")
	f(`SELECT key FROM "MAIN" /* x */ . call`, "without main")
	f(`SELECT key FROM 'main'.call`, "without main")
	f(`SELECT key FROM [main] . call`, "without main")
	f("SELECT key FROM main \ufeff. call", "byte order mark")
	f("SELECT 1\x00", "zero byte")
	f(`SELECT token_sealed FROM source`, "no such column: token_sealed")
	f(`SELECT hash FROM access_key`, "no such column: hash")
	f(`SELECT data FROM "sqlite_dbpage"`, "sqlite_dbpage")
	f(`SELECT zeroblob(100000000)`, "too big")
	f(`SELECT load_extension('x')`, "not authorized")
	f(`SELECT `+strings.Repeat("1,", sink.QueryTextBytes), "bytes: at most")
	if _, err := a.Query(t.Context(), `SELECT 1`, sink.QueryRowsMax+1); !errors.Is(err, sink.ErrInvalid) {
		t.Errorf("too many rows: %v", err)
	}
	var kept string
	if err := fx.db.Read.QueryRow(`SELECT key FROM call WHERE no = 1`).Scan(&kept); err != nil || kept != "secret-key" {
		t.Errorf("the pool's connections see %q, %v: a query has changed them", kept, err)
	}
}

// TestQueryEnds: a statement that would run for ever ends with its context,
// in whatever row it is.
func TestQueryEnds(t *testing.T) {
	_, a := newActivity(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := a.Query(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i = 1 OR i < 0`, 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func FuzzQuery(f *testing.F) {
	fx, a := newActivity(f)
	for _, seed := range []string{`SELECT key FROM call`, `SELECT * FROM "main" . call`, `VALUES (1); -- x`, `WITH a AS (SELECT 1) SELECT * FROM a, call`, "SELECT 'a''b', \"c\"\"d\", [e], `f` FROM call /*", `EXPLAIN SELECT 1`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if table, err := a.Query(ctx, text, 10); err == nil {
			if p, err := json.Marshal(table); err != nil || strings.Contains(string(p), "secret-key") {
				t.Errorf("%q gives %s, %v", text, p, err)
			}
		}
		var verdicts int
		if err := fx.db.Read.QueryRow(`SELECT count(*) FROM verdict`).Scan(&verdicts); err != nil || verdicts != 9 {
			t.Errorf("after %q: %d verdicts, %v", text, verdicts, err)
		}
	})
}
