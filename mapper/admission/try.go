package admission

import (
	"context"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

const (
	differencesMax = 200 // lines of differences in one verdict
	brokenMax      = 10  // vectors on which a mapper may break before no more are put to it
)

// tryAll puts every vector to a fresh instance, then all of them to one that
// goes on: in their order, and once more backwards, so that each comes after
// other ones than before. What differs between those must be what a module
// keeps from one call to the next, which no replay could repeat.
func (t *trial) tryAll(ctx context.Context, w *wasm.Worker) error {
	var fresh []told
	broken := 0
	for n := range t.cases {
		w.Discard(t.program)
		a, err := t.try(ctx, w, n)
		if err != nil {
			return err
		}
		fresh = append(fresh, a)
		t.v.Vectors = append(t.v.Vectors, Vector{Name: t.cases[n].Name, Fuel: a.fuel, Pages: a.pages, Nanos: a.nanos})
		t.compare(n, &a)
		if a.broken != "" {
			if broken++; broken == brokenMax {
				break
			}
		}
	}
	if broken == 0 { // an instance that broke does not go on
		if err := t.tryAgain(ctx, w, fresh); err != nil {
			return err
		}
	}
	t.sum(fresh)
	return nil
}

func (t *trial) tryAgain(ctx context.Context, w *wasm.Worker, fresh []told) error {
	w.Discard(t.program)
	again := func(n int) error {
		a, err := t.try(ctx, w, n)
		if err != nil {
			return err
		}
		v := &t.v.Vectors[n]
		v.Fuel, v.Pages, v.Nanos = max(v.Fuel, a.fuel), max(v.Pages, a.pages), min(v.Nanos, a.nanos)
		fresh[n].stateful = fresh[n].stateful || a.text != fresh[n].text
		return nil
	}
	for n := range t.cases {
		if err := again(n); err != nil {
			return err
		}
	}
	for n := len(t.cases) - 1; n >= 0; n-- {
		if err := again(n); err != nil {
			return err
		}
	}
	return nil
}

// told is what the module made of one vector in one call.
type told struct {
	text     string // all that is known of its events
	diff     []string
	broken   event.Reason // why it goes to the dead letters, if it does
	said     string       // and what the runtime says of that
	stateful bool         // another call gave another text

	fuel  int64
	pages uint32
	nanos int64
}

// try puts case n to w's instance.
func (t *trial) try(ctx context.Context, w *wasm.Worker, n int) (a told, err error) {
	c := &t.cases[n]
	i, err := w.Instance(ctx, t.program)
	if err != nil {
		if err = t.fault(err); err == nil {
			err = errRefused
		}
		return a, err
	}
	t.batch.Reset()
	began := time.Now()
	if err := mapper.MapOne(ctx, i, t.program, c.Source, &c.Record, &t.batch); err != nil {
		return a, err
	}
	a.nanos = time.Since(began).Nanoseconds()
	a.fuel, a.pages = i.Fuel(), i.Pages()
	a.text = textOf(t.batch.Events)
	a.diff = c.Differences(t.batch.Events)
	for k := range t.batch.Events {
		if r := &t.batch.Events[k].Report; r.Failed && a.broken == "" {
			a.broken, a.said = r.Invalid, event.Sentence(event.Failed, r.Invalid, r.Detail)
		}
	}
	return a, nil
}

// textOf is everything that a mapper decides of its events.
func textOf(events []event.Event) string {
	var p []byte
	for k := range events {
		e := &events[k]
		p = event.AppendReportJSON(p, &e.Report)
		p = append(append(p, e.Report.Invalid...), e.Report.Detail.JSON()...)
		p = fmt.Appendf(p, "%t %t %x %x %x\n", e.Report.Failed, e.Report.Dropped, e.Strong, e.Weak, e.Money)
	}
	return string(p)
}

// compare notes what case n gave beside what it has to give.
func (t *trial) compare(n int, a *told) {
	v := &t.v.Vectors[n]
	v.OK = len(a.diff) == 0
	for _, d := range a.diff {
		if t.told == differencesMax {
			v.Diff = append(v.Diff, "and more")
			return
		}
		t.told++
		v.Diff = append(v.Diff, d)
	}
}

// sum makes refusals of what the vectors gave.
func (t *trial) sum(fresh []told) {
	var broke, differ, keep, hungry []string
	var first *told
	for n := range fresh {
		a, v := &fresh[n], &t.v.Vectors[n]
		t.v.WorstFuel = max(t.v.WorstFuel, v.Fuel)
		t.v.MemoryPages = max(t.v.MemoryPages, v.Pages)
		switch {
		case a.broken == event.MapperOutOfFuel || v.Fuel > t.FuelMax:
			hungry = append(hungry, v.Name)
		case a.broken != "":
			if broke = append(broke, v.Name); first == nil {
				first = a
			}
		case !v.OK:
			differ = append(differ, v.Name)
		case a.stateful:
			keep = append(keep, v.Name)
		default:
			continue
		}
		v.OK = false
	}
	if len(hungry) > 0 {
		t.v.refuse(CodeNeedsMoreFuel, "%s: a call takes up to %s units of fuel, and a mapper of its tier may have %s: let it do less in a call%s",
			names(hungry), t.taken(), grouped(t.FuelMax), t.largerTier())
	}
	if len(broke) > 0 {
		t.v.refuse(CodeVectorBroke, "%s: the mapper breaks (%s): %s", names(broke), first.broken, first.said)
	}
	if len(differ) > 0 {
		t.v.refuse(CodeVectorDiffers, "%s: what comes out is not what the vector wants; its differences stand beside it: mend the mapper, or the vector", names(differ))
	}
	if len(keep) > 0 {
		t.v.refuse(CodeKeepsState, "%s: the same request gives something else on an instance that has mapped others before, so the mapper keeps state between calls: "+
			"set every variable anew at the start of a call", names(keep))
	}
}

// taken is the worst vector's fuel for a sentence.
func (t *trial) taken() string {
	if most := max(t.FuelMax, FuelMaxLarge); t.v.WorstFuel > most {
		return "more than " + grouped(most)
	}
	return grouped(t.v.WorstFuel)
}

func (t *trial) largerTier() string {
	if t.FuelMax >= FuelMaxLarge || t.v.WorstFuel > FuelMaxLarge {
		return ""
	}
	return fmt.Sprintf(", or ask the operator for tier large (%s)", grouped(FuelMaxLarge))
}
