package event

import (
	"slices"
	"strings"
	"testing"
)

func TestStatuses(t *testing.T) {
	f := func(s Status, name string, final, releases bool) {
		t.Helper()
		if s.String() != name || s.Final() != final || s.Releases() != releases {
			t.Errorf("%q: final %t, releases %t; want %q, %t, %t", s, s.Final(), s.Releases(), name, final, releases)
		}
		text, err := s.MarshalText()
		var read Status
		if err != nil || read.UnmarshalText(text) != nil || read != s {
			t.Errorf("%s as text %q reads as %s, %v", s, text, read, err)
		}
	}
	f(Booked, "booked", true, false)
	f(Unchanged, "unchanged", true, false)
	f(Unqualified, "unqualified", true, false)
	f(Reversed, "reversed", true, false)
	f(Duplicate, "duplicate", true, false)
	f(Conflict, "conflict", true, false)
	f(Parked, "parked", false, false)
	f(Unmatched, "unmatched", true, true)
	f(Invalid, "invalid", true, true)
	f(Stale, "stale", true, false)
	f(Held, "held", false, false)
	f(Ignored, "ignored", true, true)
	f(Rejected, "rejected", true, false)
	f(Failed, "failed", true, true)

	if names := Statuses(); len(names) != int(Failed) || slices.Contains(names, "") {
		t.Errorf("%d statuses listed, want %d: %v", len(names), Failed, names)
	}
	for _, name := range []string{"", "Booked", "booked ", "unknown"} {
		if s, err := ParseStatus(name); err == nil || s != NoStatus || !strings.Contains(err.Error(), "unmatched") {
			t.Errorf("%q: %s, %v; want an error that lists them", name, s, err)
		}
	}
}

func TestStrategies(t *testing.T) {
	for s, name := range map[Strategy]string{ByNothing: "", ByRefID: "ref_id", ByCallID: "call_id", ByNetworkCallID: "network_call_id",
		ByCaller: "caller", ByReversal: "reversal"} {
		text, err := s.MarshalText()
		var read Strategy
		if s.String() != name || err != nil || read.UnmarshalText(text) != nil || read != s {
			t.Errorf("%q, %v reads as %s; want %q", s, err, read, name)
		}
	}
	if err := new(Strategy).UnmarshalText([]byte("luck")); err == nil {
		t.Error("strategy luck: no error")
	}
}

func TestKinds(t *testing.T) {
	for k, name := range map[Kind]string{Conversion: "conversion", Reversal: "reversal", Adjustment: "adjustment"} {
		if got, err := ParseKind(name); err != nil || got != k || k.String() != name {
			t.Errorf("%q: %s, %v", name, got, err)
		}
	}
	if _, err := ParseKind("refund"); err == nil {
		t.Error("kind refund: no error")
	}
}
