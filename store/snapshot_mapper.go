package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
)

// LiveMapper is a mapper as a node runs it: the versions that it has to be
// able to run. Active, Previous and Shadow are numbers of versions, 0 is none.
type LiveMapper struct {
	Name     string
	Active   int
	Previous int
	Shadow   int
	Versions []LiveVersion // those three, and what sources are pinned to; by number
}

// LiveVersion is one version that may have to run.
type LiveVersion struct {
	Version   int
	SHA256    string // MapperDigest of module and configuration; Objects.MapperUploadOf gives them
	FuelLimit int64  // a call may burn
	State     MapperState
}

// Mappers lists, by name, every mapper of which a node may have to run a
// version: the active one, the one before it, the candidate beside it, and
// those that sources are pinned to, deleted sources too, whose events may
// still be on their way. Nobody may change the list.
func (s *Snapshot) Mappers() []LiveMapper { return s.mappers }

func readLiveMappers(ctx context.Context, tx *sql.Tx) (list []LiveMapper, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT m.name, m.active, m.previous, m.shadow, v.version, v.live, v.fuel_limit, v.state
		FROM mapper m JOIN mapper_version v ON v.mapper = m.name
		WHERE v.version IN (m.active, m.previous, m.shadow)
		OR EXISTS (SELECT 1 FROM source s WHERE s.mapper <> '' AND s.mapper = v.mapper AND s.mapper_version = v.version)
		ORDER BY m.name, v.version`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var m LiveMapper
		var v LiveVersion
		var live []byte
		if err := rows.Scan(&m.Name, &m.Active, &m.Previous, &m.Shadow, &v.Version, &live, &v.FuelLimit, &v.State); err != nil {
			return nil, err
		}
		if _, err := digestOf(live); err != nil {
			return nil, fmt.Errorf("mapper %s@%d: %w", m.Name, v.Version, err)
		}
		v.SHA256 = hex.EncodeToString(live)
		if n := len(list); n == 0 || list[n-1].Name != m.Name {
			list = append(list, m)
		}
		last := &list[len(list)-1]
		last.Versions = append(last.Versions, v)
	}
	return list, rows.Err()
}

func mappersToFile(list []LiveMapper) (out []snapshotMapper) {
	for i := range list {
		m := &list[i]
		to := snapshotMapper{Name: m.Name, Active: m.Active, Previous: m.Previous, Shadow: m.Shadow}
		for _, v := range m.Versions {
			live, err := hex.DecodeString(v.SHA256)
			if err != nil {
				panic("bug: digest of a mapper: " + err.Error())
			}
			to.Versions = append(to.Versions, snapshotVersion{v.Version, live, v.FuelLimit, v.State})
		}
		out = append(out, to)
	}
	return out
}

func mappersFromFile(list []snapshotMapper) (out []LiveMapper, err error) {
	for _, m := range list {
		to := LiveMapper{Name: m.Name, Active: m.Active, Previous: m.Previous, Shadow: m.Shadow}
		for _, v := range m.Versions {
			if _, err := digestOf(v.Digest); err != nil {
				return nil, fmt.Errorf("mapper %s@%d: %w", m.Name, v.Version, err)
			}
			to.Versions = append(to.Versions, LiveVersion{v.Version, hex.EncodeToString(v.Digest), v.FuelLimit, v.State})
		}
		out = append(out, to)
	}
	return out, nil
}
