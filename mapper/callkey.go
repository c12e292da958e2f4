package mapper

import (
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// QueryBytesMax is how much of a request's query a report keeps for the
// triggers of conversion groups. Longer ones end with the last whole pair.
const QueryBytesMax = 2 << 10

// open notes what a request says beside its fields: the call that its path
// names, the key that it shows, and what triggers are looked for in.
func (w *worker) open(rec *event.Record) {
	w.ofCall, w.query, w.key, w.keyed = "", "", "", rec.Flags&event.FlagKeyed != 0
	for i := range rec.Headers {
		if rec.Headers[i].Name == event.HeaderCallID {
			w.ofCall = strings.TrimSpace(rec.Headers[i].Value)
		}
	}
	if w.source().Policy.Triggers {
		w.query = w.triggers(rec)
	}
	if !w.keyed && w.source().MapperName != "" && len(w.table.slots[source.SlotKey]) > 0 {
		w.key = w.keyShown(rec)
	}
}

// callID reads the id of the call. The path goes first, as the key that was
// checked is that call's; what the fields say otherwise stays in extra.
func (w *worker) callID(r *event.Report) string {
	if w.ofCall == "" {
		return w.id(source.SlotCallID)
	}
	id := w.checkedID(value{name: source.SlotCallID.String(), text: w.ofCall})
	if w.told != nil {
		if v, ok := w.told.slot(source.SlotCallID); ok && strings.TrimSpace(v.text) != id {
			r.Extra = append(r.Extra, event.Pair{Name: v.name, Value: w.printable(v.text)})
		}
	} else if f := w.holder(source.SlotCallID); f != nil && strings.TrimSpace(f.text) == id {
		f.used = true
	}
	return id
}

// callKey is what the report keeps of the key of its call: that we issued it,
// or a digest.
func (w *worker) callKey() string {
	switch {
	case w.keyed:
		return event.KeyIssued
	case w.told != nil:
		return w.key
	case len(w.table.slots[source.SlotKey]) == 0:
		return ""
	}
	if f := w.holder(source.SlotKey); f != nil {
		return keyDigest(f.text)
	}
	return ""
}

// keyDigest digests a key; what was masked is none.
func keyDigest(key string) string {
	if key = strings.TrimSpace(key); key == "" || key == event.Redacted {
		return ""
	}
	return event.CallKeyDigest(key)
}

// keyShown finds the key in a request that a partner's mapper reads, which does
// not see secrets. Two different keys are none.
func (w *worker) keyShown(rec *event.Record) string {
	digest, several := "", false
	w.eachPair(rec, func(pair string) bool {
		rawName, rawText, _ := strings.Cut(pair, "=")
		name, _ := w.unescape(rawName)
		text, ok := w.unescape(rawText)
		if !ok || !w.keyNamed(name) {
			return true
		}
		if d := keyDigest(text); d != "" {
			several = digest != "" && digest != d
			digest = d
		}
		return !several
	})
	if several {
		return ""
	}
	return digest
}

// keyNamed reports whether keys of calls come under a name.
func (w *worker) keyNamed(name string) bool {
	entry := w.table.find(foldHash(w.m.seed, name), name)
	return entry >= 0 && w.isKey(entry)
}

// eachPair walks the raw pairs of the query, unless nothing of that counts, and
// those of a form that was sent to a call's path, until f has enough.
func (w *worker) eachPair(rec *event.Record, f func(pair string) bool) {
	var texts [2]string
	if !w.source().BodyOnly {
		texts[0] = rec.Query
	}
	if w.ofCall != "" && w.bodyKind(rec) == bodyForm {
		texts[1] = event.View(rec.Body)
	}
	for _, text := range texts {
		for text != "" {
			var pair string
			if pair, text, _ = strings.Cut(text, "&"); pair != "" && !f(pair) {
				return
			}
		}
	}
}

// triggers gives the raw pairs, without secrets, in which a conversion trigger
// may stand.
func (w *worker) triggers(rec *event.Record) string {
	p := w.plain[:0]
	w.eachPair(rec, func(pair string) bool {
		if len(p) > 0 {
			p = append(p, '&')
		}
		name, _, _ := strings.Cut(pair, "=")
		if plain, _ := w.unescape(name); w.keyNamed(plain) {
			p = append(append(append(p, name...), '='), event.Redacted...)
		} else {
			p = event.RedactQuery(p, pair)
		}
		return len(p) <= QueryBytesMax
	})
	w.plain = p[:0]
	text := w.printable(event.View(w.b.Copy(p)))
	if len(text) > QueryBytesMax {
		text = text[:max(0, strings.LastIndexByte(text[:QueryBytesMax+1], '&'))]
	}
	return text
}
