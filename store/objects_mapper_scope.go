package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// ErrForbidden: who asks may not do this; the text says who may.
var ErrForbidden = errors.New("forbidden")

func forbidden(format string, args ...any) error {
	return &fault{ErrForbidden, fmt.Errorf(format, args...)}
}

// Scope is which mappers somebody reaches: all of them, or those of one
// partner's key. The zero Scope reaches none.
type Scope struct {
	all     bool
	key     int64    // 0 for who reaches all
	sources []string // of the key
}

// ScopeAll reaches every mapper.
var ScopeAll = Scope{all: true}

// Scope is what a key reaches. A partner's reaches a mapper that it made or
// that one of its sources names, as long as no source of somebody else names
// it.
func (k *Key) Scope() Scope {
	switch k.Role {
	case RoleAdmin:
		return ScopeAll
	case RolePartner:
		return Scope{key: k.ID, sources: k.Sources}
	}
	return Scope{}
}

// ReachMapper is nil when scope reaches the mapper of that name, else
// ErrForbidden, whether there is such a mapper or not: a partner is not told
// the names of others' mappers. For who reaches all, ErrNotFound.
func (o *Objects) ReachMapper(ctx context.Context, scope Scope, name string) error {
	return o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		m, err := readMapper(ctx, tx, name)
		switch {
		case errors.Is(err, ErrNotFound) && !scope.all:
			return scope.refuse(name)
		case err != nil:
			return err
		}
		return scope.reaches(ctx, tx, &m)
	})
}

// TierToPush is the tier under which a push to that name would be admitted, or
// the error that PushMapper would give for want of reach.
func (o *Objects) TierToPush(ctx context.Context, scope Scope, name string) (tier Tier, err error) {
	if err := checkMapperName(name); err != nil {
		return "", err
	}
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		m, err := readMapper(ctx, tx, name)
		if errors.Is(err, ErrNotFound) {
			tier = TierStandard
			return scope.mayMake(ctx, tx)
		}
		if err != nil {
			return err
		}
		tier = m.Tier
		return scope.reaches(ctx, tx, &m)
	})
	return tier, err
}

func (s Scope) refuse(name string) error {
	return forbidden("mapper %q is not one of this key's: it reaches mappers that it made or that its sources name, and no source of others; ask the operator", cut(name))
}

// reaches is nil when the scope reaches m.
func (s Scope) reaches(ctx context.Context, tx *sql.Tx, m *MapperInfo) error {
	if s.all {
		return nil
	}
	list := []MapperInfo{*m}
	if err := readNaming(ctx, tx, list); err != nil {
		return err
	}
	if !s.has(&list[0]) {
		return s.refuse(m.Name)
	}
	return nil
}

// has decides by a mapper whose sources are read.
func (s Scope) has(m *MapperInfo) bool {
	if s.all {
		return true
	}
	if s.key == 0 {
		return false
	}
	for _, id := range m.Sources {
		if !slices.Contains(s.sources, id) {
			return false
		}
	}
	return len(m.Sources) > 0 || m.madeBy == s.key
}

// mayMake is nil when the scope may make one mapper more.
func (s Scope) mayMake(ctx context.Context, tx *sql.Tx) error {
	if !s.all && s.key == 0 {
		return forbidden("this key makes no mappers: ask the operator")
	}
	var all, own int
	err := tx.QueryRowContext(ctx, `SELECT count(*), count(CASE WHEN made_by = $1 THEN 1 END) FROM mapper`, s.key).Scan(&all, &own)
	switch {
	case err != nil:
		return err
	case all >= MappersMax:
		return notNow("there are %d mappers, which is as many as there may be: push a version of one that is there", all)
	case !s.all && own >= MappersPerKeyMax:
		return notNow("this key made %d mappers, which is as many as one may: push a version of one of them, or ask the operator", own)
	}
	return nil
}
