package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// How long a node waits while another one migrates, and how often it looks.
const (
	migrationWaitMax  = 5 * time.Minute
	migrationWaitStep = 100 * time.Millisecond
)

// migrationLock lets one process at a time migrate a Postgres store. Who waits
// asks again and again rather than in one statement: that statement would be a
// transaction which CREATE INDEX CONCURRENTLY waits for in turn.
type migrationLock struct{}

// SessionLock takes the lock for conn's session.
func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	end := time.Now().Add(migrationWaitMax)
	for {
		var taken bool
		if err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, lockMigrations).Scan(&taken); err != nil {
			return fmt.Errorf("lock the schema: %w", err)
		}
		if taken {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("another node has been migrating for %s: see what it does in pg_stat_activity", migrationWaitMax)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the node that migrates: %w", ctx.Err())
		case <-time.After(migrationWaitStep):
		}
	}
}

// SessionUnlock gives the lock back.
func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1)`, lockMigrations)
	return err
}
