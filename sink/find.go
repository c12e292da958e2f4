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
	// Without any hint the index may have nothing to say about that time, and
	// what this batch tells of the caller is not all.
	if c.hinted && len(c.hints) > 0 && len(c.hints) < hintsMax {
		w.nums = append(w.nums, c.hints...)
		d, err := w.decide(c)
		if err != nil || (d.Pick >= 0 && d.Strategy == firstStrategy(c.r)) {
			return d, err
		}
	}
	start := c.start()
	for _, k := range w.keys {
		name := callName{k, start}
		if _, known := w.named[name]; !known {
			if err := w.tx.loadNames([]callName{name}, w); err != nil {
				return event.Decision{}, err
			}
		}
		w.nums = append(w.nums, w.named[name]...)
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

// load reads for the whole batch what its events will ask for one by one: those
// that come again, and fresh ones.
func (w *work) load(again, fresh []event.Event) error {
	var callIDs []string
	var want []wantedIdentity
	for _, events := range [][]event.Event{again, fresh} {
		for i := range events {
			e := &events[i]
			switch {
			case e.IsCall:
				callIDs = append(callIDs, e.Call.CallID)
			case e.Report.Invalid == "" && !e.Report.Failed:
				want = appendWanted(want, e)
			}
		}
	}
	slices.Sort(callIDs)
	if err := w.tx.loadCallsByID(slices.Compact(callIDs), w); err != nil {
		return err
	}
	if err := w.tx.loadIdentities(want, w); err != nil {
		return err
	}
	for _, events := range [][]event.Event{again, fresh} {
		if err := w.loadHinted(events); err != nil {
			return err
		}
	}
	return w.loadParked(fresh)
}

// appendWanted names the identities that a report claims or takes back.
func appendWanted(dst []wantedIdentity, e *event.Event) []wantedIdentity {
	if e.Strong.IsZero() {
		at, window := e.Record.ReceivedAt, int64(0)
		if e.Policy != nil {
			window = e.Policy.DedupeWindow.Microseconds()
		}
		dst = append(dst, wantedIdentity{keyOf(classWeak, e.Weak), at - window, at + window})
	} else {
		dst = append(dst, wantedIdentity{key: keyOf(classStrong, e.Strong)})
	}
	if !e.Reverses.IsZero() {
		dst = append(dst, wantedIdentity{key: keyOf(classStrong, e.Reverses)})
	}
	return dst
}

// loadHinted loads the calls that the index hints at and those that the store
// has to be asked for, because it gave no hints.
func (w *work) loadHinted(fresh []event.Event) error {
	var nos []int64
	var names []callName
	for i := range fresh {
		e := &fresh[i]
		if e.IsCall || e.Report.Invalid != "" || e.Report.Failed {
			continue
		}
		c := w.claimOf(e)
		if held := w.holder(&c); held != nil { // a repeat is answered with the call of the first telling
			if held.call != 0 {
				nos = append(nos, held.call)
			}
			continue
		}
		if c.reverses != (idKey{}) && w.ids[c.reverses] != nil {
			nos = append(nos, w.ids[c.reverses].call)
		}
		if c.hinted && len(c.hints) > 0 {
			nos = append(nos, c.hints...)
			continue
		}
		for _, k := range c.r.AppendKeys(w.keys[:0]) {
			names = append(names, callName{k, c.start()})
		}
	}
	if err := w.tx.loadNames(names, w); err != nil {
		return err
	}
	for _, n := range names {
		nos = append(nos, w.named[n]...)
	}
	slices.Sort(nos)
	return w.tx.loadCalls(slices.Compact(nos), w)
}

// loadParked loads the parked events that wait for the batch's calls.
func (w *work) loadParked(fresh []event.Event) error {
	if !w.parked {
		return nil
	}
	var keys []event.CallKey
	for i := range fresh {
		e := &fresh[i]
		if !e.IsCall {
			continue
		}
		keys = e.Call.AppendKeys(keys)
		if row := w.byID[e.Call.CallID]; row != nil {
			keys = row.AppendKeys(keys)
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	if err := w.tx.loadWaiting(keys, w); err != nil {
		return err
	}
	var all []*waiting
	for _, k := range keys {
		all = append(all, w.waits[k]...)
	}
	return w.loadHeld(all)
}
