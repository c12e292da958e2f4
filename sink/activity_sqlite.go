package sink

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// rowColumns are what scanRow reads, newestOnly the condition that makes one
// row per event.
const (
	rowColumns = `v.change_seq, v.stream, v.seq, v.n, v.revision, v.final, v.status, v.reason, coalesce(v.detail, ''), v.source, v.received_at, v.decided_at,
  v.kind, v.strategy, v.candidates, v.call_id, v.call_caller, v.caller, v.duration, v.payout, v.currency, v.value, v.delta, v.share_delta,
  v.mapper, v.peer, v.us_queue, v.us_map, v.us_match, v.us_total, coalesce(v.report, ''), c.campaign, c.publisher, c.buyer
FROM verdict v LEFT JOIN call c ON c.no = v.call`
	newestOnly = `NOT EXISTS (SELECT 1 FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision)`
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
	limit, err := rowLimit(f.Limit)
	if err != nil {
		return nil, "", err
	}
	where, args, err := f.conditions()
	if err != nil {
		return nil, "", err
	}
	all, err := a.changes(ctx)
	if err != nil {
		return nil, "", err
	}
	after := all.to + 1
	if err := parseCursor(f.After, "activity", &after); err != nil {
		return nil, "", err
	}
	all.to = min(all.to, after-1)
	if f.CallID == "" {
		if all.from, err = a.firstSince(ctx, all, f.Since); err != nil {
			return nil, "", err
		}
	}
	for all.from <= all.to && len(rows) <= limit {
		step := all
		if f.CallID == "" {
			step.from = max(all.from, all.to-walkRows+1)
		}
		if rows, err = a.rows(ctx, rows, step, where, "DESC", limit+1-len(rows), args); err != nil {
			return nil, "", err
		}
		all.to = step.from - 1
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = cursorOf("activity", rows[limit-1].ChangeSeq)
	}
	return rows, next, nil
}

// Newer gives events that changed after the change number after, oldest change
// first: what a reader follows. Going on from through misses and repeats
// nothing, also when no row fitted. Filter.After is not used.
func (a *Activity) Newer(ctx context.Context, f Filter, after int64) (rows []Row, through int64, err error) {
	limit, err := rowLimit(f.Limit)
	if err != nil {
		return nil, 0, err
	}
	where, args, err := f.conditions()
	if err != nil {
		return nil, 0, err
	}
	all, err := a.changes(ctx)
	if err != nil {
		return nil, 0, err
	}
	for step := (span{max(after+1, all.from), 0}); step.from <= all.to; step.from = step.to + 1 {
		step.to = min(step.from+walkRows-1, all.to)
		if rows, err = a.rows(ctx, rows, step, where, "ASC", limit-len(rows), args); err != nil {
			return nil, 0, err
		}
		if len(rows) == limit {
			return rows, rows[limit-1].ChangeSeq, nil
		}
	}
	return rows, max(after, all.to), nil
}

// LastChange is the number of the newest change, 0 when there is none: where
// following begins.
func (a *Activity) LastChange(ctx context.Context) (int64, error) {
	all, err := a.changes(ctx)
	return all.to, err
}

// changes is the span of the verdict log; of an empty one {1, 0}.
func (a *Activity) changes(ctx context.Context) (s span, err error) {
	// Two subqueries, because min and max in one would walk the table.
	err = a.DB.QueryRowContext(ctx, `SELECT coalesce((SELECT min(change_seq) FROM verdict), 1), coalesce((SELECT max(change_seq) FROM verdict), 0)`).Scan(&s.from, &s.to)
	if err != nil {
		return s, fmt.Errorf("read verdict log: %w", err)
	}
	return s, nil
}

// clockStepMax is by how much a node's clock may have stepped back before
// firstSince would miss events.
const clockStepMax = 24 * time.Hour

// firstSince gives a change before which no event received since then can be:
// the log is in order of decision, and no event is decided before its receipt.
func (a *Activity) firstSince(ctx context.Context, s span, since time.Time) (int64, error) {
	if since.IsZero() {
		return s.from, nil
	}
	at := since.Add(-clockStepMax).UnixMicro()
	for s.from <= s.to {
		mid := s.from + (s.to-s.from)/2
		var decided int64
		err := a.DB.QueryRowContext(ctx, `SELECT decided_at FROM verdict WHERE change_seq >= ? ORDER BY change_seq LIMIT 1`, mid).Scan(&decided)
		if err != nil {
			return 0, fmt.Errorf("read verdict log: %w", err)
		}
		if decided < at {
			s.from = mid + 1
		} else {
			s.to = mid - 1
		}
	}
	return s.from, nil
}

// conditions renders f as SQL, without the span.
func (f *Filter) conditions() (where string, args []any, err error) {
	if !f.Since.IsZero() && !f.Until.IsZero() && f.Since.After(f.Until) {
		return "", nil, invalid("since %s lies after until %s: swap them", f.Since.Format(time.RFC3339), f.Until.Format(time.RFC3339))
	}
	var b strings.Builder
	add := func(condition string, values ...any) {
		b.WriteString(" AND " + condition)
		args = append(args, values...)
	}
	if f.CallID != "" {
		add("v.call = (SELECT no FROM call WHERE call_id = ?)", f.CallID)
	}
	if f.Source != "" {
		add("v.source = ?", f.Source)
	}
	if f.Status != "" {
		var names []any
		for name := range strings.SplitSeq(f.Status, ",") {
			s, err := event.ParseStatus(strings.TrimSpace(name))
			if err != nil {
				return "", nil, invalid("%v", err)
			}
			names = append(names, s.String())
		}
		add("v.status IN (?"+strings.Repeat(",?", len(names)-1)+")", names...)
	}
	if f.Caller != "" {
		forms := callerForms(f.Caller)
		list := "(?" + strings.Repeat(",?", len(forms)-1) + ")"
		add("(v.caller IN "+list+" OR v.call_caller IN "+list+")", append(forms, forms...)...)
	}
	if !f.Since.IsZero() {
		add("v.received_at >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		add("v.received_at < ?", f.Until.UnixMicro())
	}
	return b.String(), args, nil
}

// callerForms gives the texts under which a caller may be recorded: as it was
// typed, its digits with a plus (a "+" in a URL reads as a blank, 00 is dialled
// for it), and the digits alone.
func callerForms(caller string) []any {
	digits := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, caller)
	forms := []any{strings.TrimSpace(caller)}
	if digits != "" {
		forms = append(forms, digits, "+"+strings.TrimPrefix(digits, "00"))
	}
	return forms
}

// listSQL is the statement of one step of a listing.
func listSQL(where, direction string) string {
	return "SELECT " + rowColumns + " WHERE v.change_seq BETWEEN ? AND ?" + where + " AND " + newestOnly + " ORDER BY v.change_seq " + direction + " LIMIT ?"
}

// rows appends up to limit rows of one step.
func (a *Activity) rows(ctx context.Context, dst []Row, s span, where, direction string, limit int, args []any) ([]Row, error) {
	all := append(slices.Concat([]any{s.from, s.to}, args), limit)
	rows, err := a.DB.QueryContext(ctx, listSQL(where, direction), all...)
	if err != nil {
		return nil, fmt.Errorf("list activity: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var r Row
		if _, err := scanRow(rows.Scan, &r); err != nil {
			return nil, fmt.Errorf("list activity: %w", err)
		}
		dst = append(dst, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list activity: %w", err)
	}
	return dst, nil
}

// scanRow reads rowColumns; it also gives the report.
func scanRow(scan func(...any) error, r *Row) (report []byte, err error) {
	var id event.ID
	var detail []byte
	l := &r.Latency
	err = scan(&r.ChangeSeq, &id.Stream, &id.Seq, &id.N, &r.Revision, &r.Final, &r.Status, &r.Reason, &detail, &r.Source, &r.ReceivedAt, &r.DecidedAt,
		&r.Kind, &r.Strategy, &r.Candidates, &r.CallID, &r.CallCaller, &r.Caller, &r.Duration, &r.Payout, &r.Currency, &r.Value, &r.Delta, &r.ShareDelta,
		&r.Mapper, &r.Peer, &l.Queue, &l.Map, &l.Match, &l.Total, &report, &r.Campaign, &r.Publisher, &r.Buyer)
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
		TransactionID *string `json:"transaction_id"`
		StartedAt     *string `json:"started_at"`
	}
	if err := json.Unmarshal(report, &said); err != nil {
		return nil, fmt.Errorf("report of event %s: %w", id, err)
	}
	r.ReportedRefID, r.ReportedCallID, r.ReportedNetworkCallID = said.RefID, said.CallID, said.NetworkCallID
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

// readOnly runs fn on one snapshot of the store.
func readOnly(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	return fn(tx)
}
