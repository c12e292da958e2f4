package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// SourceInfo is a source as an operator sees it. Spec has its defaults filled
// in; what is stored is what the operator wrote.
type SourceInfo struct {
	source.Spec
	Token        Secret    `json:"-"`                       // unsealed, to build the URL that a buyer is given
	Secret       bool      `json:"secret"`                  // it has a secret
	SecretsUntil time.Time `json:"secrets_until,omitzero"`  // when the secret before the current one ends; zero when there is one only
	PublicKeys   []string  `json:"public_keys,omitempty"`   // ids of the public keys that its signatures are checked with
	AwaitsSecret bool      `json:"awaits_secret,omitempty"` // every request is refused until it has a secret, or a public key, for its signature
	CreatedAt    time.Time `json:"created_at"`
	UpdatedAt    time.Time `json:"updated_at"`
}

// ListSources lists live sources by id, those after the id after. next is what
// to pass as after for the following page, "" on the last one. Limit zero is
// ListRowsDefault.
func (o *Objects) ListSources(ctx context.Context, after string, limit int) (list []SourceInfo, next string, err error) {
	if limit, err = listLimit(limit); err != nil {
		return nil, "", err
	}
	var rows []sourceRow
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) (err error) {
		rows, err = readSources(ctx, tx, `s.deleted = 0 AND s.id > $1 ORDER BY s.id LIMIT $2`, after, limit+1)
		return err
	})
	if err != nil {
		return nil, "", fmt.Errorf("list sources: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].id
	}
	list = make([]SourceInfo, len(rows))
	for i := range rows {
		if list[i], err = o.info(&rows[i]); err != nil {
			return nil, "", err
		}
	}
	return list, next, nil
}

// GetSource gives one live source, or ErrNotFound.
func (o *Objects) GetSource(ctx context.Context, id string) (info SourceInfo, err error) {
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		row, err := liveSource(ctx, tx, id)
		if err != nil {
			return err
		}
		info, err = o.info(row)
		return err
	})
	return info, err
}

// CreateSource makes a source with a new token and, if withSecret, a secret
// that its sender must show or sign with; the secret is told this once. An empty
// id is derived from the name. ErrExists when the id is taken, by a deleted
// source too; ErrInvalid when the spec does not compile.
func (o *Objects) CreateSource(ctx context.Context, actor string, spec source.Spec, withSecret bool) (info SourceInfo, secret string, err error) {
	return o.createSource(ctx, actor, spec, withSecret, "")
}

// CreateSourceWithSecret is CreateSource with a secret that the sender has made.
// ErrInvalid when it is none that the source's signature could be made with.
func (o *Objects) CreateSourceWithSecret(ctx context.Context, actor string, spec source.Spec, given Secret) (SourceInfo, error) {
	info, _, err := o.createSource(ctx, actor, spec, true, given)
	return info, err
}

// createSource makes a secret when none is given and one is wanted.
func (o *Objects) createSource(ctx context.Context, actor string, spec source.Spec, withSecret bool, given Secret) (info SourceInfo, secret string, err error) {
	if spec.ID == "" {
		spec.ID = idOf(spec.Name)
	}
	if spec.ID == "" {
		return info, "", invalid("source name %q gives no id: set the id too", spec.Name)
	}
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		if err := o.insertSource(ctx, tx, spec); err != nil {
			return err
		}
		if withSecret {
			row, err := liveSource(ctx, tx, spec.ID)
			if err != nil {
				return err
			}
			if secret, err = o.addSecret(ctx, tx, row, given); err != nil {
				return err
			}
		}
		info, err = o.infoAfter(ctx, tx, spec.ID)
		if err != nil {
			return err
		}
		fields, err := specFields(info.Spec)
		if err != nil {
			return err
		}
		return o.audited(ctx, tx, actor, "create", "source/"+spec.ID, diffFields(nil, fields))
	})
	if err != nil {
		return SourceInfo{}, "", err
	}
	return info, secret, nil
}

// ChangeSource lets change edit what the operator wrote of a source, without
// the defaults, and keeps the result if it compiles. The id stays. Nothing
// changed is no error and no audit row.
func (o *Objects) ChangeSource(ctx context.Context, actor, id string, change func(*source.Spec) error) (info SourceInfo, err error) {
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		row, err := liveSource(ctx, tx, id)
		if err != nil {
			return err
		}
		spec, err := row.decode()
		if err != nil {
			return err
		}
		if err := change(&spec); err != nil {
			return asInvalid(err)
		}
		if spec.ID != id {
			return invalid("source %q: its id cannot become %q: make a new source", id, spec.ID)
		}
		diff, err := o.updateSource(ctx, tx, row, spec)
		if err != nil {
			return err
		}
		if diff != nil {
			if err := o.audited(ctx, tx, actor, "update", "source/"+id, diff); err != nil {
				return err
			}
		}
		info, err = o.infoAfter(ctx, tx, id)
		return err
	})
	return info, err
}

// RotateToken gives a source a new token. The old URL stops working at once.
func (o *Objects) RotateToken(ctx context.Context, actor, id string) (info SourceInfo, err error) {
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		if _, err := liveSource(ctx, tx, id); err != nil {
			return err
		}
		hash, sealed := o.newToken(id)
		_, err := tx.ExecContext(ctx, `UPDATE source SET token_hash = $1, token_sealed = $2 WHERE id = $3`, hash, sealed, id)
		if err != nil {
			return err
		}
		info, err = o.touched(ctx, tx, actor, "rotate_token", id, nil)
		return err
	})
	return info, err
}

// DeleteSource ends a source: its URL is unknown from now on. Its row stays
// for the events that came by it, its secrets do not, and its id is not given
// again.
func (o *Objects) DeleteSource(ctx context.Context, actor, id string) error {
	return o.DB.change(ctx, func(tx *sql.Tx) error {
		if _, err := liveSource(ctx, tx, id); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `UPDATE source SET deleted = 1, updated_at = $1 WHERE id = $2`, o.now().UnixMicro(), id)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM source_secret WHERE source = $1`, id); err != nil {
			return err
		}
		return o.audited(ctx, tx, actor, "delete", "source/"+id, nil)
	})
}

var notInID = regexp.MustCompile(`[^a-z0-9._]+`)

// idOf derives an id from a name: "Acme Media, Inc." gives acme-media-inc.
func idOf(name string) string {
	id := strings.Trim(notInID.ReplaceAllString(strings.ToLower(name), "-"), "-._")
	return strings.TrimRight(id[:min(len(id), 63)], "-._")
}

// insertSource adds the row of a new source with a new token.
func (o *Objects) insertSource(ctx context.Context, tx *sql.Tx, spec source.Spec) error {
	src, err := source.Compile(spec)
	if err != nil {
		return asInvalid(err)
	}
	if err := mapperThere(ctx, tx, src); err != nil {
		return err
	}
	var deleted bool
	err = tx.QueryRowContext(ctx, `SELECT deleted FROM source WHERE id = $1`, spec.ID).Scan(&deleted)
	switch {
	case err == nil && deleted:
		return exists("source %q was deleted and its id stays with its events: choose another id", spec.ID)
	case err == nil:
		return exists("source %q exists already: choose another id, or change that one", spec.ID)
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	hash, sealed := o.newToken(spec.ID)
	now := o.now().UnixMicro()
	_, err = tx.ExecContext(ctx, `INSERT INTO source (id, spec, token_hash, token_sealed, mapper, mapper_version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		spec.ID, string(text), hash, sealed, src.MapperName, src.MapperVersion, now, now)
	return err
}

// updateSource keeps spec in row's place and gives what differs in effect;
// when nothing does, nothing is written.
func (o *Objects) updateSource(ctx context.Context, tx *sql.Tx, row *sourceRow, spec source.Spec) ([]FieldDiff, error) {
	diff, err := row.diff(spec)
	if err != nil || diff == nil {
		return nil, err
	}
	src, err := source.Compile(spec)
	if err != nil {
		return nil, asInvalid(err)
	}
	if err := mapperThere(ctx, tx, src); err != nil {
		return nil, err
	}
	if err := o.secretsFit(row, src); err != nil {
		return nil, err
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, err
	}
	_, err = tx.ExecContext(ctx, `UPDATE source SET spec = $1, mapper = $2, mapper_version = $3, updated_at = $4 WHERE id = $5`,
		string(text), src.MapperName, src.MapperVersion, o.now().UnixMicro(), row.id)
	return diff, err
}

func (o *Objects) newToken(id string) (hash, sealed []byte) {
	token := []byte(newSecret())
	h := source.HashToken(token)
	return h[:], o.Seal.Seal(token, "source", id, "token_sealed")
}
