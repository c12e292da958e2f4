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
// A postback whose mapper could not be asked has a revision more before these,
// which says so: nothing of it is heard then. What its source sends to the same
// node meanwhile waits behind it.
//
// Between nodes it may differ from the order in which events were received. A
// call must end at the same value all the same: otherwise a repeat was taken
// for what it repeats, and a late retry has undone a price.

// told is one revision of an event.
type told struct {
	change        int64
	e             *seen
	first         bool // of the event at all
	heard, decide bool
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
		order = append(order, told{e.ChangeSeq, e, true, !e.waits(), !e.waits()})
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
		waited := len(r) > 1 && r[0].Revision == 1 && r[0].Status == "parked" && r[0].Reason == mapperUnavailable
		if waited {
			order = append(order, told{change: r[0].ChangeSeq, e: e, first: true})
			c.Waited++
			r = r[1:]
		}
		switch {
		case waited && len(r) == 1 && r[0].Revision == 2 && r[0].ChangeSeq == e.ChangeSeq:
			order = append(order, told{r[0].ChangeSeq, e, false, true, true})
		case len(r) == 2 && r[0].Status == "parked" && r[0].Reason != mapperUnavailable && r[1].Revision == r[0].Revision+1 && r[1].ChangeSeq == e.ChangeSeq:
			order = append(order, told{r[0].ChangeSeq, e, r[0].Revision == 1, true, false}, told{r[1].ChangeSeq, e, false, false, true})
		default:
			c.differ("event %s should have been parked and then decided, and has the revisions %+v", id, line.Revisions)
		}
		return nil
	})
	slices.SortFunc(order, func(a, b told) int { return cmp.Compare(a.change, b.change) })
	return order, err
}

const mapperUnavailable = "mapper_unavailable"

// waits says that an event waits for its mapper still.
func (e *seen) waits() bool { return e.Status == "parked" && e.Reason == mapperUnavailable }

// queue is what has an order of its own: a journal, and in it what one source
// sent.
type queue struct {
	stream uint32
	source string // "" for all
}

// compareOrder: no two revisions have one number, every event of a journal has
// its first verdict in the journal's order, and those of a source are heard in
// that order, too.
func (c *check) compareOrder(order []told) {
	last := map[queue]*seen{}
	for i, t := range order {
		if i > 0 && order[i-1].change == t.change {
			c.differ("events %s and %s share the change number %d", order[i-1].e.Event, t.e.Event, t.change)
		}
		if t.first {
			c.follows(last, queue{stream: t.e.id.Stream}, t.e, "had its first verdict")
		}
		if t.heard {
			c.follows(last, queue{t.e.id.Stream, t.e.Source}, t.e, "was heard")
		}
	}
}

func (c *check) follows(last map[queue]*seen, q queue, e *seen, what string) {
	if before := last[q]; before != nil && cmp.Or(cmp.Compare(before.id.Seq, e.id.Seq), cmp.Compare(before.id.N, e.id.N)) >= 0 {
		c.differ("event %s %s before event %s of the same journal", before.Event, what, e.Event)
	}
	last[q] = e
}

func (c *check) compareVerdict(t told, m modelEvent) {
	e, want := t.e, ""
	if !t.heard && !t.decide {
		if e.waits() {
			c.differ("event %s waits for its mapper still", e.Event)
		}
		return
	}
	if t.heard {
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
