package services

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

// PostgresTemplate gives databases that Fill has filled, as copies of one: to
// copy a schema takes a fraction of the time that it takes to make it. The
// zero value with a Fill is ready for use, by several tests at once.
type PostgresTemplate struct {
	// Fill fills an empty database and closes its connections.
	Fill func(ctx context.Context, url string) error

	mu    sync.Mutex
	admin string // URL of the administrator
	name  string // of the database that is copied, "" before the first copy
}

// Copy gives the URL of a new database as Postgres does, with what Fill has put
// into it.
func (p *PostgresTemplate) Copy(t testing.TB) string {
	t.Helper()
	admin := shared(t, server.Postgres)
	p.fill(t, admin)
	database, name := newDatabase(t, admin, p.name)
	t.Cleanup(func() { dropDatabase(t, admin, name) })
	return database
}

// fill makes the database to copy, once.
func (p *PostgresTemplate) fill(t testing.TB, admin string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name != "" {
		return
	}
	database, name := newDatabase(t, admin, emptyDatabase)
	if err := p.Fill(t.Context(), database); err != nil {
		dropDatabase(t, admin, name)
		t.Fatalf("fill the database to copy: %v", err)
	}
	p.admin, p.name = admin, name
}

// Drop ends the database that was copied. It belongs at the end of TestMain.
func (p *PostgresTemplate) Drop(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name == "" {
		return nil
	}
	conn, err := pgx.Connect(ctx, p.admin)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+p.name+" WITH (FORCE)")
	p.name = ""
	return err
}
