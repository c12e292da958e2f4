package sink

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5/stdlib"
)

// readOnly runs fn on one snapshot of the store, which is all that SQLite has.
func readOnly(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return fn(tx)
}

// byIndex keeps Postgres to indexes for one transaction. Whoever looks up a few
// rows must not read a whole table for them, whatever the planner thinks of
// tables that have grown since they were last counted.
const byIndex = `SELECT set_config(name, 'off', true) FROM (VALUES
  ('enable_seqscan'), ('enable_bitmapscan'), ('enable_hashjoin'), ('enable_mergejoin'), ('jit')) AS s (name)`

// lookUp is readOnly for statements that have their index.
func lookUp(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	return readOnly(ctx, db, func(tx *sql.Tx) error { return withIndex(ctx, db, tx, fn) })
}

func withIndex(ctx context.Context, db *sql.DB, tx *sql.Tx, fn func(*sql.Tx) error) error {
	if onPostgres(db) {
		if _, err := tx.ExecContext(ctx, byIndex); err != nil {
			return err
		}
	}
	return fn(tx)
}

// onPostgres tells the backend of a store's handle, for the little that is not
// one SQL text for both.
func onPostgres(db *sql.DB) bool {
	_, is := db.Driver().(*stdlib.Driver)
	return is
}
