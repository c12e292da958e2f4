package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// Roles of keys.
const (
	RoleAdmin   = "admin"   // may do everything
	RolePartner = "partner" // may push and test mappers of its own sources; see Key.Scope
)

// KeyPrefix starts the text of every access key, so that one is recognised
// when it lies where it should not.
const KeyPrefix = "tk_"

// KeySourcesMax is how many sources a partner's key may have.
const KeySourcesMax = 1000

// KeySpec is what an operator says of a new key. Names are for people and may
// repeat.
type KeySpec struct {
	Name        string   `json:"name"`
	Role        string   `json:"role"`
	Sources     []string `json:"sources"`      // ids; of a partner's key only, which needs one at least
	MayActivate bool     `json:"may_activate"` // a partner's key: activate, roll back and shadow what it may push
}

// Key is who asks: an access key without its text.
type Key struct {
	ID          int64
	Name        string
	Role        string
	Sources     []string // of a partner's key; nobody may change it
	MayActivate bool     // of a partner's key
}

// KeyInfo is an access key as an operator sees it: the key itself was told
// once, when it was made.
type KeyInfo struct {
	ID          int64     `json:"id"`
	Name        string    `json:"name"`
	Role        string    `json:"role"`
	Sources     []string  `json:"sources"` // never null
	MayActivate bool      `json:"may_activate"`
	CreatedAt   time.Time `json:"created_at"`
}

// CreateKey makes a key for the admin API and, with role admin, the calls feed,
// and gives its text, of which the store keeps the digest only.
func (o *Objects) CreateKey(ctx context.Context, actor string, spec KeySpec) (info KeyInfo, plain string, err error) {
	if err := spec.check(); err != nil {
		return info, "", err
	}
	sources := slices.Compact(slices.Sorted(slices.Values(spec.Sources)))
	if sources == nil {
		sources = []string{}
	}
	list, err := json.Marshal(sources)
	if err != nil {
		return info, "", err
	}
	plain = KeyPrefix + newSecret()
	hash := source.HashToken([]byte(plain))
	now := o.now()
	info = KeyInfo{Name: spec.Name, Role: spec.Role, Sources: sources, MayActivate: spec.MayActivate, CreatedAt: time.UnixMicro(now.UnixMicro()).UTC()}
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		for _, id := range sources {
			if _, err := liveSource(ctx, tx, id); errors.Is(err, ErrNotFound) {
				return invalid("%s", err)
			} else if err != nil {
				return err
			}
		}
		err := tx.QueryRowContext(ctx, `INSERT INTO access_key (name, hash, role, sources, may_activate, created_at) VALUES ($1, $2, $3, $4, $5, $6) RETURNING id`,
			spec.Name, hash[:], spec.Role, string(list), oneIf(spec.MayActivate), now.UnixMicro()).Scan(&info.ID)
		if err != nil {
			return err
		}
		return o.audited(ctx, tx, actor, "create", keyObject(info.ID), diffFields(nil, spec.fields(string(list))))
	})
	if err != nil {
		return KeyInfo{}, "", fmt.Errorf("create key %q: %w", spec.Name, err)
	}
	return info, plain, nil
}

func (s *KeySpec) check() error {
	if err := checkName("key name", s.Name); err != nil {
		return asInvalid(err)
	}
	switch {
	case s.Role != RoleAdmin && s.Role != RolePartner:
		return invalid("role %q of key %q: want %s or %s", cut(s.Role), s.Name, RoleAdmin, RolePartner)
	case s.Role == RoleAdmin && (len(s.Sources) > 0 || s.MayActivate):
		return invalid("key %q: sources and may_activate bound a partner's key; leave them out, an admin's may do everything", s.Name)
	case s.Role == RolePartner && len(s.Sources) == 0:
		return invalid("key %q: a partner's key needs a source at least, name them in sources", s.Name)
	case len(s.Sources) > KeySourcesMax:
		return invalid("key %q: %d sources: at most %d", s.Name, len(s.Sources), KeySourcesMax)
	}
	return nil
}

// fields are what the audit keeps of a new key; sources is its list as JSON.
func (s *KeySpec) fields(sources string) map[string]string {
	f := map[string]string{"name": s.Name, "role": s.Role}
	if s.Role == RolePartner {
		f["sources"], f["may_activate"] = sources, strconv.FormatBool(s.MayActivate)
	}
	return f
}

func oneIf(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

const keyColumns = `id, name, role, sources, may_activate`

// scanKey reads keyColumns and what more asks for.
func scanKey(row scanner, more ...any) (k Key, err error) {
	var sources string
	if err := row.Scan(append([]any{&k.ID, &k.Name, &k.Role, &sources, &k.MayActivate}, more...)...); err != nil {
		return k, err
	}
	if err := json.Unmarshal([]byte(sources), &k.Sources); err != nil {
		return k, fmt.Errorf("key %d: its sources: %w", k.ID, err)
	}
	if len(k.Sources) == 0 {
		k.Sources = nil
	}
	return k, nil
}

// KeyByHash finds a key by the digest of its text (source.HashToken); ok is
// false when there is none.
func (o *Objects) KeyByHash(ctx context.Context, hash [32]byte) (k Key, ok bool, err error) {
	k, err = scanKey(o.DB.Read.QueryRowContext(ctx, `SELECT `+keyColumns+` FROM access_key WHERE hash = $1`, hash[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return Key{}, false, nil
	}
	if err != nil {
		return Key{}, false, fmt.Errorf("look up a key: %w", outage(err))
	}
	return k, true, nil
}

// ListKeys lists keys in the order in which they were made, those after the
// cursor after; next is the following page's cursor, "" on the last one.
func (o *Objects) ListKeys(ctx context.Context, after string, limit int) (list []KeyInfo, next string, err error) {
	from, limit, err := numberCursor(after, 0, limit)
	if err != nil {
		return nil, "", err
	}
	rows, err := o.DB.Read.QueryContext(ctx, `SELECT `+keyColumns+`, created_at FROM access_key WHERE id > $1 ORDER BY id LIMIT $2`, from, limit+1)
	if err != nil {
		return nil, "", fmt.Errorf("list keys: %w", outage(err))
	}
	defer rows.Close()
	for rows.Next() {
		var at int64
		k, err := scanKey(rows, &at)
		if err != nil {
			return nil, "", fmt.Errorf("list keys: %w", outage(err))
		}
		list = append(list, KeyInfo{ID: k.ID, Name: k.Name, Role: k.Role, Sources: append([]string{}, k.Sources...), MayActivate: k.MayActivate, CreatedAt: time.UnixMicro(at).UTC()})
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
