package clickhouse_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
)

func migrated(t testing.TB) *clickhouse.Server {
	s := open(t, services.ClickHouse(t))
	if _, err := s.Migrate(t.Context(), "store-1", 0); err != nil {
		t.Fatal(err)
	}
	return s
}

// Every kind of value comes as one that sink.Table knows and JSON can hold.
func TestQueryValues(t *testing.T) {
	t.Parallel()
	s := migrated(t)
	f := func(expression, want string) {
		t.Helper()
		got, err := ask(t, s, "SELECT "+expression+" AS v", 10)
		if err != nil || len(got.Rows) != 1 {
			t.Errorf("%s: %+v, %v", expression, got, err)
			return
		}
		text, err := json.Marshal(got.Rows[0][0])
		if err != nil || string(text) != want || got.Columns[0] != "v" || got.Truncated {
			t.Errorf("%s: %s %v, want %s", expression, text, err, want)
		}
		switch got.Rows[0][0].(type) {
		case nil, int64, float64, string:
		default:
			t.Errorf("%s is a %T", expression, got.Rows[0][0])
		}
	}
	f(`1`, `1`)
	f(`toInt8(-1)`, `-1`)
	f(`toUInt64(9223372036854775807)`, `9223372036854775807`)
	f(`toUInt64(18446744073709551615)`, `"18446744073709551615"`)
	f(`toInt128('-170141183460469231731687303715884105728')`, `"-170141183460469231731687303715884105728"`)
	f(`0.5`, `0.5`)
	f(`1/0`, `"+Inf"`)
	f(`true`, `1`)
	f(`'a"b'`, `"a\"b"`)
	f(`CAST(NULL, 'Nullable(Int8)')`, `null`)
	f(`toNullable(5)`, `5`)
	f(`toDecimal128(12.5, 6)`, `"12.5"`)
	f(`CAST(NULL, 'Nullable(Decimal(18, 6))')`, `null`)
	f(`toDateTime64('2026-03-02 01:02:03.000004', 6, 'UTC')`, `"2026-03-02T01:02:03.000004Z"`)
	f(`toDateTime('2026-03-02 01:02:03', 'UTC')`, `"2026-03-02T01:02:03.000000Z"`)
	f(`CAST(NULL, 'Nullable(DateTime64(6, \'UTC\'))')`, `null`)
	f(`toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')`, `"61f0c404-5cb3-11e7-907b-a6006ad3dba0"`)
	f(`[1, 2]`, `"[1,2]"`)
	f(`map('a', 'b')`, `"{\"a\":\"b\"}"`)
	f(`[toDecimal64(1.5, 2)]`, `"[\"1.5\"]"`)
	f(`tuple(1, 'x')`, `"[1,\"x\"]"`)
	f(`toLowCardinality('x')`, `"x"`)
	f(`toIPv4('192.0.2.1')`, `"192.0.2.1"`)
	f(`CAST('a', 'Enum8(\'a\' = 1)')`, `"a"`)
}

func TestQueryDates(t *testing.T) {
	t.Parallel()
	if got := table(t, migrated(t), `SELECT toDate('2026-03-02')`); got != "2026-03-02" {
		t.Error(got)
	}
}

// What is asked wrongly says so in ClickHouse's words, and is the asker's fault.
func TestQueryRefused(t *testing.T) {
	t.Parallel()
	s := migrated(t)
	f := func(query, want string) {
		t.Helper()
		got, err := ask(t, s, query, 10)
		if !errors.Is(err, sink.ErrInvalid) {
			t.Errorf("%s: %v, %v", query, got, err)
			return
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, want %q in it", query, err, want)
		}
	}
	f("", "it is empty")
	f(" -- SELECT 1\n", "it is empty")
	f("DROP TABLE activity_log", `begins with "drop"`)
	f("INSERT INTO activity_log SELECT * FROM activity_log", `begins with "insert"`)
	f("SET readonly = 0", `begins with "set"`)
	f("SELECT 1; SELECT 2", "one statement at a time")
	f("SELECT 1 SETTINGS readonly = 0", "leave the word out")
	f("SELECT (SELECT 1 settings readonly = 0)", "leave the word out")
	f("SELECT (SELECT count() FROM file('/etc/passwd', 'LineAsString') /**/SETTINGS readonly=0)", "leave the word out")
	f("SELECT ‘ ' ’, (SELECT 1 SETTINGS readonly = 0) --'", "outside of quotes")
	f("SELECT $$ ' $$, (SELECT 1 SETTINGS readonly = 0) --'", "not with $")
	f("SELECT 1 FORMAT Null", "leave FORMAT out")
	f("SELECT 1 INTO OUTFILE 'x'", "OUTFILE")
	f("SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')", "readonly")
	f("SELECT * FROM file('/etc/passwd', 'LineAsString')", "readonly")
	f("SELECT (SELECT count() FROM file('/etc/passwd', 'LineAsString'))", "readonly")
	f("EXPLAIN SELECT * FROM file('/etc/passwd', 'LineAsString')", "readonly")
	f("DESCRIBE TABLE file('/etc/passwd', 'LineAsString')", `begins with "describe"`)
	f("SELECT * FROM nothing", "nothing")
	f("SELECT 1 UNION ALL (SELECT 2 UNION ALL SELECT count() FROM file('/etc/passwd', 'LineAsString'))", "readonly")
	f("SELECT throwIf(1, 'oh')", "oh")
	f("SELECT 1 /*", "")
	f("SELECT '", "")
	f("SELECT 1\x00", "zero byte")
	f("SELECT '"+strings.Repeat("x", sink.QueryTextBytes)+"'", "at most")
	if _, err := s.Query(t.Context(), "SELECT 1", 0); !errors.Is(err, sink.ErrInvalid) {
		t.Errorf("no rows: %v", err)
	}
	if _, err := s.Query(t.Context(), "SELECT 1", sink.QueryRowsMax+1); !errors.Is(err, sink.ErrInvalid) {
		t.Errorf("too many rows: %v", err)
	}
}

func TestQueryAccepted(t *testing.T) {
	t.Parallel()
	s := migrated(t)
	for _, query := range []string{
		"SELECT count() FROM activity;", "  select 1 -- done", "WITH 1 AS x SELECT x", "(SELECT 1)", "/* a */ SELECT 1 # b",
		"EXPLAIN SELECT 1", "EXPLAIN indexes = 1 SELECT count() FROM activity", "SHOW TABLES", "DESCRIBE TABLE activity", "desc activity", "SHOW CREATE VIEW activity",
		"SELECT format('{} SETTINGS', 'a')", "SELECT 1 AS `settings`", "SELECT 'a; SETTINGS \\' b' || '''' || \"name\" FROM (SELECT 'x' AS name)",
	} {
		if _, err := ask(t, s, query, 10); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}

// The engine is its own: one question takes as long as it may, and the others
// shall not have to wait for it.
func TestQueryLimits(t *testing.T) {
	t.Parallel()
	s := open(t, services.OwnClickHouse(t).URL)
	f := func(query string, limit, rowsMin, rowsMax int, truncated bool) {
		t.Helper()
		got, err := ask(t, s, query, limit)
		if err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		if n := len(got.Rows); n < rowsMin || n > rowsMax || got.Truncated != truncated {
			t.Errorf("%s: %d rows, truncated %t", query, n, got.Truncated)
		}
	}
	f("SELECT number FROM numbers(100000)", 7, 7, 7, true)
	f("SELECT number FROM numbers(7)", 7, 7, 7, false)
	f("SELECT repeat('x', 1000000) FROM numbers(100)", 100, 0, 17, true)
	f("SELECT 1 WHERE 0", 7, 0, 0, false)
	if _, err := s.Query(t.Context(), "SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 1", 1); !errors.Is(err, sink.ErrInvalid) || !strings.Contains(err.Error(), "longer than 10s") {
		t.Errorf("a slow one: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Query(ctx, "SELECT 1", 1); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled one: %v", err)
	}
	// Nothing of all this stays behind on a connection.
	if err := clickhouse.Exec(t.Context(), s, "CREATE TABLE after (x Int64) ENGINE = Memory"); err != nil {
		t.Error(err)
	}
}

func TestQueryDown(t *testing.T) {
	t.Parallel()
	s := open(t, "http://127.0.0.1:1/db")
	_, err := s.Query(t.Context(), "SELECT 1", 1)
	var fault *clickhouse.Fault
	if !errors.As(err, &fault) || errors.Is(err, sink.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// FuzzCheckQuery: what is taken holds no word that could lift its limits
// outside of quotes, and nothing panics.
func FuzzCheckQuery(f *testing.F) {
	f.Add("SELECT 1 /* ' */ SETTINGS x = 1")
	f.Add("SELECT 'a\\'' , `b``c`, \"d\" -- e\n; SELECT 2")
	f.Add("WITH x AS (SELECT 1) SELECT ((x)) # y")
	f.Fuzz(func(t *testing.T, text string) {
		plain, err := clickhouse.CheckQuery(text)
		if err != nil {
			if !errors.Is(err, sink.ErrInvalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if again, err := clickhouse.CheckQuery(plain); err != nil || again != plain {
			t.Errorf("%q is taken and gives %q, which gives %q, %v", text, plain, again, err)
		}
		if strings.ContainsAny(plain, "'\"`-#/") {
			return
		}
		if lower := " " + strings.ToLower(plain) + " "; strings.Contains(lower, " settings ") || strings.Contains(lower, ";") {
			t.Errorf("%q is taken", plain)
		}
	})
}
