package abi

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// record and extension append what a mapper would.
func record(out []byte, id uint16, value string) []byte {
	out = binary.LittleEndian.AppendUint16(out, id)
	out = binary.LittleEndian.AppendUint16(out, uint16(len(value)))
	return append(out, value...)
}

func extension(out []byte, key, value string) []byte {
	return record(out, FieldExtension, string(binary.LittleEndian.AppendUint16(nil, uint16(len(key))))+key+value)
}

// walk is an output as text: "ref_id=r1 extension.key=v | error=…".
func walk(out []byte) (string, error) {
	var b strings.Builder
	r := Read(out)
	for f, ok := r.Next(); ok; f, ok = r.Next() {
		switch {
		case f.ID == FieldNextReport:
			b.WriteString("| ")
		case f.ID == FieldExtension:
			fmt.Fprintf(&b, "extension.%s=%s ", f.Key, f.Value)
		default:
			fmt.Fprintf(&b, "%s=%s ", FieldName(f.ID), f.Value)
		}
	}
	return strings.TrimSpace(b.String()), r.Err()
}

func TestRead(t *testing.T) {
	f := func(out []byte, want string) {
		t.Helper()
		if got, err := walk(out); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	f(nil, "")
	f(record(record(nil, FieldRefID, "r1"), FieldPayout, "12.50"), "ref_id=r1 payout=12.50")
	f(record(record(nil, FieldRefID, ""), FieldKind, "reversal"), "kind=reversal")
	f(record(record(nil, FieldError, ""), FieldRefID, "r"), "error= ref_id=r")
	f(extension(extension(nil, "a", "1"), "b", "é"), "extension.a=1 extension.b=é")
	f(extension(nil, "a", ""), "")
	f(record(record(record(nil, FieldRefID, "1"), FieldNextReport, ""), FieldRefID, "2"), "ref_id=1 | ref_id=2")
	f(extension(record(extension(nil, "k", "1"), FieldNextReport, ""), "k", "2"), "extension.k=1 | extension.k=2")
	f(record(nil, FieldCaller, strings.Repeat("1", ValueBytesMax)), "caller="+strings.Repeat("1", ValueBytesMax))
	f(record(nil, FieldError, strings.Repeat("e", LongValueBytesMax)), "error="+strings.Repeat("e", LongValueBytesMax))
	f(extension(nil, "key", strings.Repeat("v", LongValueBytesMax-3)), "extension.key="+strings.Repeat("v", LongValueBytesMax-3))
}

func TestReadRefuses(t *testing.T) {
	f := func(out []byte, want string) {
		t.Helper()
		_, err := walk(out)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want …%s…", err, want)
		}
	}
	good := record(nil, FieldRefID, "r1")
	for n := 1; n < len(good); n++ {
		f(good[:n], "byte 0")
	}
	f(record(good, FieldRefID, "r2"), "ref_id comes twice in report 1")
	f(record(good, FieldRefID, ""), "ref_id comes twice")
	f(record(record(nil, FieldError, ""), FieldError, ""), "error comes twice")
	f(record(nil, 13, "x"), "field id 13 (0x000d) is unknown")
	f(record(nil, 0x7ffe, "x"), "is unknown")
	f(record(nil, 0x8001, "x"), "is unknown")
	f(record(nil, 0xffff, ""), "is unknown")
	f(record(nil, FieldNextReport, "x"), "has no value; this one has 1 bytes")
	f(record(nil, FieldStatus, "\xff"), "status is not UTF-8")
	f(record(nil, FieldStatus, strings.Repeat("x", ValueBytesMax+1)), "status has 257 bytes; at most 256")
	f(record(nil, FieldError, strings.Repeat("x", LongValueBytesMax+1)), "error has 1025 bytes; at most 1024")
	f(record(nil, FieldExtension, "x"), "an extension of 1 bytes is cut short")
	f(record(nil, FieldExtension, "\x05\x00key"), "cut short")
	f(extension(nil, "", "x"), "without a key")
	f(extension(nil, "\xff", "x"), "key is not UTF-8")
	f(extension(nil, "k", "\xff"), `extension "k" is not UTF-8`)
	f(extension(extension(nil, "k", "1"), "k", "2"), `extension "k" comes twice`)
	f(extension(nil, "key", strings.Repeat("v", LongValueBytesMax-2)), "an extension has 1025 bytes")
	var many []byte
	for range ReportsMax {
		many = record(many, FieldNextReport, "")
	}
	f(many, "more than 256 reports")
	if _, err := walk(many[FieldBytes:]); err != nil {
		t.Errorf("256 reports: %v", err)
	}
	var keys []byte
	for i := range ExtensionsMax + 1 {
		keys = extension(keys, fmt.Sprint("k", i), "v")
	}
	f(keys, "more than 64 extensions in report 1")
	f(make([]byte, OutputBytesMax+1), "output of 16385 bytes")
}

func TestReadStops(t *testing.T) {
	r := Read(record(record(nil, 99, "x"), FieldRefID, "r"))
	for range 3 {
		if f, ok := r.Next(); ok || r.Err() == nil {
			t.Fatalf("%+v after a broken rule, %v", f, r.Err())
		}
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	out := record(nil, FieldRefID, "r1")
	for i := range 10 {
		out = extension(out, fmt.Sprint("key", i), "value")
	}
	out = record(record(out, FieldNextReport, ""), FieldPayout, "1.50")
	n := testing.AllocsPerRun(100, func() {
		r := Read(out)
		fields := 0
		for _, ok := r.Next(); ok; _, ok = r.Next() {
			fields++
		}
		if fields != 13 || r.Err() != nil {
			t.Fatalf("%d fields, %v", fields, r.Err())
		}
	})
	if n != 0 {
		t.Errorf("%g allocations per output", n)
	}
}

func TestResult(t *testing.T) {
	f := func(r Result, ptr, n uint32, ok bool, code uint32) {
		t.Helper()
		gotPtr, gotN, gotOK := r.Place()
		if gotOK != ok || (ok && (gotPtr != ptr || gotN != n)) || r.Code() != code {
			t.Errorf("%#x: %#x, %d, %t, code %d", uint64(r), gotPtr, gotN, gotOK, r.Code())
		}
	}
	f(0, 0, 0, false, CodeDrop)
	f(2, 0, 0, false, CodeFieldMissing)
	f(0xffffffff, 0, 0, false, 0xffffffff)
	f(1<<32, 1, 0, true, 0)
	f(0x7fffffff_00000010, 0x7fffffff, 16, true, 0)
	f(0xffffffff_ffffffff, 0xffffffff, 0xffffffff, true, 0)
}

func TestNames(t *testing.T) {
	var got []string
	for id := range uint16(14) {
		got = append(got, FieldName(id))
	}
	got = append(got, FieldName(FieldError), FieldName(FieldExtension), KindHeader.String(), Kind(9).String())
	want := strings.Fields("next_report ref_id call_id network_call_id caller duration payout currency started_at occurred_at status transaction_id kind")
	want = append(want, "field 13", "error", "extension", "header", "kind 9")
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzRead: what Read yields, written again by a mapper, reads the same, and
// nothing it yields breaks a limit.
func FuzzRead(f *testing.F) {
	f.Add(record(record(record(nil, FieldRefID, "r1"), FieldNextReport, ""), FieldPayout, "-1.50"))
	f.Add(extension(extension(record(nil, FieldError, "no id"), "a", "1"), "b", "2"))
	f.Add([]byte{0, 0x80, 3, 0, 9, 0, 1})
	f.Fuzz(func(t *testing.T, out []byte) {
		var again []byte
		r := Read(out)
		for f, ok := r.Next(); ok; f, ok = r.Next() {
			if len(f.Value) > LongValueBytesMax || len(f.Key) > LongValueBytesMax {
				t.Fatalf("%d bytes of %s", len(f.Value), FieldName(f.ID))
			}
			if f.ID == FieldExtension {
				again = extension(again, string(f.Key), string(f.Value))
			} else {
				again = record(again, f.ID, string(f.Value))
			}
		}
		if len(again) > len(out) {
			t.Fatalf("%d bytes yield %d", len(out), len(again))
		}
		if r.Err() != nil {
			return
		}
		want, _ := walk(out)
		if got, err := walk(again); err != nil || got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	})
}
