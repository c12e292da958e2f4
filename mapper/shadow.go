package mapper

import (
	"context"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// ShadowCount counts how often a candidate said the same of one field as the
// active version, since it was last taken.
type ShadowCount struct {
	Mapper            string
	Active, Candidate int
	Field             string // of the report; "outcome" is whether there is one, and how many
	Same, Different   int64
	Example           string // of the last difference, "" when there was none
}

type shadowKey struct {
	mapper            string
	active, candidate int
	field             string
}

// askShadow has the candidate map what the active version has mapped, until
// limit has passed: what it has no time for is not compared.
func (m *Mapper) askShadow(ctx context.Context, w *worker, g *group, limit time.Duration) (took time.Duration, err error) {
	v := g.named.Shadow
	clock, asked := m.watch(v), 0
	for _, at := range g.jobs {
		j := &w.jobs[at]
		if !j.answer.given || j.answer.fault.reason != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return took, err
		}
		now := m.now()
		p := v.allowed(now)
		if limit <= 0 || clock.took >= limit || p == nil {
			break
		}
		a := w.ask(ctx, p, j.rec)
		if !a.given {
			break
		}
		asked++
		v.Stats.Fuel.Add(a.fuel)
		if a.trap == nil {
			v.breaker.worked()
		} else {
			v.trapped(kindOf(a.trap), now)
		}
		j.shadow, j.second = v, a
		clock.look()
	}
	took = m.now().Sub(clock.start)
	if asked > 0 {
		v.took(asked, took)
	}
	return took, nil
}

// compare counts where the candidate's events of a job differ from those that
// w.b has from first on.
func (m *Mapper) compare(w *worker, j *job, first int) {
	b := w.b
	w.b = &w.scratch
	w.tell(j, j.shadow.Name, &j.second)
	w.b = b
	ours, theirs := b.Events[first:], w.scratch.Events
	m.mu.Lock()
	for i := range max(len(ours), len(theirs)) {
		if i >= len(ours) || i >= len(theirs) {
			m.count(j, "outcome", fmt.Sprintf("%d reports", len(ours)), fmt.Sprintf("%d reports", len(theirs)))
			break
		}
		a, c := &ours[i].Report, &theirs[i].Report
		m.count(j, "outcome", outcomeOf(a), outcomeOf(c))
		for _, f := range compared {
			if of, by := f.text(a), f.text(c); of != "" || by != "" {
				m.count(j, f.name, of, by)
			}
		}
	}
	m.mu.Unlock()
	w.scratch.Reset()
}

func (m *Mapper) count(j *job, field, of, by string) {
	k := shadowKey{j.version.Mapper, j.version.Number, j.shadow.Number, field}
	c := m.shadow[k]
	if c == nil {
		c = &ShadowCount{Mapper: k.mapper, Active: k.active, Candidate: k.candidate, Field: field}
		m.shadow[k] = c
	}
	if of == by {
		c.Same++
		return
	}
	c.Different++
	c.Example = fmt.Sprintf("%s: %q, candidate %q", j.rec.ID, cut(of, GotBytesMax), cut(by, GotBytesMax))
}

// TakeShadow gives what was counted since it was last called.
func (m *Mapper) TakeShadow() []ShadowCount {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]ShadowCount, 0, len(m.shadow))
	for _, c := range m.shadow {
		list = append(list, *c)
	}
	clear(m.shadow)
	return list
}

func outcomeOf(r *event.Report) string {
	if r.Invalid != "" {
		return string(r.Invalid)
	}
	return "report"
}

// compared are the fields of a report that a candidate may see otherwise.
var compared = []struct {
	name string
	text func(r *event.Report) string
}{
	{"ref_id", func(r *event.Report) string { return r.RefID }},
	{"call_id", func(r *event.Report) string { return r.CallID }},
	{"network_call_id", func(r *event.Report) string { return r.NetworkCallID }},
	{"caller", func(r *event.Report) string { return r.Caller + r.CallerRaw }},
	{"duration", func(r *event.Report) string {
		if !r.Duration.OK {
			return ""
		}
		return fmt.Sprint(r.Duration.N)
	}},
	{"payout", func(r *event.Report) string {
		if !r.HasPayout {
			return ""
		}
		return r.Payout.Amount.String()
	}},
	{"currency", func(r *event.Report) string { return r.Payout.Currency }},
	{"status", func(r *event.Report) string { return r.Status }},
	{"transaction_id", func(r *event.Report) string { return r.TransactionID }},
	{"kind", func(r *event.Report) string { return r.Kind.String() }},
	{"started_at", func(r *event.Report) string { return moment(r.StartedAt) }},
	{"occurred_at", func(r *event.Report) string { return moment(r.OccurredAt) }},
	{"extra", func(r *event.Report) string {
		if len(r.Extra) == 0 {
			return ""
		}
		return fmt.Sprint(r.Extra)
	}},
}

func moment(micros int64) string {
	if micros == 0 {
		return ""
	}
	return time.UnixMicro(micros).UTC().Format(time.RFC3339Nano)
}
