package sink

import (
	"github.com/tallyhook/tallyhook/event"
)

// upsert merges one telling of a call, carries what it changes into what is
// booked, and decides the parked events that waited for it.
func (w *work) upsert(e *event.Event) error {
	if e.Report.Failed || e.Report.Invalid != "" {
		return w.report(e, 0) // a record that holds no readable call: a dead letter
	}
	row, rank := w.byID[e.Call.CallID], event.Rank{At: e.Record.ReceivedAt, ID: e.ID}
	if row == nil {
		w.callNo++
		row = &callRow{Call: event.Call{No: w.callNo, CallID: clone(e.Call.CallID)}, isNew: true}
		w.add(row)
	}
	if !row.dirty && !row.isNew {
		row.was = row.names()
	}
	set := row.merge(&e.Call, rank)
	if set != 0 || row.isNew {
		w.callChange++
		row.change, row.dirty = w.callChange, true
		for _, k := range row.AppendKeys(w.keys[:0]) {
			if nos := w.byKey[k]; len(nos) == 0 || nos[len(nos)-1] != row.No {
				w.byKey[k] = append(nos, row.No)
			}
			w.recent = append(w.recent, recentCall{row.change, k, row.No})
		}
	}
	if set != 0 || row.isNew {
		if err := w.expects(row); err != nil {
			return err
		}
	}
	if set&(fieldBuyer|fieldPublisher|fieldCampaign|fieldQualified) != 0 {
		if err := w.rebook(row, e); err != nil {
			return err
		}
	}
	if set != 0 {
		if err := w.settleWaiting(row); err != nil {
			return err
		}
	}
	w.told = append(w.told, toldCall{e, row})
	return nil
}

// toldCall is an upsert whose event shall have the merged call, but only once
// the transaction has committed: a retry must find what was told.
type toldCall struct {
	e   *event.Event
	row *callRow
}

func (t toldCall) tell() {
	ids := append(t.e.Call.NetworkIDs[:0], t.row.NetworkIDs...)
	t.e.Call = t.row.Call
	t.e.Call.NetworkIDs = ids
}
