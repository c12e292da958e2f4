// Package storetest gives tests of other packages new stores, of either
// backend, that have the schema of this build already. Each is a copy of one
// that is made once a process: a schema takes a hundred times longer to make
// than to copy, and a suite wants hundreds of stores.
//
// A copy has no id of its own yet: that comes, as with every new store, with
// the first store.Open. A package whose tests ask for a Postgres store calls
// Main in its TestMain.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/store"
)

// Main runs the tests and removes what they copied, for os.Exit.
func Main(m *testing.M) (code int) {
	code = m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := postgres.Drop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "drop the store that was copied:", err)
		return max(code, 1)
	}
	return code
}

// SQLite gives the URL of a new store in a folder that goes with the test.
func SQLite(t testing.TB) string {
	t.Helper()
	file, err := sqliteFile()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tallyhook.db")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return "sqlite:" + path
}

// Postgres gives the URL of a new store on the server that tests share, as
// services.Postgres does.
func Postgres(t testing.TB) string {
	t.Helper()
	return postgres.Copy(t)
}

var postgres = services.PostgresTemplate{Fill: fill}

// sqliteFile is a store's file.
var sqliteFile = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "tallyhook-storetest-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "tallyhook.db")
	if err := fill(context.Background(), "sqlite:"+path); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

// fill makes the schema at url and forgets the id that came with it: no two
// stores have the same.
func fill(ctx context.Context, url string) error {
	db, err := store.Open(ctx, url)
	if err != nil {
		return err
	}
	return errors.Join(forgetID(ctx, db.Write), db.Close())
}

func forgetID(ctx context.Context, db *sql.DB) error {
	res, err := db.ExecContext(ctx, `DELETE FROM meta WHERE key = 'store_id'`)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return errors.Join(err, fmt.Errorf("%d ids in a new store", n))
	}
	return nil
}
