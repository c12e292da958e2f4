package verifier

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/event"
)

const (
	checkersMax  = 8           // calls read side by side
	drainTimeMax = time.Minute // for the node to finish what it has taken in

	mappedTimeMax = time.Minute // for what waits for its mapper: a version that cannot be loaded is tried again every half minute
	mappedPoll    = 200 * time.Millisecond
)

// Check waits until nodes, which share a store, have nothing left to do and
// judges them by the log at path, and the activity store at that URL, if it is
// not "". An error means that they could not be judged; what is wrong with
// them is in the report.
func Check(ctx context.Context, nodes []*Node, path, activity string) (*Report, error) {
	h, err := readLog(path)
	if err != nil {
		return nil, err
	}
	if len(h.run.Sources) != len(traffic.Buyers) {
		return nil, fmt.Errorf("verifier log %s names %d sources, want %d", path, len(h.run.Sources), len(traffic.Buyers))
	}
	for _, n := range nodes {
		if err := n.api.Drained(ctx, drainTimeMax); err != nil {
			return nil, err
		}
	}
	c := &check{history: h, Report: &Report{Requests: h.requests, Unknown: h.unknown, Torn: h.torn}, nodes: nodes,
		model: newModel(DedupeWindow, traffic.RuleOf), said: map[content]*saying{}, events: map[string]*seen{},
		undecided: map[string]bool{}}
	c.recall()
	if err := c.mapped(ctx); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{c.readActivity, c.replay, c.readCalls, c.readBalances, c.readTransfers} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	if activity != "" {
		if err := c.readStore(ctx, activity); err != nil {
			return nil, err
		}
	}
	return c.Report, nil
}

// check is the work of one Check.
type check struct {
	*Report
	nodes     []*Node
	history   *history
	model     *model
	said      map[content]*saying
	acked     []ack
	events    map[string]*seen
	undecided map[string]bool // calls of which it is unknown whether the node was told
}

// mapped waits until nothing of our sources waits for its mapper. What waits for
// longer than that is found in the activity, and is a difference.
func (c *check) mapped(ctx context.Context) error {
	for end := time.Now().Add(mappedTimeMax); ; {
		waiting := false
		for _, source := range c.history.run.Sources {
			rows, err := all[activityRow](ctx, c.nodes[0], "/api/v1/activity", "status", "parked", "source", source)
			if err != nil {
				return err
			}
			waiting = waiting || slices.ContainsFunc(rows, func(r activityRow) bool { return r.Source == source && r.Reason == mapperUnavailable })
		}
		if !waiting || time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mappedPoll):
		}
	}
}

// readActivity compares events with requests.
func (c *check) readActivity(ctx context.Context) error {
	rows, err := all[activityRow](ctx, c.nodes[0], "/api/v1/activity")
	if err != nil {
		return err
	}
	for _, r := range rows {
		if !slices.Contains(c.history.run.Sources, r.Source) {
			continue
		}
		id, err := event.ParseID(r.Event)
		if err != nil {
			return err
		}
		if c.events[r.Event] != nil {
			c.differ("event %s has two rows in the activity", r.Event)
			continue
		}
		c.events[r.Event] = &seen{activityRow: r, id: id, said: contentOf(&r)}
	}
	c.Events = len(c.events)
	c.compareAcks()
	return nil
}

func contentOf(r *activityRow) content {
	k := content{source: r.Source, caller: r.Caller}
	if r.Duration != nil {
		k.seconds = *r.Duration
	}
	if r.Payout != nil {
		k.payout = r.Payout.String()
	}
	return k
}

// compareAcks: every answer has its event, every event its request.
func (c *check) compareAcks() {
	owner := map[string]string{}
	for _, a := range c.acked {
		e := c.events[a.event]
		switch {
		case a.event == "":
			c.differ("%s: status %d without an event id", a.what, a.status)
		case owner[a.event] != "":
			c.differ("%s was given event %s, which %s was given before", a.what, a.event, owner[a.event])
		case e == nil:
			c.differ("LOST: %s was acknowledged as event %s, and there is no such event", a.what, a.event)
		case e.said != a.said:
			c.differ("%s was acknowledged as event %s, which says %+v instead of %+v", a.what, a.event, e.said, a.said)
		}
		owner[a.event] = a.what
	}
	for id, e := range c.events {
		said := c.said[e.said]
		if said == nil {
			c.differ("event %s says %+v, which nobody sent", id, e.said)
			continue
		}
		said.rows++
	}
	for k, said := range c.said {
		if said.rows > said.sent {
			c.differ("%+v was sent %d times and has %d events", k, said.sent, said.rows)
		}
	}
}

// readCalls compares value and share of every call, and what its events did.
func (c *check) readCalls(ctx context.Context) error {
	deltas := map[string][2]amount{}
	for _, e := range c.events {
		d := deltas[e.CallID]
		deltas[e.CallID] = [2]amount{d[0] + e.Delta, d[1] + e.ShareDelta}
	}
	var mu sync.Mutex
	return c.each(slices.Collect(maps.Keys(c.model.calls)), func(n *Node, id string) error {
		var got callState
		err := n.api.Do(ctx, "GET", "/api/v1/calls/"+url.PathEscape(id), nil, &got)
		if err != nil && !node.IsNotFound(err) {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		c.compareCall(id, &got, err == nil, deltas[id])
		return nil
	})
}

// each asks the nodes, by turns and several at once, about every id, and gives
// the first error.
func (c *check) each(ids []string, ask func(n *Node, id string) error) error {
	work, errs := make(chan string), make([]error, checkersMax)
	var wait sync.WaitGroup
	for i := range checkersMax {
		wait.Go(func() {
			for id := range work {
				if errs[i] == nil {
					errs[i] = ask(c.nodes[i%len(c.nodes)], id)
				}
			}
		})
	}
	for _, id := range ids {
		work <- id
	}
	close(work)
	wait.Wait()
	return cmp.Or(errs...)
}

func (c *check) compareCall(id string, got *callState, there bool, deltas [2]amount) {
	want := c.model.calls[id]
	c.Calls++
	value, share := int64(got.Value), int64(got.Share)
	if c.undecided[id] && value == 0 && share == 0 {
		want.value, want.share = 0, 0 // the node was never told, or nothing came of it
		c.Undecided++
		return
	}
	switch {
	case !there:
		c.differ("LOST: call %s was acknowledged and is not known", id)
	case value != want.value || share != want.share:
		c.differ("call %s is worth %s with a share of %s, and should be %s with %s", id, got.Value, got.Share, amount(want.value), amount(want.share))
	case int64(deltas[0]) != want.value || int64(deltas[1]) != want.share:
		c.differ("call %s: its events changed value and share by %s and %s in all, and it is worth %s and %s", id, deltas[0], deltas[1], got.Value, got.Share)
	case want.valued != got.FromPostback:
		c.differ("call %s says that a postback set its value: %v, and should say %v", id, got.FromPostback, want.valued)
	case want.valued && !want.qualified && (got.Qualified == nil || *got.Qualified):
		c.differ("call %s was told to be worth nothing, and is not marked unqualified", id)
	}
	if want.valued {
		c.Valued++
	}
}
