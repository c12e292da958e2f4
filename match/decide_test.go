package match

import (
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// noon is the time around which the tests' calls and postbacks lie.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC).UnixMicro()

const (
	alice = "+12025550101"
	bob   = "+12025550102"
)

func at(d time.Duration) int64      { return noon + d.Microseconds() }
func lasting(n int32) event.Seconds { return event.Seconds{N: n, OK: true} }

func policy() *event.Policy {
	return &event.Policy{Source: "default", Window: event.DefaultWindow, DurationTolerance: event.DefaultDurationTolerance}
}

// candidate is call number no, named "c<no>", from alice, an hour before noon
// and 120 s long, with changes.
func candidate(no int64, changes ...func(*event.Candidate)) event.Candidate {
	c := event.Candidate{Call: &event.Call{
		No: no, CallID: "c" + string(rune('0'+no)), Caller: alice, StartedAt: at(-time.Hour), Duration: lasting(120),
	}}
	for _, change := range changes {
		change(&c)
	}
	return c
}

func valued(by int64) func(*event.Candidate) {
	return func(c *event.Candidate) { c.Valued, c.PricedBy = true, by }
}

func with(change func(*event.Call)) func(*event.Candidate) {
	return func(c *event.Candidate) { change(c.Call) }
}

func started(d time.Duration) func(*event.Candidate) {
	return with(func(c *event.Call) { c.StartedAt = at(d) })
}

func length(n int32) func(*event.Candidate) {
	return with(func(c *event.Call) { c.Duration = lasting(n) })
}

func unended(c *event.Candidate)   { c.Call.Duration = event.Seconds{} }
func unstarted(c *event.Candidate) { c.Call.StartedAt = 0 }

func ref(id string) func(*event.Candidate) { return with(func(c *event.Call) { c.RefID = id }) }
func sold(to string) func(*event.Candidate) {
	return with(func(c *event.Call) { c.Buyer = to })
}
func from(caller string) func(*event.Candidate) {
	return with(func(c *event.Call) { c.Caller = caller })
}

func network(name, id string) func(*event.Candidate) {
	return with(func(c *event.Call) { c.NetworkIDs = append(c.NetworkIDs, event.Pair{Name: name, Value: id}) })
}

// picks checks that the call with the number is picked, and what is said of it.
func picks(t *testing.T, name string, r event.Report, p *event.Policy, no int64, by event.Strategy, fits int, cands ...event.Candidate) {
	t.Helper()
	d := Decide(&r, p, noon, cands)
	if d.Pick < 0 {
		t.Errorf("%s: nothing picked, %s %+v", name, d.Reason, d.Detail)
		return
	}
	got := cands[d.Pick].Call
	if got.No != no || d.Strategy != by || d.Fits != fits || d.Waiting {
		t.Errorf("%s: picked call %d by %s, %d fit, waiting %t; want %d by %s, %d", name, got.No, d.Strategy, d.Fits, d.Waiting, no, by, fits)
	}
	want := event.Decision{}
	if fits > 1 {
		shared := by.String()
		if by == event.ByCaller {
			shared = ""
		}
		want.Reason, want.Detail = event.SeveralCandidates, event.Detail{Call: got.CallID, Others: fits - 1, Field: shared}
	}
	if d.Reason != want.Reason || d.Detail != want.Detail {
		t.Errorf("%s: reason %q %+v, want %q %+v", name, d.Reason, d.Detail, want.Reason, want.Detail)
	}
}

// misses checks that nothing is picked, and why.
func misses(t *testing.T, name string, r event.Report, p *event.Policy, why event.Reason, detail event.Detail, waiting bool, cands ...event.Candidate) {
	t.Helper()
	want := event.Decision{Pick: -1, Reason: why, Detail: detail, Waiting: waiting}
	if got := Decide(&r, p, noon, cands); got != want {
		t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
	}
}

func TestDecideByID(t *testing.T) {
	f := func(name string, r event.Report, no int64, by event.Strategy, fits int, cands ...event.Candidate) {
		t.Helper()
		picks(t, name, r, policy(), no, by, fits, cands...)
	}
	f("ref_id", event.Report{RefID: "r"}, 2, event.ByRefID, 1, candidate(1), candidate(2, ref("r")))
	f("call_id", event.Report{CallID: "c2"}, 2, event.ByCallID, 1, candidate(1), candidate(2))
	f("ref_id before call_id", event.Report{RefID: "r", CallID: "c1"}, 2, event.ByRefID, 1, candidate(1), candidate(2, ref("r")))
	f("call_id when the ref_id is unknown", event.Report{RefID: "x", CallID: "c1"}, 1, event.ByCallID, 1, candidate(1), candidate(2, ref("r")))
	f("an id needs neither duration nor start", event.Report{RefID: "r"}, 1, event.ByRefID, 1, candidate(1, ref("r"), unended, unstarted))
	f("an id is not held to the window", event.Report{RefID: "r", Duration: lasting(9)}, 1, event.ByRefID, 1,
		candidate(1, ref("r"), started(-1000*time.Hour), length(999)))
	f("an id goes before a better caller", event.Report{CallID: "c1", Caller: alice, Duration: lasting(120)}, 1, event.ByCallID, 1,
		candidate(1, from(bob)), candidate(2))
	f("any network", event.Report{NetworkCallID: "n"}, 2, event.ByNetworkCallID, 1, candidate(1), candidate(2, network("ringba", "n")))
	f("the second network", event.Report{NetworkCallID: "n", Network: "invoca"}, 1, event.ByNetworkCallID, 1,
		candidate(1, network("ringba", "m"), network("invoca", "n")))
	f("that network, in any case", event.Report{NetworkCallID: "n", Network: "Ringba"}, 2, event.ByNetworkCallID, 1,
		candidate(1, network("invoca", "n")), candidate(2, network("rINGBA", "n")))
	f("several: not valued first", event.Report{RefID: "r"}, 2, event.ByRefID, 2, candidate(1, ref("r"), valued(0)), candidate(2, ref("r"), started(-9*time.Hour)))
	f("several: the nearest to the receipt", event.Report{RefID: "r"}, 1, event.ByRefID, 3,
		candidate(1, ref("r")), candidate(2, ref("r"), started(-2*time.Hour)), candidate(3, ref("r"), unstarted))
	f("several: the nearest to the reported start", event.Report{RefID: "r", StartedAt: at(-3 * time.Hour)}, 2, event.ByRefID, 2,
		candidate(1, ref("r")), candidate(2, ref("r"), started(-2*time.Hour)))
	f("several: a known duration before none", event.Report{RefID: "r", Duration: lasting(1)}, 1, event.ByRefID, 2,
		candidate(1, ref("r")), candidate(2, ref("r"), unended))
	f("ids are compared exactly", event.Report{RefID: "R", CallID: "c1"}, 1, event.ByCallID, 1, candidate(1, ref("r")))
}

func TestDecideByCaller(t *testing.T) {
	f := func(name string, r event.Report, no int64, fits int, cands ...event.Candidate) {
		t.Helper()
		if r.Caller == "" {
			r.Caller = alice
		}
		if !r.Duration.OK {
			r.Duration = lasting(120)
		}
		picks(t, name, r, policy(), no, event.ByCaller, fits, cands...)
	}
	f("caller, duration, start", event.Report{}, 2, 1, candidate(1, from(bob)), candidate(2))
	f("when the ids are unknown", event.Report{RefID: "x", CallID: "y", NetworkCallID: "z"}, 1, 1, candidate(1))
	f("shorter by the tolerance", event.Report{Duration: lasting(60)}, 1, 1, candidate(1))
	f("longer by the tolerance", event.Report{Duration: lasting(180)}, 1, 1, candidate(1))
	f("a call of zero seconds", event.Report{Duration: lasting(0)}, 1, 1, candidate(1, length(0)))
	f("started a window before the receipt", event.Report{}, 1, 1, candidate(1, started(-24*time.Hour)))
	f("started when the postback came", event.Report{}, 1, 1, candidate(1, started(0)))
	f("started after it, by another clock", event.Report{}, 1, 1, candidate(1, started(event.StartSkew)))
	f("a window before the reported start", event.Report{StartedAt: at(0)}, 1, 1, candidate(1, started(-24*time.Hour)))
	f("a window after the reported start", event.Report{StartedAt: at(0)}, 1, 1, candidate(1, started(24*time.Hour)))
	f("the end is not asked for", event.Report{}, 1, 1, candidate(1, with(func(c *event.Call) { c.EndedAt = 0 })))

	r := event.Report{Caller: alice, Duration: lasting(120)}
	mine := r.PricedBy()
	f("several: the one it priced before", r, 1, 3, candidate(1, valued(mine), started(-9*time.Hour)), candidate(2), candidate(3, valued(7)))
	f("several: not valued before valued", r, 2, 2, candidate(1, valued(7)), candidate(2, started(-9*time.Hour)))
	f("several: priced by it, but no longer valued", r, 2, 2, candidate(1, func(c *event.Candidate) { c.PricedBy = mine }, started(-9*time.Hour)), candidate(2))
	f("several: the nearest start", r, 2, 2, candidate(1, started(-2*time.Hour)), candidate(2))
	f("several: the nearest start to the reported one", event.Report{StartedAt: at(-2 * time.Hour)}, 1, 2, candidate(1, started(-2*time.Hour)), candidate(2))
	f("several: the nearest duration", r, 2, 2, candidate(1, length(100)), candidate(2, length(121)))
	f("several: the latest start", event.Report{StartedAt: at(-2 * time.Hour)}, 2, 2, candidate(1, started(-3*time.Hour)), candidate(2, started(-time.Hour)))
	f("several: the greater number", r, 3, 3, candidate(1), candidate(3), candidate(2))
	f("only those that fit are counted", r, 1, 1, candidate(1), candidate(2, length(999)), candidate(3, from(bob)), candidate(4, unended))
}

func TestDecideNothing(t *testing.T) {
	f := func(name string, r event.Report, why event.Reason, detail event.Detail, waiting bool, cands ...event.Candidate) {
		t.Helper()
		misses(t, name, r, policy(), why, detail, waiting, cands...)
	}
	by := event.Report{Caller: alice, Duration: lasting(120)}
	long := strings.Repeat("é", 40)

	f("no key", event.Report{Duration: lasting(5), StartedAt: noon}, event.NoKey, event.Detail{}, false, candidate(1))
	f("no key, and a number that is none", event.Report{CallerRaw: "anonymous"}, event.CallerUnreadable, event.Detail{Got: "anonymous"}, false, candidate(1))
	f("ids unknown, and a number that is none", event.Report{RefID: "x", CallerRaw: "12"}, event.CallerUnreadable, event.Detail{Got: "12"}, false, candidate(1))
	f("ref_id unknown", event.Report{RefID: "x", CallID: "y"}, event.NoSuchRef, event.Detail{Field: "ref_id", Got: "x"}, false, candidate(1))
	f("call_id unknown", event.Report{CallID: "y", NetworkCallID: "z"}, event.NoSuchRef, event.Detail{Field: "call_id", Got: "y"}, false, candidate(1))
	f("network id unknown", event.Report{NetworkCallID: "z"}, event.NoSuchRef, event.Detail{Field: "network_call_id", Got: "z"}, false)
	f("network id of another network", event.Report{NetworkCallID: "n", Network: "invoca"}, event.NoSuchRef,
		event.Detail{Field: "network_call_id", Got: "n"}, false, candidate(1, network("ringba", "n")))
	f("absent ids are not equal", event.Report{RefID: "x"}, event.NoSuchRef, event.Detail{Field: "ref_id", Got: "x"}, false,
		candidate(1, with(func(c *event.Call) { c.CallID = "" })))
	f("what came is cut at a rune", event.Report{RefID: "a" + long}, event.NoSuchRef, event.Detail{Field: "ref_id", Got: "a" + long[:62]}, false)
	f("never rang", by, event.NoCallFromCaller, event.Detail{Got: alice}, false, candidate(1, from(bob)))
	f("never rang, and ids unknown", event.Report{RefID: "x", Caller: alice}, event.NoCallFromCaller, event.Detail{Got: alice}, false)
	f("no duration", event.Report{Caller: alice}, event.NoDuration, event.Detail{Call: "c2"}, false, candidate(1, started(-2*time.Hour)), candidate(2))

	f("duration", by, event.DurationOutsideTolerance, event.Detail{Call: "c1", Limit: 60, MissedBy: 1}, false, candidate(1, length(181)))
	f("duration, the other way", by, event.DurationOutsideTolerance, event.Detail{Call: "c1", Limit: 60, MissedBy: 20}, false, candidate(1, length(40)))
	f("start", by, event.StartOutsideWindow, event.Detail{Call: "c1", Limit: 86400, MissedBy: 3600}, false, candidate(1, started(-25*time.Hour)))
	f("start, by less than a second", by, event.StartOutsideWindow, event.Detail{Call: "c1", Limit: 86400, MissedBy: 1}, false,
		candidate(1, started(-24*time.Hour-time.Microsecond)))
	f("start after the postback", by, event.StartOutsideWindow, event.Detail{Call: "c1", Limit: 300, MissedBy: 60}, false, candidate(1, started(6*time.Minute)))
	f("start after the reported one", event.Report{Caller: alice, Duration: lasting(120), StartedAt: at(-30 * time.Hour)}, event.StartOutsideWindow,
		event.Detail{Call: "c1", Limit: 86400, MissedBy: 5 * 3600}, false, candidate(1))
	f("both: it is another call", by, event.StartOutsideWindow, event.Detail{Call: "c1", Limit: 86400, MissedBy: 3600}, false,
		candidate(1, started(-25*time.Hour), length(999)))
	f("nearest: one miss before two", by, event.DurationOutsideTolerance, event.Detail{Call: "c2", Limit: 60, MissedBy: 820}, false,
		candidate(1, started(-24*time.Hour-time.Second), length(181)), candidate(2, length(1000)))
	f("nearest: the smaller miss", by, event.DurationOutsideTolerance, event.Detail{Call: "c1", Limit: 60, MissedBy: 1}, false,
		candidate(1, length(181)), candidate(2, length(183)), candidate(3, started(-25*time.Hour)))
	f("nearest: what is known before what is not", by, event.DurationOutsideTolerance, event.Detail{Call: "c2", Limit: 60, MissedBy: 4820}, false,
		candidate(1, unended, started(-25*time.Hour)), candidate(2, length(5000)))
	f("nearest: equal misses, the later number", by, event.DurationOutsideTolerance, event.Detail{Call: "c2", Limit: 60, MissedBy: 1}, false,
		candidate(2, length(181)), candidate(1, length(181)))
	f("a start out of this world", event.Report{Caller: alice, Duration: lasting(120), StartedAt: -1 << 63}, event.StartOutsideWindow,
		event.Detail{Call: "c1", Limit: 86400, MissedBy: (noon-3600e6)/1e6 + 9223372036855 - 86400}, false, candidate(1))

	f("not ended", by, event.CallHasNoDuration, event.Detail{Call: "c1"}, true, candidate(1, unended))
	f("no start", by, event.CallHasNoDuration, event.Detail{Call: "c1"}, true, candidate(1, unstarted))
	f("not ended before a near miss", by, event.CallHasNoDuration, event.Detail{Call: "c2"}, true, candidate(1, length(181)), candidate(2, unended))
	f("not ended, but started long ago", by, event.StartOutsideWindow, event.Detail{Call: "c1", Limit: 86400, MissedBy: 3600}, false,
		candidate(1, unended, started(-25*time.Hour)))
	f("no start, but too long", by, event.DurationOutsideTolerance, event.Detail{Call: "c1", Limit: 60, MissedBy: 1}, false, candidate(1, unstarted, length(181)))
	f("no duration waits for nothing", event.Report{Caller: alice}, event.NoDuration, event.Detail{Call: "c1"}, false, candidate(1, unended))
}

func TestDecideBuyer(t *testing.T) {
	by := event.Report{Caller: alice, Duration: lasting(120)}
	p := policy()
	p.Buyer = "acme"

	picks(t, "its own", by, p, 1, event.ByCaller, 1, candidate(1, sold("acme")))
	picks(t, "nobody's", by, p, 1, event.ByCaller, 1, candidate(1))
	picks(t, "not the other's, though nearer", by, p, 2, event.ByCaller, 1, candidate(1, sold("globex"), started(0)), candidate(2))
	picks(t, "any, without a buyer", by, policy(), 1, event.ByCaller, 1, candidate(1, sold("globex")))
	picks(t, "the other's by id, its own by caller", event.Report{RefID: "r", Caller: alice, Duration: lasting(120)}, p, 2, event.ByCaller, 1,
		candidate(1, ref("r"), sold("globex")), candidate(2))

	other := event.Detail{Call: "c1", Got: "globex"}
	misses(t, "by id", event.Report{CallID: "c1"}, p, event.OtherBuyer, other, false, candidate(1, sold("globex")))
	misses(t, "by caller", by, p, event.OtherBuyer, other, false, candidate(1, sold("globex")), candidate(2, length(999)))
	misses(t, "the best of several", by, p, event.OtherBuyer, other, false, candidate(2, sold("initech"), started(-2*time.Hour)), candidate(1, sold("globex")))
	misses(t, "the strongest way", event.Report{RefID: "r", Caller: alice, Duration: lasting(120)}, p, event.OtherBuyer, other, false,
		candidate(2, sold("initech")), candidate(1, ref("r"), sold("globex"), started(-2*time.Hour)))
	misses(t, "its own may yet fit", by, p, event.OtherBuyer, other, true, candidate(1, sold("globex")), candidate(2, unended))
	misses(t, "the other's near miss is nobody's business", by, p, event.NoCallFromCaller, event.Detail{Got: alice}, false,
		candidate(1, sold("globex"), length(999)))
	misses(t, "the other's is not waited for", by, p, event.NoCallFromCaller, event.Detail{Got: alice}, false, candidate(1, sold("globex"), unended))
}

func TestDecideAllocatesNothing(t *testing.T) {
	p := policy()
	p.Buyer = "acme"
	cands := make([]event.Candidate, 0, CandidatesMax)
	for i := range CandidatesMax {
		cands = append(cands, candidate(int64(i+1), network("ringba", "n"), length(int32(100+i%200))))
	}
	f := func(name string, r event.Report) {
		t.Helper()
		var d event.Decision
		if n := testing.AllocsPerRun(100, func() { d = Decide(&r, p, noon, cands) }); n != 0 {
			t.Errorf("%s: %g allocations, decision %+v", name, n, d)
		}
	}
	f("picked", event.Report{Caller: alice, Duration: lasting(120)})
	f("picked by a network's id", event.Report{NetworkCallID: "n", Network: "RINGBA"})
	f("missed", event.Report{Caller: alice, Duration: lasting(9999)})
	f("nothing", event.Report{RefID: strings.Repeat("x", 200)})
}
