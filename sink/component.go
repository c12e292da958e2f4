package sink

import (
	"github.com/tallyhook/tallyhook/event"
)

// componentRow is a part of a call's value that a claim sets.
type componentRow struct {
	call       int64
	key        idKey
	value, was event.Amount
}

// componentsOf gives the parts of a call's value by who told them.
func (w *work) componentsOf(row *callRow) (map[idKey]event.Amount, error) {
	if parts, known := w.components[row.No]; known {
		return parts, nil
	}
	parts := map[idKey]event.Amount{}
	if !row.isNew {
		var err error
		if parts, err = w.tx.components(row.No); err != nil {
			return nil, err
		}
	}
	w.components[row.No] = parts
	return parts, nil
}

// setPart writes a claim's part down.
func (w *work) setPart(row *callRow, p *componentRow) {
	p.call = row.No
	w.components[row.No][p.key] = p.value
	row.state.parts += p.value - p.was
	w.changed = append(w.changed, *p)
}

// lastParts gives the changed parts, each once, as they are now.
func (w *work) lastParts() (list []componentRow) {
	seen := map[[2]any]bool{}
	for i := len(w.changed) - 1; i >= 0; i-- {
		if k := [2]any{w.changed[i].call, w.changed[i].key}; !seen[k] {
			seen[k] = true
			list = append(list, w.changed[i])
		}
	}
	return list
}

// dayKey names a day of UTC of a source, counted from 1970.
type dayKey struct {
	source   string
	day      int64
	currency string
}

type dayTotal struct {
	amount event.Amount
	dirty  bool
}

const dayMicros = 24 * 3600 * 1e6

// dayOf gives the day that an outcome counts for, with what it would add: to
// the value, or, where no payout is booked, to the account.
func (c *claim) dayOf(o *outcome) (k dayKey, rise event.Amount) {
	k = dayKey{source: c.p.Source, day: c.at / dayMicros, currency: o.currency}
	s := &o.call.state
	rise = o.value - s.value
	if o.call.target != "" && o.value == 0 && s.value == 0 {
		k.currency, rise = o.reward.Currency, o.reward.Amount-s.share
	}
	return k, max(0, rise)
}

func (w *work) dayTotal(k dayKey) (*dayTotal, error) {
	if d := w.days[k]; d != nil {
		return d, nil
	}
	amount, err := w.tx.dayTotal(k)
	if err != nil {
		return nil, err
	}
	d := &dayTotal{amount: amount}
	w.days[k] = d
	return d, nil
}

// overDay asks whether an outcome would take its source over its daily cap.
func (w *work) overDay(c *claim, o *outcome) (bool, error) {
	if c.p.DailyMax == 0 {
		return false, nil
	}
	k, rise := c.dayOf(o)
	if rise == 0 {
		return false, nil
	}
	d, err := w.dayTotal(k)
	return err == nil && d.amount+rise > c.p.DailyMax, err
}

// countDay adds an outcome that is booked to its day.
func (w *work) countDay(c *claim, o *outcome) error {
	if c.p.DailyMax == 0 {
		return nil
	}
	k, rise := c.dayOf(o)
	if rise == 0 {
		return nil
	}
	d, err := w.dayTotal(k)
	if err != nil {
		return err
	}
	d.amount, d.dirty = d.amount+rise, true
	return nil
}
