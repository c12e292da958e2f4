package sink

import (
	"slices"

	"github.com/tallyhook/tallyhook/event"
)

// waiting is a parked event: its claim, and the verdict row that its next
// revision starts from.
type waiting struct {
	claim
	v       verdictRow
	e       *event.Event // set while its own batch is being posted
	settled bool
}

// parkClaim makes a claim wait for its call until its deadline.
func (w *work) parkClaim(c *claim, o *outcome) {
	w.park = append(w.park, parkedRow{id: c.id, deadline: o.deadline, identity: c.key, keys: c.r.AppendKeys(nil)})
}

// waitHere lets calls that come later in the same batch find a parked event.
func (w *work) waitHere(c *claim, v verdictRow, e *event.Event) {
	p := &waiting{claim: *c, v: v, e: e}
	for _, k := range c.r.AppendKeys(w.keys[:0]) {
		w.parkedNow[k] = append(w.parkedNow[k], p)
	}
}

// settleWaiting decides again the parked events that share a name with row, in
// the order of their rank.
func (w *work) settleWaiting(row *callRow) error {
	if !w.parked && len(w.parkedNow) == 0 {
		return nil
	}
	keys := row.AppendKeys(nil)
	var list []*waiting
	for _, k := range keys {
		for _, p := range w.parkedNow[k] {
			if !p.settled && !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	if w.parked {
		stored, err := w.tx.waitingFor(keys, w)
		if err != nil {
			return err
		}
		list = append(list, stored...)
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

// settleAgain decides a parked event once more. last says that its window has
// closed: then it ends, matched or not.
func (w *work) settleAgain(p *waiting, last bool) error {
	p.hinted, p.hints = false, nil
	if held := w.ids[p.key]; held != nil {
		p.money = held.money
	}
	o, err := w.settle(&p.claim)
	if err != nil {
		return err
	}
	if o.status == event.Parked {
		if !last {
			return nil
		}
		o.status, o.holds = event.Unmatched, false
	}
	p.settled = true
	w.settled++
	w.unpark = append(w.unpark, parkedRow{id: p.id, keys: p.r.AppendKeys(nil)})
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

// expiredMax is how many parked events end with one batch; the rest follow
// with the next.
const expiredMax = 1000

// expire ends the parked events whose window has closed by the watermark.
func (w *work) expire() error {
	if !w.parked || w.b.Watermark == 0 {
		return nil
	}
	due, err := w.tx.waitingUntil(w.b.Watermark, expiredMax, w)
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
