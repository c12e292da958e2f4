package verifier

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
)

// The ledger numbers every revision of every verdict without a gap, under its
// lock. That number is the order in which the model takes events:
//
//	revision 1 of 1    heard and decided
//	revision 1 of 2    heard, and left waiting for its call
//	revision 2 of 2    decided
//
// Between nodes it may differ from the order in which events were received. A
// call must end at the same value all the same: otherwise a repeat was taken
// for what it repeats, and a late retry has undone a price.

// told is one revision of an event.
type told struct {
	change        int64
	e             *seen
	first, decide bool
}

// replay asks the model for every event's verdict and compares.
func (c *check) replay(ctx context.Context) error {
	order, err := c.order(ctx)
	if err != nil {
		return err
	}
	c.compareOrder(order)
	received := newModel(c.model.window, c.model.rule)
	for id, call := range c.model.calls {
		clone := *call
		received.calls[id] = &clone
	}
	for _, t := range order {
		if m, known := c.modelEvent(t.e); known {
			c.compareVerdict(t, m)
		}
	}
	for _, e := range slices.SortedFunc(maps.Values(c.events), func(a, b *seen) int { return a.rank().compare(b.rank()) }) {
		if m, known := c.modelEvent(e); known {
			received.apply(m)
		}
	}
	for id, call := range received.calls {
		if got := c.model.calls[id].value; call.value != got {
			c.differ("ORDER: call %s ends at %s, and in the order of receipt it would end at %s: a node booked late what it took in early", id, amount(got), amount(call.value))
		}
	}
	return nil
}

func (e *seen) rank() rank { return rank{e.ReceivedAt, e.id.Stream, e.id.Seq, e.id.N} }

func (c *check) modelEvent(e *seen) (modelEvent, bool) {
	said := c.said[e.said]
	if said == nil {
		return modelEvent{}, false // noted already
	}
	return modelEvent{rank: e.rank(), source: e.Source, content: fmt.Sprint(e.said, said.report.RefID),
		call: said.call, payout: int64(said.report.Payout), readable: !said.report.Unreadable}, true
}

// order reads when every event was heard and when it was decided.
func (c *check) order(ctx context.Context) ([]told, error) {
	var order []told
	var again []string // events that were decided more than once
	for id, e := range c.events {
		if e.Revision > 1 {
			again = append(again, id)
			continue
		}
		order = append(order, told{e.ChangeSeq, e, true, true})
	}
	var mu sync.Mutex
	err := c.each(again, func(n *Node, id string) error {
		var line timeline
		if err := n.api.Do(ctx, "GET", "/api/v1/events/"+url.PathEscape(id), nil, &line); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		e, r := c.events[id], line.Revisions
		if len(r) != 2 || r[0].Revision != 1 || r[0].Status != "parked" || r[1].ChangeSeq != e.ChangeSeq {
			c.differ("event %s should have been parked and then decided, and has the revisions %+v", id, r)
			return nil
		}
		order = append(order, told{r[0].ChangeSeq, e, true, false}, told{r[1].ChangeSeq, e, false, true})
		return nil
	})
	slices.SortFunc(order, func(a, b told) int { return cmp.Compare(a.change, b.change) })
	return order, err
}

// compareOrder: no two revisions have one number, and the events of a journal
// are heard in its order.
func (c *check) compareOrder(order []told) {
	last := map[uint32]*seen{}
	for i, t := range order {
		if i > 0 && order[i-1].change == t.change {
			c.differ("events %s and %s share the change number %d", order[i-1].e.Event, t.e.Event, t.change)
		}
		if !t.first {
			continue
		}
		if before := last[t.e.id.Stream]; before != nil && cmp.Or(cmp.Compare(before.id.Seq, t.e.id.Seq), cmp.Compare(before.id.N, t.e.id.N)) >= 0 {
			c.differ("event %s was heard before event %s of the same journal", before.Event, t.e.Event)
		}
		last[t.e.id.Stream] = t.e
	}
}

func (c *check) compareVerdict(t told, m modelEvent) {
	e, want := t.e, ""
	if t.first {
		want = c.model.hear(m)
	}
	switch {
	case want == "" && !t.decide:
		return
	case want == "":
		want = c.model.decide(m)
	case !t.decide:
		c.differ("event %s (call %q) was parked and then %s (%s), and should be %s", e.Event, m.call, e.Status, e.Reason, want)
		return
	}
	if c.undecided[m.call] {
		return
	}
	if got := e.Status; got != want && (want != "parked" || got != "unmatched") {
		c.differ("event %s (call %q) is %s (%s), and should be %s", e.Event, m.call, got, e.Reason, want)
		return
	}
	if want != "duplicate" && want != "invalid" && want != "parked" && e.CallID != m.call {
		c.differ("event %s was booked on call %q, and speaks of %q", e.Event, e.CallID, m.call)
	}
}
