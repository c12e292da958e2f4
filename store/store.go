// Package store is the primary store beside the ledger: the database itself
// with its migrations, the streams that journals obtained from it, and the
// objects that operators make: sources, campaigns with their payout rules,
// publishers, buyers, access keys and the audit of who changed what.
//
// A DB is opened by URL, SQLite or Postgres, and shared by everything that
// keeps state in it; the ledger's rows are written by package sink. Tokens are
// kept sealed (Seal), secrets and keys as digests only. Every change of an
// object raises the objects' version in the same transaction, so a node notices
// a change made anywhere by reading one number, and on Postgres is told (Listen).
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// DB is an open store. Write is for transactions that change something, Read is
// for everything else and refuses to write. Both are safe for concurrent use.
// On SQLite a transaction of Write takes the database's write lock when it
// begins; on Postgres it takes none by itself.
type DB struct {
	Write *sql.DB       // SQLite: one connection, so that who writes waits here; Postgres: on Pool
	Read  *sql.DB       // query only
	Pool  *pgxpool.Pool // of Postgres, for who needs more than database/sql; nil on SQLite. See Explain
	Path  string        // of SQLite's file; "" on Postgres
	ID    string        // of the store: a random UUID, made once. See Prepare

	readPool *pgxpool.Pool // beneath Read; nil on SQLite
	where    string        // what errors call the store: its path, or scheme and hosts
	readOnly bool
}

// ReadConnsMax is how many connections read an SQLite store side by side.
const ReadConnsMax = 4

// readyTimeout is how long a database may take to answer that it is there.
const readyTimeout = 2 * time.Second

// Open opens the store at url, creates it when there is none and brings its
// schema up to this build's: Dial and Prepare.
func Open(ctx context.Context, url string) (*DB, error) {
	db, err := Dial(url)
	if err != nil {
		return nil, err
	}
	return db.prepared(ctx)
}

// OpenReadOnly opens an existing store for reading, beside running nodes or
// with none. It migrates nothing: a schema of another version is refused. Both
// pools of the DB only read, a write is an error.
func OpenReadOnly(ctx context.Context, url string) (*DB, error) {
	db, err := dial(url, true)
	if err != nil {
		return nil, err
	}
	return db.prepared(ctx)
}

// Dial reads url and makes the pools, without asking the database anything: it
// may be away. Nothing else of the DB may be used until Prepare has succeeded.
// The URL is one of
//
//	sqlite:PATH
//	postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…      or postgresql://…
func Dial(url string) (*DB, error) { return dial(url, false) }

func dial(url string, readOnly bool) (*DB, error) {
	scheme, rest, _ := strings.Cut(url, ":")
	switch {
	case scheme == "postgres" || scheme == "postgresql":
		return dialPostgres(url, readOnly)
	case scheme != "sqlite":
		return nil, fmt.Errorf("store %q: want sqlite:PATH, for example sqlite:data/tallyhook.db, or postgres://USER:PASSWORD@HOST/DATABASE", redactURL(url))
	case rest == "" || strings.HasPrefix(rest, ":"):
		return nil, fmt.Errorf("store %q: want the path of a file, for example sqlite:data/tallyhook.db", url)
	}
	db, err := dialSQLite(rest, readOnly)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", rest, err)
	}
	return db, nil
}

// redactURL keeps of a URL what is safe to print: its scheme and, if it names
// a host, no more than that it did. Passwords stand behind the scheme.
func redactURL(url string) string {
	if scheme, _, ok := strings.Cut(url, "://"); ok {
		return scheme + "://…"
	}
	return url
}

// Postgres tells whether the store is a Postgres database.
func (db *DB) Postgres() bool { return db.Pool != nil }

// Prepare connects, creates the store when there is none, brings its schema up
// to this build's and sets ID. It may be called again after it failed, and does
// little when there is nothing to do. ErrUnavailable means that the database
// cannot be reached or cannot serve now, so that trying again may help; any
// other error stays until a person has acted. A database that a newer build has
// migrated, or that is not a store, is refused and left as it was.
//
// Who knows the store's id beforehand may set ID first: then Prepare only
// compares, and refuses another store. It may run beside readers of ID then.
func (db *DB) Prepare(ctx context.Context) error {
	err := db.prepare(ctx)
	switch {
	case err == nil:
		return nil
	case db.readOnly:
		return fmt.Errorf("open store %s for reading: %w", db.where, err)
	}
	return fmt.Errorf("open store %s: %w", db.where, err)
}

func (db *DB) prepare(ctx context.Context) error {
	var err error
	switch {
	case db.readOnly:
		err = db.checkSchema(ctx)
	case db.Postgres():
		err = db.migrate(ctx)
	default:
		if err = createPrivate(db.Path); err == nil {
			err = db.migrate(ctx)
		}
	}
	if err != nil {
		return notGranted(outage(err))
	}
	id, err := db.storeID(ctx)
	switch {
	case err != nil:
		return notGranted(outage(err))
	case db.ID == "":
		db.ID = id
	case db.ID != id:
		return fmt.Errorf("it is store %s and this node belongs to store %s: give the URL of that one", id, db.ID)
	}
	return nil
}

// prepared is Prepare for who has just dialed.
func (db *DB) prepared(ctx context.Context) (*DB, error) {
	if err := db.Prepare(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Ready tells whether the database answers within two seconds, to who reads
// and to who writes.
func (db *DB) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for _, pool := range []*sql.DB{db.Read, db.Write} {
		var one int
		if err := pool.QueryRowContext(ctx, `SELECT 1`).Scan(&one); err != nil {
			return fmt.Errorf("store %s does not answer: %w", db.where, outage(err))
		}
	}
	return nil
}

// Close closes the pools; what is not committed is lost. The writer goes last,
// so that SQLite folds the write-ahead log into the file. On Postgres it waits
// for connections that are in use.
func (db *DB) Close() error {
	err := db.Read.Close()
	if db.Write != db.Read {
		err = errors.Join(err, db.Write.Close())
	}
	if db.Postgres() {
		db.readPool.Close()
		db.Pool.Close()
	}
	return err
}
