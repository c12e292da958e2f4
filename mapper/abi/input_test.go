package abi

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// The drawing in input.go, byte by byte: guests in other languages rely on it.
func TestInputLayout(t *testing.T) {
	buf := bytes.Repeat([]byte{0xAA}, 128)
	e := Begin(buf, FlagTest, 0x0102030405060708)
	if !e.Pair(KindQuery, "a", "xyz") || !e.Pair(KindJSON, "b.0", "") {
		t.Fatal("a pair does not fit into 128 bytes")
	}
	n, ok := e.End([]byte("BODY"))
	want := "54484d31" + "0100" + "0200" + "0807060504030201" + // magic, flags, pairs, received
		"33000000" + "04000000" + "2000" + "0000" + "37000000" + // body at 51, its length, header size, 0, total
		"0100" + "0100" + "0300" + "61" + "78797a" +
		"0400" + "0300" + "0000" + "622e30" +
		"424f4459"
	if got := hex.EncodeToString(buf[:n]); !ok || got != want {
		t.Errorf("%t\n got %s\nwant %s", ok, got, want)
	}
	for i, b := range buf[n:] {
		if b != 0xAA {
			t.Fatalf("byte %d after the end was written", i)
		}
	}
}

func TestEncoderFull(t *testing.T) {
	f := func(room int, name, value, body string, pair, end bool) {
		t.Helper()
		e := Begin(make([]byte, room), 0, 0)
		if ok := e.Pair(KindForm, name, value); ok != pair {
			t.Errorf("pair of %d+%d bytes into %d: %t", len(name), len(value), room, ok)
		}
		n, ok := e.End([]byte(body))
		if ok != end || (ok && n > room) {
			t.Errorf("body of %d bytes into %d: %d, %t", len(body), room, n, ok)
		}
	}
	f(0, "", "", "", false, false)
	f(HeaderBytes-1, "", "", "", false, false)
	f(HeaderBytes, "", "", "", false, true)
	f(HeaderBytes+PairBytes, "", "", "", true, true)
	f(HeaderBytes+PairBytes+3, "a", "bc", "", true, true)
	f(HeaderBytes+PairBytes+2, "a", "bc", "ok", false, true)
	f(HeaderBytes+PairBytes+3, "a", "bc", "x", true, false)
	long := strings.Repeat("x", TextBytesMax+1)
	f(200_000, long[1:], long[1:], "", true, true)
	f(200_000, long, "", "", false, true)
	f(200_000, "", long, "", false, true)
}

func TestEncoderCountsPairs(t *testing.T) {
	e := Begin(make([]byte, 65536*PairBytes+HeaderBytes), 0, 0)
	for i := range 65535 {
		if !e.Pair(KindQuery, "", "") {
			t.Fatalf("pair %d is refused", i)
		}
	}
	if e.Pair(KindQuery, "", "") {
		t.Error("pair 65536 would overflow the count and is taken")
	}
	n, _ := e.End(nil)
	if in, err := Pairs(e.buf[:n]); err != nil || len(in.Pairs) != 65535 {
		t.Errorf("%d pairs, %v", len(in.Pairs), err)
	}
}

func TestPairsRefuses(t *testing.T) {
	good := func() []byte {
		e := Begin(make([]byte, 64), 0, 1)
		e.Pair(KindQuery, "ab", "cd")
		n, _ := e.End([]byte("body"))
		return e.buf[:n]
	}
	if in, err := Pairs(good()); err != nil || string(in.Body) != "body" || string(in.Pairs[0].Value) != "cd" {
		t.Fatalf("%+v, %v", in, err)
	}
	f := func(at int, b byte) {
		t.Helper()
		p := good()
		p[at] = b
		if in, err := Pairs(p); err == nil {
			t.Errorf("byte %d = %d is taken: %+v", at, b, in)
		}
	}
	f(0, 0)              // magic
	f(atPairs, 2)        // a pair that is not there
	f(atPairs, 0)        // a pair that nobody counts
	f(atBody, 200)       // body behind the end
	f(atBodyLength, 3)   // body that does not end the input
	f(atHeaderSize, 31)  // header cut
	f(atHeaderSize, 255) // header over the body
	f(atZero, 1)
	f(atTotal, 0)
	f(HeaderBytes, 5)       // kind
	f(HeaderBytes+1, 1)     // padding
	f(HeaderBytes+2, 3)     // name length
	f(HeaderBytes+5, 0xff)  // value length
	f(atBodyLength+3, 0xff) // sums that overflow 32 bits
	for n := range good() {
		if _, err := Pairs(good()[:n]); err == nil {
			t.Errorf("cut to %d bytes is taken", n)
		}
	}
}

func TestEncoderAllocatesNothing(t *testing.T) {
	buf, body := make([]byte, BufferBytesMin), []byte("body")
	name := strings.Repeat("n", 20)
	n := testing.AllocsPerRun(100, func() {
		e := Begin(buf, 0, 1)
		for range 16 {
			e.Pair(KindQuery, name, name)
		}
		if _, ok := e.End(body); !ok {
			t.Fatal("does not fit")
		}
	})
	if n != 0 {
		t.Errorf("%g allocations per input", n)
	}
}

func BenchmarkEncode(b *testing.B) {
	buf, body := make([]byte, BufferBytesMin), make([]byte, 100)
	name, value := strings.Repeat("n", 10), strings.Repeat("v", 20)
	b.ReportAllocs()
	for b.Loop() {
		e := Begin(buf, 0, 1)
		for range 16 {
			e.Pair(KindQuery, name, value)
		}
		e.End(body)
	}
}

// FuzzPairs: whatever Pairs takes, an Encoder writes again byte for byte,
// unless its header is longer than ours.
func FuzzPairs(f *testing.F) {
	e := Begin(make([]byte, 128), FlagTest, 1_700_000_000_000)
	e.Pair(KindRequest, "method", "POST")
	e.Pair(KindJSON, "calls.0.payout", "12.50")
	n, _ := e.End([]byte(`{"calls":[{"payout":12.50}]}`))
	f.Add(e.buf[:n])
	empty := Begin(make([]byte, 32), 0, -1)
	n, _ = empty.End(nil)
	f.Add(empty.buf[:n])
	f.Add([]byte("THM1"))
	f.Fuzz(func(t *testing.T, p []byte) {
		in, err := Pairs(p)
		if err != nil || p[atHeaderSize] != HeaderBytes || p[atHeaderSize+1] != 0 {
			return
		}
		e := Begin(make([]byte, len(p)), in.Flags, in.ReceivedMillis)
		for _, pair := range in.Pairs {
			if !e.Pair(pair.Kind, string(pair.Name), string(pair.Value)) {
				t.Fatalf("%v does not fit where it came from", pair)
			}
		}
		n, ok := e.End(in.Body)
		if !ok || !bytes.Equal(e.buf[:n], p) {
			t.Fatalf("%t\n got %x\nwant %x", ok, e.buf[:n], p)
		}
	})
}
