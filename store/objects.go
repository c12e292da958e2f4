package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
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
		if _, err := o.DB.Write.ExecContext(ctx, `INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)`, sealCanary, made); err != nil {
			return fmt.Errorf("keep the seal's canary: %w", err)
		}
		text, err = o.canary(ctx, o.DB.Write)
	}
	switch {
	case err != nil:
		return fmt.Errorf("check the key: %w", err)
	case string(text) != o.DB.ID:
		return fmt.Errorf("check the key: the canary names store %q and this is %q: its tables were mixed from two stores", text, o.DB.ID)
	}
	return nil
}

func (o *Objects) canary(ctx context.Context, pool *sql.DB) ([]byte, error) {
	var sealed []byte
	err := pool.QueryRowContext(ctx, `SELECT unhex(value) FROM meta WHERE key = ?`, sealCanary).Scan(&sealed)
	if err != nil {
		return nil, err
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
// whatever process. It does not rise when a secret ends: see NextExpiry.
func (o *Objects) Version(ctx context.Context) (int64, error) {
	v, err := version(ctx, o.DB.Read)
	if err != nil {
		return 0, fmt.Errorf("read the objects' version: %w", err)
	}
	return v, nil
}

func version(ctx context.Context, q querier) (v int64, err error) {
	err = q.QueryRowContext(ctx, `SELECT coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = ?), 0)`, objectsVersion).Scan(&v)
	return v, err
}

func raiseVersion(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO meta (key, value) VALUES (?, '1')
		ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)`, objectsVersion)
	return err
}

// Directory compiles every source, deleted ones too, as of one moment. From
// prev, which may be nil, it carries the counters over and takes a source
// whole, the same pointer, when nothing about it has changed. Secrets that
// have ended by now are left out. It fails when a source does not compile,
// naming all that do not.
func (o *Objects) Directory(ctx context.Context, prev *source.Directory) (*source.Directory, error) {
	var rows []sourceRow
	var at int64
	err := o.DB.snapshot(ctx, func(tx *sql.Tx) (err error) {
		if at, err = version(ctx, tx); err != nil {
			return err
		}
		rows, err = readSources(ctx, tx, `TRUE`)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the sources: %w", err)
	}
	now := o.now().UnixMicro()
	list := make([]*source.Source, 0, len(rows))
	var bad []error
	for i := range rows {
		src, err := rows[i].compile(now)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if prev != nil {
			src = carryOver(src, prev.ByID(src.Spec.ID))
		}
		list = append(list, src)
	}
	if err := errors.Join(bad...); err != nil {
		return nil, err
	}
	return source.NewDirectory(list, at), nil
}

// carryOver gives old itself when it equals src, else src with old's counters.
func carryOver(src, old *source.Source) *source.Source {
	if old == nil {
		return src
	}
	if old.TokenHash == src.TokenHash && old.Deleted == src.Deleted &&
		slices.Equal(old.Secrets, src.Secrets) && reflect.DeepEqual(old.Spec, src.Spec) {
		return old
	}
	src.Seen = old.Seen
	return src
}

// NextExpiry is when the next live secret ends, and with it the Directory that
// holds it: load another one then. ok is false when none will.
func (o *Objects) NextExpiry(ctx context.Context) (at time.Time, ok bool, err error) {
	var until sql.NullInt64
	err = o.DB.Read.QueryRowContext(ctx, `SELECT min(until) FROM source_secret WHERE until > ?`, o.now().UnixMicro()).Scan(&until)
	if err != nil {
		return time.Time{}, false, fmt.Errorf("read when secrets end: %w", err)
	}
	return time.UnixMicro(until.Int64).UTC(), until.Valid, nil
}

// audited ends a change: it adds the audit row and raises the version.
func (o *Objects) audited(ctx context.Context, tx *sql.Tx, actor, action, object string, diff []FieldDiff) error {
	if err := o.audit(ctx, tx, actor, action, object, diff); err != nil {
		return err
	}
	return raiseVersion(ctx, tx)
}

func (o *Objects) audit(ctx context.Context, tx *sql.Tx, actor, action, object string, diff []FieldDiff) error {
	if diff == nil {
		diff = []FieldDiff{}
	}
	detail, err := json.Marshal(diff)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO audit (at, actor, action, object, detail) VALUES (?, ?, ?, ?, ?)`,
		o.now().UnixMicro(), actor, action, object, string(detail))
	return err
}
