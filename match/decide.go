package match

import (
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

var _ event.Decide = Decide

// Decide chooses the call that a report pays for. It depends on its arguments
// alone, allocates nothing, and does not care for the order of cands, which
// hold each call once. Texts of the Decision are views into r, p and cands.
//
// The strategies are tried in turn and the first that any candidate fits
// decides: ref_id, call_id, the network's own call id, and last the caller
// with duration and start. A call that was sold to another buyer than the
// policy's fits nothing. Among several that fit, see judge.better.
//
// Of a call that has not been told in full (no duration, or no start) nothing
// can be said by caller yet: it does not fit and does not miss, the decision
// is Waiting, and the reason is CallHasNoDuration in either case, because the
// way out is the same: upload the call again when it has ended.
func Decide(r *event.Report, p *event.Policy, receivedAt int64, cands []event.Candidate) event.Decision {
	if !r.HasKey() {
		return keyless(r)
	}
	j := newJudge(r, p, receivedAt)
	foreign := -1
	for s := event.ByRefID; s <= event.ByCaller; s++ {
		pick, fits, other := j.best(s, cands)
		if pick >= 0 {
			return picked(cands, pick, fits, s)
		}
		if foreign < 0 {
			foreign = other
		}
	}
	d := j.miss(cands)
	if foreign >= 0 {
		c := cands[foreign].Call
		d.Reason, d.Detail = event.OtherBuyer, event.Detail{Call: c.CallID, Got: cut(c.Buyer)}
	}
	return d
}

func picked(cands []event.Candidate, pick, fits int, by event.Strategy) event.Decision {
	d := event.Decision{Pick: pick, Strategy: by, Fits: fits}
	if fits > 1 {
		d.Reason = event.SeveralCandidates
		d.Detail = event.Detail{Call: cands[pick].Call.CallID, Others: fits - 1}
		if by != event.ByCaller {
			d.Detail.Field = by.String() // which several calls share
		}
	}
	return d
}

func keyless(r *event.Report) event.Decision {
	if r.CallerRaw != "" {
		return event.Decision{Pick: -1, Reason: event.CallerUnreadable, Detail: event.Detail{Got: cut(r.CallerRaw)}}
	}
	return event.Decision{Pick: -1, Reason: event.NoKey}
}

// judge is one report with its limits in the units that calls are compared in.
type judge struct {
	r         *event.Report
	p         *event.Policy
	at        int64 // microseconds; what starts are near to: the reported start, else the receipt
	window    uint64
	tolerance int64 // seconds
	priced    int64
}

func newJudge(r *event.Report, p *event.Policy, receivedAt int64) judge {
	j := judge{r: r, p: p, at: r.StartedAt, priced: r.PricedBy()}
	if j.at == 0 {
		j.at = receivedAt
	}
	j.window = uint64(max(0, p.Window.Microseconds()))
	j.tolerance = max(0, int64(p.DurationTolerance/time.Second))
	return j
}

// best finds the best of the candidates that fit by s, how many fit, and the
// best of those that would if they had not been sold to another buyer; -1 is none.
func (j *judge) best(s event.Strategy, cands []event.Candidate) (pick, fits, foreign int) {
	pick, foreign = -1, -1
	for i := range cands {
		c := &cands[i]
		switch {
		case !j.fits(s, c.Call):
		case !j.sells(c.Call):
			if foreign < 0 || j.better(c, &cands[foreign]) {
				foreign = i
			}
		default:
			fits++
			if pick < 0 || j.better(c, &cands[pick]) {
				pick = i
			}
		}
	}
	return pick, fits, foreign
}

// sells reports whether the source may price c at all.
func (j *judge) sells(c *event.Call) bool {
	return j.p.Buyer == "" || c.Buyer == "" || c.Buyer == j.p.Buyer
}

func (j *judge) fits(s event.Strategy, c *event.Call) bool {
	switch s {
	case event.ByRefID:
		return j.r.RefID != "" && c.RefID == j.r.RefID
	case event.ByCallID:
		return j.r.CallID != "" && c.CallID == j.r.CallID
	case event.ByNetworkCallID:
		return j.r.NetworkCallID != "" && j.network(c)
	case event.ByCaller:
		if j.r.Caller == "" || c.Caller != j.r.Caller || !j.r.Duration.OK {
			return false
		}
		n := j.compare(c)
		return n.misses == 0 && n.unknown == 0
	}
	return false
}

func (j *judge) network(c *event.Call) bool {
	for i := range c.NetworkIDs {
		id := &c.NetworkIDs[i]
		if id.Value == j.r.NetworkCallID && (j.r.Network == "" || strings.EqualFold(id.Name, j.r.Network)) {
			return true
		}
	}
	return false
}

// better says that a goes before b when both fit: first a call that a report
// with the same caller, duration and start has priced, since this one prices
// it again; then calls that nobody has priced; then the nearest start, the
// nearest duration, the latest start, and the call that the store saw last.
// What is unknown is farthest.
func (j *judge) better(a, b *event.Candidate) bool {
	if x, y := j.worth(a), j.worth(b); x != y {
		return x > y
	}
	if x, y := j.fromStart(a.Call), j.fromStart(b.Call); x != y {
		return x < y
	}
	if x, y := j.fromDuration(a.Call), j.fromDuration(b.Call); x != y {
		return x < y
	}
	if a.Call.StartedAt != b.Call.StartedAt {
		return a.Call.StartedAt > b.Call.StartedAt
	}
	return a.Call.No > b.Call.No
}

func (j *judge) worth(c *event.Candidate) int {
	switch {
	case c.Valued && j.priced != 0 && c.PricedBy == j.priced:
		return 2
	case !c.Valued:
		return 1
	}
	return 0
}

func (j *judge) fromStart(c *event.Call) uint64 {
	if c.StartedAt == 0 {
		return math.MaxUint64
	}
	return apart(c.StartedAt, j.at)
}

func (j *judge) fromDuration(c *event.Call) uint64 {
	switch {
	case !j.r.Duration.OK:
		return 0
	case !c.Duration.OK:
		return math.MaxUint64
	}
	return apart(int64(c.Duration.N), int64(j.r.Duration.N))
}

// apart is |a−b| without overflow.
func apart(a, b int64) uint64 {
	if a < b {
		a, b = b, a
	}
	return uint64(a) - uint64(b)
}

// cut shortens what a sender wrote to what Detail.Got holds, at the border of a rune.
func cut(s string) string {
	const gotBytesMax = 64
	if len(s) <= gotBytesMax {
		return s
	}
	n := gotBytesMax
	for n > gotBytesMax-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
