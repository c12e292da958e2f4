package mapper

import (
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// What a report does is said in up to four places. A conversion is what it is
// unless one says otherwise, and the first in this order that does counts:
//
//	the field kind
//	the prefix of the identity: r-381f… takes back 381f…
//	the sender's word in status, where the source says what words mean
//	an amount below zero, where the source says that this takes back
//
// So no word for a conversion ever books what something else there takes back.

// kind reads what the field kind and the prefix of the identity say.
func (w *worker) kind(r *event.Report) {
	if v, ok := w.slot(source.SlotKind); ok {
		if r.Kind, ok = kindWord(v.text); !ok {
			w.misread(event.KindUnknown, v)
		}
	}
	if r.Kind == event.Conversion && w.prefixed() {
		r.Kind = event.Reversal
	}
}

func kindWord(text string) (event.Kind, bool) {
	text = strings.TrimSpace(text)
	for _, k := range [...]event.Kind{event.Conversion, event.Reversal, event.Adjustment} {
		if strings.EqualFold(text, k.String()) {
			return k, true
		}
	}
	return event.Conversion, false
}

// prefixed reports whether the identity has the prefix of what takes back.
func (w *worker) prefixed() bool {
	prefix := w.source().Spec.ReversalPrefix
	if prefix == "" {
		return false
	}
	v, ok := w.identifying()
	return ok && strings.HasPrefix(strings.TrimSpace(v.text), prefix)
}

// status keeps the sender's own word, and takes the kind from it where the
// source says what words mean.
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
