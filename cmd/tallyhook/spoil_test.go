package main

import (
	"database/sql"
	"testing"

	_ "modernc.org/sqlite" // the store's own driver
)

// spoil changes a store behind the product's back.
func spoil(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	res, err := db.ExecContext(t.Context(), statement)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		t.Fatalf("%q changed %d rows: %v", statement, n, err)
	}
}
