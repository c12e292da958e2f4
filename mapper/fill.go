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
	r.RefID = w.id(source.SlotRefID)
	r.CallID = w.id(source.SlotCallID)
	r.NetworkCallID = w.id(source.SlotNetworkCallID)
	r.TransactionID = w.id(source.SlotTransactionID)
	if v, ok := w.slot(source.SlotCaller); ok {
		r.CallerRaw = w.printable(cut(v.text, TextBytesMax))
		r.Caller = w.m.numbers.normalise(w.b, w.source().Region, v.text)
	}
	if v, ok := w.slot(source.SlotDuration); ok {
		if r.Duration.N, r.Duration.OK = readDuration(v.text, v.by.Duration); !r.Duration.OK {
			w.misread(event.DurationBad, v)
		}
	}
	w.payout(r)
	w.currency(r)
	r.StartedAt = w.time(source.SlotStartedAt)
	r.OccurredAt = w.time(source.SlotOccurredAt)
	w.status(r)
	if !r.HasPayout && r.Kind != event.Reversal {
		w.refuse(event.PayoutMissing, event.Detail{})
	}
}

// status keeps the sender's own word, and takes the kind from it where the
// source says what words mean. A kind of its own in the postback goes first.
func (w *worker) status(r *event.Report) {
	v, ok := w.slot(source.SlotStatus)
	if !ok {
		return
	}
	r.Status = w.printable(cut(strings.TrimSpace(v.text), TextBytesMax))
	m, known := w.source().MeaningOf(r.Status)
	switch {
	case !known:
		w.misread(event.StatusUnknown, v)
	case m.Ignore:
		r.Dropped = true
		r.Invalid, r.Detail = event.StatusIgnored, event.Detail{Field: w.named(v.name), Got: w.got(v.text)}
	case w.source().Statuses != nil && r.Kind == event.Conversion:
		r.Kind = m.Kind
	}
}

// misread refuses the report for the value of one field.
func (w *worker) misread(reason event.Reason, v value) {
	w.refuse(reason, event.Detail{Field: w.named(v.name), Got: w.got(v.text)})
}

func (w *worker) kind(r *event.Report) {
	v, ok := w.slot(source.SlotKind)
	if !ok {
		return
	}
	text := strings.TrimSpace(v.text)
	for _, k := range [...]event.Kind{event.Conversion, event.Reversal, event.Adjustment} {
		if strings.EqualFold(text, k.String()) {
			r.Kind = k
			return
		}
	}
	w.misread(event.KindUnknown, v)
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
// ever, "" when the source has no such field. Constants identify nothing.
func (w *worker) identity() string {
	if w.told != nil {
		return w.toldIdentity()
	}
	t := w.table
	if t.identity < 0 {
		return ""
	}
	if t.idSlot >= 0 {
		if v, ok := w.slot(source.Slot(t.idSlot)); ok && v.by != &plain {
			return w.identifies(v)
		}
	}
	for _, from := range [...]origin{fromBody, fromQuery} {
		if f := w.first(t.identity, from); f != nil {
			return w.identifies(value{name: f.name, text: f.text})
		}
	}
	w.refuse(event.IdentityMissing, event.Detail{Field: w.source().Spec.Identity})
	return ""
}

// identifies is checkedID of what has to be there.
func (w *worker) identifies(v value) string {
	if strings.TrimSpace(v.text) == event.Redacted {
		w.refuse(event.IdentityMissing, event.Detail{Field: w.source().Spec.Identity})
	}
	return w.checkedID(v)
}

func (w *worker) payout(r *event.Report) {
	v, ok := w.slot(source.SlotPayout)
	if !ok {
		return
	}
	amount, ok := readAmount(v.text, v.by)
	switch {
	case !ok:
		w.misread(event.PayoutUnreadable, v)
		return
	case amount < 0 && !w.source().Policy.NegativeReverses:
		w.misread(event.PayoutNegative, v)
	case amount < 0:
		amount, r.Kind = -amount, event.Reversal
	}
	r.Payout.Amount, r.HasPayout = amount, true
}

func (w *worker) currency(r *event.Report) {
	v, ok := w.slot(source.SlotCurrency)
	if !ok {
		r.Payout.Currency = w.source().Policy.Currency
		return
	}
	code := strings.TrimSpace(v.text)
	if len(code) < 3 || len(code) > 12 || strings.ContainsFunc(code, notCode) {
		w.misread(event.CurrencyBad, v)
		return
	}
	r.Payout.Currency = w.upper(code)
}

func notCode(r rune) bool {
	return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
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
