package event

import (
	"math"
	"slices"
	"testing"
)

func TestParseID(t *testing.T) {
	f := func(text string, want ID) {
		t.Helper()
		if got, err := ParseID(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
		if want.String() != text {
			t.Errorf("%+v as text is %q, want %q", want, want.String(), text)
		}
	}
	f("1-0", ID{Stream: 1})
	f("3-1842", ID{Stream: 3, Seq: 1842})
	f("3-1842.7", ID{Stream: 3, Seq: 1842, N: 7})
	f("4294967295-9223372036854775807.65535", ID{Stream: math.MaxUint32, Seq: math.MaxInt64, N: math.MaxUint16})

	for _, text := range []string{"", "1", "-", "1-", "-1", "0-1", "1-2.", "1-.2", "1-2.3.4", "1-2-3", "+1-2", "1-+2", " 1-2", "1-2 ", "a-b",
		"4294967296-1", "1-9223372036854775808", "1-2.65536", "1-2.-1", "1–2"} {
		if got, err := ParseID(text); err == nil || !got.IsZero() {
			t.Errorf("%q: %+v, %v; want an error", text, got, err)
		}
	}
	if got := (ID{}).String(); got != "" {
		t.Errorf("no event as text is %q", got)
	}
}

func FuzzID(f *testing.F) {
	for _, s := range []string{"1-0", "3-1842.7", "0-1", "1-2.0", "01-2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if again, err := ParseID(id.String()); err != nil || again != id {
			t.Fatalf("%q is %+v, and its text %q is %+v, %v", s, id, id.String(), again, err)
		}
	})
}

func TestRankOrder(t *testing.T) {
	want := []Rank{
		{At: -1, ID: ID{Stream: 9, Seq: 9, N: 9}},
		{At: 0, ID: ID{Stream: 1, Seq: 1}},
		{At: 0, ID: ID{Stream: 1, Seq: 1, N: 1}},
		{At: 0, ID: ID{Stream: 1, Seq: 2}},
		{At: 0, ID: ID{Stream: 2, Seq: 1}},
		{At: 1, ID: ID{Stream: 1}},
	}
	for i := range want {
		for j := range want {
			if got := want[i].Less(want[j]); got != (i < j) {
				t.Errorf("%v before %v: %t", want[i], want[j], got)
			}
		}
	}
	if !slices.IsSortedFunc(want, func(a, b Rank) int {
		if a.Less(b) {
			return -1
		}
		return 1
	}) {
		t.Error("the list is not in its own order")
	}
}
