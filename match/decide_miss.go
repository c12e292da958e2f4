package match

import (
	"math"
	"math/bits"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// nearness is how far a call of the same caller is from fitting.
type nearness struct {
	misses  int    // of duration and start, how many lie outside their limit
	unknown int    // how many the call does not have yet
	length  uint64 // seconds by which the duration lies outside
	start   uint64 // microseconds by which the start lies outside
	limit   int64  // seconds, of the start
}

// compare holds duration and start of c against the report. A report without
// a duration leaves the duration out.
func (j *judge) compare(c *event.Call) (n nearness) {
	switch {
	case !j.r.Duration.OK:
	case !c.Duration.OK:
		n.unknown++
	default:
		if n.length = beyond(j.fromDuration(c), uint64(j.tolerance)); n.length > 0 {
			n.misses++
		}
	}
	if c.StartedAt == 0 {
		n.unknown++
		return n
	}
	// Without a reported start the call must have started before the postback
	// came, but for what two clocks may differ.
	limit := j.window
	if j.r.StartedAt == 0 && c.StartedAt > j.at {
		limit = uint64(event.StartSkew.Microseconds())
	}
	n.limit = int64(limit / uint64(time.Second.Microseconds()))
	if n.start = beyond(j.fromStart(c), limit); n.start > 0 {
		n.misses++
	}
	return n
}

func beyond(v, limit uint64) uint64 {
	if v <= limit {
		return 0
	}
	return v - limit
}

// nearer orders misses: by how many limits are missed, then by what is not
// known yet, then by how much is missed in all.
func (n *nearness) nearer(o *nearness) (less, equal bool) {
	if n.misses != o.misses {
		return n.misses < o.misses, false
	}
	if n.unknown != o.unknown {
		return n.unknown < o.unknown, false
	}
	x, y := n.total(), o.total()
	return x < y, x == y
}

// total is in microseconds and stops at the largest uint64: starts come from
// outside and may be anything.
func (n *nearness) total() uint64 {
	sum, carry := bits.Add64(n.length*uint64(time.Second.Microseconds()), n.start, 0)
	if carry > 0 {
		return math.MaxUint64
	}
	return sum
}

// miss says why nothing fitted, naming the nearest call of the same caller.
func (j *judge) miss(cands []event.Candidate) event.Decision {
	d := event.Decision{Pick: -1}
	if j.r.Caller == "" {
		d.Reason, d.Detail = j.noCaller()
		return d
	}
	nearest := -1
	var best nearness
	for i := range cands {
		c := cands[i].Call
		if c.Caller != j.r.Caller || !j.sells(c) {
			continue
		}
		n := j.compare(c)
		if j.r.Duration.OK && n.misses == 0 && n.unknown > 0 {
			d.Waiting = true
		}
		less, equal := n.nearer(&best)
		if nearest < 0 || less || (equal && j.better(&cands[i], &cands[nearest])) {
			nearest, best = i, n
		}
	}
	if nearest < 0 {
		d.Reason, d.Detail = event.NoCallFromCaller, event.Detail{Got: cut(j.r.Caller)}
		return d
	}
	d.Reason, d.Detail = j.why(&best)
	d.Detail.Call = cands[nearest].Call.CallID
	return d
}

// why names the reason of a miss. When both limits are missed it is the start
// that counts: that is another call altogether.
func (j *judge) why(n *nearness) (event.Reason, event.Detail) {
	switch {
	case !j.r.Duration.OK:
		return event.NoDuration, event.Detail{}
	case n.start > 0:
		return event.StartOutsideWindow, event.Detail{Limit: n.limit, MissedBy: wholeSeconds(n.start)}
	case n.length > 0:
		return event.DurationOutsideTolerance, event.Detail{Limit: j.tolerance, MissedBy: int64(n.length)}
	}
	return event.CallHasNoDuration, event.Detail{}
}

// wholeSeconds rounds up, so that a miss is never called 0 s.
func wholeSeconds(micros uint64) int64 {
	second := uint64(time.Second.Microseconds())
	s := micros / second
	if micros%second > 0 {
		s++
	}
	return int64(s)
}

// noCaller says why a report without a readable caller found nothing: it
// names the strongest id that it gave.
func (j *judge) noCaller() (event.Reason, event.Detail) {
	r := j.r
	if r.CallerRaw != "" {
		return event.CallerUnreadable, event.Detail{Got: cut(r.CallerRaw)}
	}
	switch {
	case r.RefID != "":
		return event.NoSuchRef, event.Detail{Field: "ref_id", Got: cut(r.RefID)}
	case r.CallID != "":
		return event.NoSuchRef, event.Detail{Field: "call_id", Got: cut(r.CallID)}
	}
	return event.NoSuchRef, event.Detail{Field: "network_call_id", Got: cut(r.NetworkCallID)}
}
