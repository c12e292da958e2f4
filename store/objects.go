package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// Objects are what operators make: sources, campaigns, publishers, buyers and
// access keys. Its methods are safe for concurrent use, beside other processes
// on the same store too. Every change is one transaction together with its
// audit row and the new version.
type Objects struct {
	DB   *DB
	Seal *Seal            // of tokens
	Now  func() time.Time // nil is time.Now

	saving sync.Mutex // of SaveSnapshot
}

func (o *Objects) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

const sealCanary = "seal_canary"

// Check tells whether Seal has the key that this store's tokens are sealed
// with; on a new store it becomes the one. Call it once, before anything else:
// ErrWrongKey means that the node must not start.
func (o *Objects) Check(ctx context.Context) error {
	text, err := o.canary(ctx, o.DB.Read)
	if errors.Is(err, sql.ErrNoRows) {
		// Hexadecimal, because meta holds text.
		made := fmt.Sprintf("%x", o.Seal.Seal([]byte(o.DB.ID), "meta", sealCanary, "value"))
		if _, err := o.DB.Write.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING`, sealCanary, made); err != nil {
			return fmt.Errorf("keep the seal's canary: %w", outage(err))
		}
		text, err = o.canary(ctx, o.DB.Write)
	}
	switch {
	case err != nil:
		return fmt.Errorf("check the key: %w", outage(err))
	case string(text) != o.DB.ID:
		return fmt.Errorf("check the key: the canary names store %q and this is %q: its tables were mixed from two stores", text, o.DB.ID)
	}
	return nil
}

func (o *Objects) canary(ctx context.Context, pool *sql.DB) ([]byte, error) {
	var text string
	err := pool.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = $1`, sealCanary).Scan(&text)
	if err != nil {
		return nil, err
	}
	sealed, err := hex.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("meta|%s: %w", sealCanary, err)
	}
	return o.Seal.Open(sealed, "meta", sealCanary, "value")
}

const objectsVersion = "objects_version"

// querier is a pool or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Version is a number that rises with every change of an object, made by
// whatever process. It does not rise when a secret ends: see Snapshot.NextExpiry.
func (o *Objects) Version(ctx context.Context) (int64, error) {
	v, err := version(ctx, o.DB.Read)
	if err != nil {
		return 0, fmt.Errorf("read the objects' version: %w", outage(err))
	}
	return v, nil
}

func version(ctx context.Context, q querier) (v int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT coalesce((SELECT CAST(value AS bigint) FROM meta WHERE key = $1), 0)`, objectsVersion).Scan(&v)
	return v, err
}

// raiseVersion ends a change. Who listens is told when it commits.
func (db *DB) raiseVersion(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES ($1, '1')
		ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(meta.value AS bigint) + 1 AS text)`, objectsVersion)
	if err != nil || !db.Postgres() {
		return err
	}
	_, err = tx.ExecContext(ctx, `SELECT pg_notify($1, '')`, changeChannel)
	return err
}

// Directory is Snapshot and the directory that it gives as of now.
func (o *Objects) Directory(ctx context.Context, prev *source.Directory) (*source.Directory, error) {
	s, err := o.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return s.Directory(o.now(), prev)
}

// audited ends a change: it adds the audit row and raises the version.
func (o *Objects) audited(ctx context.Context, tx *sql.Tx, actor, action, object string, diff []FieldDiff) error {
	if err := o.audit(ctx, tx, actor, action, object, diff); err != nil {
		return err
	}
	return o.DB.raiseVersion(ctx, tx)
}

func (o *Objects) audit(ctx context.Context, tx *sql.Tx, actor, action, object string, diff []FieldDiff) error {
	if diff == nil {
		diff = []FieldDiff{}
	}
	detail, err := json.Marshal(diff)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO audit (at, actor, action, object, detail) VALUES ($1, $2, $3, $4, $5)`,
		o.now().UnixMicro(), actor, action, object, string(detail))
	return err
}
