package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// RoleAdmin is the role of a key that may do everything; there is no other yet.
const RoleAdmin = "admin"

// KeyPrefix starts the text of every access key, so that one is recognised
// when it lies where it should not.
const KeyPrefix = "tk_"

// KeyInfo is an access key as an operator sees it: the key itself was told
// once, when it was made.
type KeyInfo struct {
	ID        int64     `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"created_at"`
}

// CreateKey makes a key for the admin API and the calls feed and gives its
// text, of which the store keeps the digest only. Names are for people and may
// repeat.
func (o *Objects) CreateKey(ctx context.Context, actor, name, role string) (plain string, err error) {
	if role != RoleAdmin {
		return "", invalid("role %q of key %q: want %q", role, name, RoleAdmin)
	}
	if err := checkName("key name", name); err != nil {
		return "", asInvalid(err)
	}
	plain = KeyPrefix + newSecret()
	hash := source.HashToken([]byte(plain))
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		var id int64
		err := tx.QueryRowContext(ctx, `INSERT INTO access_key (name, hash, role, created_at) VALUES ($1, $2, $3, $4) RETURNING id`,
			name, hash[:], role, o.now().UnixMicro()).Scan(&id)
		if err != nil {
			return err
		}
		return o.audited(ctx, tx, actor, "create", keyObject(id), diffFields(nil, map[string]string{"name": name, "role": role}))
	})
	if err != nil {
		return "", fmt.Errorf("create key %q: %w", name, err)
	}
	return plain, nil
}

// KeyByHash finds a key by the digest of its text (source.HashToken); ok is
// false when there is none.
func (o *Objects) KeyByHash(ctx context.Context, hash [32]byte) (name, role string, ok bool, err error) {
	err = o.DB.Read.QueryRowContext(ctx, `SELECT name, role FROM access_key WHERE hash = $1`, hash[:]).Scan(&name, &role)
	if errors.Is(err, sql.ErrNoRows) {
		return "", "", false, nil
	}
	if err != nil {
		return "", "", false, fmt.Errorf("look up a key: %w", outage(err))
	}
	return name, role, true, nil
}

// ListKeys lists keys in the order in which they were made, those after the
// cursor after; next is the following page's cursor, "" on the last one.
func (o *Objects) ListKeys(ctx context.Context, after string, limit int) (list []KeyInfo, next string, err error) {
	from, limit, err := numberCursor(after, 0, limit)
	if err != nil {
		return nil, "", err
	}
	rows, err := o.DB.Read.QueryContext(ctx, `SELECT id, name, role, created_at FROM access_key WHERE id > $1 ORDER BY id LIMIT $2`, from, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list keys: %w", outage(err))
	}
	defer rows.Close()
	for rows.Next() {
		var k KeyInfo
		var at int64
		if err := rows.Scan(&k.ID, &k.Name, &k.Role, &at); err != nil {
			return nil, "", fmt.Errorf("list keys: %w", outage(err))
		}
		k.CreatedAt = time.UnixMicro(at).UTC()
		list = append(list, k)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("list keys: %w", outage(err))
	}
	if len(list) > limit {
		list = list[:limit]
		next = strconv.FormatInt(list[limit-1].ID, 10)
	}
	return list, next, nil
}

// DeleteKey ends a key at once, or gives ErrNotFound.
func (o *Objects) DeleteKey(ctx context.Context, actor string, id int64) error {
	return o.DB.change(ctx, func(tx *sql.Tx) error {
		var name string
		err := tx.QueryRowContext(ctx, `DELETE FROM access_key WHERE id = $1 RETURNING name`, id).Scan(&name)
		if errors.Is(err, sql.ErrNoRows) {
			return notFound("key %d is not known", id)
		}
		if err != nil {
			return fmt.Errorf("delete key %d: %w", id, err)
		}
		return o.audited(ctx, tx, actor, "delete", keyObject(id), diffFields(map[string]string{"name": name}, nil))
	})
}

func keyObject(id int64) string { return "key/" + strconv.FormatInt(id, 10) }

// numberCursor reads the cursor of a listing by number; "" stands for start.
func numberCursor(after string, start int64, limit int) (from int64, _ int, err error) {
	if limit, err = listLimit(limit); err != nil {
		return 0, 0, err
	}
	if after == "" {
		return start, limit, nil
	}
	if from, err = strconv.ParseInt(after, 10, 64); err != nil {
		return 0, 0, invalid("cursor %q: want the one that the page before gave", after)
	}
	return from, limit, nil
}
