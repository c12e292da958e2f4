package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
)

// push is a push on its way into its transaction.
type push struct {
	name   string
	up     MapperUpload
	module [32]byte
	live   [32]byte
}

// PushMapper keeps an upload as a version of a mapper, in state uploaded, and
// makes the mapper when there is none of that name. The same bytes under the
// same tier give the version that they gave before: an uploaded one, whose
// admission ended with its process, is to be admitted now; a refused one goes
// back to uploaded, since another build or another day may find differently;
// any other is as it was. ErrForbidden when scope does not reach the mapper,
// ErrInvalid when a part is too large, ErrState when the mapper is full.
func (o *Objects) PushMapper(ctx context.Context, actor string, scope Scope, name string, up MapperUpload) (v MapperVersion, err error) {
	if err := errors.Join(checkMapperName(name), up.check()); err != nil {
		return v, asInvalid(err)
	}
	p := &push{name: name, up: up, module: sha256.Sum256(up.Code), live: liveDigest(up.Code, up.Config)}
	err = o.DB.change(ctx, func(tx *sql.Tx) error {
		m, err := o.mapperToPush(ctx, tx, actor, scope, name)
		if err != nil {
			return err
		}
		v, err = o.pushVersion(ctx, tx, actor, &m, p)
		return err
	})
	if err != nil {
		return MapperVersion{}, fmt.Errorf("push mapper %s: %w", cut(name), err)
	}
	return v, nil
}

// check wants the parts of an upload to be within their limits.
func (up *MapperUpload) check() error {
	if len(up.Code) == 0 {
		return errors.New("module of 0 bytes: send the .wasm file")
	}
	for _, part := range []struct {
		name      string
		have, max int
	}{{"module", len(up.Code), MapperModuleBytesMax}, {"vectors", len(up.Vectors), MapperVectorsBytesMax}, {"config", len(up.Config), MapperConfigBytesMax}} {
		if part.have > part.max {
			return fmt.Errorf("%s of %d bytes: at most %d", part.name, part.have, part.max)
		}
	}
	return nil
}

// mapperToPush gives the mapper of that name, made now when there is none.
func (o *Objects) mapperToPush(ctx context.Context, tx *sql.Tx, actor string, scope Scope, name string) (m MapperInfo, err error) {
	m, err = readMapper(ctx, tx, name)
	if err == nil {
		return m, scope.reaches(ctx, tx, &m)
	}
	if !errors.Is(err, ErrNotFound) {
		return m, err
	}
	if err := scope.mayMake(ctx, tx); err != nil {
		return m, err
	}
	m = MapperInfo{Name: name, Tier: TierStandard, madeBy: scope.key}
	now := o.now().UnixMicro()
	_, err = tx.ExecContext(ctx, `INSERT INTO mapper (name, tier, made_by, created_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6)`,
		name, m.Tier, scope.key, actor, now, now)
	if err != nil {
		return m, err
	}
	return m, o.audit(ctx, tx, actor, "create", mapperObject(name, 0), diffFields(nil, map[string]string{"tier": string(m.Tier)}))
}

// pushVersion finds the version of a push, or makes it.
func (o *Objects) pushVersion(ctx context.Context, tx *sql.Tx, actor string, m *MapperInfo, p *push) (v MapperVersion, err error) {
	upload := uploadDigest(p.live, p.up.Vectors, m.Tier)
	var number int
	err = tx.QueryRowContext(ctx, `SELECT version FROM mapper_version WHERE mapper = $1 AND upload = $2`, p.name, upload[:]).Scan(&number)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		number, err = o.insertVersion(ctx, tx, actor, m, p, upload)
	case err == nil:
		v, err = readVersion(ctx, tx, p.name, number)
		if err != nil || v.State != MapperRefused {
			return v, err
		}
		err = o.tryAgain(ctx, tx, p, number)
	}
	if err != nil {
		return v, err
	}
	if err := o.keepUpload(ctx, tx, p, number); err != nil {
		return v, err
	}
	before := map[string]string{}
	if v.State != "" {
		before["state"] = string(v.State)
	}
	if v, err = readVersion(ctx, tx, p.name, number); err != nil {
		return v, err
	}
	diff := diffFields(before, map[string]string{"state": string(v.State), "sha256": v.SHA256, "tier": string(v.Tier),
		"bytes": strconv.Itoa(v.Bytes), "config_bytes": strconv.Itoa(len(p.up.Config)), "vectors_bytes": strconv.Itoa(v.VectorsBytes)})
	return v, o.audited(ctx, tx, actor, "push", mapperObject(p.name, number), diff)
}

// insertVersion gives a new version its number.
func (o *Objects) insertVersion(ctx context.Context, tx *sql.Tx, actor string, m *MapperInfo, p *push, upload [32]byte) (number int, err error) {
	var kept int64 // what refused versions had is gone
	err = tx.QueryRowContext(ctx, `SELECT CAST(coalesce(sum(bytes + config + vectors), 0) AS bigint) FROM mapper_version WHERE mapper = $1 AND state <> $2`,
		p.name, MapperRefused).Scan(&kept)
	if err != nil {
		return 0, err
	}
	if kept += int64(len(p.up.Code) + len(p.up.Config) + len(p.up.Vectors)); kept > MapperBytesMax {
		return 0, notNow("its versions would keep %d bytes: at most %d; push under another name, and let the sources name that", kept, int64(MapperBytesMax))
	}
	err = tx.QueryRowContext(ctx, `UPDATE mapper SET newest = newest + 1, updated_at = $2 WHERE name = $1 RETURNING newest`,
		p.name, o.now().UnixMicro()).Scan(&number)
	if err != nil {
		return 0, err
	}
	if number > MapperVersionsMax {
		return 0, notNow("it has %d versions, which is as many as a mapper may have: push under another name, and let the sources name that", MapperVersionsMax)
	}
	now := o.now().UnixMicro()
	_, err = tx.ExecContext(ctx, `INSERT INTO mapper_version (mapper, version, state, tier, upload, live, module, bytes, config, vectors, pushed_by, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
		p.name, number, MapperUploaded, m.Tier, upload[:], p.live[:], p.module[:], len(p.up.Code), len(p.up.Config), len(p.up.Vectors), actor, now, now)
	return number, err
}

// tryAgain takes a refused version back to uploaded.
func (o *Objects) tryAgain(ctx context.Context, tx *sql.Tx, p *push, number int) error {
	_, err := tx.ExecContext(ctx, `UPDATE mapper_version SET state = $1, verdict = '', updated_at = $2 WHERE mapper = $3 AND version = $4`,
		MapperUploaded, o.now().UnixMicro(), p.name, number)
	return err
}

// keepUpload keeps the bytes of a push, the module's once.
func (o *Objects) keepUpload(ctx context.Context, tx *sql.Tx, p *push, number int) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO mapper_module (sha256, code) VALUES ($1, $2) ON CONFLICT DO NOTHING`, p.module[:], p.up.Code)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO mapper_upload (mapper, version, config, vectors) VALUES ($1, $2, $3, $4)`,
		p.name, number, notNil(p.up.Config), notNil(p.up.Vectors))
	return err
}

// notNil is b as a column that is not null takes it.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// dropUpload lets go of what a refused version had.
func dropUpload(ctx context.Context, tx *sql.Tx, name string, version int) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM mapper_upload WHERE mapper = $1 AND version = $2`, name, version)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `DELETE FROM mapper_module WHERE sha256 = (SELECT module FROM mapper_version WHERE mapper = $1 AND version = $2)
		AND NOT EXISTS (SELECT 1 FROM mapper_version v WHERE v.module = mapper_module.sha256 AND v.state <> $3)`, name, version, MapperRefused)
	return err
}
