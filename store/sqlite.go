package store

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// What each connection is told. synchronous=FULL because a commit must survive
// a power cut: NORMAL may lose the last ones. No memory map: a read error in
// one is a signal that ends the process, not an error. The log is folded into
// the file every 64 MiB rather than 4: a page that many transactions change is
// then written there once. It is cut back to 128 MiB when a long reader has let
// it grow.
var (
	everyPragma = []string{"busy_timeout(5000)", "foreign_keys(1)", "mmap_size(0)"}
	writePragma = []string{"journal_mode(WAL)", "synchronous(FULL)", "cache_size(-65536)", "wal_autocheckpoint(16384)", "journal_size_limit(134217728)"}
	readPragma  = []string{"cache_size(-16384)"}
)

// sqliteDSN is the connection string of path; the driver takes _txlock and
// _pragma, SQLite itself takes mode.
func sqliteDSN(path string, write bool) string {
	q := url.Values{}
	pragmas := append([]string{}, everyPragma...)
	if write {
		q.Set("mode", "rw")
		q.Set("_txlock", "immediate")
		pragmas = append(pragmas, writePragma...)
	} else {
		// query_only alone could be switched off again by a statement.
		q.Set("mode", "ro")
		q.Set("_query_only", "1")
		pragmas = append(pragmas, readPragma...)
	}
	q["_pragma"] = pragmas
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

func sqlitePool(path string, write bool, conns int) (*sql.DB, error) {
	c, err := sqlite.NewConnector(sqliteDSN(path, write))
	if err != nil {
		return nil, err
	}
	pool := sql.OpenDB(c)
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	return pool, nil
}

func dialSQLite(path string, readOnly bool) (_ *DB, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	db := &DB{Path: path, where: path, readOnly: readOnly}
	if db.Read, err = sqlitePool(path, false, ReadConnsMax); err != nil {
		return nil, err
	}
	if readOnly {
		db.Write = db.Read
		return db, nil
	}
	if db.Write, err = sqlitePool(path, true, 1); err != nil {
		return nil, errors.Join(err, db.Read.Close())
	}
	return db, nil
}

// createPrivate makes an empty file that only its owner may read, unless there
// is one. An existing file is not even opened: closing a second descriptor of
// it would drop the locks that SQLite holds on the first.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(path)))
}

// syncDir makes a created or renamed entry of dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// sqliteTables counts the tables of the database, and those of goose among them.
func sqliteTables(ctx context.Context, tx *sql.Tx) (tables, ours int, err error) {
	err = tx.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE name = $1) FROM sqlite_master WHERE type = 'table'`,
		goose.DefaultTablename).Scan(&tables, &ours)
	return tables, ours, err
}
