package sink

import (
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// A campaign with a conversion group gives its calls a time in which a value
// may come. The call is then, once each:
//
//	waiting ──► converted                 a value came in time
//	        ──► not_converted             every live journal has passed the deadline without one
//	                  └──► converted      a value came after all
//
// In time is what was received up to the deadline, whenever it is decided.

// converts says what became of a call.
type converts int64

const (
	notConverted converts = 1 << iota
	converted
)

// conversionRow is what became of a call, once.
type conversionRow struct {
	no, call, at int64
	outcome      string
	id           event.ID
}

const unasked = -1

// group is a row of conversion_group, parsed; nil spec: the campaign has none.
type group struct {
	id       int64
	campaign string
	spec     *event.Group
}

// A payout rule that follows from a group rather than from an assignment has a
// number of its own: below zero, two for each group.
func (g *group) postedRule() int64    { return -2 * g.id }
func (g *group) triggeredRule() int64 { return -2*g.id - 1 }

func groupOfRule(rule int64) (id int64, triggered bool) { return -rule / 2, rule%2 != 0 }

// groupOf gives the current group of a campaign, nil when it has none.
func (w *work) groupOf(campaign string) (*group, error) {
	if campaign == "" || w.groupTop == 0 {
		return nil, nil
	}
	id, known := w.l.grouped[campaign]
	if !known {
		var err error
		if id, err = w.tx.currentGroup(campaign); err != nil {
			return nil, err
		}
		w.l.grouped[campaign] = id
	}
	if id == 0 {
		return nil, nil
	}
	g, err := w.groupByID(id)
	if err != nil || g.spec == nil {
		return nil, err
	}
	return g, nil
}

func (w *work) groupByID(id int64) (*group, error) {
	if g := w.l.groups[id]; g != nil {
		return g, nil
	}
	campaign, spec, err := w.tx.group(id)
	if err != nil {
		return nil, err
	}
	g := &group{id: id, campaign: campaign}
	if spec != "" {
		if g.spec, err = event.ParseGroup(spec); err != nil {
			return nil, fmt.Errorf("conversion group %d of campaign %q: %w", id, campaign, err)
		}
	}
	w.l.groups[id] = g
	return g, nil
}

// triggered prices a claim of a source whose requests may hold a trigger, or
// may say nothing of money.
func (w *work) triggered(c *claim, o *outcome) (event.Amount, error) {
	g, err := w.groupOf(o.call.Campaign)
	if err != nil {
		return 0, err
	}
	switch {
	case g != nil && c.p.Triggers && g.spec.Triggered(c.r.Query):
		o.trigger = true
		return *g.spec.Revenue, nil
	case c.r.HasPayout && (g == nil || g.spec.Posted || !c.p.Triggers):
		return c.r.Payout.Amount, nil
	}
	o.status, o.reason, o.holds = event.Ignored, event.NotTriggered, false
	o.detail = event.Detail{Got: o.call.Campaign, Call: o.call.CallID}
	return 0, nil
}

// expects sets until when a value for a call is in time, after the call was
// told. What is decided stays.
func (w *work) expects(row *callRow) error {
	if row.converts != 0 {
		return nil
	}
	g, err := w.groupOf(row.Campaign)
	if err != nil {
		return err
	}
	by := int64(0)
	if g != nil {
		by = g.spec.Deadline(&row.Call)
	}
	if by != row.convertBy {
		row.touch()
		row.convertBy = by
	}
	if g == nil || !row.hasState || row.state.value == 0 {
		return nil
	}
	if row.convertBy != 0 && row.state.rank.At > row.convertBy {
		return nil // late; giveUp decides whether nothing came in time
	}
	// Its value came before it was known whose call it is.
	return w.became(row, converted, row.state.rank.At, row.state.rank.ID)
}

// convert says that a value has come for the call in o.
func (w *work) convert(c *claim, o *outcome, v *event.Verdict) error {
	row := o.call
	if row.target != "" || row.converts&converted != 0 || row.state.value == 0 {
		return nil
	}
	g, err := w.groupOf(row.Campaign)
	if err != nil || (g == nil && row.converts == 0) {
		return err
	}
	deadline := row.convertBy
	if deadline == 0 && g != nil {
		deadline = g.spec.Deadline(&row.Call)
	}
	late := row.converts&notConverted != 0 || row.convertBy != 0 && c.at > row.convertBy
	if late && v.Reason == event.NoReason {
		v.Reason, v.Detail = event.ConvertedLate, event.Detail{Call: row.CallID, Got: string(event.AppendTime(nil, deadline))}
	}
	if late && row.converts&notConverted == 0 {
		if deadline >= w.heardUntil() {
			return nil // another node may have a value that was in time: giveUp decides
		}
		if err := w.became(row, notConverted, deadline, event.ID{}); err != nil {
			return err
		}
	}
	return w.became(row, converted, c.at, c.id)
}

// inTime says that a value was in time, though one that came later counts.
func (w *work) inTime(c *claim, o *outcome) error {
	row := o.call
	if row == nil || o.status != event.Stale || row.convertBy == 0 || c.at > row.convertBy || c.r.Kind == event.Reversal || !o.trigger && c.r.Payout.Amount == 0 {
		return nil
	}
	return w.became(row, converted, c.at, c.id)
}

// became notes what became of a call.
func (w *work) became(row *callRow, what converts, at int64, id event.ID) error {
	if w.conversion == unasked {
		var err error
		if w.conversion, err = w.tx.lastConversion(); err != nil {
			return err
		}
	}
	name := "converted"
	if what == notConverted {
		name = "not_converted"
	}
	w.conversion++
	w.conversions = append(w.conversions, conversionRow{no: w.conversion, call: row.No, at: at, outcome: name, id: id})
	row.touch()
	row.converts |= what
	row.convertBy = 0
	return nil
}

// giveUp ends the waiting of calls whose deadline every live journal has
// passed. A record may still be received at the very time that has been reached.
func (w *work) giveUp() error {
	heard := w.heardUntil()
	if w.convertBy == 0 || w.convertBy >= heard {
		return nil
	}
	due, err := w.tx.overdue(heard, expiredMax)
	if err != nil {
		return err
	}
	if err := w.tx.loadCalls(due, w); err != nil {
		return err
	}
	for _, no := range due {
		row := w.calls[no]
		if row == nil || row.convertBy == 0 || row.convertBy >= heard { // this batch has told more of it
			continue
		}
		if err := w.became(row, notConverted, row.convertBy, event.ID{}); err != nil {
			return err
		}
		if s := &row.state; row.hasState && s.value != 0 { // it came late, and before this was known
			if err := w.became(row, converted, s.rank.At, s.rank.ID); err != nil {
				return err
			}
		}
	}
	return nil
}
