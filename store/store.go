// Package store is the primary store beside the ledger: the database itself
// with its migrations, the streams that journals obtained from it, and the
// objects that operators make: sources, campaigns with their payout rules,
// publishers, buyers, access keys and the audit of who changed what.
//
// A DB is opened by URL and shared by everything that keeps state in it; the
// ledger's rows are written by package sink. Tokens are kept sealed (Seal),
// secrets and keys as digests only. Every change of an object raises the
// objects' version in the same transaction, so a node notices a change made
// anywhere by reading one number.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// DB is an open store. Write is for transactions that change something and
// take the database's write lock when they begin; Read is for everything else
// and refuses to write. Both are safe for concurrent use.
type DB struct {
	Write *sql.DB // one connection: who writes waits for its turn here, not in the database
	Read  *sql.DB // ReadConnsMax connections, query only
	Path  string  // of the database file
	ID    string  // of the store: a random UUID, made once
}

// ReadConnsMax is how many connections read side by side.
const ReadConnsMax = 4

// Open opens the store at url, creates it when there is none and brings its
// schema up to this build's. "sqlite:PATH" is what this build knows. A
// database that a newer build has migrated, or that is not a store, is refused
// and left as it was.
func Open(ctx context.Context, url string) (*DB, error) {
	path, err := sqlitePath(url)
	if err != nil {
		return nil, err
	}
	db, err := openSQLite(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	return db, nil
}

// OpenReadOnly opens an existing store for reading, beside a running node or
// with none. It migrates nothing: a schema of another version is refused. Both
// pools of the DB only read, a write is an error.
func OpenReadOnly(ctx context.Context, url string) (*DB, error) {
	path, err := sqlitePath(url)
	if err != nil {
		return nil, err
	}
	db, err := openSQLiteReadOnly(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("open store %s for reading: %w", path, err)
	}
	return db, nil
}

func sqlitePath(url string) (string, error) {
	path, ok := strings.CutPrefix(url, "sqlite:")
	switch {
	case !ok:
		return "", fmt.Errorf("store %q: this build keeps its store in sqlite:PATH, for example sqlite:data/tallyhook.db", redactURL(url))
	case path == "" || strings.HasPrefix(path, ":"):
		return "", fmt.Errorf("store %q: want the path of a file, for example sqlite:data/tallyhook.db", url)
	}
	return path, nil
}

// redactURL keeps of a URL what is safe to print: its scheme and, if it names
// a host, no more than that it did. Passwords stand behind the scheme.
func redactURL(url string) string {
	if scheme, _, ok := strings.Cut(url, "://"); ok {
		return scheme + "://…"
	}
	return url
}

// Close closes both pools; what is not committed is lost. The writer goes
// last, so that it folds the write-ahead log into the file.
func (db *DB) Close() error {
	err := db.Read.Close()
	if db.Write != db.Read {
		err = errors.Join(err, db.Write.Close())
	}
	return err
}

// change runs fn in one transaction and commits it unless fn fails.
func (db *DB) change(ctx context.Context, fn func(*sql.Tx) error) error {
	return inTx(ctx, db.Write, fn)
}

// snapshot runs fn in one transaction that sees one state of the database.
func (db *DB) snapshot(ctx context.Context, fn func(*sql.Tx) error) error {
	return inTx(ctx, db.Read, fn)
}

func inTx(ctx context.Context, pool *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit this does nothing
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// StreamInfo is what the store knows of one journal.
type StreamInfo struct {
	NextSeq    uint64 // of the first record whose verdicts are not committed
	ReceivedAt int64  // of the last record whose verdicts are, microseconds; 0 when there is none
	Node       string // that asked for the stream
}

// NewStream registers a new journal of node and returns its number, which no
// other journal has had or will have.
func (db *DB) NewStream(ctx context.Context, node string, now time.Time) (uint32, error) {
	res, err := db.Write.ExecContext(ctx, `INSERT INTO stream (node, created_at) VALUES (?, ?)`, node, now.UnixMicro())
	if err != nil {
		return 0, fmt.Errorf("new stream of node %q: %w", node, err)
	}
	n, err := res.LastInsertId()
	if err != nil {
		return 0, fmt.Errorf("new stream of node %q: %w", node, err)
	}
	if n > math.MaxUint32 {
		return 0, fmt.Errorf("new stream of node %q: all %d numbers are used", node, int64(math.MaxUint32))
	}
	return uint32(n), nil
}

// Stream tells how far the journal with number n is committed. ErrNotFound
// means that this store never gave that number: the journal belongs elsewhere.
func (db *DB) Stream(ctx context.Context, n uint32) (StreamInfo, error) {
	var s StreamInfo
	err := db.Read.QueryRowContext(ctx, `SELECT next_seq, received_at, node FROM stream WHERE stream = ?`, n).
		Scan(&s.NextSeq, &s.ReceivedAt, &s.Node)
	if errors.Is(err, sql.ErrNoRows) {
		return s, notFound("stream %d is not known to store %s: this journal belongs to another store", n, db.ID)
	}
	if err != nil {
		return s, fmt.Errorf("read stream %d: %w", n, err)
	}
	return s, nil
}
