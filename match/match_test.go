package match

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
)

// batch makes one event of each report, received at noon, with weak
// identities that are theirs alone unless said otherwise.
func batch(t *testing.T, first uint64, reports ...event.Report) *event.Batch {
	t.Helper()
	b := new(event.Batch)
	p := policy()
	for i := range reports {
		e := nextEvent(t, b, first+uint64(i))
		e.Report, e.Policy = reports[i], p
		e.Weak = identity(e.ID.String())
	}
	return b
}

func nextEvent(t *testing.T, b *event.Batch, seq uint64) *event.Event {
	t.Helper()
	rec := event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback, Source: "default"})
	if err := b.Add(eventID(seq), noon, rec); err != nil {
		t.Fatal(err)
	}
	return b.NewEvent(&b.Records[len(b.Records)-1], 0)
}

// matchers makes what all tests of one pair of backends share, and opens
// matchers whose index holds calls through change 40.
var matchers = map[string]func(*testing.T) openMatcher{
	"memory": func(*testing.T) openMatcher { return matcher },
	"redis": func(t *testing.T) openMatcher {
		client := redisClient(t, services.Redis(t).URL)
		return func(t *testing.T, calls ...event.Call) (*Matcher, *clock) {
			flush(t, client)
			c := new(clock)
			x := redisIndex(client, c)
			if err := x.Rebuild(t.Context(), scanOf(calls...), 40, nil); err != nil {
				t.Fatal(err)
			}
			return &Matcher{Index: x, Dedupe: redisDeduper(client), Patience: time.Minute}, c
		}
	},
}

func matcher(t *testing.T, calls ...event.Call) (*Matcher, *clock) {
	t.Helper()
	c := new(clock)
	x := NewMemoryIndex(MemoryIndexConfig{Keep: testKeep, Now: c.now})
	if err := x.Rebuild(t.Context(), scanOf(calls...), 40, nil); err != nil {
		t.Fatal(err)
	}
	return &Matcher{Index: x, Dedupe: NewMemoryDeduper(MemoryDeduperConfig{Now: c.now})}, c
}

type openMatcher = func(t *testing.T, calls ...event.Call) (*Matcher, *clock)

func TestMatcher(t *testing.T) {
	for name, backend := range matchers {
		t.Run(name, func(t *testing.T) {
			open := backend(t)
			for _, c := range []struct {
				promise string
				check   func(*testing.T, openMatcher)
			}{
				{"hints by the strongest name that is known", matcherHints},
				{"who claims an identity second gets no hints", matcherClaims},
				{"what books nothing claims nothing", matcherLeavesAlone},
				{"committed calls are found", matcherPut},
				{"used by many at once", matcherConcurrent},
			} {
				t.Run(c.promise, func(t *testing.T) { c.check(t, open) })
			}
		})
	}
}

func find(t *testing.T, m *Matcher, b *event.Batch) {
	t.Helper()
	if err := m.Find(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func matcherHints(t *testing.T, open openMatcher) {
	one := rang(1, alice, 0)
	one.RefID, one.NetworkIDs = "r", []event.Pair{{Name: "ringba", Value: "n"}}
	m, c := open(t, one, rang(2, alice, -time.Hour), rang(3, bob, 0))
	f := func(name string, r event.Report, want ...int64) {
		t.Helper()
		b := batch(t, 1, r)
		find(t, m, b)
		got := slices.Sorted(slices.Values(b.Events[0].Hints))
		if !slices.Equal(got, want) || !b.Events[0].HintOwner.IsZero() || b.IndexedThrough != 40 {
			t.Errorf("%s: hints %v, owner %s, through %d; want %v, none, 40", name, got, b.Events[0].HintOwner, b.IndexedThrough, want)
		}
	}
	f("ref_id", event.Report{RefID: "r"}, 1)
	f("call_id", event.Report{CallID: "c2"}, 2)
	f("network id", event.Report{NetworkCallID: "n"}, 1)
	f("the strongest id", event.Report{RefID: "r", CallID: "c2", NetworkCallID: "x"}, 1)
	f("the strongest id that is known", event.Report{RefID: "x", CallID: "c2"}, 2)
	f("caller", event.Report{Caller: alice}, 1, 2)
	f("an unknown id is for the store, whoever rang", event.Report{RefID: "x", Caller: alice})
	f("no key", event.Report{CallerRaw: "anonymous"})
	f("a window that the index keeps", event.Report{Caller: alice, StartedAt: at(-testKeep + 25*time.Hour)}, 1, 2)
	f("a window that reaches further back", event.Report{Caller: alice, StartedAt: at(-testKeep + 23*time.Hour)})
	c.pass(testKeep - 23*time.Hour)
	f("received long ago", event.Report{Caller: alice})
	f("ids have no window", event.Report{RefID: "r"}, 1)
}

func matcherClaims(t *testing.T, open openMatcher) {
	m, _ := open(t, rang(1, alice, 0))
	byAlice := event.Report{Caller: alice}
	b := batch(t, 1, byAlice, byAlice, byAlice, byAlice)
	k, l := identity("k"), identity("l")
	b.Events[0].Weak, b.Events[1].Weak = k, k
	b.Events[2].Strong, b.Events[2].Weak = l, k // a strong identity is the only one that counts
	b.Events[3].Weak = event.Digest{}
	want := []event.ID{{}, b.Events[0].ID, {}, {}}
	for range 2 { // the same when the batch is tried again
		find(t, m, b)
		for i := range b.Events {
			e := &b.Events[i]
			if e.HintOwner != want[i] || (len(e.Hints) == 0) != !want[i].IsZero() {
				t.Errorf("event %s: owner %q, hints %v; want owner %q", e.ID, e.HintOwner, e.Hints, want[i])
			}
		}
	}

	later := batch(t, 50, byAlice)
	later.Events[0].Strong = l
	find(t, m, later)
	if e := &later.Events[0]; e.HintOwner != b.Events[2].ID || len(e.Hints) > 0 {
		t.Errorf("owner %q, hints %v; want owner %q", e.HintOwner, e.Hints, b.Events[2].ID)
	}
}

// What was not read, or books nothing, must not stand in the way of a resend.
func matcherLeavesAlone(t *testing.T, open openMatcher) {
	m, _ := open(t, rang(1, alice, 0))
	f := func(name string, hints int, spoil func(*event.Event)) {
		t.Helper()
		b := batch(t, 1, event.Report{Caller: alice}, event.Report{Caller: alice})
		e := &b.Events[0]
		e.Weak = identity(name)
		spoil(e)
		b.Events[1].Weak = e.Weak
		e.Hints, e.HintOwner = append(e.Hints, 99), eventID(99) // of an earlier attempt
		find(t, m, b)
		if len(e.Hints) != hints || !e.HintOwner.IsZero() {
			t.Errorf("%s: hints %v, owner %q", name, e.Hints, e.HintOwner)
		}
		if e := &b.Events[1]; !e.HintOwner.IsZero() {
			t.Errorf("%s: it claimed: the resend's owner is %q", name, e.HintOwner)
		}
	}
	f("invalid", 0, func(e *event.Event) { e.Report.Invalid = event.PayoutMissing })
	f("failed", 0, func(e *event.Event) { e.Report.Failed = true })
	f("a call", 0, func(e *event.Event) { e.IsCall = true })
	f("a test", 1, func(e *event.Event) { e.Record.Flags |= event.FlagTest })
	f("paused", 1, func(e *event.Event) { e.Record.Flags |= event.FlagPaused })
}

func matcherPut(t *testing.T, open openMatcher) {
	m, _ := open(t)
	b := batch(t, 1, event.Report{}, event.Report{CallID: "c1"}, event.Report{CallID: "c2"})
	b.Events[0].IsCall, b.Events[0].Call = true, rang(7, alice, 0)
	b.Events[1].Call = rang(1, alice, 0) // not a call event
	b.Events[2].IsCall, b.Events[2].Call = true, rang(0, alice, 0)
	if err := m.Put(t.Context(), b, 40, 41); err != nil {
		t.Fatal(err)
	}
	b.Reset()
	asked := batch(t, 10, event.Report{Caller: alice}, event.Report{CallID: "c7"})
	find(t, m, asked)
	if got := asked.Events[0].Hints; !slices.Equal(got, []int64{7}) || asked.IndexedThrough != 41 {
		t.Errorf("hints %v through %d, want [7] through 41", got, asked.IndexedThrough)
	}
	for _, s := range m.free {
		for i := range s.calls[:cap(s.calls)] {
			if c := &s.calls[:cap(s.calls)][i]; c.CallID != "" || c.Caller != "" || c.NetworkIDs != nil {
				t.Errorf("the matcher keeps a view of %d bytes into a batch", len(c.CallID))
			}
		}
	}
	if got := asked.Events[1].Hints; !slices.Equal(got, []int64{7}) {
		t.Errorf("after the batch's bytes are gone: hints %v, want [7]", got)
	}
}

func TestMatcherAllocatesNothing(t *testing.T) {
	m, _ := matcher(t)
	b, ctx := new(event.Batch), t.Context()
	p := policy()
	rec := event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback, Source: "default"})
	run := func() {
		b.Reset()
		for i := range 500 {
			if err := b.Add(eventID(uint64(i)), noon, rec); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 500 {
			e := b.NewEvent(&b.Records[i], 0)
			if e.Policy, e.Weak[0] = p, byte(i); i%2 == 0 {
				e.IsCall, e.Call.No, e.Call.CallID, e.Call.Caller, e.Call.StartedAt = true, int64(i+1), alice, alice, noon
			} else {
				e.Weak[1] = byte(i >> 8)
				e.Report.Caller = alice
			}
		}
		if err := m.Find(ctx, b); err != nil {
			t.Fatal(err)
		}
		if err := m.Put(ctx, b, 0, 1); err != nil {
			t.Fatal(err)
		}
	}
	run()
	run() // hints grow to what a busy caller has
	if n := testing.AllocsPerRun(20, run); n != 0 {
		t.Errorf("%g allocations per batch", n)
	}
	if len(b.Events[1].Hints) != CandidatesMax {
		t.Errorf("%d hints, want %d: the test does not do what it says", len(b.Events[1].Hints), CandidatesMax)
	}
}

func matcherConcurrent(t *testing.T, open openMatcher) {
	m, _ := open(t)
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for n := range 20 {
				seq := uint64(1 + w*1000 + n)
				caller := fmt.Sprint("+1", seq)
				b := batch(t, seq, event.Report{Caller: caller})
				b.Events[0].IsCall, b.Events[0].Call = true, rang(int64(seq), caller, 0)
				if err := m.Put(t.Context(), b, 0, 1); err != nil {
					t.Error(err)
				}
				b.Events[0].IsCall = false
				if err := m.Find(t.Context(), b); err != nil {
					t.Error(err)
				}
				if !slices.Equal(b.Events[0].Hints, []int64{int64(seq)}) {
					t.Errorf("caller %s: hints %v, want %d", caller, b.Events[0].Hints, seq)
				}
			}
		})
	}
	group.Wait()
}
