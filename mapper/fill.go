package mapper

import (
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// fill reads every slot into r. The first that cannot be read makes the
// report invalid; the others are still read, for people to see.
func (w *worker) fill(r *event.Report) {
	w.kind(r)
	r.CallID = w.callID(r)
	if w.ofCall == "" { // what a path opens is its own call, whatever the fields name
		r.RefID, r.NetworkCallID = w.id(source.SlotRefID), w.id(source.SlotNetworkCallID)
	}
	r.TransactionID = w.id(source.SlotTransactionID)
	r.Key, r.Query = w.callKey(), w.query
	if v, ok := w.slot(source.SlotCaller); ok {
		r.CallerRaw = w.printable(cut(v.text, TextBytesMax))
		if w.ofCall == "" {
			r.Caller = w.m.numbers.normalise(w.b, w.source().Region, v.text)
		}
	}
	if v, ok := w.slot(source.SlotDuration); ok {
		if r.Duration.N, r.Duration.OK = readDuration(v.text, v.by.Duration); !r.Duration.OK {
			w.misread(event.DurationBad, v)
		}
	}
	r.StartedAt = w.time(source.SlotStartedAt)
	r.OccurredAt = w.time(source.SlotOccurredAt)
	w.status(r)
	w.money(r)
	w.account(r)
}

// misread refuses the report for the value of one field.
func (w *worker) misread(reason event.Reason, v value) {
	w.refuse(reason, event.Detail{Field: w.named(v.name), Got: w.shown(v.name, v.text)})
}

// id reads a slot that holds an identifier; "" when there is none to be had.
func (w *worker) id(s source.Slot) string {
	v, ok := w.slot(s)
	if !ok {
		return ""
	}
	return w.checkedID(v)
}

// checkedID trims blanks. An identifier that is too long or holds control
// characters is refused rather than mended: mended, it could be another's.
//
// A masked secret names nothing: whatever was masked would be the same.
func (w *worker) checkedID(v value) string {
	id := strings.TrimSpace(v.text)
	if id == event.Redacted {
		return ""
	}
	if len(id) > IDBytesMax || strings.ContainsFunc(id, control) {
		w.misread(event.BodyMalformed, v)
		return ""
	}
	return id
}

// identity gives the value by which the sender identifies the postback for
// ever, without the prefix of what takes back; "" when the source has no such
// field.
func (w *worker) identity() string {
	spec := &w.source().Spec
	if spec.Identity == "" {
		return ""
	}
	v, ok := w.identifying()
	id := ""
	if ok {
		id, _ = strings.CutPrefix(w.checkedID(v), spec.ReversalPrefix)
	}
	if id == "" { // refused as unreadable already, it stays that
		w.refuse(event.IdentityMissing, event.Detail{Field: spec.Identity})
	}
	return id
}

// identifying finds the field that identifies the postback. Constants identify
// nothing.
func (w *worker) identifying() (v value, ok bool) {
	if w.told != nil {
		return w.told.named(w.source().Spec.Identity)
	}
	t := w.table
	if t.idSlot >= 0 {
		if v, ok := w.slot(source.Slot(t.idSlot)); ok && !v.constant {
			return v, true
		}
	}
	f := w.anywhere(t.identity)
	if f == nil {
		return value{}, false
	}
	return value{name: f.name, text: f.text}, true
}

func (w *worker) time(s source.Slot) int64 {
	v, ok := w.slot(s)
	if !ok {
		return 0
	}
	at, ok := readTime(v.text, w.source().Zone)
	if !ok {
		w.misread(event.TimeBad, v)
	}
	return at
}
