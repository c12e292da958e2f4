package sink

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// HeldFilter narrows Held. Zero fields do not.
type HeldFilter struct {
	Source string // its id
	Reason string // amount_over_cap, currency_differs …
}

// HeldRow is an event that waits for a person, with what it would change: the
// payout of a call, or the reward of an account. What is absent is null.
type HeldRow struct {
	Event      string  `json:"event"`
	Source     string  `json:"source"`
	ReceivedAt Instant `json:"received_at"`
	Since      Instant `json:"since"` // when it was held
	Kind       string  `json:"kind"`
	Reason     string  `json:"reason"`
	ReasonText string  `json:"reason_text"`

	CallID         *string       `json:"call_id"`
	Account        *string       `json:"account"`
	TransactionID  *string       `json:"transaction_id"`
	Payout         *event.Amount `json:"payout"` // as reported
	Currency       *string       `json:"currency"`
	Reward         *event.Amount `json:"reward"`
	RewardCurrency *string       `json:"reward_currency"`

	Pending *HeldRuling `json:"pending"` // decided, and not carried out yet
}

// HeldRuling is what a person has decided of a held event.
type HeldRuling struct {
	Decision string        `json:"decision"` // release or reject
	Value    *event.Amount `json:"value"`    // instead of what was reported
	Actor    string        `json:"actor"`
	At       Instant       `json:"at"`
}

// heldSQL reads those held events h that a condition and what follows it pick,
// with their newest verdict v and what was decided of them, d. They are picked
// first, so that of the verdict log theirs is read and no more.
func heldSQL(which string) string {
	return `SELECT h.stream, h.seq, h.n, h.source, h.since, v.received_at, v.kind, v.reason, coalesce(v.detail, ''), v.call_id, v.payout, v.currency, coalesce(v.report, ''),
  d.release, d.value, d.actor, d.at
FROM (SELECT stream, seq, n, source, since FROM held WHERE ` + which + `) AS h
JOIN verdict v ON v.stream = h.stream AND v.seq = h.seq AND v.n = h.n AND v.revision =
  (SELECT max(w.revision) FROM verdict w WHERE w.stream = h.stream AND w.seq = h.seq AND w.n = h.n)
LEFT JOIN ruling d ON d.stream = h.stream AND d.seq = h.seq AND d.n = h.n
ORDER BY h.since, h.stream, h.seq, h.n`
}

const (
	heldBehind = `(since, stream, seq, n) > ($1, $2, $3, $4)`
	heldFirst  = ` ORDER BY since, stream, seq, n LIMIT $5`
)

// Held lists the events that wait for a person, those that wait longest first.
func (b *Books) Held(ctx context.Context, f HeldFilter, after string, limit int) (list []HeldRow, next string, err error) {
	if limit, err = rowLimit(limit); err != nil {
		return nil, "", err
	}
	var since, stream, seq, n int64
	if err := parseCursor(after, "held", &since, &stream, &seq, &n); err != nil {
		return nil, "", err
	}
	for name, text := range map[string]string{"source": f.Source, "reason": f.Reason} {
		if err := isText(name, text); err != nil {
			return nil, "", err
		}
	}
	which, args := heldBehind, []any{since, stream, seq, n, limit + 1}
	narrow := func(column, value string) {
		if value != "" {
			args = append(args, value)
			which += fmt.Sprintf(" AND %s = $%d", column, len(args))
		}
	}
	narrow("source", f.Source)
	narrow("reason", f.Reason)
	var id event.ID
	err = lookUp(ctx, b.DB, func(tx *sql.Tx) error {
		return eachRow(ctx, tx, heldSQL(which+heldFirst), func(rows *sql.Rows) error {
			if len(list) == limit {
				next = cursorOf("held", int64(list[limit-1].Since), int64(id.Stream), int64(id.Seq), int64(id.N))
				return nil
			}
			var r HeldRow
			var err error
			id, err = r.scan(rows)
			list = append(list, r)
			return err
		}, args...)
	})
	if err != nil {
		return nil, "", fmt.Errorf("list held events: %w", err)
	}
	return list, next, nil
}

// HeldEvent gives one held event. ErrNotFound when it does not wait for a
// person, or not any more.
func (b *Books) HeldEvent(ctx context.Context, id event.ID) (*HeldRow, error) {
	r := new(HeldRow)
	err := lookUp(ctx, b.DB, func(tx *sql.Tx) error {
		_, err := r.scan(tx.QueryRowContext(ctx, heldSQL(`stream = $1 AND seq = $2 AND n = $3`), eventKey(id)...))
		return err
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, notFound("event %s is not held", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read held event %s: %w", id, err)
	}
	return r, nil
}

// scan reads a row of heldSQL.
func (r *HeldRow) scan(row scanner) (id event.ID, err error) {
	var detail, report []byte
	var release, at sql.NullInt64
	var value *event.Amount
	var actor sql.NullString
	err = row.Scan(&id.Stream, &id.Seq, &id.N, &r.Source, &r.Since, &r.ReceivedAt, &r.Kind, &r.Reason, &detail, &r.CallID, &r.Payout, &r.Currency, &report,
		&release, &value, &actor, &at)
	if err != nil {
		return id, err
	}
	r.Event = id.String()
	if r.ReasonText, err = reasonText(event.Held.String(), r.Reason, detail); err != nil {
		return id, fmt.Errorf("event %s: %w", id, err)
	}
	if release.Valid {
		r.Pending = &HeldRuling{Decision: "reject", Value: value, Actor: actor.String, At: Instant(at.Int64)}
		if release.Int64 == 1 {
			r.Pending.Decision = "release"
		}
	}
	if len(report) == 0 {
		return id, nil
	}
	said := struct {
		Account        **string       `json:"account"`
		TransactionID  **string       `json:"transaction_id"`
		Reward         **event.Amount `json:"reward"`
		RewardCurrency **string       `json:"reward_currency"`
	}{&r.Account, &r.TransactionID, &r.Reward, &r.RewardCurrency}
	if err := json.Unmarshal(report, &said); err != nil {
		return id, fmt.Errorf("report of event %s: %w", id, err)
	}
	return id, nil
}
