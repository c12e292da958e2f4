package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
)

// AdmitMapper ends the admission of an uploaded version: it is admitted with
// its fuel limit, or refused. Two that admit the same version at once may both
// end it; the first verdict stands, and the same outcome again changes
// nothing. ErrState when it stands otherwise.
func (o *Objects) AdmitMapper(ctx context.Context, actor, name string, version int, admitted bool, fuelLimit int64, verdict json.RawMessage) (v MapperVersion, err error) {
	state, action := MapperRefused, "refuse"
	if admitted {
		state, action = MapperAdmitted, "admit"
	}
	switch {
	case !json.Valid(verdict) || len(verdict) > MapperVerdictBytesMax:
		return v, invalid("verdict of %d bytes on mapper %s@%d: want JSON of at most %d", len(verdict), cut(name), version, MapperVerdictBytesMax)
	case admitted && fuelLimit < 1:
		return v, invalid("fuel limit %d of mapper %s@%d: want a positive number", fuelLimit, cut(name), version)
	case !admitted:
		fuelLimit = 0
	}
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		if _, v, err = mapperAndVersion(ctx, tx, name, version); err != nil {
			return err
		}
		if v.State == state || admitted && v.State.runs() {
			return nil
		}
		if v.State != MapperUploaded {
			return notNow("mapper %s@%d was %s already, and that stands: push the module again to have it tried again", name, version, v.State)
		}
		_, err := tx.ExecContext(ctx, `UPDATE mapper_version SET state = $1, fuel_limit = $2, verdict = $3, updated_at = $4 WHERE mapper = $5 AND version = $6`,
			state, fuelLimit, string(verdict), o.now().UnixMicro(), name, version)
		if err != nil {
			return err
		}
		if !admitted {
			if err := dropUpload(ctx, tx, name, version); err != nil {
				return err
			}
		}
		diff := diffFields(map[string]string{"state": string(v.State), "fuel_limit": "0"},
			map[string]string{"state": string(state), "fuel_limit": strconv.FormatInt(fuelLimit, 10)})
		if err := o.audited(ctx, tx, actor, action, mapperObject(name, version), diff); err != nil {
			return err
		}
		v, err = readVersion(ctx, tx, name, version)
		return err
	})
	return v, err
}

// mapperAndVersion reads both, or gives ErrNotFound.
func mapperAndVersion(ctx context.Context, tx *sql.Tx, name string, version int) (m MapperInfo, v MapperVersion, err error) {
	if m, err = readMapper(ctx, tx, name); err != nil {
		return m, v, err
	}
	v, err = readVersion(ctx, tx, name, version)
	return m, v, err
}

// ActivateMapper makes a version the one that maps for every source that names
// the mapper without a version; the one before it is retired and can be rolled
// back to. A version that is active already stays so. ErrState when it was not
// admitted.
func (o *Objects) ActivateMapper(ctx context.Context, actor, name string, version int) (MapperInfo, error) {
	return o.changeMapper(ctx, name, func(tx *sql.Tx, m *MapperInfo) error {
		v, err := readVersion(ctx, tx, name, version)
		switch {
		case err != nil || m.Active == version:
			return err
		case !v.State.runs():
			return notAdmitted(&v)
		}
		_, err = tx.ExecContext(ctx, `UPDATE mapper_version SET replaced = $1 WHERE mapper = $2 AND version = $3`, m.Active, name, version)
		if err != nil {
			return err
		}
		return o.swapActive(ctx, tx, actor, "activate", m, version, m.Active)
	})
}

// RollbackMapper makes the previous version active again. What was before that
// one is then the previous one, so that it can be done again, and the version
// that was left is not what anything falls back to. ErrState when there is no
// previous version.
func (o *Objects) RollbackMapper(ctx context.Context, actor, name string) (MapperInfo, error) {
	return o.changeMapper(ctx, name, func(tx *sql.Tx, m *MapperInfo) error {
		if m.Previous == 0 {
			return notNow("mapper %s has no version to go back to: activate one by its number", name)
		}
		var before int
		err := tx.QueryRowContext(ctx, `SELECT replaced FROM mapper_version WHERE mapper = $1 AND version = $2`, name, m.Previous).Scan(&before)
		if err != nil {
			return err
		}
		if before == m.Active { // the two had taken turns
			before = 0
		}
		return o.swapActive(ctx, tx, actor, "rollback", m, m.Previous, before)
	})
}

// notAdmitted says of a version that was not admitted what to do.
func notAdmitted(v *MapperVersion) error {
	if v.State == MapperRefused {
		return notNow("mapper %s@%d was refused: its verdict says why (tallyhook mapper show %s %d); push a mended module", v.Mapper, v.Version, v.Mapper, v.Version)
	}
	return notNow("mapper %s@%d is %s and not admitted: wait for its admission, or push the same module again, which takes it up", v.Mapper, v.Version, v.State)
}

// swapActive changes the active version of m with the states that go with it.
// A candidate that becomes active is no shadow any more.
func (o *Objects) swapActive(ctx context.Context, tx *sql.Tx, actor, action string, m *MapperInfo, active, previous int) error {
	now := o.now().UnixMicro()
	for _, to := range []struct {
		version int
		state   MapperState
	}{{m.Active, MapperRetired}, {active, MapperActive}} {
		_, err := tx.ExecContext(ctx, `UPDATE mapper_version SET state = $1, updated_at = $2 WHERE mapper = $3 AND version = $4`, to.state, now, m.Name, to.version)
		if err != nil {
			return err
		}
	}
	before := *m
	m.Active, m.Previous = active, previous
	if m.Shadow == active {
		m.Shadow = 0
	}
	return o.saveMapper(ctx, tx, actor, action, active, &before, m)
}

// ShadowMapper runs a version beside the active one, which goes on to decide
// alone; differences are counted (AddShadowCounts). Version 0 ends that.
// ErrState when the version was not admitted, or there is nothing to compare
// it with.
func (o *Objects) ShadowMapper(ctx context.Context, actor, name string, version int) (MapperInfo, error) {
	return o.changeMapper(ctx, name, func(tx *sql.Tx, m *MapperInfo) error {
		if version != 0 {
			v, err := readVersion(ctx, tx, name, version)
			switch {
			case err != nil:
				return err
			case !v.State.runs():
				return notAdmitted(&v)
			case m.Active == version:
				return notNow("mapper %s@%d is the active version: choose another one to run beside it", name, version)
			case m.Active == 0:
				return notNow("mapper %s has no active version to compare with: activate one first", name)
			}
		}
		if m.Shadow == version {
			return nil
		}
		before := *m
		m.Shadow = version
		return o.saveMapper(ctx, tx, actor, "shadow", version, &before, m)
	})
}

// SetMapperTier says how much the mapper's calls may burn from the next push
// on: versions that are there keep their limits.
func (o *Objects) SetMapperTier(ctx context.Context, actor, name string, tier Tier) (MapperInfo, error) {
	if tier != TierStandard && tier != TierLarge {
		return MapperInfo{}, invalid("tier %q of mapper %s: want %s or %s", cut(string(tier)), cut(name), TierStandard, TierLarge)
	}
	return o.changeMapper(ctx, name, func(tx *sql.Tx, m *MapperInfo) error {
		if m.Tier == tier {
			return nil
		}
		before := *m
		m.Tier = tier
		return o.saveMapper(ctx, tx, actor, "update", 0, &before, m)
	})
}

// changeMapper runs change on a mapper in one transaction and gives the mapper
// as it is then.
func (o *Objects) changeMapper(ctx context.Context, name string, change func(*sql.Tx, *MapperInfo) error) (m MapperInfo, err error) {
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		if m, err = readMapper(ctx, tx, name); err != nil {
			return err
		}
		if err := change(tx, &m); err != nil {
			return err
		}
		if m, err = readMapper(ctx, tx, name); err != nil {
			return err
		}
		list := []MapperInfo{m}
		err := readNaming(ctx, tx, list)
		m = list[0]
		return err
	})
	if err != nil {
		return MapperInfo{}, err
	}
	return m, nil
}

// saveMapper keeps a mapper's row and ends the change.
func (o *Objects) saveMapper(ctx context.Context, tx *sql.Tx, actor, action string, version int, before, after *MapperInfo) error {
	_, err := tx.ExecContext(ctx, `UPDATE mapper SET tier = $1, active = $2, previous = $3, shadow = $4, updated_at = $5 WHERE name = $6`,
		after.Tier, after.Active, after.Previous, after.Shadow, o.now().UnixMicro(), after.Name)
	if err != nil {
		return err
	}
	return o.audited(ctx, tx, actor, action, mapperObject(after.Name, version), diffFields(before.fields(), after.fields()))
}

// fields are what a change of a mapper may change.
func (m *MapperInfo) fields() map[string]string {
	f := map[string]string{"tier": string(m.Tier)}
	for name, version := range map[string]int{"active": m.Active, "previous": m.Previous, "shadow": m.Shadow} {
		if version != 0 {
			f[name] = fmt.Sprint(version)
		}
	}
	return f
}
