package store

import (
	"context"
	"database/sql"
)

// Advisory locks on Postgres: the ASCII of "tally" and a use. Every package that
// takes one in a store's database has its number from here: 0003 is the
// ledger's (sink/ledger_postgres.go).
const (
	lockObjects    int64 = 0x74616c6c79_0001 // who changes objects
	lockMigrations int64 = 0x74616c6c79_0002 // who changes the schema
)

// change runs fn in one transaction, after every other change of objects and
// before the next, and commits it unless fn fails. SQLite has one writer
// anyway; on Postgres a lock sees to it.
func (db *DB) change(ctx context.Context, fn func(*sql.Tx) error) error {
	var opts *sql.TxOptions
	if db.Postgres() { // every statement sees what who had the lock before has committed
		opts = &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	}
	return inTx(ctx, db.Write, opts, func(tx *sql.Tx) error {
		if db.Postgres() {
			// A node that is stuck in its change shall not stop the others for ever.
			if _, err := tx.ExecContext(ctx, `SELECT set_config('lock_timeout', '10s', true)`); err != nil {
				return err
			}
			if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, lockObjects); err != nil {
				return err
			}
		}
		return fn(tx)
	})
}

// snapshot runs fn in one transaction that sees one state of the database.
func (db *DB) snapshot(ctx context.Context, fn func(*sql.Tx) error) error {
	var opts *sql.TxOptions // of SQLite every transaction sees one state
	if db.Postgres() {
		opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return inTx(ctx, db.Read, opts, fn)
}

// inTx runs fn in one transaction and commits it unless fn fails.
func inTx(ctx context.Context, pool *sql.DB, opts *sql.TxOptions, fn func(*sql.Tx) error) error {
	tx, err := pool.BeginTx(ctx, opts)
	if err != nil {
		return outage(err)
	}
	defer tx.Rollback() // after a commit this does nothing
	if err := fn(tx); err != nil {
		return outage(err)
	}
	return outage(tx.Commit())
}
