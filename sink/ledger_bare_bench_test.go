package sink_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallyhook/tallyhook/store"
)

// bareLedger writes with pgx alone what a ledger has written: the same rows in
// the same batches into the same tables of another database on the same
// server, one transaction each. It reads nothing, decides nothing and is given
// every value ready.
type bareLedger struct {
	from  *pgxpool.Pool // the ledger's database
	conn  *pgx.Conn     // its own
	after int64         // posting up to which everything is written
}

// newBareLedger makes a database beside the one behind url, with its tables.
func newBareLedger(b *testing.B, url string, from *pgxpool.Pool) *bareLedger {
	b.Helper()
	ctx := b.Context()
	if _, err := from.Exec(ctx, `CREATE DATABASE bare`); err != nil {
		b.Fatal(err)
	}
	beside := databaseOf(b, url, "bare")
	db, err := store.Open(ctx, beside)
	if err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	conn, err := pgx.Connect(ctx, beside)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close(context.WithoutCancel(ctx)) })
	if _, err := conn.Exec(ctx, `INSERT INTO stream (node, created_at) VALUES ('bare', 1)`); err != nil {
		b.Fatal(err)
	}
	return &bareLedger{from: from, conn: conn}
}

// appended are the tables to which a batch of first conversions only adds
// rows, and how those of the last batch are found.
var appended = []struct{ table, rows string }{
	{"posting", `SELECT * FROM posting WHERE no > $1 ORDER BY no`},
	{"transfer", `SELECT * FROM transfer WHERE posting > $1 ORDER BY posting, line`},
	{"verdict", `SELECT v.* FROM verdict v JOIN posting p USING (stream, seq, n) WHERE p.no > $1 ORDER BY v.change_seq`},
	{"call_state", `SELECT * FROM call_state WHERE last_posting > $1`},
	{"identity", `SELECT i.* FROM identity i JOIN posting p USING (stream, seq, n) WHERE p.no > $1`},
}

// Of these a batch changes rows that are there.
const (
	bareBalances = `INSERT INTO balance (account, debits, credits, last_posting) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
ON CONFLICT (account) DO UPDATE SET debits = excluded.debits, credits = excluded.credits, last_posting = excluded.last_posting`
	bareCheckpoint = `UPDATE stream SET next_seq = $1, received_at = $2, watermark = $3`
)

// bareBatch is what one batch of the ledger has written.
type bareBatch struct {
	columns    [][]string // of each table of appended
	rows       [][][]any
	balances   [4][]int64 // account, debits, credits, last_posting
	checkpoint [3]int64
}

// repeat writes what the ledger has written since the last time, and gives how
// long the writing took and how many postings it was.
func (l *bareLedger) repeat(b *testing.B) (took time.Duration, postings int) {
	b.Helper()
	batch := l.read(b)
	began := time.Now()
	if err := l.write(b, batch); err != nil {
		b.Fatal(err)
	}
	took = time.Since(began)
	if postings = len(batch.rows[0]); postings == 0 {
		b.Fatal("the ledger has written no posting")
	}
	l.after = batch.rows[0][postings-1][0].(int64)
	return took, postings
}

func (l *bareLedger) read(b *testing.B) *bareBatch {
	b.Helper()
	batch := new(bareBatch)
	for _, t := range appended {
		columns, rows := l.query(b, t.rows, l.after)
		if len(rows) == 0 {
			b.Fatalf("the ledger has written nothing into %s", t.table)
		}
		batch.columns, batch.rows = append(batch.columns, columns), append(batch.rows, rows)
	}
	_, rows := l.query(b, `SELECT account, debits, credits, last_posting FROM balance WHERE last_posting > $1 ORDER BY account`, l.after)
	for _, row := range rows {
		for i, v := range row {
			batch.balances[i] = append(batch.balances[i], v.(int64))
		}
	}
	_, rows = l.query(b, `SELECT next_seq, received_at, watermark FROM stream`)
	for i, v := range rows[0] {
		batch.checkpoint[i] = v.(int64)
	}
	return batch
}

func (l *bareLedger) query(b *testing.B, sql string, args ...any) (columns []string, list [][]any) {
	b.Helper()
	rows, err := l.from.Query(b.Context(), sql, args...)
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for _, f := range rows.FieldDescriptions() {
		columns = append(columns, f.Name)
	}
	for rows.Next() {
		row, err := rows.Values()
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
	return columns, list
}

func (l *bareLedger) write(b *testing.B, batch *bareBatch) error {
	ctx := b.Context()
	return pgx.BeginFunc(ctx, l.conn, func(tx pgx.Tx) error {
		for i, t := range appended {
			if _, err := tx.CopyFrom(ctx, pgx.Identifier{t.table}, batch.columns[i], pgx.CopyFromRows(batch.rows[i])); err != nil {
				return err
			}
		}
		var q pgx.Batch
		q.Queue(bareBalances, batch.balances[0], batch.balances[1], batch.balances[2], batch.balances[3])
		q.Queue(bareCheckpoint, batch.checkpoint[0], batch.checkpoint[1], batch.checkpoint[2])
		return tx.SendBatch(ctx, &q).Close()
	})
}
