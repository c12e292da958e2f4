package sink

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// rowColumns are what scanRow reads; newestOnly makes one row per event. It is
// looked up row by row, for a walk that ends as soon as it has enough: a join
// might read all of the log first.
const (
	rowColumns = `v.change_seq, v.stream, v.seq, v.n, v.revision, v.final, v.status, v.reason, coalesce(v.detail, ''), v.source, v.received_at, v.decided_at,
  v.kind, v.strategy, v.candidates, v.call_id, v.call_caller, v.caller, v.duration, v.payout, v.currency, v.value, v.delta, v.share_delta,
  v.mapper, v.fuel, v.peer, v.us_queue, v.us_map, v.us_match, v.us_total, coalesce(v.report, ''), c.campaign, c.publisher, c.buyer
FROM verdict v LEFT JOIN call c ON c.no = v.call`
	newestOnly = `v.revision = (SELECT max(w.revision) FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n)`
)

// walkRows is how many changes one step of a listing goes through. A listing
// that finds little takes many steps, and can be cancelled between them.
const walkRows = 50_000

// span is a range of change numbers, both ends included.
type span struct{ from, to int64 }

// List gives the newest events first, in order of their newest change, and the
// cursor of the next page, "" at the end. An event that changes while somebody
// turns pages moves to the top.
func (a *Activity) List(ctx context.Context, f Filter) (rows []Row, next string, err error) {
	l, err := f.listing()
	if err != nil {
		return nil, "", err
	}
	err = lookUp(ctx, a.DB, func(tx *sql.Tx) error {
		all, err := changes(ctx, tx)
		if err != nil {
			return err
		}
		after := all.to + 1
		if err := parseCursor(f.After, "activity", &after); err != nil {
			return err
		}
		all.to = min(all.to, after-1)
		if f.CallID == "" {
			if all.from, err = firstSince(ctx, tx, all, f.Since); err != nil {
				return err
			}
		}
		for all.from <= all.to && len(rows) <= l.limit {
			step := all
			if f.CallID == "" {
				step.from = max(all.from, all.to-walkRows+1)
			}
			if rows, err = l.step(ctx, tx, rows, step, "DESC", l.limit+1-len(rows)); err != nil {
				return err
			}
			all.to = step.from - 1
		}
		return nil
	})
	if err != nil {
		return nil, "", listingError(err)
	}
	if len(rows) > l.limit {
		rows = rows[:l.limit]
		next = cursorOf("activity", rows[l.limit-1].ChangeSeq)
	}
	return rows, next, nil
}

// Newer gives events that changed after the change number after, oldest change
// first: what a reader follows. Going on from through misses and repeats
// nothing, also when no row fitted. Filter.After is not used.
func (a *Activity) Newer(ctx context.Context, f Filter, after int64) (rows []Row, through int64, err error) {
	l, err := f.listing()
	if err != nil {
		return nil, 0, err
	}
	err = lookUp(ctx, a.DB, func(tx *sql.Tx) error {
		all, err := changes(ctx, tx)
		if err != nil {
			return err
		}
		through = max(after, all.to)
		for step := (span{max(min(after, all.to)+1, all.from), 0}); step.from <= all.to; step.from = step.to + 1 {
			step.to = min(step.from+walkRows-1, all.to)
			if rows, err = l.step(ctx, tx, rows, step, "ASC", l.limit-len(rows)); err != nil {
				return err
			}
			if len(rows) == l.limit {
				through = rows[l.limit-1].ChangeSeq
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return nil, 0, listingError(err)
	}
	return rows, through, nil
}

// listingError keeps the words of an error that says what was asked wrongly.
func listingError(err error) error {
	if errors.Is(err, ErrInvalid) {
		return err
	}
	return fmt.Errorf("list activity: %w", err)
}

// LastChange is the number of the newest change, 0 when there is none: where
// following begins.
func (a *Activity) LastChange(ctx context.Context) (int64, error) {
	all, err := changes(ctx, a.DB)
	if err != nil {
		return 0, fmt.Errorf("read verdict log: %w", err)
	}
	return all.to, nil
}

// querier is a handle, or a transaction of one.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// changes is the span of the verdict log; of an empty one {1, 0}.
func changes(ctx context.Context, q querier) (s span, err error) {
	// Two subqueries, because min and max in one would walk SQLite's table.
	err = q.QueryRowContext(ctx, `SELECT coalesce((SELECT min(change_seq) FROM verdict), 1), coalesce((SELECT max(change_seq) FROM verdict), 0)`).Scan(&s.from, &s.to)
	return s, err
}

// clockStepMax is by how much a node's clock may have stepped back before
// firstSince would miss events.
const clockStepMax = 24 * time.Hour

// firstSince gives a change before which no event received since then can be:
// the log is in order of decision, and no event is decided before its receipt.
func firstSince(ctx context.Context, q querier, s span, since time.Time) (int64, error) {
	if since.IsZero() {
		return s.from, nil
	}
	at := since.Add(-clockStepMax).UnixMicro()
	for s.from <= s.to {
		mid := s.from + (s.to-s.from)/2
		var decided int64
		err := q.QueryRowContext(ctx, `SELECT decided_at FROM verdict WHERE change_seq >= $1 ORDER BY change_seq LIMIT 1`, mid).Scan(&decided)
		if err != nil {
			return 0, err
		}
		if decided < at {
			s.from = mid + 1
		} else {
			s.to = mid - 1
		}
	}
	return s.from, nil
}

// sql is the statement of one step of a listing.
func (l *listing) sql(direction string) string {
	return fmt.Sprintf("SELECT %s WHERE v.change_seq BETWEEN $1 AND $2%s AND %s ORDER BY v.change_seq %s LIMIT $%d", rowColumns, l.where, newestOnly, direction, len(l.args)+3)
}

// step appends up to limit rows of a span.
func (l *listing) step(ctx context.Context, tx *sql.Tx, dst []Row, s span, direction string, limit int) ([]Row, error) {
	rows, err := tx.QueryContext(ctx, l.sql(direction), append(slices.Concat([]any{s.from, s.to}, l.args), limit)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var r Row
		if _, err := scanRow(rows.Scan, &r); err != nil {
			return nil, err
		}
		dst = append(dst, r)
	}
	return dst, rows.Err()
}

// scanRow reads rowColumns; it also gives the report.
func scanRow(scan func(...any) error, r *Row) (report []byte, err error) {
	var id event.ID
	var detail []byte
	l := &r.Latency
	err = scan(&r.ChangeSeq, &id.Stream, &id.Seq, &id.N, &r.Revision, &r.Final, &r.Status, &r.Reason, &detail, &r.Source, &r.ReceivedAt, &r.DecidedAt,
		&r.Kind, &r.Strategy, &r.Candidates, &r.CallID, &r.CallCaller, &r.Caller, &r.Duration, &r.Payout, &r.Currency, &r.Value, &r.Delta, &r.ShareDelta,
		&r.Mapper, &r.Fuel, &r.Peer, &l.Queue, &l.Map, &l.Match, &l.Total, &report, &r.Campaign, &r.Publisher, &r.Buyer)
	if err != nil {
		return nil, err
	}
	r.Event = id.String()
	if r.ReasonText, err = reasonText(r.Status, r.Reason, detail); err != nil {
		return nil, fmt.Errorf("event %s: %w", id, err)
	}
	if len(report) == 0 {
		return nil, nil
	}
	var said struct {
		RefID         *string `json:"ref_id"`
		CallID        *string `json:"call_id"`
		NetworkCallID *string `json:"network_call_id"`
		Status        *string `json:"status"`
		Currency      *string `json:"currency"`
		TransactionID *string `json:"transaction_id"`
		StartedAt     *string `json:"started_at"`
	}
	if err := json.Unmarshal(report, &said); err != nil {
		return nil, fmt.Errorf("report of event %s: %w", id, err)
	}
	r.ReportedRefID, r.ReportedCallID, r.ReportedNetworkCallID = said.RefID, said.CallID, said.NetworkCallID
	r.ReportedCurrency = said.Currency
	r.ReportedStatus, r.TransactionID, r.ReportedStart = said.Status, said.TransactionID, said.StartedAt
	return report, nil
}

// reasonText says to a person what a verdict's reason means.
func reasonText(status, reason string, detail []byte) (string, error) {
	s, err := event.ParseStatus(status)
	if err != nil {
		return "", err
	}
	d, err := event.ParseDetail(detail)
	if err != nil {
		return "", fmt.Errorf("detail: %w", err)
	}
	return event.Sentence(s, event.Reason(reason), d), nil
}
