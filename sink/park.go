package sink

import (
	"slices"

	"github.com/tallyhook/tallyhook/event"
)

// waiting is a parked event: its claim, and the verdict row that its next
// revision starts from.
type waiting struct {
	claim
	v      verdictRow
	e      *event.Event // set while its own batch is being posted
	broken event.Reason // why it cannot be decided again: it ends at its deadline
}

// parkClaim makes a claim wait for its call until its deadline.
func (w *work) parkClaim(c *claim, o *outcome) {
	w.park = append(w.park, parkedRow{id: c.id, deadline: o.deadline, identity: c.key, keys: c.r.AppendKeys(nil)})
}

// waitHere lets calls that come later in the same batch find a parked event. One
// whose time is over already, for it was mapped late, ends with this batch.
func (w *work) waitHere(c *claim, v verdictRow, e *event.Event, deadline int64) {
	p := &waiting{claim: *c, v: v, e: e}
	p.first = false
	if deadline <= w.heardUntil() {
		w.late = append(w.late, p)
	}
	for _, k := range c.r.AppendKeys(w.keys[:0]) {
		w.parkedNow[k] = append(w.parkedNow[k], p)
	}
}

// settleWaiting decides again the parked events that share a name with row and
// that row alone now fits: no other call has changed since they were parked.
// They go in the order of their rank.
func (w *work) settleWaiting(row *callRow) error {
	if !w.parked && len(w.parkedNow) == 0 {
		return nil
	}
	var list []*waiting
	seen := map[event.ID]bool{}
	for _, k := range row.AppendKeys(nil) {
		here := w.parkedNow[k]
		if w.parked {
			stored, err := w.waitingFor(k)
			if err != nil {
				return err
			}
			here = slices.Concat(here, stored)
		}
		for _, p := range here {
			if err := w.tx.breathe(); err != nil {
				return err
			}
			if !seen[p.id] && w.fits(p, row) {
				list = append(list, p)
			}
			seen[p.id] = true
		}
	}
	slices.SortFunc(list, func(a, b *waiting) int {
		if a.rank().Less(b.rank()) {
			return -1
		}
		return 1
	})
	for _, p := range list {
		if err := w.settleAgain(p, false); err != nil {
			return err
		}
	}
	return nil
}

// fits reports whether a parked event may be settled by row.
func (w *work) fits(p *waiting, row *callRow) bool {
	if w.done[p.id] || p.broken != event.NoReason {
		return false
	}
	one := [1]event.Candidate{{Call: &row.Call, Valued: row.hasState, PricedBy: row.state.pricedBy}}
	return w.l.Decide(p.r, p.p, p.at, one[:]).Pick == 0
}

// settleAgain decides a parked event once more. last says that its window has
// closed: then it ends, matched or not.
func (w *work) settleAgain(p *waiting, last bool) error {
	if err := w.tx.breathe(); err != nil {
		return err
	}
	p.hinted, p.hints = false, nil
	if held := w.ids[p.key]; held != nil {
		p.money = held.money
	}
	o := outcome{status: event.Failed, reason: p.broken}
	if p.broken == event.NoReason {
		var err error
		if o, err = w.settle(&p.claim); err != nil {
			return err
		}
	}
	if o.status == event.Parked {
		if !last {
			return nil
		}
		o.status, o.holds = event.Unmatched, false
	}
	w.settled++
	w.unpark = append(w.unpark, p.id)
	w.done[p.id] = true
	p.v.v = event.Verdict{Event: p.id, Revision: p.v.v.Revision + 1}
	p.v.call, p.v.hasValue, p.v.raw = nil, false, nil
	if !o.holds {
		w.release(p.key, p.id)
	}
	if err := w.apply(&p.claim, &o, &p.v); err != nil {
		return err
	}
	if p.e != nil {
		p.e.Verdict = p.v.v
	}
	return nil
}

// heardUntil is the time up to which everything that was received has been
// taken in: the call that an event waits for may stand in another node's journal.
func (w *work) heardUntil() int64 {
	if w.others != nobody {
		return min(w.b.Watermark, w.others)
	}
	return w.b.Watermark
}

// expiredMax is how many parked events end with one batch; the rest follow
// with the next.
const expiredMax = 5000

// expire ends the parked events whose window has closed by the watermark.
func (w *work) expire() error {
	if w.b.Watermark == 0 {
		return nil
	}
	for _, p := range w.late {
		if !w.done[p.id] {
			if err := w.settleAgain(p, true); err != nil {
				return err
			}
		}
	}
	if !w.parked {
		return nil
	}
	due, err := w.waitingUntil(w.heardUntil(), expiredMax)
	if err != nil {
		return err
	}
	for _, p := range due {
		if err := w.settleAgain(p, true); err != nil {
			return err
		}
	}
	return nil
}
