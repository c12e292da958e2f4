package event

import (
	"testing"
)

// identified is an event with a report, identified for source "s".
func identified(strongID string, change func(*Report)) *Event {
	e := &Event{Report: Report{
		RefID: "r", CallID: "c", NetworkCallID: "n", Caller: "+12025550101", CallerRaw: "2025550101", Duration: lasting(120), StartedAt: 1,
		Payout: Money{Amount: 50 * Unit, Currency: "USD"}, HasPayout: true, Status: "paid", TransactionID: "t", OccurredAt: 2,
		Extra: []Pair{{"a", "b"}},
	}}
	change(&e.Report)
	Identify(e, "s", strongID, nil)
	return e
}

func lasting(n int32) Seconds { return Seconds{N: n, OK: true} }

func same(*Report) {}

func TestIdentifyWeak(t *testing.T) {
	base := identified("", same)
	if !base.Strong.IsZero() || !base.Reverses.IsZero() || base.Weak.IsZero() || base.Money.IsZero() {
		t.Errorf("no id: strong %x, reverses %x, weak %x, money %x", base.Strong, base.Reverses, base.Weak, base.Money)
	}
	if again := identified("", same); again.Weak != base.Weak || again.Money != base.Money {
		t.Error("the same report has another identity")
	}
	seen := map[Digest]string{base.Weak: "the report itself"}
	f := func(name string, money bool, change func(*Report)) {
		t.Helper()
		e := identified("", change)
		if other, hit := seen[e.Weak]; hit {
			t.Errorf("%s: same weak identity as %s", name, other)
		}
		seen[e.Weak] = name
		if (e.Money != base.Money) != money {
			t.Errorf("%s: money fields differ: %t, want %t", name, !money, money)
		}
	}
	f("ref_id", false, func(r *Report) { r.RefID = "x" })
	f("call_id", false, func(r *Report) { r.CallID = "x" })
	f("network_call_id", false, func(r *Report) { r.NetworkCallID = "x" })
	f("caller", false, func(r *Report) { r.Caller = "+12025550102" })
	f("caller as sent", false, func(r *Report) { r.CallerRaw = "202-555-0101" })
	f("transaction_id", false, func(r *Report) { r.TransactionID = "x" })
	f("start", false, func(r *Report) { r.StartedAt = 3 })
	f("time", false, func(r *Report) { r.OccurredAt = 3 })
	f("start and time change places", false, func(r *Report) { r.StartedAt, r.OccurredAt = 2, 1 })
	f("duration", false, func(r *Report) { r.Duration.N = 121 })
	f("duration zero", false, func(r *Report) { r.Duration.N = 0 })
	f("duration absent", false, func(r *Report) { r.Duration = Seconds{} })
	f("extra value", false, func(r *Report) { r.Extra = []Pair{{"a", "c"}} })
	f("extra name", false, func(r *Report) { r.Extra = []Pair{{"ab", ""}} })
	f("one more extra", false, func(r *Report) { r.Extra = append(r.Extra, Pair{}) })
	f("no extra", false, func(r *Report) { r.Extra = nil })
	f("payout", true, func(r *Report) { r.Payout.Amount++ })
	f("payout zero", true, func(r *Report) { r.Payout.Amount = 0 })
	f("payout absent", true, func(r *Report) { r.Payout.Amount, r.HasPayout = 0, false })
	f("currency", true, func(r *Report) { r.Payout.Currency = "EUR" })
	f("status", true, func(r *Report) { r.Status = "refused" })
	f("kind", true, func(r *Report) { r.Kind = Adjustment })
	// Where one field ends and the next begins is part of the identity.
	f("ref_id runs into call_id", false, func(r *Report) { r.RefID, r.CallID = "rc", "" })
	f("call_id runs into ref_id", false, func(r *Report) { r.RefID, r.CallID = "", "rc" })
	f("currency runs into status", true, func(r *Report) { r.Payout.Currency, r.Status = "USDp", "aid" })
	f("ids change places", false, func(r *Report) { r.RefID, r.CallID = "c", "r" })
}

func TestIdentifyStrong(t *testing.T) {
	kind := func(k Kind) func(*Report) { return func(r *Report) { r.Kind = k } }
	conversion, reversal, adjustment := identified("t1", same), identified("t1", kind(Reversal)), identified("t1", kind(Adjustment))
	if again := identified("t1", func(r *Report) { r.RefID, r.Payout.Amount = "x", 1 }); again.Strong != conversion.Strong {
		t.Error("a strong identity depends on more than its id")
	}
	if reversal.Reverses != conversion.Strong {
		t.Error("a reversal does not name its conversion")
	}
	if !conversion.Reverses.IsZero() || adjustment.Reverses != conversion.Strong {
		t.Error("what is no reversal reverses something")
	}
	other := new(Event)
	Identify(other, "s2", "t1", nil)
	boundary := new(Event)
	Identify(boundary, "st", "1", nil)
	seen := map[Digest]bool{}
	all := []*Event{conversion, reversal, adjustment, identified("t2", same), identified("T1", same), other, boundary}
	for _, e := range all {
		seen[e.Strong], seen[e.Weak], seen[e.Money] = true, true, true
	}
	// Every strong identity is its own; weak ones and money do not know the id,
	// so they differ by kind and source, and by kind and being empty.
	if want := 7 + 5 + 4; len(seen) != want {
		t.Errorf("%d different digests, want %d", len(seen), want)
	}
}

func TestIdentifyReusesScratch(t *testing.T) {
	e := identified("t1", same)
	want := *e
	scratch := Identify(e, "s", "t1", nil)
	if n := testing.AllocsPerRun(20, func() { scratch = Identify(e, "s", "t1", scratch) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
	if e.Strong != want.Strong || e.Weak != want.Weak || e.Money != want.Money {
		t.Error("a used scratch changes the identity")
	}
	Identify(e, "s", "", scratch)
	if !e.Strong.IsZero() {
		t.Error("the strong identity of an earlier report stays")
	}
}

func TestPricedBy(t *testing.T) {
	base := identified("", same).Report
	want := base.PricedBy()
	f := func(name string, equal bool, change func(*Report)) {
		t.Helper()
		r := identified("", change).Report
		if got := r.PricedBy(); (got == want) != equal || got == 0 {
			t.Errorf("%s: %d beside %d, want equal: %t", name, got, want, equal)
		}
	}
	f("another price", true, func(r *Report) { r.Payout.Amount, r.Status, r.TransactionID, r.OccurredAt = 1, "x", "u", 9 })
	f("another caller", false, func(r *Report) { r.Caller = "+12025550102" })
	f("another start", false, func(r *Report) { r.StartedAt = 0 })
	f("another duration", false, func(r *Report) { r.Duration.N = 121 })
	f("duration zero", false, func(r *Report) { r.Duration.N = 0 })
	f("duration absent", false, func(r *Report) { r.Duration = Seconds{} })
	zero, absent := Report{Caller: "+1", Duration: lasting(0)}, Report{Caller: "+1"}
	if zero.PricedBy() == absent.PricedBy() {
		t.Error("a duration of zero is taken for none")
	}
	if got := (&Report{Duration: lasting(1)}).PricedBy(); got != 0 {
		t.Errorf("without a caller: %d, want 0", got)
	}
}
