package event

import (
	"math"
	"reflect"
	"slices"
	"testing"
)

func someCall() *Call {
	return &Call{
		CallID: "c", RefID: "r", Key: "k", NetworkIDs: []Pair{{"ringba", "n"}, {"", "m"}}, Caller: "+12025550101",
		StartedAt: 1_772_452_800_000_000, EndedAt: -1, Duration: Seconds{N: 0, OK: true},
		Campaign: "roofing", Publisher: "pub", Buyer: "acme", Qualified: No,
	}
}

func sameCall(a, b *Call) bool {
	x, y := *a, *b
	x.No, y.No = 0, 0
	if len(x.NetworkIDs)+len(y.NetworkIDs) == 0 {
		x.NetworkIDs, y.NetworkIDs = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

func TestCallRoundTrip(t *testing.T) {
	f := func(name string, calls ...*Call) {
		t.Helper()
		var p []byte
		for _, c := range calls {
			p = AppendCall(p, c)
		}
		got := someCall() // what was there before is forgotten
		for i, want := range calls {
			var err error
			if p, err = DecodeCall(got, p); err != nil {
				t.Fatalf("%s: call %d: %v", name, i, err)
			}
			if !sameCall(got, want) || got.No != 0 {
				t.Errorf("%s: call %d:\n got %+v\nwant %+v", name, i, *got, *want)
			}
		}
		if len(p) > 0 {
			t.Errorf("%s: %d bytes left", name, len(p))
		}
	}
	f("full", someCall())
	f("empty", new(Call))
	f("three in a row", someCall(), new(Call), someCall())
	f("limits", &Call{StartedAt: math.MaxInt64, EndedAt: math.MinInt64, Duration: Seconds{N: math.MaxInt32, OK: true}, Qualified: Yes})
}

func TestCallDamaged(t *testing.T) {
	whole := AppendCall(nil, someCall())
	for n := range whole {
		if _, err := DecodeCall(new(Call), whole[:n:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: no error", n, len(whole))
		}
	}
	whole[len(whole)-1] = byte(No) + 1
	if _, err := DecodeCall(new(Call), whole); err == nil {
		t.Error("qualified 3: no error")
	}
	p := AppendCall(nil, new(Call))
	p = append(p[:len(p)-2], 0x81, 0x80, 0x80, 0x80, 0x08, 0) // 2^31+1: a duration of 2^31
	if _, err := DecodeCall(new(Call), p); err == nil {
		t.Error("a duration of 2^31 s: no error")
	}
}

func FuzzCall(f *testing.F) {
	f.Add(AppendCall(nil, someCall()))
	f.Add(AppendCall(AppendCall(nil, new(Call)), someCall()))
	f.Fuzz(func(t *testing.T, p []byte) {
		var first, second Call
		rest, err := DecodeCall(&first, p)
		if err != nil {
			return
		}
		if len(rest) > len(p) {
			t.Fatalf("%d bytes left of %d", len(rest), len(p))
		}
		again, err := DecodeCall(&second, AppendCall(nil, &first))
		if err != nil || len(again) > 0 || !sameCall(&first, &second) {
			t.Fatalf("decoded %+v, again %+v, %d bytes left, %v", first, second, len(again), err)
		}
	})
}

// Stores keep these digests: they may never change.
func TestKeyOfIsForEver(t *testing.T) {
	f := func(kind KeyKind, text string, want CallKey) {
		t.Helper()
		if got := KeyOf(kind, text); got != want {
			t.Errorf("key of kind %d, %q: %#x, want %#x", kind, text, uint64(got), uint64(want))
		}
	}
	f(KeyRef, "r", 0x76118a8c2070af81)
	f(KeyCall, "r", 0xbd214593f76e5c5)
	f(KeyNetwork, "", 0x9e1997e507d81f0d)
	f(KeyCaller, "+12025550101", 0xd78538a92d9e1037)
}

func TestKeysOfCallAndReport(t *testing.T) {
	c := &Call{RefID: "r", CallID: "c", NetworkIDs: []Pair{{"ringba", "n"}, {"invoca", "m"}}, Caller: "+12025550101"}
	want := []CallKey{KeyOf(KeyRef, "r"), KeyOf(KeyCall, "c"), KeyOf(KeyNetwork, "n"), KeyOf(KeyNetwork, "m"), KeyOf(KeyCaller, "+12025550101")}
	if got := c.AppendKeys(nil); !slices.Equal(got, want) {
		t.Errorf("call: keys %v, want %v", got, want)
	}
	r := &Report{RefID: "r", CallID: "c", NetworkCallID: "m", Caller: "+12025550101"}
	if got := r.AppendKeys(nil); !slices.Equal(got, slices.Delete(slices.Clone(want), 2, 3)) {
		t.Errorf("report: keys %v", got)
	}
	if got := append(new(Call).AppendKeys(nil), new(Report).AppendKeys(nil)...); len(got) > 0 {
		t.Errorf("nothing named, keys %v", got)
	}
	seen := map[CallKey]bool{}
	for kind := KeyRef; kind <= KeyCaller; kind++ {
		for _, text := range []string{"", "r", "r\x00", "+12025550101"} {
			seen[KeyOf(kind, text)] = true
		}
	}
	if len(seen) != 16 {
		t.Errorf("16 names have %d keys", len(seen))
	}
}
