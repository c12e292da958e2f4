package vectors

import (
	"reflect"
	"testing"
)

func TestSplit(t *testing.T) {
	f := func(file, head string, want ...section) {
		t.Helper()
		gotHead, got := split(file)
		if gotHead != head || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q %q", file, gotHead, got)
		}
	}
	f("", "")
	f("a", "a\n")
	f("-- --", "-- --\n")
	f("--  --", "--  --\n")
	f("--a--\n -- a --\n-- a --b", "--a--\n -- a --\n-- a --b\n")
	f("x\n-- a --\n1\n--   b c  --\r\n2\r\n-- d --", "x\n", section{"a", "1\n"}, section{"b c", "2\r\n"}, section{"d", ""})
	f("-- a --\n-- a --\n\n", "", section{"a", ""}, section{"a", "\n"})
}
