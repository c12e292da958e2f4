package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Limits of shadow counts. What a candidate names itself is bounded, since it
// is a partner's code that names it.
const (
	ShadowFieldBytesMax   = 128
	ShadowExampleBytesMax = 1024
	ShadowFieldsMax       = 200 // of one pair of versions; counts of further ones are dropped
)

// ShadowCount is how often a candidate gave the same as the active version in
// one field, and the last difference.
type ShadowCount struct {
	Mapper    string `json:"mapper"`
	Active    int    `json:"active"`
	Candidate int    `json:"candidate"`
	Field     string `json:"field"`
	Same      int64  `json:"same"`
	Different int64  `json:"different"`
	Example   string `json:"example"` // of the last difference; "" when there is none
}

func (c *ShadowCount) order(d *ShadowCount) int {
	return cmp.Or(strings.Compare(c.Mapper, d.Mapper), cmp.Compare(c.Active, d.Active), cmp.Compare(c.Candidate, d.Candidate), strings.Compare(c.Field, d.Field))
}

// AddShadowCounts adds to what was counted; an Example that is not empty takes
// the place of the one before. Counts of unknown mappers are dropped. It is no
// change of an object: nothing is audited and no version rises.
func (o *Objects) AddShadowCounts(ctx context.Context, counts []ShadowCount) error {
	counts = slices.Clone(counts)
	slices.SortFunc(counts, func(a, b ShadowCount) int { return a.order(&b) }) // so that two nodes do not wait for each other
	err := inTx(ctx, o.DB.Write, nil, func(tx *sql.Tx) error {
		for i := range counts {
			c := &counts[i]
			_, err := tx.ExecContext(ctx, `INSERT INTO mapper_shadow (mapper, active, candidate, field, same, different, example)
				SELECT CAST($1 AS text), CAST($2 AS bigint), CAST($3 AS bigint), CAST($4 AS text), CAST($5 AS bigint), CAST($6 AS bigint), CAST($7 AS text)
				WHERE EXISTS (SELECT 1 FROM mapper WHERE name = $1)
				AND (EXISTS (SELECT 1 FROM mapper_shadow s WHERE s.mapper = $1 AND s.active = $2 AND s.candidate = $3 AND s.field = $4)
					OR (SELECT count(*) FROM mapper_shadow s WHERE s.mapper = $1 AND s.active = $2 AND s.candidate = $3) < CAST($8 AS bigint))
				ON CONFLICT (mapper, candidate, active, field) DO UPDATE SET same = mapper_shadow.same + excluded.same,
					different = mapper_shadow.different + excluded.different,
					example = CASE WHEN excluded.example <> '' THEN excluded.example ELSE mapper_shadow.example END`,
				c.Mapper, c.Active, c.Candidate, shown(c.Field, ShadowFieldBytesMax), c.Same, c.Different, shown(c.Example, ShadowExampleBytesMax), ShadowFieldsMax)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add shadow counts: %w", err)
	}
	return nil
}

// shown bounds a text and makes it one that both kinds of database keep.
func shown(s string, max int) string {
	if len(s) > max {
		s = s[:max]
	}
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\ufffd"), "")
}

// ShadowCounts gives what was counted of a mapper, the newest candidate first,
// by field, or ErrNotFound.
func (o *Objects) ShadowCounts(ctx context.Context, name string) (list []ShadowCount, err error) {
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		if _, err := readMapper(ctx, tx, name); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT mapper, active, candidate, field, same, different, example FROM mapper_shadow
			WHERE mapper = $1 ORDER BY candidate DESC, active DESC, field`, name)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var c ShadowCount
			if err := rows.Scan(&c.Mapper, &c.Active, &c.Candidate, &c.Field, &c.Same, &c.Different, &c.Example); err != nil {
				return err
			}
			list = append(list, c)
		}
		return rows.Err()
	})
	return list, err
}
