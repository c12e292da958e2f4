package sink_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/sink"
)

// allowAnalysts does what a refused statement tells the store's owner to do.
// The role belongs to the whole server: another test may have made it.
func allowAnalysts(f *fixture) {
	f.t.Helper()
	var app string
	if err := f.db.Read.QueryRow(`SELECT session_user::text`).Scan(&app); err != nil {
		f.t.Fatal(err)
	}
	for line := range strings.SplitSeq(sink.AnalystSQL(app), "\n") {
		for statement := range strings.SplitSeq(strings.TrimSuffix(line, ";"), "; ") {
			_, err := f.db.Write.Exec(statement)
			if fault := (*pgconn.PgError)(nil); errors.As(err, &fault) && (fault.Code == "42710" || fault.Code == "23505") {
				continue // the role is there
			}
			if err != nil {
				f.t.Fatalf("%s: %v", statement, err)
			}
		}
	}
}

func newPostgresActivity(t testing.TB) (*fixture, *sink.Activity) {
	t.Helper()
	f := newPostgresFixture(t)
	f.ledger()
	f.exec(`INSERT INTO source (id, spec, token_hash, token_sealed, created_at, updated_at) VALUES ('s1', '{}', $1, $1, 1, 1)`, []byte("secret-key"))
	allowAnalysts(f)
	return f, &sink.Activity{DB: f.db.Read}
}

func TestQueryPostgres(t *testing.T) {
	_, a := newPostgresActivity(t)
	f := func(text, want string) {
		t.Helper()
		table, err := a.Query(t.Context(), text, 3)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got, err := json.Marshal(table); err != nil || !strings.HasPrefix(string(got), want) {
			t.Errorf("%s:\n got %s, %v\nwant %s", text, got, err, want)
		}
	}
	f(`SELECT status, count(*) FROM activity GROUP BY status ORDER BY 2 DESC, 1 LIMIT 2`, `{"columns":["status","count"],"rows":[["booked",4],["duplicate",1]],"truncated":false}`)
	f("  -- a comment\r/* an /* inner */ one */ select 1 AS a, 2 AS a, 'x;y' AS b;  -- end", `{"columns":["a","a","b"],"rows":[[1,2,"x;y"]],"truncated":false}`)
	f(`VALUES (1), (2.50), (NULL), (4)`, `{"columns":["column1"],"rows":[[1],[2.50],[null]],"truncated":true}`)
	f(`SELECT 1.5::float8, 'Infinity'::float8, 'NaN'::numeric, 9223372036854775808, true, '\x00ff'::bytea, '{1,2}'::int[], '{"a": 1}'::json, ''::text`,
		`{"columns":["float8","float8","numeric","?column?","?column?","bytea","int4","json","text"],"rows":[[1.5,"Infinity","NaN",9223372036854775808,true,"AP8=","{1,2}","{\"a\": 1}",""]],"truncated":false}`)
	f(`SELECT received_at FROM activity WHERE event = '1-2'`, `{"columns":["received_at"],"rows":[["2026-03-02T12:00:02.000000Z"]],"truncated":false}`)
	f(`SELECT sum(delta_micros) FROM activity`, `{"columns":["sum"],"rows":[[80000000]],"truncated":false}`)
	f(`SELECT 1 AS "set ""x"" role" WHERE false`, `{"columns":["set \"x\" role"],"rows":[],"truncated":false}`)
	f(`SELECT call_id, ref_id FROM call WHERE no = 1`, `{"columns":["call_id","ref_id"],"rows":[["c1","r1"]],"truncated":false}`)
	f(`TABLE rule`, `{"columns":["id","campaign","publisher","payout","created_at"],"rows":[[1,"k","p1","percent 80",1]],"truncated":false}`)
	f(`EXPLAIN (COSTS OFF) SELECT 1`, `{"columns":["QUERY PLAN"],"rows":[["Result"]],"truncated":false}`)
	f(`EXPLAIN ANALYZE VERBOSE SELECT 1 LIMIT 0`, `{"columns":["QUERY PLAN"],"rows":`)
	f(`SELECT $tag$it's$tag$, $$;$$`, `{"columns":["?column?","?column?"],"rows":[["it's",";"]],"truncated":false}`)
	f(`SELECT generate_series(1, 1000000000) AS i`, `{"columns":["i"],"rows":[[1],[2],[3]],"truncated":true}`)
}

func TestQueryPostgresRefuses(t *testing.T) {
	fx, a := newPostgresActivity(t)
	f := func(text, want string) {
		t.Helper()
		table, err := a.Query(t.Context(), text, 3)
		if !errors.Is(err, sink.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want an error with %q", text, table, err, want)
		}
	}
	f(``, "empty")
	f(` ; /* */ `, "empty")
	f(`DELETE FROM verdict`, `"delete"`)
	f(`SET ROLE none`, `"set"`)
	f(`RESET ROLE`, `"reset"`)
	f(`COPY verdict TO '/tmp/x'`, `"copy"`)
	f(`DO $$ BEGIN END $$`, `"do"`)
	f(`BEGIN`, `"begin"`)
	f(`EXPLAIN`, `"explain"`)
	f(`EXPLAIN (ANALYZE) DELETE FROM verdict`, `"explain"`)
	f(`EXPLAIN ANALYZE EXECUTE x`, `"explain"`)
	f(`EXPLAIN (ANALYZE`, `"explain"`)
	f(`SELECT 1; DELETE FROM verdict`, `found "DELETE"`)
	f(`SELECT 1;;`, `found ";"`)
	f("SELECT 1 -- x\r; DROP TABLE call", `found "DROP"`)
	f(`SELECT $1`, "parameter")
	f(`SELECT E'\'', set_config('role', 'none', false), ''`, "E'…'")
	f(`SELECT 1e'\''`, "E'…'")
	f(`SELECT U&"\0073et_config"('role', 'none', false)`, "U&")
	f(`SELECT set_config('role', 'none', false)`, "set_config")
	f(`SELECT "set_config"('statement_timeout', '0', false)`, "set_config")
	f(`SELECT pg_catalog . SET_CONFIG('role', 'none', false)`, "set_config")
	f(`SELECT 'a'/**/, /* ' */ set_config('role', 'none', false) -- '`, "set_config")
	f(`WITH x AS (SELECT query_to_xml('SELECT key FROM call', true, true, '')) SELECT * FROM x`, "query_to_xml")
	f(`SELECT * FROM ts_stat('SELECT key::tsvector FROM call')`, "ts_stat")
	f(`SELECT pg_sleep(100)`, "pg_sleep")
	f(`SELECT pg_read_file('/etc/passwd')`, "pg_read_file")
	f(`SELECT * FROM pg_ls_dir('.')`, "pg_ls_dir")
	f(`SELECT lo_import('/etc/passwd')`, "lo_import")
	f(`SELECT pg_advisory_lock(1)`, "pg_advisory_lock")
	f(`SELECT pg_terminate_backend(1)`, "pg_terminate_backend")
	f(`SELECT nextval('stream_stream_seq')`, "nextval")
	f(`SELECT dblink('dbname=postgres', 'SELECT 1')`, "dblink")
	f(`WITH x AS (DELETE FROM verdict RETURNING 1) SELECT * FROM x`, "")
	f(`WITH x AS (UPDATE pg_settings SET setting = 'none' WHERE name = 'role' RETURNING 1) SELECT * FROM x`, "")
	f(`SELECT * INTO mine FROM verdict`, "")
	f(`SELECT no FROM posting FOR UPDATE`, "")
	f(`SELECT nonsuch FROM activity`, `column "nonsuch" does not exist`)
	f(`SELECT 1) UNION SELECT (2`, "syntax error")
	f(`SELECT * FROM call`, "permission denied for table call")
	f(`SELECT c.key FROM call c`, "permission denied for table call")
	f(`SELECT call FROM call`, "permission denied for table call")
	f(`SELECT token_sealed FROM source`, "permission denied for table source")
	f(`SELECT hash FROM source_secret`, "permission denied for table source_secret")
	f(`SELECT table_to_xml('call', true, true, '')`, "permission denied for table call")
	f(`SELECT value FROM meta`, "permission denied for table meta")
	f(`SELECT rolpassword FROM pg_authid`, "permission denied for table pg_authid")
	f(`SELECT repeat('x', 100000000)`, "a row of")
	f(`SELECT `+strings.Repeat("1,", sink.QueryTextBytes), "bytes: at most")
	f("SELECT 1\x00", "zero byte")
	f("SELECT '\xff'", "not UTF-8")
	if _, err := a.Query(t.Context(), `SELECT 1`, sink.QueryRowsMax+1); !errors.Is(err, sink.ErrInvalid) {
		t.Errorf("too many rows: %v", err)
	}
	table, err := a.Query(t.Context(), `SELECT repeat('x', 1000000) FROM generate_series(1, 100)`, 100)
	if err != nil || !table.Truncated || len(table.Rows) == 0 || len(table.Rows) > sink.QueryBytesMax/1_000_000 {
		t.Errorf("100 MB: %d rows, %v", len(table.Rows), err)
	}
	var kept, role string
	if err := fx.db.Read.QueryRow(`SELECT key, current_user::text FROM call WHERE no = 1`).Scan(&kept, &role); err != nil || kept != "secret-key" || role == sink.AnalystRole {
		t.Errorf("the pool's connections see %q as %s, %v: a query has changed them", kept, role, err)
	}
	var locks int
	if err := fx.db.Read.QueryRow(`SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&locks); err != nil || locks != 0 {
		t.Errorf("%d advisory locks are left, %v", locks, err)
	}
}

// TestQueryPostgresEnds: a statement that would run for ever ends with its
// context, here and on the server.
func TestQueryPostgresEnds(t *testing.T) {
	f, a := newPostgresActivity(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := a.Query(ctx, `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i % 7 FROM n) SELECT count(*) FROM n`, 10)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	for ends := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var running int
		err := f.db.Read.QueryRow(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'WITH RECURSIVE%'`).Scan(&running)
		if err != nil {
			t.Fatal(err)
		}
		if running == 0 {
			return
		}
		if time.Now().After(ends) {
			t.Fatal("the server still works on it")
		}
	}
}

// TestQueryPostgresNeedsRole: without a role that sees no secrets nothing is
// asked, and the error is what makes one.
func TestQueryPostgresNeedsRole(t *testing.T) {
	server := services.OwnPostgres(t)
	f := newFixture(t, server.URL)
	f.exec(`INSERT INTO call (no, call_id, key, ranks, change_seq) VALUES (1, 'c1', 'secret-key', $1, 1)`, []byte{})
	a := &sink.Activity{DB: f.db.Read}
	refused := func(want ...string) string {
		t.Helper()
		table, err := a.Query(t.Context(), `SELECT 1`, 1)
		if !errors.Is(err, sink.ErrInvalid) {
			t.Fatalf("got %v, %v", table, err)
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("got %v\nwant it to name %q", err, w)
			}
		}
		return err.Error()
	}
	lines := strings.Split(refused("CREATE ROLE tallyhook_analyst", "GRANT SELECT", "ClickHouse"), "\n")
	if len(lines) != 4 {
		t.Errorf("not three lines of SQL: %q", lines)
	}
	for _, line := range lines[1:] {
		f.exec(line)
	}
	if table, err := a.Query(t.Context(), `SELECT call_id FROM call`, 1); err != nil || len(table.Rows) != 1 {
		t.Fatalf("after %q: %v, %v", lines[1:], table, err)
	}
	f.exec(`GRANT SELECT ON call TO tallyhook_analyst`)
	refused("tallyhook_analyst can read call.key,")
	f.exec(`REVOKE SELECT ON call FROM tallyhook_analyst`)
	f.exec(`GRANT SELECT (call_id) ON call TO tallyhook_analyst`)
	f.exec(`GRANT SELECT (hash) ON access_key TO PUBLIC`)
	refused("access_key.hash,")
	f.exec(`REVOKE SELECT (hash) ON access_key FROM PUBLIC`)
	if _, err := a.Query(t.Context(), `SELECT call_id FROM call`, 1); err != nil {
		t.Error(err)
	}
}

func FuzzQueryPostgres(f *testing.F) {
	fx, a := newPostgresActivity(f)
	for _, seed := range []string{`SELECT key FROM call`, `SELECT set_config('role', 'none', true)`, `VALUES (1); -- x`, `WITH a AS (SELECT 1) SELECT * FROM a, call`,
		"SELECT 'a''b', \"c\"\"d\", $t$ x $t$, 1.5e3, U&'x' FROM call /* /* */", `EXPLAIN (ANALYZE) SELECT 1`, `SELECT E'a' 'b\''`} {
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
