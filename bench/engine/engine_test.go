//go:build linux

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/tallyhook/tallyhook/bench/services"
)

// opener gives the URL of a new empty database on the engine under test.
type opener func(*testing.T) string

// promises are what clickhouse-go may expect of the engine, whatever else runs
// on it.
var promises = map[string]func(*testing.T, opener){
	"rows come back as they went in": rowsComeBackAsTheyWentIn,
	"types":                          types,
	"decimals keep their digits":     decimalsKeepTheirDigits,
	"replacing merge tree shows the latest with final": replacingMergeTreeShowsTheLatestWithFinal,
	"insert token inserts once":                        insertTokenInsertsOnce,
	"materialized views and tables of names":           materializedViewsAndTablesOfNames,
	"time to live removes old rows":                    timeToLiveRemovesOldRows,
	"parameters reach the statement only":              parametersReachTheStatementOnly,
	"settings hold for one query":                      settingsHoldForOneQuery,
	"data of an insert is not read as a statement":     dataOfAnInsertIsNotReadAsAStatement,
	"answer without rows names its columns":            answerWithoutRowsNamesItsColumns,
	"drop with sync returns":                           dropWithSyncReturns,
	"a failed query leaves nothing to the next":        aFailedQueryLeavesNothingToTheNext,
	"errors carry code and text":                       errorsCarryCodeAndText,
	"databases of two clients do not mix":              databasesOfTwoClientsDoNotMix,
}

// The engine under test is built from this checkout; the shared one may be older.
func TestEngine(t *testing.T) {
	s := services.OwnClickHouse(t)
	admin := dial(t, s.URL, clickhouse.CompressionNone)
	var databases atomic.Int64
	database := func(t *testing.T) string {
		name := fmt.Sprintf("d%d", databases.Add(1))
		exec(t, admin, "CREATE DATABASE "+name)
		return s.URL[:strings.LastIndexByte(s.URL, '/')+1] + name
	}
	for name, test := range promises {
		t.Run(name, func(t *testing.T) { test(t, database) })
	}
}

var methods = map[string]clickhouse.CompressionMethod{"none": clickhouse.CompressionNone, "lz4": clickhouse.CompressionLZ4, "zstd": clickhouse.CompressionZSTD}

func dial(t *testing.T, rawURL string, method clickhouse.CompressionMethod) driver.Conn {
	t.Helper()
	options, err := clickhouse.ParseDSN(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	options.Compression = &clickhouse.Compression{Method: method}
	conn, err := clickhouse.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func exec(t *testing.T, conn driver.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		if err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

// one gives the only value of a query's only row.
func one[T any](t *testing.T, conn driver.Conn, query string, args ...any) (value T) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&value); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return value
}

func want[T any](t *testing.T, conn driver.Conn, wanted T, query string, args ...any) {
	t.Helper()
	if got := one[T](t, conn, query, args...); !reflect.DeepEqual(got, wanted) {
		t.Fatalf("%s: %v, want %v", query, got, wanted)
	}
}

// insert sends values as one block, one slice per column.
func insert(ctx context.Context, conn driver.Conn, into string, columns ...any) error {
	batch, err := conn.PrepareBatch(ctx, "INSERT INTO "+into)
	if err != nil {
		return err
	}
	for i, values := range columns {
		if err := batch.Column(i).Append(values); err != nil {
			return fmt.Errorf("column %d: %w", i, err)
		}
	}
	return batch.Send()
}

func rowsComeBackAsTheyWentIn(t *testing.T, database opener) {
	for name, method := range methods {
		t.Run(name, func(t *testing.T) {
			conn := dial(t, database(t), method)
			if err := conn.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			exec(t, conn, "CREATE TABLE t (n UInt64, s LowCardinality(String), at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY n")
			const rows = 100_000
			numbers, texts, times := make([]uint64, rows), make([]string, rows), make([]time.Time, rows)
			for i := range rows {
				numbers[i], texts[i], times[i] = uint64(i), fmt.Sprintf("source %d", i%100), time.UnixMicro(1_700_000_000_000_000+int64(i)).UTC()
			}
			if err := insert(t.Context(), conn, "t", numbers, texts, times); err != nil {
				t.Fatal(err)
			}
			got, err := conn.Query(t.Context(), "SELECT n, s, at FROM t ORDER BY n")
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			i := 0
			for ; got.Next(); i++ {
				var n uint64
				var s string
				var at time.Time
				if err := got.Scan(&n, &s, &at); err != nil {
					t.Fatal(err)
				}
				if n != numbers[i] || s != texts[i] || !at.Equal(times[i]) {
					t.Fatalf("row %d: %d %q %s, want %d %q %s", i, n, s, at, numbers[i], texts[i], times[i])
				}
			}
			if err := got.Err(); err != nil || i != rows {
				t.Fatalf("%d rows, %v; want %d", i, err, rows)
			}
		})
	}
}

func types(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	text := "a 'quoted' \\ text\nof two lines; with \x00"
	at := time.Date(2026, 11, 21, 4, 5, 6, 123456000, time.UTC)
	f := func(kind string, in any) {
		t.Helper()
		t.Run(kind, func(t *testing.T) {
			exec(t, conn, "CREATE OR REPLACE TABLE v (k UInt8, v "+kind+") ENGINE = MergeTree ORDER BY k")
			batch, err := conn.PrepareBatch(t.Context(), "INSERT INTO v")
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(batch.Append(uint8(1), in), batch.Send()); err != nil {
				t.Fatal(err)
			}
			out := reflect.New(reflect.TypeOf(in))
			if err := conn.QueryRow(t.Context(), "SELECT v FROM v").Scan(out.Interface()); err != nil {
				t.Fatal(err)
			}
			got := out.Elem().Interface()
			same := reflect.DeepEqual(got, in)
			if at, ok := in.(time.Time); ok {
				same = at.Equal(got.(time.Time))
			}
			if !same {
				t.Fatalf("%#v, want %#v", got, in)
			}
		})
	}
	f("UInt8", uint8(255))
	f("UInt16", uint16(65535))
	f("UInt32", uint32(1<<32-1))
	f("UInt64", uint64(1<<64-1))
	f("Int8", int8(-128))
	f("Int16", int16(-32768))
	f("Int32", int32(-1<<31))
	f("Int64", int64(-1<<63))
	f("Float64", 0.1)
	f("Bool", true)
	f("String", text)
	f("FixedString(3)", "abc")
	f("LowCardinality(String)", text)
	f("LowCardinality(Nullable(String))", &text)
	f("Nullable(Int64)", (*int64)(nil))
	f("Nullable(String)", &text)
	f("Date", time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))
	f("DateTime('UTC')", at.Truncate(time.Second))
	f("DateTime64(6, 'UTC')", at)
	f("Array(String)", []string{"", text})
	f("Array(LowCardinality(String))", []string{"a", "b", "a"})
	f("Map(String, String)", map[string]string{"k": text})
	f("UUID", "01890a5d-ac96-774b-bcce-b302099a8057")
	f("Enum8('booked' = 1, 'parked' = 2)", "parked")
	f("Tuple(Int64, String)", []any{int64(7), text})
}

func decimalsKeepTheirDigits(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	exec(t, conn, "CREATE TABLE money (v Decimal(18, 6)) ENGINE = MergeTree ORDER BY v")
	const text = "-123456789012.345678"
	if err := insert(t.Context(), conn, "money", []string{text}); err != nil {
		t.Fatal(err)
	}
	rows, err := conn.Query(t.Context(), "SELECT v, toString(v) FROM money")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if !rows.Next() {
		t.Fatalf("no row: %v", rows.Err())
	}
	value := reflect.New(rows.ColumnTypes()[0].ScanType())
	var asText string
	if err := rows.Scan(value.Interface(), &asText); err != nil {
		t.Fatal(err)
	}
	if v := fmt.Sprint(value.Elem().Interface()); v != text || asText != text {
		t.Fatalf("%s and %s, want %s", v, asText, text)
	}
}

func parametersReachTheStatementOnly(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	text := "o'clock \\ \n{n:UInt64}"
	want(t, conn, text, "SELECT {s:String}", clickhouse.Named("s", text))
	want(t, conn, "7", "SELECT toString({n:UInt64})", clickhouse.Named("n", "7"))
	err := conn.Exec(t.Context(), "SELECT {s:String}")
	var e *clickhouse.Exception
	if !errors.As(err, &e) || e.Code != 456 {
		t.Fatalf("a parameter of another query: %v, want code 456", err)
	}
}

func settingsHoldForOneQuery(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	const query = "SELECT toUInt64(getSetting('max_insert_block_size'))"
	before := one[uint64](t, conn, query)
	f := func(settings clickhouse.Settings, code int32) {
		t.Helper()
		ctx := clickhouse.Context(t.Context(), clickhouse.WithSettings(settings))
		var got uint64
		err := conn.QueryRow(ctx, query).Scan(&got)
		var e *clickhouse.Exception
		if failed := errors.As(err, &e); failed != (code != 0) || failed && e.Code != code || !failed && (err != nil || got != 77) {
			t.Fatalf("with %v: %d, %v; want 77 or code %d", settings, got, err, code)
		}
		want(t, conn, before, query)
	}
	f(clickhouse.Settings{"max_insert_block_size": 77}, 0)
	f(clickhouse.Settings{"max_insert_block_size": 77, "no_such_setting": 1}, 115)
	exec(t, conn, "SET max_insert_block_size = 78", "USE system")
	want(t, conn, before, query)
	if got := one[string](t, conn, "SELECT currentDatabase()"); got == "system" {
		t.Fatal("USE outlives its request")
	}
}

// Data are bytes: among them are those that the engine takes for the end of a
// statement when it reads one, an empty line and a semicolon.
func dataOfAnInsertIsNotReadAsAStatement(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionNone)
	exec(t, conn, "CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s")
	texts := []string{"\n\n", "a;\n\nSELECT 1;", "--", "'"}
	if err := insert(t.Context(), conn, "t SETTINGS max_insert_block_size = 1000", texts); err != nil {
		t.Fatal(err)
	}
	exec(t, conn, "INSERT INTO t FORMAT JSONEachRow\n{\"s\": \"x\"}\n\n{\"s\": \"y; z\"}", "INSERT INTO t VALUES ('v;'), ('w\n\n')")
	got := one[[]string](t, conn, "SELECT arraySort(groupArray(s)) FROM t")
	wanted := append([]string{"x", "y; z", "v;", "w\n\n"}, texts...)
	slices.Sort(wanted)
	if !slices.Equal(got, wanted) {
		t.Fatalf("%q, want %q", got, wanted)
	}
}

func answerWithoutRowsNamesItsColumns(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	exec(t, conn, "CREATE TABLE t (n UInt64, s LowCardinality(String)) ENGINE = MergeTree ORDER BY n")
	rows, err := conn.Query(t.Context(), "SELECT n, s FROM t WHERE n = {n:UInt64} -- none", clickhouse.Named("n", "1"))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if got := rows.Columns(); !slices.Equal(got, []string{"n", "s"}) || rows.ColumnTypes()[1].DatabaseTypeName() != "LowCardinality(String)" {
		t.Fatalf("columns %q", got)
	}
	if rows.Next() || rows.Err() != nil {
		t.Fatalf("a row, or %v", rows.Err())
	}
}

func aFailedQueryLeavesNothingToTheNext(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionLZ4)
	// Fails in its second block, when the first one is written already.
	if err := conn.Exec(t.Context(), "SELECT throwIf(number = 70000) FROM numbers(100000)"); err == nil {
		t.Fatal("no error")
	}
	want(t, conn, uint8(7), "SELECT 7")
}

func errorsCarryCodeAndText(t *testing.T, database opener) {
	conn := dial(t, database(t), clickhouse.CompressionZSTD)
	f := func(query string, code int32, text string) {
		t.Helper()
		err := conn.Exec(t.Context(), query)
		var e *clickhouse.Exception
		if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
			t.Fatalf("%s: %v; want code %d and %q", query, err, code, text)
		}
		if _, err := conn.Query(t.Context(), query); !errors.As(err, &e) || e.Code != code {
			t.Fatalf("%s as a query: %v; want code %d", query, err, code)
		}
	}
	f("SELECT * FROM no_such_table", 60, "no_such_table")
	f("SELECT no_such_column", 47, "no_such_column")
	f("SELEC 1", 62, "Syntax error")
	f("SELECT 1; SELECT 2", 62, "Multi-statements are not allowed")
	f("  ", 62, "Empty query")
	f("USE no_such_database", 81, "no_such_database")
	missing := dial(t, database(t)+"x", clickhouse.CompressionNone)
	var e *clickhouse.Exception
	if err := missing.Ping(t.Context()); !errors.As(err, &e) || e.Code != 81 {
		t.Fatalf("a database that is not there: %v, want code 81", err)
	}
}

func databasesOfTwoClientsDoNotMix(t *testing.T, database opener) {
	a, b := dial(t, database(t), clickhouse.CompressionLZ4), dial(t, database(t), clickhouse.CompressionLZ4)
	exec(t, a, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
	exec(t, b, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")
	var wg sync.WaitGroup
	errs := make(chan error, 100)
	for i := range 50 {
		wg.Go(func() { errs <- insert(t.Context(), a, "t", []uint64{uint64(i)}) })
		wg.Go(func() { errs <- insert(t.Context(), b, "t", []uint64{uint64(i), uint64(i)}) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	want(t, a, uint64(50), "SELECT count() FROM t")
	want(t, b, uint64(100), "SELECT count() FROM t")
}
