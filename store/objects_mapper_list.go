package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
)

// ListMappers lists the mappers that scope reaches by name, those after the
// name after; next is what to pass for the following page, "" on the last one.
func (o *Objects) ListMappers(ctx context.Context, scope Scope, after string, limit int) (list []MapperInfo, next string, err error) {
	if limit, err = listLimit(limit); err != nil {
		return nil, "", err
	}
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		for at, more := after, true; more && len(list) <= limit; {
			page, err := readMappers(ctx, tx, at, ListRowsMax)
			if err != nil {
				return err
			}
			more = len(page) == ListRowsMax
			for i := range page {
				if at = page[i].Name; scope.has(&page[i]) {
					list = append(list, page[i])
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("list mappers: %w", err)
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].Name
	}
	return list, next, nil
}

// readMappers reads mappers by name with the sources that name them.
func readMappers(ctx context.Context, tx *sql.Tx, after string, limit int) (list []MapperInfo, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT `+mapperColumns+` FROM mapper m WHERE m.name > $1 ORDER BY m.name LIMIT $2`, after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		m, err := scanMapper(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return list, readNaming(ctx, tx, list)
}

// readNaming fills in the live sources that name the mappers of list, which is
// in order.
func readNaming(ctx context.Context, tx *sql.Tx, list []MapperInfo) error {
	if len(list) == 0 {
		return nil
	}
	rows, err := tx.QueryContext(ctx, `SELECT mapper, id FROM source WHERE mapper <> '' AND deleted = 0 AND mapper BETWEEN $1 AND $2 ORDER BY mapper, id`,
		list[0].Name, list[len(list)-1].Name)
	if err != nil {
		return err
	}
	defer rows.Close()
	for i := 0; rows.Next(); {
		var name, id string
		if err := rows.Scan(&name, &id); err != nil {
			return err
		}
		for i < len(list) && list[i].Name < name {
			i++
		}
		if i < len(list) && list[i].Name == name {
			list[i].Sources = append(list[i].Sources, id)
		}
	}
	return rows.Err()
}

// GetMapper gives one mapper with its versions, or ErrNotFound.
func (o *Objects) GetMapper(ctx context.Context, name string) (d MapperDetail, err error) {
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		m, err := readMapper(ctx, tx, name)
		if err != nil {
			return err
		}
		list := []MapperInfo{m}
		if err := readNaming(ctx, tx, list); err != nil {
			return err
		}
		d = MapperDetail{MapperInfo: list[0], Versions: []MapperVersion{}}
		rows, err := tx.QueryContext(ctx, `SELECT `+versionColumns+` FROM mapper_version v WHERE v.mapper = $1 ORDER BY v.version DESC`, name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			v, err := scanVersion(rows)
			if err != nil {
				return err
			}
			d.Versions = append(d.Versions, v)
		}
		return rows.Err()
	})
	return d, err
}

// GetMapperVersion gives one version with its verdict, or ErrNotFound.
func (o *Objects) GetMapperVersion(ctx context.Context, name string, version int) (v MapperVersion, err error) {
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		_, v, err = mapperAndVersion(ctx, tx, name, version)
		return err
	})
	return v, err
}

// GetMapperUpload gives what was pushed as a version. ErrNotFound when there
// is no such version, ErrState when it was refused: its bytes are not kept.
func (o *Objects) GetMapperUpload(ctx context.Context, name string, version int) (up MapperUpload, err error) {
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		_, v, err := mapperAndVersion(ctx, tx, name, version)
		if err != nil {
			return err
		}
		if v.State == MapperRefused {
			return notNow("mapper %s@%d was refused and its bytes were not kept: push them again", name, version)
		}
		up, err = readUpload(ctx, tx, `v.mapper = $1 AND v.version = $2`, name, version)
		return err
	})
	return up, err
}

// MapperUploadOf gives what runs under a digest (MapperDigest), with the
// vectors of the newest version that has it, or ErrNotFound. The caller owns
// the bytes.
func (o *Objects) MapperUploadOf(ctx context.Context, digest string) (up MapperUpload, err error) {
	live, err := hex.DecodeString(digest)
	if err != nil || len(live) != sha256.Size {
		return up, invalid("digest %q of a mapper: want %d hexadecimal digits", cut(digest), 2*sha256.Size)
	}
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		up, err = readUpload(ctx, tx, `v.live = $1 AND v.state <> $2 ORDER BY v.created_at DESC, v.mapper, v.version DESC LIMIT 1`, live, MapperRefused)
		return err
	})
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return up, notFound("mapper of digest %s is not known", digest)
	case err != nil:
		return up, fmt.Errorf("read mapper of digest %s: %w", digest, err)
	case MapperDigest(up.Code, up.Config) != digest:
		return MapperUpload{}, fmt.Errorf("the bytes of the mapper of digest %s have another one: the store is damaged", digest)
	}
	return up, nil
}

func readUpload(ctx context.Context, tx *sql.Tx, where string, args ...any) (up MapperUpload, err error) {
	err = tx.QueryRowContext(ctx, `SELECT k.code, u.config, u.vectors FROM mapper_version v
		JOIN mapper_module k ON k.sha256 = v.module JOIN mapper_upload u ON u.mapper = v.mapper AND u.version = v.version
		WHERE `+where, args...).Scan(&up.Code, &up.Config, &up.Vectors)
	return up, err
}
