package mapper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

// askAll asks every group's version, as far as the time goes: each group may
// take its share of what is left, and what the cheap ones leave is the dear
// ones'. Candidates come last: they delay nobody.
func (m *Mapper) askAll(ctx context.Context, w *worker) error {
	left := BatchTimeMax
	for i := range w.groups {
		took, err := m.askGroup(ctx, w, &w.groups[i], min(SourceTimeMax, left/time.Duration(len(w.groups)-i)))
		if err != nil {
			return err
		}
		left -= took
	}
	left = min(left, ShadowTimeMax)
	for i := range w.groups {
		g := &w.groups[i]
		if g.named.Shadow == nil || g.version != g.named.Active {
			continue
		}
		took, err := m.askShadow(ctx, w, g, left)
		if err != nil {
			return err
		}
		left -= took
	}
	return nil
}

// watch looks at the clock while a group is asked: after every postback where
// one may take long, else now and then.
type watch struct {
	m     *Mapper
	start time.Time
	every int
	n     int
	took  time.Duration
}

func (m *Mapper) watch(v *Version) watch {
	every := clockEvery
	if mean := v.nanos.Load(); mean == 0 || mean > int64(quickMax) {
		every = 1
	}
	return watch{m: m, start: m.now(), every: every}
}

// look gives the time taken so far, as it was known last.
func (c *watch) look() time.Duration {
	if c.n++; c.n%c.every == 0 {
		c.took = c.m.now().Sub(c.start)
	}
	return c.took
}

// askGroup asks for one group's jobs until limit has passed. From the first
// that cannot be asked for, all have to wait: none overtakes another.
func (m *Mapper) askGroup(ctx context.Context, w *worker, g *group, limit time.Duration) (took time.Duration, err error) {
	clock, asked := m.watch(g.version), 0
	why := ""
	if limit <= 0 {
		why = "its share of the time is used up"
	}
	for _, at := range g.jobs {
		j := &w.jobs[at]
		if why != "" {
			j.answer.why = why
			continue
		}
		if err := ctx.Err(); err != nil {
			return took, err
		}
		m.askFor(ctx, w, j)
		asked++
		switch {
		case !j.answer.given:
			why = "earlier postbacks wait for it"
		case clock.look() >= limit:
			why = "its share of the time is used up"
		}
	}
	took = m.now().Sub(clock.start)
	if asked > 0 {
		g.version.took(asked, took)
	}
	return took, nil
}

// askFor asks the version of a job, or what stands in for it.
func (m *Mapper) askFor(ctx context.Context, w *worker, j *job) {
	for _, v := range [...]*Version{j.version, j.instead} {
		if v == nil {
			continue
		}
		now := m.now()
		p := v.allowed(now)
		if p == nil {
			if j.answer.why == "" {
				j.answer.why = v.Trouble()
			}
			continue
		}
		a := w.ask(ctx, p, j.rec)
		if a.out != nil && (j.instead != nil || v.suspect(now)) {
			a.check()
		}
		switch {
		case a.trap != nil:
			v.trapped(kindOf(a.trap), now)
		case a.given && a.fault.reason == "":
			v.breaker.worked()
		}
		v.Stats.Fuel.Add(a.fuel)
		if a.given && (a.trap == nil || !j.answer.given) || !j.answer.given && j.answer.why == "" {
			j.answer, j.by = a, v
		}
		if a.given && a.trap == nil {
			return
		}
	}
}

// check reads an output to its end; one that breaks a rule is as good as a trap.
func (a *answer) check() {
	r := abi.Read(a.out)
	for _, ok := r.Next(); ok; _, ok = r.Next() {
	}
	if a.checked = true; r.Err() != nil {
		a.trap, a.out = &wasm.Trap{Class: wasm.Memory, Text: r.Err().Error(), Fuel: a.fuel}, nil
	}
}

func kindOf(t *wasm.Trap) TrapKind {
	switch t.Class {
	case wasm.Fuel:
		return TrapFuel
	case wasm.Depth:
		return TrapDepth
	case wasm.Memory:
		return TrapResult
	}
	return TrapCrash
}

// ask has p map rec. A panic on the way, of a decoder or of the compiler's code,
// is a trap of this one postback.
func (w *worker) ask(ctx context.Context, p *wasm.Program, rec *event.Record) (a answer) {
	defer func() {
		if fault := recover(); fault != nil {
			w.input = nil
			w.guests.Discard(p)
			a = answer{given: true, trap: &wasm.Trap{Class: wasm.Crash, Text: fmt.Sprintf("the host broke on it: %.100v", fault)}}
		}
	}()
	inst, err := w.guests.Instance(ctx, p)
	if err != nil {
		if trap := trapOf(err); trap != nil {
			return answer{given: true, trap: trap}
		}
		return answer{why: "it cannot be started"}
	}
	n := w.request(rec, inst.Input(), p.RawBody())
	if a.given = true; w.whole.reason != "" {
		a.fault = w.whole
		return a
	}
	out, code, err := inst.Map(ctx, n)
	a.fuel = inst.Fuel()
	switch {
	case err == nil && out != nil:
		a.out = w.b.Copy(out)
	case err == nil:
		a.code = code
	default:
		if a.trap = trapOf(err); a.trap == nil {
			return answer{why: "it was just taken out of use"}
		}
	}
	return a
}

// trapOf gives the trap that an error is, nil when it is none.
func trapOf(err error) *wasm.Trap {
	var trap *wasm.Trap
	errors.As(err, &trap)
	return trap
}
