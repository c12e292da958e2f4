package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// ListBuyers lists buyers by id, those after the id after; next is what to
// pass for the following page, "" on the last one.
func (o *Objects) ListBuyers(ctx context.Context, after string, limit int) (list []Party, next string, err error) {
	return o.listParties(ctx, "buyer", after, limit)
}

// ListPublishers lists publishers as ListBuyers does buyers.
func (o *Objects) ListPublishers(ctx context.Context, after string, limit int) (list []Party, next string, err error) {
	return o.listParties(ctx, "publisher", after, limit)
}

// ListCampaigns lists campaigns as ListBuyers does buyers, each with the
// assignments and the conversion group in force.
func (o *Objects) ListCampaigns(ctx context.Context, after string, limit int) (list []Campaign, next string, err error) {
	if limit, err = listLimit(limit); err != nil {
		return nil, "", err
	}
	err = o.DB.snapshot(ctx, func(tx *sql.Tx) error {
		parties, more, err := readParties(ctx, tx, "campaign", after, limit)
		if err != nil || len(parties) == 0 {
			return err
		}
		next = more
		rules, err := assignments(ctx, tx, parties[0].ID, parties[len(parties)-1].ID)
		if err != nil {
			return err
		}
		groups, err := conversions(ctx, tx, parties[0].ID, parties[len(parties)-1].ID)
		if err != nil {
			return err
		}
		for _, p := range parties {
			list = append(list, Campaign{ID: p.ID, Name: p.Name, Assignments: append([]Assignment{}, rules[p.ID]...), Conversion: groups[p.ID]})
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("list campaigns: %w", err)
	}
	return list, next, nil
}

func (o *Objects) listParties(ctx context.Context, table, after string, limit int) (list []Party, next string, err error) {
	if limit, err = listLimit(limit); err != nil {
		return nil, "", err
	}
	list, next, err = readParties(ctx, o.DB.Read, table, after, limit)
	if err != nil {
		return nil, "", fmt.Errorf("list %ss: %w", table, outage(err))
	}
	return list, next, nil
}

func readParties(ctx context.Context, q querier, table, after string, limit int) (list []Party, next string, err error) {
	rows, err := q.QueryContext(ctx, `SELECT id, name FROM `+table+` WHERE id > $1 ORDER BY id LIMIT $2`, after, limit+1)
	if err != nil {
		return nil, "", err
	}
	defer rows.Close()
	for rows.Next() {
		var p Party
		if err := rows.Scan(&p.ID, &p.Name); err != nil {
			return nil, "", err
		}
		list = append(list, p)
	}
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	return list, next, rows.Err()
}

// assignments reads the rules in force of the campaigns from first to last:
// of each campaign and publisher the row with the greatest id, unless it ends
// the assignment.
func assignments(ctx context.Context, q querier, first, last string) (map[string][]Assignment, error) {
	rows, err := q.QueryContext(ctx, `SELECT campaign, publisher, payout FROM rule
		WHERE id IN (SELECT max(id) FROM rule WHERE campaign IN (SELECT id FROM campaign WHERE id BETWEEN $1 AND $2) GROUP BY campaign, publisher)
		AND payout <> ''`, first, last)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string][]Assignment{}
	for rows.Next() {
		var campaign string
		var a Assignment
		if err := rows.Scan(&campaign, &a.Publisher, &a.Payout); err != nil {
			return nil, err
		}
		all[campaign] = append(all[campaign], a)
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b Assignment) int { return strings.Compare(a.Publisher, b.Publisher) })
	}
	return all, rows.Err()
}
