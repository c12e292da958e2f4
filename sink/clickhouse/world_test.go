package clickhouse_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
)

// day0 is when every test begins.
var day0 = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// world is a primary store with a verdict log that the test writes by hand.
type world struct {
	t           testing.TB
	read, write *sql.DB
	pool        *pgxpool.Pool
	change      int64
}

// worlds opens an empty store of each backend.
var worlds = map[string]func(t testing.TB) *world{"sqlite": sqliteWorld, "postgres": postgresWorld}

func sqliteWorld(t testing.TB) *world {
	file, err := sqliteFile()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "store.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func(conns int) *sql.DB {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)")
		if err != nil {
			t.Fatal(err)
		}
		db.SetMaxOpenConns(conns)
		t.Cleanup(func() { db.Close() })
		return db
	}
	return &world{t: t, write: open(1), read: open(4)}
}

func postgresWorld(t testing.TB) *world {
	return postgresWorldAt(t, postgresStore.Copy(t))
}

// postgresWorldAt opens the store at url.
func postgresWorldAt(t testing.TB, url string) *world {
	pool, err := pgxpool.New(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { db.Close() })
	return &world{t: t, write: db, read: db, pool: pool}
}

// postgresStore and sqliteFile are what each world begins with a copy of.
var (
	postgresStore = services.PostgresTemplate{Fill: func(ctx context.Context, url string) error {
		return migrate(ctx, goose.DialectPostgres, "pgx", url)
	}}
	sqliteFile = sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "tallyhook-world-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "store.db")
		if err := migrate(context.Background(), goose.DialectSQLite3, "sqlite", "file:"+path); err != nil {
			return nil, err
		}
		return os.ReadFile(path)
	})
)

func TestMain(m *testing.M) {
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := postgresStore.Drop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "drop the store that was copied:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// migrate makes the schema as package store would, whose own code is not what
// is tested here.
func migrate(ctx context.Context, d goose.Dialect, driver, dsn string) error {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	dir := map[goose.Dialect]string{goose.DialectSQLite3: "sqlite", goose.DialectPostgres: "postgres"}[d]
	p, err := goose.NewProvider(d, db, os.DirFS(filepath.Join("..", "..", "store", "migrations", dir)),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	_, err = p.Up(ctx)
	return err
}

// verdict is a row of the verdict log; what a test does not say is filled in.
type verdict struct {
	stream, seq, n, revision int64
	interim                  bool
	status, reason, detail   string
	source                   string
	at                       time.Time     // received
	after                    time.Duration // until decided
	kind, strategy           string
	candidates               int64
	call                     int64
	callID, callCaller       string
	caller                   string
	duration, payout, value  any
	currency                 string
	delta, shareDelta        int64
	mapper, peer             string
	usQueue, usMap, usMatch  int64
	report                   string
}

const verdictColumns = `change_seq, stream, seq, n, revision, final, status, reason, detail, source, received_at, decided_at, kind, strategy, candidates,
call, call_id, call_caller, caller, duration, payout, currency, value, delta, share_delta, mapper, peer, us_queue, us_map, us_match, us_total, report`

func (w *world) args(v verdict) []any {
	w.change++
	def := func(s *string, to string) {
		if *s == "" {
			*s = to
		}
	}
	def(&v.status, "booked")
	def(&v.source, "acme")
	def(&v.kind, "conversion")
	def(&v.mapper, "builtin")
	def(&v.peer, "203.0.113.7")
	if v.stream == 0 {
		v.stream = 1
	}
	if v.seq == 0 {
		v.seq = w.change
	}
	if v.revision == 0 {
		v.revision = 1
	}
	if v.at.IsZero() {
		v.at = day0
	}
	if v.after == 0 {
		v.after = 2 * time.Millisecond
	}
	final := 1
	if v.interim {
		final = 0
	}
	null := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	var call any
	if v.call != 0 {
		call = v.call
	}
	at := v.at.UnixMicro()
	return []any{w.change, v.stream, v.seq, v.n, v.revision, final, v.status, v.reason, null(v.detail), v.source, at, at + v.after.Microseconds(), v.kind, v.strategy, v.candidates,
		call, null(v.callID), null(v.callCaller), null(v.caller), v.duration, v.payout, null(v.currency), v.value, v.delta, v.shareDelta, v.mapper, v.peer,
		v.usQueue, v.usMap, v.usMatch, v.after.Microseconds(), null(v.report)}
}

// tell appends verdicts to the log.
func (w *world) tell(list ...verdict) {
	w.t.Helper()
	tx, err := w.write.Begin()
	if err != nil {
		w.t.Fatal(err)
	}
	defer tx.Rollback()
	var marks []string
	for i := range strings.Split(verdictColumns, ",") {
		marks = append(marks, fmt.Sprintf("$%d", i+1))
	}
	add, err := tx.Prepare("INSERT INTO verdict (" + verdictColumns + ") VALUES (" + strings.Join(marks, ", ") + ")")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, v := range list {
		if _, err := add.Exec(w.args(v)...); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := tx.Commit(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) exec(text string, args ...any) {
	w.t.Helper()
	if _, err := w.write.Exec(text, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) number(text string, args ...any) (n int64) {
	w.t.Helper()
	if err := w.read.QueryRow(text, args...).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) config() clickhouse.Config {
	return clickhouse.Config{Read: w.read, Write: w.write, Pool: w.pool, StoreID: "store-1", Node: "node-1",
		Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

// open connects to a ClickHouse.
func open(t testing.TB, url string) *clickhouse.Server {
	s, err := clickhouse.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// run ships in the background until stop is called or the test ends.
func run(t testing.TB, s *clickhouse.Server, cfg clickhouse.Config) (sh *clickhouse.Shipper, stop func()) {
	sh = clickhouse.NewShipper(s, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); sh.Ship(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return sh, stop
}

// patience is how long a test waits for what has to happen at last.
const patience = 90 * time.Second

// eventually waits until ok gives true.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen within %s", what, patience)
		}
	}
}

// shipped waits until everything told is marked as shipped, and until sh, which
// counts a range after it has marked it, knows that.
func (w *world) shipped(sh *clickhouse.Shipper) {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var through int64
		err := w.read.QueryRow(`SELECT coalesce((SELECT through FROM shipping), 0)`).Scan(&through)
		if err == nil && through == w.change && sh.Status().Through == w.change {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("shipped through %d of %d (%v): %+v", through, w.change, err, sh.Status())
		}
	}
}

// ask asks s, again when the engine, which serves all tests and one question at
// a time, let it wait for longer than a question may take.
func ask(t testing.TB, s *clickhouse.Server, query string, limit int) (*sink.Table, error) {
	for end := time.Now().Add(patience); ; {
		got, err := s.Query(t.Context(), query, limit)
		if err == nil || !strings.Contains(err.Error(), "longer than 10s") || time.Now().After(end) {
			return got, err
		}
	}
}

// table asks s and gives the answer as text, a line for each row.
func table(t testing.TB, s *clickhouse.Server, query string) string {
	t.Helper()
	got, err := ask(t, s, query, 10_000)
	if err != nil {
		t.Fatalf("%s\n%v", query, err)
	}
	var b strings.Builder
	for i, row := range got.Rows {
		if i > 0 {
			b.WriteByte('\n')
		}
		for k, v := range row {
			if k > 0 {
				b.WriteString(" | ")
			}
			fmt.Fprint(&b, v)
		}
	}
	return b.String()
}
