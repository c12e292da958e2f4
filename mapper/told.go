package mapper

import (
	"fmt"
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/source"
)

// told is one report as a partner's mapper said it: field ids of the ABI are
// slots, counted from one.
type told struct {
	slots [source.SlotCount]string
	extra []event.Pair
	error string
	wrong bool // error was said, even if empty
}

func (t *told) reset() { *t = told{extra: t.extra[:0]} }

// reports appends the events of what a partner's mapper said of rec. out is a
// view that lives as long as the batch. A broken rule makes one event for the
// dead letters of it, and whatever came before it in out is nothing.
func (w *worker) reportsOf(rec *event.Record, name string, fuel int64, out []byte) {
	first := len(w.b.Events)
	w.said.reset()
	r := abi.Read(out)
	n := 0
	for f, ok := r.Next(); ok; f, ok = r.Next() {
		switch f.ID {
		case abi.FieldNextReport:
			w.toldReport(rec, name, n)
			n++
		case abi.FieldError:
			w.said.error, w.said.wrong = event.View(f.Value), true
		case abi.FieldExtension:
			w.said.extra = append(w.said.extra, event.Pair{Name: event.View(f.Key), Value: event.View(f.Value)})
		default:
			w.said.slots[f.ID-1] = event.View(f.Value)
		}
	}
	if err := r.Err(); err != nil {
		w.b.Events = w.b.Events[:first]
		w.broke(rec, name, fuel, event.MapperResultBad, event.Detail{Got: w.got(err.Error())})
		return
	}
	w.toldReport(rec, name, n)
	w.b.Events[first].Fuel = fuel
}

// toldReport appends report n of rec, as w.said has it.
func (w *worker) toldReport(rec *event.Record, name string, n int) {
	w.e = w.newEvent(rec, n)
	w.e.Mapper = name
	r := &w.e.Report
	w.told = &w.said
	defer func() { w.told = nil; w.said.reset() }()
	if w.said.wrong {
		w.refuse(event.MapperRefused, event.Detail{Got: w.got(w.said.error)})
	}
	w.fill(r)
	id := w.identity()
	for _, p := range w.said.extra {
		kept := event.Pair{Name: w.printable(p.Name), Value: event.Redacted}
		if !w.isSecret(p.Name) {
			kept.Value = w.printable(p.Value)
		}
		r.Extra = append(r.Extra, kept)
	}
	w.digest = event.Identify(w.e, rec.Source, id, w.digest)
}

// slot gives what a partner's mapper said of a slot. It has no field for
// rewards: an extension of that name holds them.
func (t *told) slot(s source.Slot) (v value, ok bool) {
	text := t.slots[s]
	if s == source.SlotReward {
		v, _ = t.extension(s.String())
		text = v.text
	}
	return value{name: s.String(), text: text, by: &plain}, !blank(text)
}

// named gives what a partner's mapper said under a name: in a field of ours, or
// in an extension of that name.
func (t *told) named(name string) (v value, ok bool) {
	for slot := range source.SlotCount {
		if text := t.slots[slot]; slot.String() == name && !blank(text) {
			return value{name: name, text: text, by: &plain}, true
		}
	}
	return t.extension(name)
}

func (t *told) extension(name string) (v value, ok bool) {
	for _, p := range t.extra {
		if strings.EqualFold(p.Name, name) && !blank(p.Value) {
			return value{name: p.Name, text: p.Value, by: &plain}, true
		}
	}
	return value{}, false
}

// codes of a mapper that reports nothing.
var codes = map[uint32]event.Reason{
	abi.CodeMalformed:    event.BodyMalformed,
	abi.CodeFieldMissing: event.FieldMissing,
	abi.CodeUnsupported:  event.Unsupported,
}

// nothing appends the event of a record of which its mapper reports nothing,
// and says why by a code.
func (w *worker) nothing(rec *event.Record, name string, fuel int64, code uint32) {
	if code > abi.CodeUnsupported && code < abi.CodeOwnMin {
		w.broke(rec, name, fuel, event.MapperResultBad, event.Detail{Got: fmt.Sprintf("code %d is reserved", code)})
		return
	}
	e := w.newEvent(rec, 0)
	e.Mapper, e.Fuel = name, fuel
	if code == abi.CodeDrop {
		e.Report.Dropped, e.Report.Invalid = true, event.MapperDropped
	} else {
		reason, known := codes[code]
		if !known {
			reason = event.MapperRefused
		}
		e.Report.Invalid, e.Report.Detail = reason, event.Detail{Field: "mapper", Got: fmt.Sprintf("code %d", code)}
	}
	w.digest = event.Identify(e, rec.Source, "", w.digest)
}

// broke appends an event for the dead letters: the mapper is at fault.
func (w *worker) broke(rec *event.Record, name string, fuel int64, reason event.Reason, d event.Detail) {
	e := w.newEvent(rec, 0)
	e.Mapper, e.Fuel = name, fuel
	e.Report.Failed, e.Report.Invalid, e.Report.Detail = true, reason, d
	w.digest = event.Identify(e, rec.Source, "", w.digest)
}

// unmapped appends the event of a record that waits for its mapper.
func (w *worker) unmapped(rec *event.Record, name, why string) {
	e := w.newEvent(rec, 0)
	e.Mapper = name
	e.Report.Unmapped, e.Report.Invalid, e.Report.Detail.Got = true, event.MapperUnavailable, w.got(why)
	w.digest = event.Identify(e, rec.Source, "", w.digest)
}
