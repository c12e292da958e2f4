package mapper

import (
	"slices"
	"strings"
	"unicode"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// accountPart is a literal of an account's name, or the fields of which the
// first that has a value stands there.
type accountPart struct {
	literal string
	label   string // the fields as the source has them: user_id|uid; "" is a literal
	fields  []string
	entries []int16 // places of fields in the table
}

// accountPart makes the table know the fields of p. The key of a call opens its
// call, so it names nothing.
func (t *table) accountPart(p source.AccountPart, seed uint32) accountPart {
	part := accountPart{literal: p.Literal, label: strings.Join(p.Fields, "|")}
	for _, name := range p.Fields {
		entry := t.add(name, seed)
		if !slices.Contains(t.slots[source.SlotKey], entry) {
			part.fields, part.entries = append(part.fields, name), append(part.entries, entry)
		}
	}
	return part
}

// account renders the name of the account that the report changes. What it is
// made of stays where it is as well: people look for it under its own name.
func (w *worker) account(r *event.Report) {
	parts := w.table.account
	if len(parts) == 0 {
		return
	}
	var texts [source.AccountPartsMax]string
	var longest value
	size := 0
	for i := range parts {
		text := parts[i].literal
		if parts[i].label != "" {
			v, ok := w.accountField(&parts[i])
			if !ok && r.Kind == event.Reversal {
				return // what it takes back says whose it is
			}
			if !ok {
				w.refuse(event.AccountMissing, event.Detail{Field: w.named(parts[i].label)})
				return
			}
			if text = strings.TrimSpace(v.text); strings.ContainsFunc(text, unicode.IsControl) {
				w.misread(event.AccountMissing, v)
				return
			}
			// user:{a}:{b} names one account for each pair only while a has no colon.
			if i+1 < len(parts) && strings.Contains(text, parts[i+1].literal) {
				w.misread(event.AccountMissing, v)
				return
			}
			if len(text) >= len(longest.text) {
				longest = v
			}
		}
		texts[i] = text
		size += len(text)
	}
	if size > source.AccountBytesMax {
		w.misread(event.AccountMissing, longest)
		return
	}
	if len(parts) == 1 {
		r.Account = texts[0]
		return
	}
	name := w.b.Alloc(size)[:0]
	for _, text := range texts[:len(parts)] {
		name = append(name, text...)
	}
	r.Account = event.View(name)
}

// accountField finds the first of a part's fields that has a value. A masked
// secret is none: all of them would name one account.
func (w *worker) accountField(p *accountPart) (v value, ok bool) {
	for i, name := range p.fields {
		if w.told != nil {
			v, ok = w.told.named(name)
		} else if f := w.anywhere(p.entries[i]); f != nil {
			v, ok = value{name: f.name, text: f.text}, true
		}
		if ok && strings.TrimSpace(v.text) != event.Redacted {
			return v, true
		}
	}
	return value{}, false
}
