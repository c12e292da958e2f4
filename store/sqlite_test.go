package store_test

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/store"
)

func TestURL(t *testing.T) {
	f := func(url, want string) {
		t.Helper()
		for _, open := range []func(context.Context, string) (*store.DB, error){store.Open, store.OpenReadOnly} {
			err := refuses(t, open, url, want)
			for _, secret := range []string{"hunter2", "ann_user", "ann_base", "ann_param"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("%q: error %v tells %q", url, err, secret)
				}
			}
		}
	}
	f("postgres://ann_user:hunter2@127.0.0.1:1/ann_base?application_name=ann_param", "127.0.0.1:1: connect: connection refused: is the server running")
	f("postgresql://ann_user:hunter2@127.0.0.1:1,127.0.0.1:2/ann_base", "127.0.0.1:1,127.0.0.1:2")
	f("postgres://ann_user:hunter2@no-such-host.invalid/ann_base", "no-such-host.invalid:5432")
	f("postgres://ann_user:hunter2@host:ann_param/ann_base", "cannot be read")
	f("postgres://ann_user:hunter2%@host/ann_base", "cannot be read")
	f("postgres://ann_user:hunter2@host/ann_base?sslmode=ann_param", "cannot be read")
	f("postgres:ann_base", "cannot be read")
	f("", "sqlite:PATH")
	f("mysql:foo", `"mysql:foo"`)
	f("tallyhook.db", "sqlite:data/tallyhook.db")
	f("sqlite:", "path of a file")
	f("sqlite::memory:", "path of a file")
	f("sqlite:/nowhere/at/all/tallyhook.db", "/nowhere/at/all")
}

func TestSQLiteConnections(t *testing.T) {
	db := open(t, "sqlite:"+filepath.Join(t.TempDir(), "odd ?#%41&+name.db"))
	f := func(pool *sql.DB, pragma, want string) {
		t.Helper()
		var got string
		if err := pool.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, %v: want %q", pragma, got, err, want)
		}
	}
	f(db.Write, "journal_mode", "wal")
	f(db.Write, "synchronous", "2")
	f(db.Write, "foreign_keys", "1")
	f(db.Write, "busy_timeout", "5000")
	f(db.Write, "query_only", "0")
	f(db.Read, "journal_mode", "wal")
	f(db.Read, "busy_timeout", "5000")
	f(db.Read, "query_only", "1")
	if n := db.Write.Stats().MaxOpenConnections; n != 1 {
		t.Errorf("%d write connections", n)
	}
	if n := db.Read.Stats().MaxOpenConnections; n != store.ReadConnsMax {
		t.Errorf("%d read connections", n)
	}
	// query_only is one statement away from off; the file must stay safe all the same.
	if _, err := db.Read.Exec(`PRAGMA query_only = 0; DELETE FROM meta`); err == nil {
		t.Error("the read pool wrote once query_only was off")
	}
}

func TestSQLiteTransactionsTakeTheLockAtOnce(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "tallyhook.db")
	one, other := open(t, url), open(t, url)
	tx, err := one.Write.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	conn, err := other.Write.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), `PRAGMA busy_timeout = 0`); err != nil {
		t.Fatal(err)
	}
	if tx2, err := conn.BeginTx(t.Context(), nil); err == nil {
		tx2.Rollback()
		t.Fatal("two write transactions at once")
	}
}

func TestSQLiteFilesArePrivate(t *testing.T) {
	dir := t.TempDir()
	db := open(t, "sqlite:"+filepath.Join(dir, "tallyhook.db"))
	if _, err := db.NewStream(t.Context(), "node", time.Now()); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 3 {
		t.Fatalf("files %v, %v: want the database, its log and its index", files, err)
	}
	for _, f := range files {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", f.Name(), info.Mode(), err)
		}
	}
}

func TestSQLiteSchema(t *testing.T) {
	fresh := func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "tallyhook.db")
		db, err := store.Open(t.Context(), "sqlite:"+path)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}

	t.Run("a newer one is refused and left alone", func(t *testing.T) {
		path := fresh(t)
		edit(t, "sqlite:"+path, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9001, 1)`)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		refuses(t, store.Open, "sqlite:"+path, path, "9001", "newer build")
		refuses(t, store.OpenReadOnly, "sqlite:"+path, path, "9001", "newer build")
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the file changed, %v", err)
		}
	})

	t.Run("an empty file is taken", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "tallyhook.db")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, "sqlite:"+path)
	})

	t.Run("a file that is no database is refused", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "notes.txt")
		if err := os.WriteFile(path, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, store.Open, "sqlite:"+path, path, "not a database")
	})
}
