package signature

import "testing"

// Names are read in any case, so what is said of one in some case goes for all.
func TestCoverInAnyCase(t *testing.T) {
	f := func(s Spec, field string, want Cover) {
		t.Helper()
		s.Algorithm, s.Signature = "hmac-sha256", Place{In: "query:hash"}
		v, err := Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		if got := v.Covers(field); got != want {
			t.Errorf("%+v: %s is covered %s, want %s", s, field, got, want)
		}
	}
	sorted := func(s Sorted) Spec { return Spec{Input: "sorted", Sorted: &s} }
	f(sorted(Sorted{Except: []string{"Payout"}}), "payout", CoverNone)
	f(sorted(Sorted{Except: []string{"Payout"}}), "value", CoverFull)
	f(sorted(Sorted{Fields: map[string]string{"Value": "int"}}), "value", CoverPart)
	f(sorted(Sorted{Fields: map[string]string{"Value": "int"}}), "payout", CoverFull)
	f(sorted(Sorted{Values: "int", Fields: map[string]string{"Value": "urlencode"}}), "value", CoverFull)
	f(Spec{Input: "url", URL: &URL{Tail: []string{"Payout"}}}, "payout", CoverNone)

	// Nothing in a body of the other kind is signed.
	f(sorted(Sorted{From: "params"}), "payout", CoverFull)
	f(Spec{Input: "sorted", Sorted: &Sorted{From: "params"}, UnsignedBody: true}, "payout", CoverNone)
}
