package sink

import (
	"github.com/tallyhook/tallyhook/event"
)

// upsert merges one telling of a call, carries what it changes into what is
// booked, and decides the parked events that waited for it.
func (w *work) upsert(e *event.Event) error {
	if e.Report.Failed || e.Report.Invalid != "" {
		return w.report(e) // a record that holds no readable call: a dead letter
	}
	row, rank := w.byID[e.Call.CallID], event.Rank{At: e.Record.ReceivedAt, ID: e.ID}
	if row == nil {
		w.callNo++
		row = &callRow{Call: event.Call{No: w.callNo, CallID: clone(e.Call.CallID)}, isNew: true}
		w.add(row)
	}
	if !row.dirty {
		row.was = callNames{keys: row.AppendKeys(nil), at: row.StartedAt}
		if row.isNew {
			row.was = callNames{}
		}
	}
	set := row.merge(&e.Call, rank)
	if set != 0 || row.isNew {
		w.callChange++
		row.change, row.dirty = w.callChange, true
		for _, k := range row.AppendKeys(w.keys[:0]) {
			w.byKey[k] = append(w.byKey[k], row.No)
			w.recent = append(w.recent, recentCall{row.change, k, row.No})
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
	ids := append(e.Call.NetworkIDs[:0], row.NetworkIDs...)
	e.Call = row.Call
	e.Call.NetworkIDs = ids
	return nil
}
