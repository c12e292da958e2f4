package match

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tallyhook/tallyhook/event"
)

// The generators draw from few values, so that candidates fit, tie and nearly
// fit often.
var (
	someCaller = rapid.SampledFrom([]string{"", alice, alice, alice, bob})
	someID     = rapid.SampledFrom([]string{"", "", "", "x", "y"})
	someBuyer  = rapid.SampledFrom([]string{"", "", "acme", "globex"})
	someNet    = rapid.SampledFrom([]string{"ringba", "Ringba", "invoca"})
	someLength = rapid.SampledFrom([]event.Seconds{{}, lasting(0), lasting(100), lasting(120), lasting(160), lasting(161), lasting(400)})
	someStart  = rapid.SampledFrom([]int64{0, at(0), at(-time.Hour), at(-2 * time.Hour), at(-24 * time.Hour), at(-24*time.Hour - 1000),
		at(-49 * time.Hour), at(event.StartSkew), at(event.StartSkew + time.Second)})
)

func drawReport(t *rapid.T) *event.Report {
	r := &event.Report{
		RefID: someID.Draw(t, "ref"), CallID: someID.Draw(t, "call"), NetworkCallID: someID.Draw(t, "network id"),
		Caller: someCaller.Draw(t, "caller"), Duration: someLength.Draw(t, "duration"), StartedAt: someStart.Draw(t, "start"),
	}
	if rapid.Bool().Draw(t, "names a network") {
		r.Network = someNet.Draw(t, "network")
	}
	if r.Caller == "" && rapid.Bool().Draw(t, "sent a number") {
		r.CallerRaw = "anonymous"
	}
	return r
}

func drawCandidate(t *rapid.T, r *event.Report, no int64) event.Candidate {
	c := event.Candidate{Call: &event.Call{
		No: no, CallID: fmt.Sprint("c", no), RefID: someID.Draw(t, "ref"), Caller: someCaller.Draw(t, "caller"),
		Duration: someLength.Draw(t, "duration"), StartedAt: someStart.Draw(t, "start"), Buyer: someBuyer.Draw(t, "buyer"),
	}}
	if id := someID.Draw(t, "call_id"); id != "" {
		c.Call.CallID = id
	}
	for range rapid.IntRange(0, 2).Draw(t, "network ids") {
		c.Call.NetworkIDs = append(c.Call.NetworkIDs, event.Pair{Name: someNet.Draw(t, "network"), Value: someID.Draw(t, "id")})
	}
	if c.Valued = rapid.Bool().Draw(t, "valued"); c.Valued {
		c.PricedBy = rapid.SampledFrom([]int64{0, 7, r.PricedBy()}).Draw(t, "priced by")
	}
	return c
}

func drawCase(t *rapid.T) (*event.Report, *event.Policy, []event.Candidate) {
	r, p := drawReport(t), policy()
	p.Buyer = someBuyer.Draw(t, "the source's buyer")
	var cands []event.Candidate
	for no := range rapid.IntRange(0, 6).Draw(t, "candidates") {
		cands = append(cands, drawCandidate(t, r, int64(no+1)))
	}
	return r, p, cands
}

// fitsBy is the rule once more, as plainly as it can be said.
func fitsBy(s event.Strategy, r *event.Report, p *event.Policy, c *event.Call) bool {
	if p.Buyer != "" && c.Buyer != "" && c.Buyer != p.Buyer {
		return false
	}
	switch s {
	case event.ByRefID:
		return r.RefID != "" && r.RefID == c.RefID
	case event.ByCallID:
		return r.CallID != "" && r.CallID == c.CallID
	case event.ByNetworkCallID:
		for _, id := range c.NetworkIDs {
			if r.NetworkCallID != "" && id.Value == r.NetworkCallID && (r.Network == "" || strings.EqualFold(r.Network, id.Name)) {
				return true
			}
		}
		return false
	}
	if r.Caller == "" || r.Caller != c.Caller || !r.Duration.OK || !c.Duration.OK || c.StartedAt == 0 {
		return false
	}
	if d := time.Duration(r.Duration.N-c.Duration.N) * time.Second; d.Abs() > p.DurationTolerance {
		return false
	}
	if r.StartedAt != 0 {
		return time.UnixMicro(r.StartedAt).Sub(time.UnixMicro(c.StartedAt)).Abs() <= p.Window
	}
	ago := time.UnixMicro(noon).Sub(time.UnixMicro(c.StartedAt))
	return ago <= p.Window && ago >= -event.StartSkew
}

func TestDecideAgainstTheRule(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, p, cands := drawCase(t)
		d := Decide(r, p, noon, cands)
		for s := event.ByRefID; s <= event.ByCaller; s++ {
			fits := 0
			for _, c := range cands {
				if fitsBy(s, r, p, c.Call) {
					fits++
				}
			}
			if fits == 0 {
				continue
			}
			if d.Pick < 0 || d.Strategy != s || d.Fits != fits || !fitsBy(s, r, p, cands[d.Pick].Call) {
				t.Fatalf("%d fit by %s, decided %+v", fits, s, d)
			}
			return
		}
		if d.Pick >= 0 || d.Strategy != event.ByNothing || d.Fits != 0 || d.Reason == event.NoReason {
			t.Fatalf("nothing fits, decided %+v", d)
		}
	})
}

func TestDecideIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, p, cands := drawCase(t)
		want, wantNo := decided(r, p, cands)
		seed := rapid.Uint64().Draw(t, "shuffle")
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(cands), func(i, j int) { cands[i], cands[j] = cands[j], cands[i] })
		if got, no := decided(r, p, cands); got != want || no != wantNo {
			t.Fatalf("shuffled:\n got %+v of call %d\nwant %+v of call %d", got, no, want, wantNo)
		}
	})
}

// decided is the decision without the place of its pick, and the number of the call there.
func decided(r *event.Report, p *event.Policy, cands []event.Candidate) (event.Decision, int64) {
	d := Decide(r, p, noon, cands)
	no := int64(0)
	if d.Pick >= 0 {
		no = cands[d.Pick].Call.No
	}
	d.Pick = 0
	return d, no
}

// One more candidate never loses a pick, never finds it a weaker way, and
// never moves it to a third call.
func TestDecideOneMoreCandidate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, p, cands := drawCase(t)
		before := Decide(r, p, noon, cands)
		more := append(cands[:len(cands):len(cands)], drawCandidate(t, r, 99))
		after := Decide(r, p, noon, more)
		if before.Pick < 0 {
			if after.Pick >= 0 && after.Pick != len(cands) {
				t.Fatalf("a new candidate made an old one fit: %+v", after)
			}
			return
		}
		if after.Pick < 0 || after.Strategy > before.Strategy {
			t.Fatalf("with one more candidate %+v, without %+v", after, before)
		}
		if after.Pick != before.Pick && after.Pick != len(cands) {
			t.Fatalf("the pick moved from %d to %d of %d", before.Pick, after.Pick, len(cands))
		}
	})
}

// What is said of a miss can be read by a person: it names a call of the same
// caller and a miss above zero, and waits only for what is not told yet.
func TestDecideReasons(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, p, cands := drawCase(t)
		d := Decide(r, p, noon, cands)
		incomplete := false
		for _, c := range cands {
			incomplete = incomplete || !c.Call.Duration.OK || c.Call.StartedAt == 0
		}
		if d.Waiting && (d.Pick >= 0 || !incomplete || !r.Duration.OK) {
			t.Fatalf("waits for nothing: %+v", d)
		}
		switch d.Reason {
		case event.DurationOutsideTolerance, event.StartOutsideWindow:
			if d.Detail.MissedBy <= 0 || d.Detail.Limit <= 0 || d.Detail.Call == "" {
				t.Fatalf("a miss by nothing: %+v", d)
			}
		case event.NoDuration, event.CallHasNoDuration, event.OtherBuyer:
			if d.Detail.Call == "" {
				t.Fatalf("no call is named: %+v", d)
			}
		case event.NoSuchRef, event.NoCallFromCaller, event.CallerUnreadable:
			if d.Detail.Got == "" {
				t.Fatalf("nothing is quoted: %+v", d)
			}
		case event.NoKey:
			if r.HasKey() {
				t.Fatalf("%+v has a key", r)
			}
		case event.NoReason, event.SeveralCandidates:
			if (d.Reason == event.SeveralCandidates) != (d.Fits > 1) || d.Pick < 0 {
				t.Fatalf("%+v", d)
			}
		default:
			t.Fatalf("reason %q is none of matching", d.Reason)
		}
	})
}
