package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// Limits of a rotation.
const (
	SecretKeepDefault = 24 * time.Hour // how long the secret before lives on
	SecretKeepMax     = 31 * 24 * time.Hour
	SecretsLiveMax    = 2 // the current one and the one before
)

// RotateSecret gives a source a new secret, told this once, and keeps the one
// before good for keep: zero is SecretKeepDefault, a negative one ends it at
// once. A still older one ends now. A source without a secret asks for this
// one from now on.
func (o *Objects) RotateSecret(ctx context.Context, actor, id string, keep time.Duration) (info SourceInfo, secret string, err error) {
	if keep == 0 {
		keep = SecretKeepDefault
	}
	if keep > SecretKeepMax {
		return info, "", invalid("keep %s: at most %s", keep, SecretKeepMax)
	}
	secret = newSecret()
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		if _, err := liveSource(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM source_secret WHERE source = $1 AND until <> 0`, id); err != nil {
			return err
		}
		before := `UPDATE source_secret SET until = $1 WHERE source = $2`
		args := []any{o.now().Add(keep).UnixMicro(), id}
		if keep < 0 {
			before, args = `DELETE FROM source_secret WHERE source = $1`, args[1:]
		}
		if _, err := tx.ExecContext(ctx, before, args...); err != nil {
			return err
		}
		if err := insertSecret(ctx, tx, id, secret); err != nil {
			return err
		}
		info, err = o.touched(ctx, tx, actor, "rotate_secret", id)
		return err
	})
	if err != nil {
		return SourceInfo{}, "", err
	}
	return info, secret, nil
}

// DropSecrets ends all secrets of a source: none is asked for any more.
func (o *Objects) DropSecrets(ctx context.Context, actor, id string) (info SourceInfo, err error) {
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		if _, err := liveSource(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM source_secret WHERE source = $1`, id); err != nil {
			return err
		}
		info, err = o.touched(ctx, tx, actor, "drop_secrets", id)
		return err
	})
	return info, err
}

// touched ends a change of a source that does not touch its spec.
func (o *Objects) touched(ctx context.Context, tx *sql.Tx, actor, action, id string) (SourceInfo, error) {
	_, err := tx.ExecContext(ctx, `UPDATE source SET updated_at = $1 WHERE id = $2`, o.now().UnixMicro(), id)
	if err != nil {
		return SourceInfo{}, err
	}
	if err := o.audited(ctx, tx, actor, action, "source/"+id, nil); err != nil {
		return SourceInfo{}, err
	}
	return o.infoAfter(ctx, tx, id)
}

func insertSecret(ctx context.Context, tx *sql.Tx, id, secret string) error {
	h := source.HashToken([]byte(secret))
	_, err := tx.ExecContext(ctx, `INSERT INTO source_secret (source, hash, until) VALUES ($1, $2, 0)`, id, h[:])
	return err
}
