package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// conversions reads the conversion groups in force of the campaigns from first
// to last: of each campaign the row with the greatest id, unless it ends the
// group.
func conversions(ctx context.Context, q querier, first, last string) (map[string]*event.Group, error) {
	rows, err := q.QueryContext(ctx, `SELECT campaign, spec FROM conversion_group
		WHERE id IN (SELECT max(id) FROM conversion_group WHERE campaign BETWEEN $1 AND $2 GROUP BY campaign)
		AND spec <> ''`, first, last)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]*event.Group{}
	for rows.Next() {
		var campaign, spec string
		if err := rows.Scan(&campaign, &spec); err != nil {
			return nil, err
		}
		if all[campaign], err = event.ParseGroup(spec); err != nil {
			return nil, fmt.Errorf("campaign %q: its stored %w", campaign, err)
		}
	}
	return all, rows.Err()
}

// insertGroup makes g, nil for none, the campaign's group from now on. Who calls
// it holds the lock of changes, so that ids rise.
func insertGroup(ctx context.Context, tx *sql.Tx, campaign string, g *event.Group, now int64) error {
	spec := []byte(nil)
	if g != nil {
		var err error
		if spec, err = json.Marshal(g); err != nil {
			return err
		}
	}
	_, err := tx.ExecContext(ctx, `INSERT INTO conversion_group (id, campaign, spec, created_at)
		VALUES ((SELECT coalesce(max(id), 0) + 1 FROM conversion_group), $1, $2, $3)`, campaign, string(spec), now)
	return err
}

// groupFields adds the fields of g, nil for none, as conversion.trigger and so on.
func groupFields(g *event.Group, into map[string]string) error {
	if g == nil {
		return nil
	}
	text, err := json.Marshal(g)
	if err != nil {
		return err
	}
	return flatten("conversion", text, into)
}

// fieldsOf takes the fields under a name out of all.
func fieldsOf(all map[string]string, name string) map[string]string {
	some := maps.Clone(all)
	maps.DeleteFunc(some, func(field, _ string) bool { return !strings.HasPrefix(field, name+".") })
	return some
}
