package sink

import (
	"slices"
	"strconv"

	"github.com/tallyhook/tallyhook/event"
)

// recentCall is one name of a call that was upserted lately.
type recentCall struct {
	change int64
	key    event.CallKey
	no     int64
}

// recentMax bounds the names kept for an index that lags; beyond it, every
// look-up is confirmed in the store until the index has caught up.
const recentMax = 1 << 18

// overlay adds to byKey what the index did not have when it was asked for this
// batch's hints, and forgets what it has.
func (w *work) overlay() {
	l, through := w.l, w.b.IndexedThrough
	if len(w.b.Records) > 0 && through > 0 {
		from, _ := slices.BinarySearchFunc(l.recent, through, func(r recentCall, t int64) int {
			if r.change <= t {
				return -1
			}
			return 1
		})
		l.recent = slices.Delete(l.recent, 0, from)
		// The next batch may have asked the index earlier than this one did: it
		// must not take recent for complete.
		l.floor = max(l.floor, through)
	}
	if len(l.recent) > recentMax {
		l.recent, l.floor = nil, w.callChange
	}
	w.indexed = through > 0 && through >= l.floor
	if !w.indexed {
		return // the store is asked anyway, and has them all
	}
	for _, r := range l.recent {
		w.byKey[r.key] = append(w.byKey[r.key], r.no)
	}
}

// hintsMax is how many calls the index gives of one caller. A caller with that
// many may have more, and the store knows which lie around the start.
const hintsMax = 64

// match chooses the call of a claim. What the index gave is believed when it
// leads to a call; a miss is confirmed in the store.
func (w *work) match(c *claim) (event.Decision, error) {
	w.keys = c.r.AppendKeys(w.keys[:0])
	w.nums = w.nums[:0]
	for _, k := range w.keys {
		w.nums = append(w.nums, w.byKey[k]...)
	}
	if c.hinted && len(c.hints) < hintsMax {
		w.nums = append(w.nums, c.hints...)
		d, err := w.decide(c)
		if err != nil || (d.Pick >= 0 && d.Strategy == firstStrategy(c.r)) {
			return d, err
		}
	}
	start := c.r.StartedAt
	if start == 0 {
		start = c.at
	}
	for _, k := range w.keys {
		var err error
		if w.nums, err = w.tx.numbers(k, start, w.nums); err != nil {
			return event.Decision{}, err
		}
	}
	return w.decide(c)
}

// firstStrategy is the one by which a report asks first. What an index knows
// by a later one is no answer while the store may know it by the first.
func firstStrategy(r *event.Report) event.Strategy {
	switch {
	case r.RefID != "":
		return event.ByRefID
	case r.CallID != "":
		return event.ByCallID
	case r.NetworkCallID != "":
		return event.ByNetworkCallID
	}
	return event.ByCaller
}

// decide loads the calls in w.nums and asks the match rules.
func (w *work) decide(c *claim) (event.Decision, error) {
	slices.Sort(w.nums)
	w.nums = slices.Compact(w.nums)
	w.cands = w.cands[:0]
	for _, no := range w.nums {
		row, err := w.callByNo(no)
		if err != nil {
			return event.Decision{}, err
		}
		if row == nil {
			continue // a hint from an index that knows another store
		}
		w.cands = append(w.cands, event.Candidate{Call: &row.Call, Valued: row.hasState, PricedBy: row.state.pricedBy})
	}
	return w.l.Decide(c.r, c.p, c.at, w.cands), nil
}

// consideredMax is how many candidates a verdict lists.
const consideredMax = 8

// considered renders the candidates for the verdict log, unless there was
// exactly one and it was taken.
func (w *work) considered(c *claim, d event.Decision) []byte {
	if len(w.cands) == 0 || (len(w.cands) == 1 && d.Pick == 0) {
		return nil
	}
	return w.keep(func(dst []byte) []byte {
		dst = append(dst, '[')
		for i := range w.cands[:min(len(w.cands), consideredMax)] {
			one := w.l.Decide(c.r, c.p, c.at, w.cands[i:i+1])
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, `{"call_id":`...)
			dst = event.AppendJSONString(dst, w.cands[i].Call.CallID)
			dst = append(dst, `,"fits":`...)
			dst = strconv.AppendBool(dst, one.Pick == 0)
			if one.Pick != 0 {
				dst = event.AppendJSONString(append(dst, `,"why":`...), string(one.Reason))
				dst = strconv.AppendInt(append(dst, `,"missed_by":`...), one.Detail.MissedBy, 10)
			}
			dst = append(dst, '}')
		}
		return append(dst, ']')
	})
}

// callByNo gives a call by its number, from the working set or the store; nil
// when there is none.
func (w *work) callByNo(no int64) (*callRow, error) {
	if row, ok := w.calls[no]; ok {
		return row, nil
	}
	if err := w.tx.loadCalls([]int64{no}, w); err != nil {
		return nil, err
	}
	row := w.calls[no]
	w.calls[no] = row
	return row, nil
}

// add puts a loaded call into the working set.
func (w *work) add(row *callRow) {
	w.calls[row.No] = row
	w.byID[row.CallID] = row
}

// load reads for the whole batch what its events will ask for one by one.
func (w *work) load(fresh []event.Event) error {
	var ids []idKey
	var nos []int64
	var callIDs []string
	for i := range fresh {
		e := &fresh[i]
		if e.IsCall {
			callIDs = append(callIDs, e.Call.CallID)
			continue
		}
		if e.Report.Invalid != "" || e.Report.Failed {
			continue
		}
		if e.Strong.IsZero() {
			ids = append(ids, keyOf(classWeak, e.Weak))
		} else {
			ids = append(ids, keyOf(classStrong, e.Strong))
		}
		if !e.Reverses.IsZero() {
			ids = append(ids, keyOf(classStrong, e.Reverses))
		}
		nos = append(nos, e.Hints...)
	}
	if err := w.tx.loadIdentities(ids, w); err != nil {
		return err
	}
	for _, k := range ids { // a repeat is answered with the call of the first telling
		if held := w.ids[k]; held != nil && held.call != 0 {
			nos = append(nos, held.call)
		}
	}
	slices.Sort(nos)
	if err := w.tx.loadCalls(slices.Compact(nos), w); err != nil {
		return err
	}
	slices.Sort(callIDs)
	return w.tx.loadCallsByID(slices.Compact(callIDs), w)
}
