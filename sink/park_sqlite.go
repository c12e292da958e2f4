package sink

import (
	"database/sql"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// waitingFor gives the stored parked events that wait for the name k. They are
// read once per transaction: a caller's calls often come in a row.
func (t *sqliteTx) waitingFor(k event.CallKey, w *work) (list []*waiting, err error) {
	list, known := w.waits[k]
	if known {
		return list, nil
	}
	err = t.rows(qWaitingFor, func(r *sql.Rows) error {
		p, err := w.scanWaiting(r)
		list = append(list, p)
		return err
	}, int64(k))
	if err != nil {
		return nil, err
	}
	w.waits[k] = list
	return list, w.loadHeld(list)
}

// waitingUntil gives the parked events whose deadline has passed at time at.
func (t *sqliteTx) waitingUntil(at int64, limit int, w *work) (list []*waiting, err error) {
	err = t.rows(qWaitingUntil, func(r *sql.Rows) error {
		p, err := w.scanWaiting(r)
		if err == nil && !w.done[p.id] {
			list = append(list, p)
		}
		return err
	}, at, int64(limit))
	if err != nil {
		return nil, err
	}
	return list, w.loadHeld(list)
}

// loadHeld loads the identities that the parked events hold.
func (w *work) loadHeld(list []*waiting) error {
	var keys []idKey
	for _, p := range list {
		keys = append(keys, p.key)
	}
	return w.tx.loadIdentities(keys, w)
}

func (w *work) scanWaiting(r *sql.Rows) (*waiting, error) {
	p := new(waiting)
	v := &p.v
	var key, report []byte
	var kind string
	err := r.Scan(&p.id.Stream, &p.id.Seq, &p.id.N, &key, &v.v.Revision, &v.source, &v.receivedAt, &kind, &v.caller,
		&v.mapper, &v.peer, &v.usQueue, &v.usMap, &v.usMatch, &report)
	if err != nil {
		return nil, err
	}
	if len(key) != len(idKey{}) {
		return nil, fmt.Errorf("parked event %s holds an identity of %d bytes", p.id, len(key))
	}
	p.key, p.at = idKey(key), v.receivedAt
	p.weak = p.key[0] == classWeak
	if p.r, err = event.ParseReportJSON(report); err != nil {
		p.r, p.broken = new(event.Report), event.ReportUnreadable
	} else if p.p = w.l.Policy(v.source); p.p == nil {
		p.broken = event.SourceUnknown
	}
	if p.p == nil {
		p.p = &event.Policy{Source: v.source}
	}
	v.kind, v.report = p.r.Kind, report
	v.duration, v.hasPayout, v.payout, v.currency = p.r.Duration, p.r.HasPayout, p.r.Payout.Amount, p.r.Payout.Currency
	return p, nil
}

// recorded fills in the verdicts of events that an earlier transaction has
// decided already.
func (w *work) recorded(events []event.Event) error {
	for i := range events {
		e := &events[i]
		if e.IsCall {
			if err := w.tx.loadCallsByID([]string{e.Call.CallID}, w); err != nil {
				return err
			}
			if row := w.byID[e.Call.CallID]; row != nil {
				w.told = append(w.told, toldCall{e, row})
			}
			continue
		}
		err := w.tx.rows(qRecorded, func(r *sql.Rows) error {
			var v event.Verdict
			var status, strategy, detail string
			if err := r.Scan(&v.Event.N, &v.Revision, &v.ChangeSeq, &status, &v.Reason, &detail, &strategy, &v.Candidates,
				&v.CallNo, &v.CallID, &v.Currency, &v.Value, &v.Delta, &v.ShareDelta); err != nil {
				return err
			}
			if v.Event.N != e.ID.N {
				return nil
			}
			v.Event = e.ID
			if err := v.Status.UnmarshalText([]byte(status)); err != nil {
				return err
			}
			if err := v.Strategy.UnmarshalText([]byte(strategy)); err != nil {
				return err
			}
			d, err := event.ParseDetail([]byte(detail))
			v.Detail, e.Verdict = d, v
			e.Verdict.Detail = d
			return err
		}, int64(e.ID.Stream), int64(e.ID.Seq))
		if err != nil {
			return fmt.Errorf("verdict recorded for event %s: %w", e.ID, err)
		}
	}
	return nil
}
