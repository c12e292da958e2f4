package sink

import (
	"cmp"
	"slices"
)

// What a backend writes at the end, in the order in which rows lie in their
// tables: new ones append, and nothing is touched twice.

// dirtyCalls are the calls that are new or changed, by rising number.
func (w *work) dirtyCalls() (dirty []*callRow) {
	return w.sorted(func(c *callRow) bool { return c.dirty })
}

// dirtyStates are the calls on which something else is booked now.
func (w *work) dirtyStates() (dirty []*callRow) {
	return w.sorted(func(c *callRow) bool { return c.stateDirty })
}

func (w *work) sorted(which func(*callRow) bool) (list []*callRow) {
	for _, c := range w.calls {
		if c != nil && which(c) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *callRow) int { return cmp.Compare(a.No, b.No) })
	return list
}

// numberedName is a row of call_key.
type numberedName struct {
	callName
	no int64
}

// namesChanged gives the names that calls have gained, by rising key, and lost.
func namesChanged(dirty []*callRow) (gained, lost []numberedName) {
	for _, c := range dirty {
		names := c.names()
		for _, n := range names {
			if !slices.Contains(c.was, n) {
				gained = append(gained, numberedName{n, c.No})
			}
		}
		for _, n := range c.was {
			if !slices.Contains(names, n) {
				lost = append(lost, numberedName{n, c.No})
			}
		}
	}
	slices.SortFunc(gained, func(a, b numberedName) int { return cmp.Compare(int64(a.key), int64(b.key)) })
	return gained, lost
}

// dirtyIdentities gives the strong identities to write, by rising key, and
// those to delete. Weak ones stand in the verdicts.
func (w *work) dirtyIdentities() (put, drop []idKey) {
	for k, i := range w.ids {
		switch {
		case i == nil || !i.dirty || k[0] == classWeak:
		case !i.gone:
			put = append(put, k)
		case i.stored:
			drop = append(drop, k)
		}
	}
	slices.SortFunc(put, func(a, b idKey) int { return slices.Compare(a[:], b[:]) })
	return put, drop
}

// final is 1 for the last revision of an event.
func (r *verdictRow) final() int64 {
	if r.v.Status.Final() {
		return 1
	}
	return 0
}

// currencyText is that of the call's value, else the one reported.
func (r *verdictRow) currencyText() string {
	if r.v.Currency != "" {
		return r.v.Currency
	}
	return r.currency
}

// dirtyDays are the daily totals that have grown, in order.
func (w *work) dirtyDays() (list []dayKey) {
	for k, d := range w.days {
		if d.dirty {
			list = append(list, k)
		}
	}
	slices.SortFunc(list, func(a, b dayKey) int {
		return cmp.Or(cmp.Compare(a.source, b.source), cmp.Compare(a.day, b.day), cmp.Compare(a.currency, b.currency))
	})
	return list
}
