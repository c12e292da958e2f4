package mapper

import (
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/source"
)

// A postback about which the mapper was not asked says nothing of its health.
func TestAMalformedPostbackIsNoTry(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	v := h.version("acme", 1, says("", moduletest.OpUnreachable))
	bad := func() event.Record {
		r := h.record("own", "")
		r.ContentType, r.Body = "application/json", []byte("{")
		return r
	}
	for range BreakerTrapsMax + 1 {
		h.told(h.record("own", ""))
	}
	if !v.Broken() {
		t.Fatal("open")
	}
	h.clock = h.clock.Add(BreakerRestMin)
	h.told(bad()) // not asked at all
	if !v.Broken() {
		t.Error("a postback that the mapper was never asked about closed its breaker")
	}
}

// What cannot be read is as good as a trap: the previous version maps, the breaker stays open.
func TestABadResultIsATrap(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme", MapperFallback: "previous"})
	v := h.version("acme", 2, says(output(uint16(99), "x")))
	h.set["acme"].Previous = h.version("acme", 1, says(pays("old", "1")))
	if got := h.told(h.record("own", "")); got != "old" {
		t.Errorf("fallback: a broken result of the active version ended as %s; the previous one maps it", got)
	}
	h.set["acme"].Previous = nil
	h.m.Swap(h.set)
	for range BreakerTrapsMax + 5 {
		h.told(h.record("own", ""))
	}
	if !v.Broken() {
		t.Fatal("open")
	}
	h.clock = h.clock.Add(BreakerRestMin)
	h.told(h.record("own", ""))
	if !v.Broken() {
		t.Error("the one try gave a bad result, and the breaker is closed")
	}
}

// Candidates, on which no money hangs, put nobody off.
func TestCandidatesComeLast(t *testing.T) {
	h := newHost(t, source.Spec{ID: "s1", Mapper: "a"}, source.Spec{ID: "s2", Mapper: "b"}, source.Spec{ID: "honest", Mapper: "c"})
	h.version("a", 1, says(pays("a", "1")))
	h.version("b", 1, says(pays("b", "1")))
	h.set["a"].Shadow = h.version("a", 2, says(pays("a", "1")))
	h.set["b"].Shadow = h.version("b", 2, says(pays("b", "1")))
	c := h.version("c", 1, says(pays("c", "1")))
	c.took(1, 8*time.Millisecond)
	seen := int64(0)
	h.m.now = func() time.Time { // candidates alone take time
		if n := h.set["a"].Shadow.Stats.Fuel.Load() + h.set["b"].Shadow.Stats.Fuel.Load(); n != seen {
			seen = n
			h.clock = h.clock.Add(60 * time.Millisecond)
		}
		return h.clock
	}
	if got := h.told(h.record("s1", ""), h.record("s2", ""), h.record("honest", "")); got != "a b c" {
		t.Errorf("candidates that nobody's money hangs on put off an honest source: %s", got)
	}
}

// Many postbacks of dear mappers leave an honest one its share of every batch.
func TestEveryGroupHasItsShare(t *testing.T) {
	h := newHost(t, source.Spec{ID: "h1", Mapper: "bad"}, source.Spec{ID: "h2", Mapper: "bad"}, source.Spec{ID: "honest", Mapper: "go"})
	bad := h.version("bad", 1, says(pays("h", "1")))
	honest := h.version("go", 1, says(pays("c", "1")))
	honest.took(8, 8*8*time.Millisecond) // a Go mapper of 1 ms
	seen := int64(0)
	h.m.now = func() time.Time { // one of bad's takes 0.5 ms: 100 are 50 ms
		if n := bad.Stats.Fuel.Load(); n > seen {
			seen = n
			h.clock = h.clock.Add(500 * time.Microsecond)
		}
		return h.clock
	}
	waited := 0
	for range 100 {
		var rs []event.Record
		for range 110 {
			rs = append(rs, h.record("h1", ""), h.record("h2", ""))
		}
		rs = append(rs, h.record("honest", ""))
		if strings.HasSuffix(h.told(rs...), "waits") {
			waited++
		}
	}
	if waited > 0 {
		t.Errorf("one honest record a batch was put off in %d of 100 batches", waited)
	}
}

// From the first postback that cannot be mapped on, all of its source wait.
func TestNoneOvertakes(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	v := h.version("acme", 1, says(pays("r", "1")))
	for range BreakerTrapsMax + 1 {
		v.trapped(TrapCrash, h.clock)
	}
	h.clock = h.clock.Add(BreakerRestMin)
	if !h.m.MayMap("own", h.clock.UnixMicro()) { // the backlog hands them out
		t.Fatal("may")
	}
	v.breaker.allows(h.clock) // the other lane takes the one try, for a fresh postback
	calls := 0
	h.m.now = func() time.Time {
		if calls++; calls == 4 { // after r1 was looked at, the other lane's try works
			v.breaker.worked()
		}
		return h.clock
	}
	h.b.Reset()
	h.b.Waiting = append(h.b.Waiting, h.record("own", ""), h.record("own", ""), h.record("own", ""))
	got := h.again()
	n := 0
	if len(h.b.Events) > 0 {
		n = int(h.b.Events[0].ID.Seq)
	}
	if len(h.b.Events) > 0 && n != 1 {
		t.Errorf("waiting record 1 was passed over, %d was mapped first: %q", n, got)
	}
}

// Outputs of very many reports fill no memory: from a bound on, what can wait does.
func TestManyReportsFillNoMemory(t *testing.T) {
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	h.version("acme", 1, says(strings.Repeat(output(abi.FieldNextReport, ""), abi.ReportsMax-1)))
	var list []event.Record
	for range 100 {
		list = append(list, h.record("own", ""))
	}
	h.told(list...)
	if n := len(h.b.Events); n > event.BatchEventsMax+abi.ReportsMax+len(list) {
		t.Fatalf("%d events of %d records", n, len(list))
	}
	if last := &h.b.Events[len(h.b.Events)-1]; !last.Report.Unmapped {
		t.Fatalf("the last record ended as %q", last.Report.Invalid)
	}
}
