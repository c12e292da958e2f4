package sink

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// Event gives the whole timeline of one event. ErrNotFound when there is no
// such event, or none that has a verdict: calls have none.
func (a *Activity) Event(ctx context.Context, id event.ID) (*Timeline, error) {
	t := &Timeline{Revisions: []Revision{}, Postings: []EventPosting{}}
	err := lookUp(ctx, a.DB, func(tx *sql.Tx) error {
		err := t.readRow(ctx, tx, id)
		if errors.Is(err, sql.ErrNoRows) {
			return notInLog(ctx, tx, id)
		}
		if err != nil {
			return err
		}
		for _, part := range []func(context.Context, *sql.Tx, event.ID) error{t.readRevisions, t.readRequest, t.readPostings, t.readParking} {
			if err := part(ctx, tx, id); err != nil {
				return err
			}
		}
		return nil
	})
	switch {
	case err == nil:
		return t, nil
	case errors.Is(err, ErrNotFound):
		return nil, err
	}
	return nil, fmt.Errorf("read event %s: %w", id, err)
}

// eventKey gives the columns of id as arguments.
func eventKey(id event.ID) []any { return []any{int64(id.Stream), int64(id.Seq), int64(id.N)} }

func (t *Timeline) readRow(ctx context.Context, tx *sql.Tx, id event.ID) error {
	var considered []byte
	row := tx.QueryRowContext(ctx, `SELECT v.considered, `+rowColumns+` WHERE v.stream = $1 AND v.seq = $2 AND v.n = $3 ORDER BY v.revision DESC LIMIT 1`, eventKey(id)...)
	report, err := scanRow(func(dst ...any) error { return row.Scan(append([]any{&considered}, dst...)...) }, &t.Row)
	if err != nil {
		return err
	}
	t.Report = report
	switch {
	case considered != nil && !json.Valid(considered):
		return fmt.Errorf("considered %.64q is not JSON", considered)
	case considered != nil:
		t.Considered = considered
	case t.CallID != nil && t.Strategy != "":
		t.Considered, err = json.Marshal([]Candidate{{CallID: *t.CallID, Fits: true}})
	default:
		t.Considered = json.RawMessage("[]")
	}
	return err
}

func (t *Timeline) readRevisions(ctx context.Context, tx *sql.Tx, id event.ID) error {
	rows, err := tx.QueryContext(ctx, `SELECT revision, final, decided_at, status, reason, coalesce(detail, ''), strategy, candidates, call_id, value, currency, delta, share_delta, change_seq
FROM verdict WHERE stream = $1 AND seq = $2 AND n = $3 ORDER BY revision`, eventKey(id)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var r Revision
		var detail []byte
		if err := rows.Scan(&r.Revision, &r.Final, &r.DecidedAt, &r.Status, &r.Reason, &detail, &r.Strategy, &r.Candidates, &r.CallID, &r.Value, &r.Currency, &r.Delta, &r.ShareDelta, &r.ChangeSeq); err != nil {
			return err
		}
		if r.ReasonText, err = reasonText(r.Status, r.Reason, detail); err != nil {
			return err
		}
		t.Revisions = append(t.Revisions, r)
	}
	return rows.Err()
}

// readRequest reads the raw request, which the record's first report keeps.
func (t *Timeline) readRequest(ctx context.Context, tx *sql.Tx, id event.ID) error {
	var raw []byte
	err := tx.QueryRowContext(ctx, `SELECT raw FROM verdict WHERE stream = $1 AND seq = $2 AND n = 0 AND revision = 1`, int64(id.Stream), int64(id.Seq)).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && raw == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	t.Request, err = ParseRaw(raw)
	return err
}

func (t *Timeline) readPostings(ctx context.Context, tx *sql.Tx, id event.ID) error {
	rows, err := tx.QueryContext(ctx, `SELECT p.no, p.cause, p.currency, p.value, p.share, p.delta, p.share_delta, t.line, d.kind, d.owner, c.kind, c.owner, t.amount, t.currency
FROM posting p JOIN transfer t ON t.posting = p.no JOIN account d ON d.id = t.debit_account JOIN account c ON c.id = t.credit_account
WHERE p.stream = $1 AND p.seq = $2 AND p.n = $3 ORDER BY p.no, t.line`, eventKey(id)...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p EventPosting
		var l Line
		var debit, credit account
		if err := rows.Scan(&p.No, &p.Cause, &p.Currency, &p.Value, &p.Share, &p.Delta, &p.ShareDelta, &l.Line, &debit.kind, &debit.owner, &credit.kind, &credit.owner, &l.Amount, &l.Currency); err != nil {
			return err
		}
		l.Debit, l.Credit = debit.name(), credit.name()
		if n := len(t.Postings); n == 0 || t.Postings[n-1].No != p.No {
			t.Postings = append(t.Postings, p)
		}
		last := &t.Postings[len(t.Postings)-1]
		last.Transfers = append(last.Transfers, l)
	}
	return rows.Err()
}

func (t *Timeline) readParking(ctx context.Context, tx *sql.Tx, id event.ID) error {
	err := tx.QueryRowContext(ctx, `SELECT deadline FROM parked WHERE stream = $1 AND seq = $2 AND n = $3`, eventKey(id)...).Scan(&t.ParkedUntil)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}
