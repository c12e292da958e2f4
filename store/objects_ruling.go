package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Rule notes what a person decides of a held event: to book it, with value
// instead of what was reported unless that is nil, or to refuse it. The ledger
// carries it out with its next batch; until then another ruling replaces it.
// ErrNotFound when no event has that id, ErrInvalid when it is not held.
func (o *Objects) Rule(ctx context.Context, actor string, id event.ID, release bool, value *event.Amount) error {
	action := "reject"
	var micros sql.NullInt64
	var diff []FieldDiff
	if release {
		action = "release"
	}
	switch {
	case value == nil:
	case !release:
		return invalid("event %s: value %s: a refused event has none; leave it out", id, value)
	case *value < 0 || *value > source.AmountMaxMost:
		return invalid("event %s: value %s: want 0 to %s", id, value, source.AmountMaxMost)
	default:
		micros = sql.NullInt64{Int64: int64(*value), Valid: true}
		diff = []FieldDiff{{Field: "value", New: value.String()}}
	}
	return o.DB.change(ctx, func(tx *sql.Tx) error {
		if err := held(ctx, tx, id, o.DB.Postgres()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO ruling (stream, seq, n, release, value, actor, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
			ON CONFLICT (stream, seq, n) DO UPDATE SET release = excluded.release, value = excluded.value, actor = excluded.actor, at = excluded.at`,
			id.Stream, id.Seq, id.N, oneIf(release), micros, actor, o.now().UnixMicro())
		if err != nil {
			return err
		}
		return o.audit(ctx, tx, actor, action, "event/"+id.String(), diff)
	})
}

// held wants the event's newest verdict to be held. locked keeps it so until the
// transaction ends: the ledger may be carrying out an earlier ruling.
func held(ctx context.Context, tx *sql.Tx, id event.ID, locked bool) error {
	query := `SELECT 1 FROM held WHERE stream = $1 AND seq = $2 AND n = $3`
	if locked {
		query += ` FOR SHARE`
	}
	var one int
	err := tx.QueryRowContext(ctx, query, id.Stream, id.Seq, id.N).Scan(&one)
	if !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var status string
	err = tx.QueryRowContext(ctx, `SELECT status FROM verdict WHERE stream = $1 AND seq = $2 AND n = $3 ORDER BY revision DESC LIMIT 1`, id.Stream, id.Seq, id.N).Scan(&status)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return notFound("event %s is not known, or has no verdict yet", id)
	case err != nil:
		return err
	}
	return invalid("event %s is %s, not held: only a held event is released or rejected", id, status)
}
