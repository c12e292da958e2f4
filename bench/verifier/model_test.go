package verifier

import (
	"maps"
	"testing"
	"time"
)

func TestShare(t *testing.T) {
	f := func(rule string, value, want int64) {
		t.Helper()
		if got := share(rule, value); got != want {
			t.Errorf("%q of %d: %d, want %d", rule, value, got, want)
		}
	}
	f("percent 80", 50_000_000, 40_000_000)
	f("percent 33.3333", 100_000_000, 33_333_300)
	f("percent 50", 1, 0)     // half to even: down
	f("percent 50", 3, 2)     // half to even: up
	f("percent 50", 5, 2)     // and down again
	f("percent 10", 999, 100) // 99.9
	f("flat 12.5", 1, 12_500_000)
	f("flat 12.5", 0, 0)
	f("*0.8-1", 50_000_000, 39_000_000)
	f("*0.8-1", 1_000_000, 0) // below zero is zero
	f("/3+0.25", 10_000_000, 3_583_333)
	f("+1*2", 10_000_000, 22_000_000) // strictly from left to right
	f("percent 80", -1, 0)
	f("", 50_000_000, 0)
}

// The story of two calls, reckoned by hand.
func TestModel(t *testing.T) {
	m := newModel(15*time.Minute, func(c, p string) string { return map[string]string{"a/x": "percent 80", "a/y": "flat 5"}[c+"/"+p] })
	m.calls["c1"] = &modelCall{campaign: "a", publisher: "x", buyer: "b1"}
	m.calls["c2"] = &modelCall{campaign: "a", publisher: "y", buyer: "b2"}
	start := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	f := func(minute int, content, call string, payout int64, want string) {
		t.Helper()
		e := modelEvent{rank: rank{at: start.Add(time.Duration(minute) * time.Minute)}, source: "s", content: content, call: call, payout: payout * 1_000_000, readable: content != ""}
		if got := m.apply(e); got != want {
			t.Errorf("%q in minute %d: %s, want %s", content, minute, got, want)
		}
	}
	f(0, "c1 50", "c1", 50, "booked")
	f(1, "c1 50", "c1", 50, "duplicate")
	f(2, "c1 60", "c1", 60, "booked")
	f(3, "c1 50", "c1", 50, "duplicate") // a late retry does not undo
	f(4, "c2 50", "c2", 50, "booked")
	f(5, "c2 0", "c2", 0, "unqualified")
	f(6, "", "c1", 99, "invalid")
	f(7, "gone 10", "", 10, "parked")
	f(8, "c1 60 in other words", "c1", 60, "unchanged")
	want := map[account]int64{
		{"buyer_receivable", "b1"}: 60_000_000, {"network_revenue", ""}: -60_000_000,
		{"network_publisher_cost", ""}: 48_000_000, {"publisher_pending", "x"}: -48_000_000,
	}
	if got := m.balances(); !maps.Equal(got, want) {
		t.Errorf("balances %v, want %v", got, want)
	}
	f(16, "c1 50", "c1", 50, "booked") // the window from the first has passed
	if c := m.calls["c1"]; c.value != 50_000_000 || c.share != 40_000_000 {
		t.Errorf("call 1 is worth %d with a share of %d", c.value, c.share)
	}
	if c := m.calls["c2"]; c.qualified || c.value != 0 || c.share != 0 {
		t.Errorf("call 2 is worth %d with a share of %d, qualified %v", c.value, c.share, c.qualified)
	}
}

// A node that was away tells late what it took in early: the latest receipt
// decides what a call is worth, and what was said first in the ledger owns.
func TestModelTakesOldEventsLate(t *testing.T) {
	m := newModel(time.Hour, func(string, string) string { return "" })
	m.calls["c"] = new(modelCall)
	start := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	at := func(minute, seq int, content string, payout int64) modelEvent {
		return modelEvent{rank: rank{start.Add(time.Duration(minute) * time.Minute), 1, uint64(seq), 0}, source: "s", content: content, call: "c", payout: payout, readable: true}
	}
	f := func(got, want string, value int64) {
		t.Helper()
		if got != want || m.calls["c"].value != value {
			t.Errorf("%s and the call is worth %d, want %s and %d", got, m.calls["c"].value, want, value)
		}
	}
	waiting := at(1, 1, "10", 10)
	f(m.hear(waiting), "", 0)
	f(m.apply(at(5, 5, "50", 50)), "booked", 50)
	f(m.apply(at(4, 4, "40", 40)), "stale", 50)
	f(m.apply(at(3, 3, "50", 50)), "booked", 40)    // in the place of its repeat: what came between counts
	f(m.apply(at(3, 3, "10", 10)), "duplicate", 40) // of the one that waits
	f(m.decide(waiting), "stale", 40)
	f(m.apply(at(5, 6, "60", 60)), "booked", 60) // same time: the later record
}
