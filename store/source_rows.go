package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// sourceRow is a source as the tables hold it.
type sourceRow struct {
	id, spec           string
	tokenHash          [32]byte
	tokenSealed        []byte
	deleted            bool
	createdAt, updated int64
	secrets            []secretRow // the current one first, public keys among them
}

// compile makes the Source of a row as of now. Its sealed secrets are opened:
// ErrWrongKey when seal has not the key that they were sealed with.
func (r *sourceRow) compile(seal *Seal, now int64) (*source.Source, error) {
	src, err := r.compileSpec()
	if err != nil {
		return nil, err
	}
	src.TokenHash, src.Deleted = r.tokenHash, r.deleted
	if err := r.openSecrets(src, seal, now); err != nil {
		return nil, fmt.Errorf("source %q: %w", r.id, err)
	}
	return src, nil
}

// compileSpec makes the Source of a row without its token and secrets.
func (r *sourceRow) compileSpec() (*source.Source, error) {
	spec, err := r.decode()
	if err != nil {
		return nil, err
	}
	return source.Compile(spec)
}

func (r *sourceRow) decode() (spec source.Spec, err error) {
	if err := source.DecodeJSON([]byte(r.spec), &spec); err != nil {
		return spec, fmt.Errorf("source %q: its stored spec does not decode: %w", r.id, err)
	}
	return spec, nil
}

// diff compares what r and spec come to with all defaults filled in; r is nil
// for a source that is yet to be made.
func (r *sourceRow) diff(spec source.Spec) ([]FieldDiff, error) {
	next, err := source.Compile(spec)
	if err != nil {
		return nil, asInvalid(err)
	}
	var before map[string]string
	if r != nil {
		if old, err := r.compileSpec(); err == nil { // one that no longer compiles may be mended
			if before, err = specFields(old.Spec); err != nil {
				return nil, err
			}
		}
	}
	after, err := specFields(next.Spec)
	if err != nil {
		return nil, err
	}
	return diffFields(before, after), nil
}

// readSources reads the sources that fit where, which may end in an order and
// a limit, with their secrets. The two statements need one transaction.
func readSources(ctx context.Context, tx *sql.Tx, where string, args ...any) ([]sourceRow, error) {
	rows, err := tx.QueryContext(ctx, `SELECT s.id, s.spec, s.token_hash, s.token_sealed, s.deleted, s.created_at, s.updated_at
		FROM source s WHERE `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []sourceRow
	byID := map[string]int{}
	for rows.Next() {
		var r sourceRow
		var hash []byte
		if err := rows.Scan(&r.id, &r.spec, &hash, &r.tokenSealed, &r.deleted, &r.createdAt, &r.updated); err != nil {
			return nil, err
		}
		if r.tokenHash, err = digestOf(hash); err != nil {
			return nil, fmt.Errorf("source %q: %w", r.id, err)
		}
		byID[r.id] = len(list)
		list = append(list, r)
	}
	if err := rows.Err(); err != nil || len(list) == 0 {
		return nil, err
	}
	return list, readSecrets(ctx, tx, list, byID)
}

// readSecrets fills in the secrets of list: of its one source, or of all.
func readSecrets(ctx context.Context, tx *sql.Tx, list []sourceRow, byID map[string]int) error {
	query, args := `SELECT source, hash, until, sealed, key_id FROM source_secret ORDER BY source, until, hash`, []any(nil)
	if len(list) == 1 {
		query, args = `SELECT source, hash, until, sealed, key_id FROM source_secret WHERE source = $1 ORDER BY until, hash`, []any{list[0].id}
	}
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		var hash []byte
		var s secretRow
		if err := rows.Scan(&id, &hash, &s.until, &s.sealed, &s.keyID); err != nil {
			return err
		}
		if s.hash, err = digestOf(hash); err != nil {
			return fmt.Errorf("source %q: %w", id, err)
		}
		if i, ok := byID[id]; ok {
			list[i].secrets = append(list[i].secrets, s)
		}
	}
	return rows.Err()
}

// liveSource reads one source that is not deleted, or gives ErrNotFound with
// the id that may have been meant.
func liveSource(ctx context.Context, tx *sql.Tx, id string) (*sourceRow, error) {
	rows, err := readSources(ctx, tx, `s.id = $1 AND s.deleted = 0`, id)
	if err != nil {
		return nil, fmt.Errorf("read source %q: %w", id, err)
	}
	if len(rows) == 1 {
		return &rows[0], nil
	}
	ids, err := texts(ctx, tx, `SELECT id FROM source WHERE deleted = 0 ORDER BY id LIMIT $1`, ListRowsMax)
	if err != nil {
		return nil, fmt.Errorf("read the sources' ids: %w", err)
	}
	return nil, notFound("source %q is not known%s", id, didYouMean(id, ids))
}

// texts reads the rows of a query of one column.
func texts(ctx context.Context, q querier, query string, args ...any) ([]string, error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, rows.Err()
}

func didYouMean(word string, known []string) string {
	if near := source.Nearest(word, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// infoAfter is info of a source that tx has just changed.
func (o *Objects) infoAfter(ctx context.Context, tx *sql.Tx, id string) (SourceInfo, error) {
	row, err := liveSource(ctx, tx, id)
	if err != nil {
		return SourceInfo{}, err
	}
	return o.info(row)
}

// info makes what an operator sees of a row. A spec that no longer compiles is
// shown as it is stored, so that it can be mended.
func (o *Objects) info(r *sourceRow) (SourceInfo, error) {
	now := o.now().UnixMicro()
	spec, err := r.decode()
	if err != nil {
		return SourceInfo{}, err
	}
	src, err := source.Compile(spec)
	if err == nil {
		spec = src.Spec
	}
	token, err := o.Seal.Open(r.tokenSealed, "source", r.id, "token_sealed")
	if err != nil {
		return SourceInfo{}, err
	}
	info := SourceInfo{
		Spec:      spec,
		Token:     Secret(token),
		CreatedAt: time.UnixMicro(r.createdAt).UTC(),
		UpdatedAt: time.UnixMicro(r.updated).UTC(),
	}
	for _, s := range r.secrets {
		if s.keyID != "" || !s.live(now) {
			continue
		}
		info.Secret = true
		if s.until != 0 {
			info.SecretsUntil = time.UnixMicro(s.until).UTC()
		}
	}
	info.PublicKeys = r.keyIDs()
	info.AwaitsSecret = src != nil && r.awaits(src, now)
	return info, nil
}
