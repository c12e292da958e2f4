package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

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

func openSQLite(ctx context.Context, path string) (_ *DB, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if err := createPrivate(path); err != nil {
		return nil, err
	}
	db := &DB{Path: path}
	if db.Write, err = sqlitePool(path, true, 1); err != nil {
		return nil, err
	}
	if db.Read, err = sqlitePool(path, false, ReadConnsMax); err != nil {
		return nil, errors.Join(err, db.Write.Close())
	}
	if err = migrate(ctx, db.Write); err == nil {
		db.ID, err = storeID(ctx, db)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func openSQLiteReadOnly(ctx context.Context, path string) (_ *DB, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("%w: a node creates it on its first start", err)
	}
	db := &DB{Path: path}
	if db.Read, err = sqlitePool(path, false, ReadConnsMax); err != nil {
		return nil, err
	}
	db.Write = db.Read
	if err = checkVersion(ctx, db.Read); err == nil {
		err = db.Read.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'store_id'`).Scan(&db.ID)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
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

// migrations gives goose's view of the embedded files on pool. Its Close would
// close the pool, so nobody calls it.
func migrations(pool *sql.DB) (*goose.Provider, error) {
	dir, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(goose.DialectSQLite3, pool, dir,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
}

// migrate brings the schema up. Several processes may open a new file at once:
// who comes second fails on what the first has made, so as long as the version
// rises meanwhile it is tried again.
func migrate(ctx context.Context, pool *sql.DB) error {
	p, err := migrations(pool)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	for {
		before, err := schemaVersion(ctx, pool)
		if err != nil {
			return err
		}
		if before > newest {
			return newerSchema(before, newest)
		}
		_, upErr := p.Up(ctx)
		if upErr == nil {
			return nil
		}
		if after, err := schemaVersion(ctx, pool); err != nil || after <= before {
			return fmt.Errorf("migrate the schema from version %d to %d: %w", before, newest, upErr)
		}
	}
}

func checkVersion(ctx context.Context, pool *sql.DB) error {
	p, err := migrations(pool)
	if err != nil {
		return err
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	have, err := schemaVersion(ctx, pool)
	switch {
	case err != nil:
		return err
	case have > newest:
		return newerSchema(have, newest)
	case have < newest:
		return fmt.Errorf("its schema has version %d and this build wants %d: start a node of this build on it once, that migrates it", have, newest)
	}
	return nil
}

func newerSchema(have, newest int64) error {
	return fmt.Errorf("its schema has version %d and this build knows up to %d: it belongs to a newer build, use that one", have, newest)
}

// schemaVersion is the last migration applied, -1 for an empty database. A
// database that holds other tables but no such record is not ours to change.
func schemaVersion(ctx context.Context, pool *sql.DB) (version int64, err error) {
	err = inTx(ctx, pool, func(tx *sql.Tx) error {
		var tables, ours int
		err := tx.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE name = ?) FROM sqlite_master WHERE type = 'table'`,
			goose.DefaultTablename).Scan(&tables, &ours)
		switch {
		case err != nil:
			return err
		case tables == 0:
			version = -1
			return nil
		case ours == 0:
			return errors.New("it is an SQLite database of something else: give the path of a store or of no file")
		}
		return tx.QueryRowContext(ctx, `SELECT coalesce(max(version_id), -1) FROM `+goose.DefaultTablename).Scan(&version)
	})
	return version, err
}

// storeID reads the store's id, making it when the store is new.
func storeID(ctx context.Context, db *DB) (id string, err error) {
	err = db.change(ctx, func(tx *sql.Tx) error {
		err := tx.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = 'store_id'`).Scan(&id)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		id = newUUID()
		_, err = tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ('store_id', ?)`, id)
		return err
	})
	return id, err
}

// newUUID is a random UUID, version 4 of RFC 9562.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
