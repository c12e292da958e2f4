package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrationFiles embed.FS

// migrations gives goose's view of the embedded files on a pool of db. Its
// Close would close the pool, so nobody calls it.
func (db *DB) migrations(pool *sql.DB) (*goose.Provider, error) {
	dialect, dir := goose.DialectSQLite3, "migrations/sqlite"
	options := []goose.ProviderOption{goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger())}
	if db.Postgres() {
		dialect, dir = goose.DialectPostgres, "migrations/postgres"
		options = append(options, goose.WithSessionLocker(migrationLock{}))
	}
	files, err := fs.Sub(migrationFiles, dir)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, pool, files, options...)
}

// newestVersion is the schema version of this build.
func newestVersion(p *goose.Provider) int64 {
	sources := p.ListSources()
	return sources[len(sources)-1].Version
}

// migrate brings the schema up. Several processes may open a new database at
// once. On Postgres a lock lets one of them migrate while the others wait. On
// SQLite who comes second fails on what the first has made, so as long as the
// version rises meanwhile it is tried again.
func (db *DB) migrate(ctx context.Context) error {
	p, err := db.migrations(db.Write)
	if err != nil {
		return err
	}
	newest := newestVersion(p)
	for {
		before, err := db.schemaVersion(ctx, db.Write)
		switch {
		case err != nil:
			return err
		case before > newest:
			return newerSchema(before, newest)
		case before == newest:
			return nil
		}
		if db.Postgres() {
			if err := db.mayMigrate(ctx, before, newest); err != nil {
				return err
			}
		}
		_, upErr := p.Up(ctx)
		if upErr == nil && db.Postgres() {
			return db.regrant(ctx)
		}
		if upErr == nil {
			return nil
		}
		if after, err := db.schemaVersion(ctx, db.Write); err != nil || after <= before {
			return fmt.Errorf("migrate the schema from version %d to %d: %w", before, newest, upErr)
		}
	}
}

// checkSchema refuses a schema of another version than this build's.
func (db *DB) checkSchema(ctx context.Context) error {
	if !db.Postgres() {
		if _, err := os.Stat(db.Path); err != nil {
			return fmt.Errorf("%w: a node creates it on its first start", err)
		}
	}
	have, newest, err := db.schemaVersions(ctx)
	switch {
	case err != nil:
		return err
	case have > newest:
		return newerSchema(have, newest)
	case have < newest:
		return fmt.Errorf("its schema has version %d and this build wants %d: start a node of this build on it once, or run tallyhook store migrate as the owner of a Postgres database, that migrates it", have, newest)
	}
	return nil
}

func newerSchema(have, newest int64) error {
	return fmt.Errorf("its schema has version %d and this build knows up to %d: it belongs to a newer build, use that one", have, newest)
}

// wantedVersion is the schema version of this build. It asks the database
// nothing.
func (db *DB) wantedVersion() (int64, error) {
	p, err := db.migrations(db.Read)
	if err != nil {
		return 0, err
	}
	return newestVersion(p), nil
}

// schemaVersions tells which version the schema has, -1 when there is none, and
// which one this build wants.
func (db *DB) schemaVersions(ctx context.Context) (have, want int64, err error) {
	if want, err = db.wantedVersion(); err != nil {
		return 0, 0, err
	}
	have, err = db.schemaVersion(ctx, db.Read)
	return have, want, err
}

// schemaVersion is the last migration applied, -1 for an empty database. A
// database that holds other tables but no such record is not ours to change.
func (db *DB) schemaVersion(ctx context.Context, pool *sql.DB) (version int64, err error) {
	tablesOf, what := sqliteTables, "an SQLite database of something else: give the path of a store or of no file"
	if db.Postgres() {
		tablesOf, what = postgresTables, "a Postgres database of something else: give the URL of a store or of an empty database"
	}
	err = inTx(ctx, pool, nil, func(tx *sql.Tx) error {
		tables, ours, err := tablesOf(ctx, tx)
		switch {
		case err != nil:
			return err
		case tables == 0:
			version = -1
			return nil
		case ours == 0:
			return errors.New("it is " + what)
		}
		return tx.QueryRowContext(ctx, `SELECT coalesce(max(version_id), -1) FROM `+goose.DefaultTablename).Scan(&version)
	})
	return version, err
}

const storeIDKey = "store_id"

// storeID reads the store's id. The first to come makes it.
func (db *DB) storeID(ctx context.Context) (id string, err error) {
	err = db.Read.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = $1`, storeIDKey).Scan(&id)
	if !errors.Is(err, sql.ErrNoRows) || db.readOnly {
		return id, err
	}
	err = db.change(ctx, func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2)
			ON CONFLICT (key) DO UPDATE SET value = meta.value RETURNING value`, storeIDKey, newUUID()).Scan(&id)
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
