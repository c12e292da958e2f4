package abi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"
)

// The output, little endian, records back to back, at most OutputBytesMax:
//
//	field id u16 │ length u16 │ value                      ids 1 to 12 and 0x7fff
//	0        u16 │ 0      u16 │                            the next report begins
//	0x8000   u16 │ length u16 │ key length u16 │ key │ value
//
// Values and keys are UTF-8. An empty value is as good as no field, except that
// of the error text, which spoils its report even when empty.

// Field is one field of a report. Key and Value are views into the output.
type Field struct {
	ID    uint16
	Key   []byte // of an extension
	Value []byte
}

// Reader walks an output. It is a value that allocates nothing unless the
// output breaks a rule.
type Reader struct {
	out     []byte
	at      int
	reports int
	seen    uint32 // bit per field id of this report, bit 0 for the error text
	keys    [ExtensionsMax]uint16
	nkeys   int // of keys in use: places of this report's extensions
	err     error
}

// Read starts at the beginning of out, which must not change until the walk is
// over: copy what comes from a module's memory before the module runs again.
func Read(out []byte) Reader {
	r := Reader{out: out, reports: 1}
	if len(out) > OutputBytesMax {
		r.err = fmt.Errorf("output of %d bytes; at most %d are taken", len(out), OutputBytesMax)
	}
	return r
}

// Next returns the next field that has a value, an error text, or
// FieldNextReport. It reports false at the end and at the first broken rule,
// which Err then tells.
func (r *Reader) Next() (f Field, ok bool) {
	for r.err == nil && r.at < len(r.out) {
		place := r.at
		if len(r.out)-place < FieldBytes {
			return r.fail(place, "the output ends inside a field's head")
		}
		f.ID = binary.LittleEndian.Uint16(r.out[place:])
		n := int(binary.LittleEndian.Uint16(r.out[place+2:]))
		if len(r.out)-place-FieldBytes < n {
			return r.fail(place, "%s of %d bytes reaches over the output's end", FieldName(f.ID), n)
		}
		f.Key, f.Value = nil, r.out[place+FieldBytes:place+FieldBytes+n]
		r.at = place + FieldBytes + n
		if !r.admit(place, &f) {
			return Field{}, false
		}
		if len(f.Value) > 0 || f.ID == FieldNextReport || f.ID == FieldError {
			return f, true
		}
	}
	return Field{}, false
}

// Err is the rule that the output broke, in words for the mapper's author; nil
// when Next came to the end.
func (r *Reader) Err() error { return r.err }

// admit checks f by the rules of its id and splits an extension.
func (r *Reader) admit(place int, f *Field) bool {
	n, most := len(f.Value), ValueBytesMax
	switch {
	case f.ID == FieldNextReport:
		return r.nextReport(place, n)
	case f.ID == FieldExtension:
		return r.extension(place, f)
	case f.ID == FieldError:
		most = LongValueBytesMax
	case f.ID > fieldLast:
		r.fail(place, "field id %d (%#04x) is unknown; use 1 to %d, or %#04x with a key of your own", f.ID, f.ID, fieldLast, FieldExtension)
		return false
	}
	bit := uint32(1) << (f.ID & 31)
	if f.ID == FieldError {
		bit = 1
	}
	switch {
	case n > most:
		r.fail(place, "%s has %d bytes; at most %d are taken", FieldName(f.ID), n, most)
	case r.seen&bit != 0:
		r.fail(place, "%s comes twice in report %d; begin the next report with field id 0", FieldName(f.ID), r.reports)
	case !utf8.Valid(f.Value):
		r.fail(place, "%s is not UTF-8: %.40q", FieldName(f.ID), f.Value)
	}
	r.seen |= bit
	return r.err == nil
}

func (r *Reader) nextReport(place, n int) bool {
	switch {
	case n != 0:
		r.fail(place, "field id 0 begins the next report and has no value; this one has %d bytes", n)
	case r.reports == ReportsMax:
		r.fail(place, "more than %d reports of one request", ReportsMax)
	}
	r.reports++
	r.seen, r.nkeys = 0, 0
	return r.err == nil
}

func (r *Reader) extension(place int, f *Field) bool {
	n := len(f.Value)
	if n > 2+LongValueBytesMax {
		r.fail(place, "an extension has %d bytes; at most %d are taken for key and value", n-2, LongValueBytesMax)
		return false
	}
	key, value, ok := splitExtension(f.Value)
	switch {
	case !ok:
		r.fail(place, "an extension of %d bytes is cut short; it holds the key's length (2 bytes), the key, the value", n)
	case len(key) == 0:
		r.fail(place, "an extension without a key")
	case !utf8.Valid(key):
		r.fail(place, "an extension's key is not UTF-8: %.40q", key)
	case !utf8.Valid(value):
		r.fail(place, "extension %.40q is not UTF-8: %.40q", key, value)
	case r.nkeys == ExtensionsMax:
		r.fail(place, "more than %d extensions in report %d", ExtensionsMax, r.reports)
	case r.repeats(key):
		r.fail(place, "extension %.40q comes twice in report %d", key, r.reports)
	}
	if r.err != nil {
		return false
	}
	r.keys[r.nkeys] = uint16(place)
	r.nkeys++
	f.Key, f.Value = key, value
	return true
}

// repeats reports whether an extension of this report had the same key.
func (r *Reader) repeats(key []byte) bool {
	for _, place := range r.keys[:r.nkeys] {
		// admitted before, so it is whole
		if old, _, _ := splitExtension(r.out[int(place)+FieldBytes:]); bytes.Equal(old, key) {
			return true
		}
	}
	return false
}

func splitExtension(p []byte) (key, value []byte, ok bool) {
	if len(p) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(p))
	if len(p)-2 < n {
		return nil, nil, false
	}
	return p[2 : 2+n], p[2+n:], true
}

func (r *Reader) fail(place int, format string, args ...any) (Field, bool) {
	r.err = fmt.Errorf("output at byte %d: "+format, append([]any{place}, args...)...)
	return Field{}, false
}
