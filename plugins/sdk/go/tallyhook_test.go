package tallyhook

import (
	"bytes"
	"strings"
	"testing"
	"testing/quick"

	"github.com/tallyhook/tallyhook/mapper/abi"
)

func TestCents(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var scratch [CentsBytes]byte
		if got := string(Cents([]byte(in), &scratch)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
	f("1234", "12.34")
	f("5", "0.05")
	f("-5", "-0.05")
	f("50", "0.50")
	f("-123", "-1.23")
	f("000123", "1.23")
	f("0", "0.00")
	f("1234567890123456", "12345678901234.56")
	f("-1234567890123456", "-12345678901234.56")
	f("12345678901234567", "")
	f("", "")
	f("-", "")
	f("1.5", "")
	f("--5", "")
}

func TestElement(t *testing.T) {
	f := func(name, array string, index int, rest string, ok bool) {
		t.Helper()
		i, r, is := Element([]byte(name), array)
		if is != ok || is && (i != index || string(r) != rest) {
			t.Errorf("%q under %q: %d, %q, %t", name, array, i, r, is)
		}
	}
	f("calls.12.payout", "calls", 12, "payout", true)
	f("calls.12.bids.0.won", "calls", 12, "bids.0.won", true)
	f("calls.12", "calls", 12, "", true)
	f("0.payout", "", 0, "payout", true)
	f("3", "", 3, "", true)
	f("calls", "calls", 0, "", false)
	f("calls.", "calls", 0, "", false)
	f("callsx.1", "calls", 0, "", false)
	f("calls.x.1", "calls", 0, "", false)
	f("calls.1234567.a", "calls", 0, "", false)
	f("", "", 0, "", false)
}

// Whatever is set, the host can read what comes out.
func TestReportsNeverBreakARule(t *testing.T) {
	f := func(fields []uint16, values [][]byte, long uint16) bool {
		r := NewReports()
		values = append(values, []byte(strings.Repeat("é", int(long)%700)), nil)
		for i, id := range fields {
			v := values[i%len(values)]
			switch id % 16 {
			case 13:
				r.Extra(v, values[(i+1)%len(values)])
			case 14:
				r.Fail(string(v))
			case 15:
				r.NextReport()
			default:
				r.Set(Field(id%16), v)
			}
		}
		read := abi.Read(r.Output())
		for _, ok := read.Next(); ok; _, ok = read.Next() {
		}
		if read.Err() != nil {
			t.Log(read.Err())
		}
		return read.Err() == nil && len(r.Output()) <= OutputBytes
	}
	if err := quick.Check(f, &quick.Config{MaxCount: 2000}); err != nil {
		t.Error(err)
	}
}

// An input that is damaged anywhere is read within its bounds or not at all.
func FuzzPostback(f *testing.F) {
	f.Add(Encode([]Pair{{Query, "a", "1"}, {JSON, "b.0", "2"}}, "body"))
	f.Add(Encode(nil, ""))
	f.Fuzz(func(t *testing.T, in []byte) {
		p, ok := NewPostback(in)
		if !ok {
			return
		}
		n := 0
		for pairs := p.Pairs(); pairs.Next(); n++ {
			if !bytes.Contains(in, pairs.Name) || !bytes.Contains(in, pairs.Value) {
				t.Errorf("pair %q=%q is not in the input", pairs.Name, pairs.Value)
			}
		}
		if len(p.Body()) > len(in) || n > len(in)/pairBytes {
			t.Errorf("%d pairs, body of %d bytes, of %d", n, len(p.Body()), len(in))
		}
		p.Get(Query, "a")
		p.IsTest()
		p.ReceivedMillis()
	})
}

// A call allocates nothing.
func TestNoAllocation(t *testing.T) {
	p, ok := NewPostback(Encode([]Pair{{Query, "click", "abc"}, {Query, "cents", "1250"}}, ""))
	if !ok {
		t.Fatal("not read")
	}
	r := NewReports()
	key, value := []byte("note"), []byte("x")
	if n := testing.AllocsPerRun(100, func() {
		r.reset()
		var scratch [CentsBytes]byte
		r.Set(RefID, p.Get(Query, "click"))
		r.Set(Payout, Cents(p.Get(Query, "cents"), &scratch))
		r.SetString(Currency, "EUR")
		r.Extra(key, value)
		r.NextReport()
		r.Fail("no")
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
