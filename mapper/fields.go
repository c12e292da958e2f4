package mapper

import (
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// field is one name and value of a postback, unescaped, nested names dotted.
type field struct {
	name, text string
	hash       uint32
	entry      int16 // place in the table's names, -1 when nobody wants it
	from       origin
	used       bool // a slot took its value
	repeat     bool // said before with the same value
}

type origin uint8

const (
	fromQuery origin = iota
	fromBody
	origins = 2
)

// add appends a field; it reports false when there are too many.
func (w *worker) add(name, text string, from origin) bool {
	if w.input != nil {
		return w.pair(w.kinds[from], name, text)
	}
	if len(w.fields) == FieldsMax {
		return false
	}
	h := foldHash(w.m.seed, name)
	w.fields = append(w.fields, field{name: name, text: text, hash: h, entry: w.table.find(h, name), from: from})
	return true
}

var tooManyFields = event.Detail{Limit: FieldsMax}

func blank(s string) bool { return strings.TrimSpace(s) == "" }

// resolve notes where each wanted name has its value. Two different values
// under one name of one origin are refused: who checks a signature may read
// the one, we the other.
func (w *worker) resolve() {
	w.seen = w.seen[:origins*len(w.table.names)]
	clear(w.seen)
	for i := range w.fields {
		f := &w.fields[i]
		f.used, f.repeat = false, false
		if f.entry < 0 || blank(f.text) {
			continue
		}
		at := &w.seen[origins*int(f.entry)+int(f.from)]
		switch {
		case *at == 0:
			*at = int16(i + 1)
		case w.fields[*at-1].text == f.text:
			f.repeat = true
		default:
			w.refuse(event.BodyDuplicateKey, event.Detail{Field: w.named(f.name), Got: w.got(f.name)})
		}
	}
}

// value is what a slot is to be read from.
type value struct {
	name     string // as sent
	text     string
	by       *source.Transforms // the notation it is in
	constant bool               // the source's own, not sent
}

// plain is the notation of constants: ours, whatever the sender's is.
var plain source.Transforms

// slot finds the value of a slot: what the operator's own names hold, else
// what the preset's names hold, in their order, and under each of the two the
// body before the query; else the constant.
func (w *worker) slot(s source.Slot) (v value, ok bool) {
	if w.told != nil {
		v, ok = w.told.slot(s)
	} else if f := w.holder(s); f != nil {
		f.used = true
		return value{name: f.name, text: f.text, by: &w.source().Spec.Transforms}, true
	}
	if c := w.source().Constants[s]; !ok && c != "" {
		return value{name: s.String(), text: c, by: &plain, constant: true}, true
	}
	return v, ok
}

// holder finds the field that fills a slot, nil when none does.
func (w *worker) holder(s source.Slot) *field {
	names, chosen := w.table.slots[s], w.table.chosen[s]
	for _, tier := range [...][]int16{names[:chosen], names[chosen:]} {
		if f := w.firstOf(tier, fromBody); f != nil {
			return f
		}
		if f := w.firstOf(tier, fromQuery); f != nil {
			return f
		}
	}
	return nil
}

// firstOf finds the first field with a value under any of names, in their order.
func (w *worker) firstOf(names []int16, from origin) *field {
	if from == fromBody && len(w.fields) == w.shared {
		return nil // there is no body
	}
	for _, n := range names {
		if f := w.first(n, from); f != nil {
			return f
		}
	}
	return nil
}

// anywhere finds a field with a value under a name, in the body before the query.
func (w *worker) anywhere(name int16) *field {
	if f := w.first(name, fromBody); f != nil {
		return f
	}
	return w.first(name, fromQuery)
}

// first finds the first field with a value under a name of the table.
func (w *worker) first(name int16, from origin) *field {
	if at := w.seen[origins*int(name)+int(from)]; at > 0 {
		return &w.fields[at-1]
	}
	return nil
}

func (w *worker) source() *source.Source {
	if w.src == nil {
		return w.m.unknown
	}
	return w.src
}

// extra keeps what no slot took, in order, under the names as sent. Values
// that look like secrets are masked: reports are stored and shown. Keys of
// calls are not even named.
func (w *worker) extra(r *event.Report) {
	for i := range w.fields {
		f := &w.fields[i]
		if f.used || f.repeat || (f.entry >= 0 && (blank(f.text) || w.isKey(f.entry))) {
			continue
		}
		if len(r.Extra) == 0 {
			clear(w.spelt[:])
		}
		p := event.Pair{Name: w.spelling(i), Value: "***"}
		if !secret(f.name) {
			p.Value = w.printable(f.text)
		}
		r.Extra = append(r.Extra, p)
	}
}

// spelling gives the name of a field as it was first spelt: names that differ
// in case only are one name.
func (w *worker) spelling(i int) string {
	f := &w.fields[i]
	for at := f.hash % uint32(len(w.spelt)); ; at = (at + 1) % uint32(len(w.spelt)) {
		if w.spelt[at] == 0 {
			w.spelt[at] = int16(i + 1)
			return w.printable(f.name)
		}
		if g := &w.fields[w.spelt[at]-1]; g.hash == f.hash && strings.EqualFold(g.name, f.name) {
			return w.printable(g.name)
		}
	}
}

// isKey reports whether a name of the table is one under which keys come.
func (w *worker) isKey(name int16) bool { return slices.Contains(w.table.slots[source.SlotKey], name) }

// shown is the value of a field as Detail holds it.
func (w *worker) shown(name, text string) string {
	if secret(name) || w.input == nil && w.keyNamed(name) {
		return event.Redacted
	}
	return w.got(text)
}

// secret reports whether any part of a dotted name looks like a secret's.
func secret(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if event.SecretName(part) {
			return true
		}
	}
	return false
}
