// Package tallyhook is the SDK of Tallyhook mappers in Go, ABI version 1: three
// files, nothing but the standard library, no allocation per call.
//
//	//go:wasmexport mapper_v1_map
//	func MapperMap(length uint32) uint64 { return tallyhook.Run(length, Map) }
//
//	func Map(p *tallyhook.Postback, out *tallyhook.Reports) tallyhook.Answer {
//		out.Set(tallyhook.RefID, p.Get(tallyhook.Query, "click"))
//		out.Set(tallyhook.Payout, p.Get(tallyhook.Query, "price"))
//		return tallyhook.Done
//	}
//
//	func main() {}
//
// To get bodies raw, with neither forms nor JSON split into pairs, export
// mapper_v1_raw_body as well; it is never called. Byte slices that the SDK gives
// are views that live as long as the call. Map can be tested with plain go test:
// see NewPostback and NewReports.
//
// Build: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -trimpath -ldflags='-s -w' -o mapper.wasm .
package tallyhook

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// Limits of one call.
const (
	BufferBytes       = 192 << 10
	OutputBytes       = 16 << 10
	ValueBytesMax     = 256
	LongValueBytesMax = 1024 // key and value of an extra, an error text
	ReportsMax        = 256
	ExtrasMax         = 64 // of one report
	CentsBytes        = 24

	magic       = 0x314D4854 // "THM1"
	headerBytes = 32
	pairBytes   = 6
)

// Kind says where a pair comes from.
type Kind uint8

const (
	Request Kind = iota // method, peer, content_type
	Query
	Header // names in lower case
	Form
	JSON // dotted paths: calls.0.payout
)

// Field is a field of a report.
type Field uint16

const (
	RefID Field = iota + 1
	CallID
	NetworkCallID
	Caller
	Duration // whole seconds
	Payout   // plain decimal: 12.34
	Currency
	StartedAt // RFC 3339, or Unix seconds or milliseconds
	OccurredAt
	Status
	TransactionID
	ReportKind // conversion, reversal, adjustment

	nextReport Field = 0
	errorText  Field = 0x7fff
	extension  Field = 0x8000
)

var fieldNames = [...]string{"", "ref_id", "call_id", "network_call_id", "caller", "duration", "payout", "currency",
	"started_at", "occurred_at", "status", "transaction_id", "kind"}

// Answer is what a call ends in.
type Answer uint32

const (
	Drop        Answer = 0 // nothing to report: the request is ignored
	Malformed   Answer = 1
	Missing     Answer = 2
	Unsupported Answer = 3
	Own         Answer = 1000       // and above: reasons of your own
	Done        Answer = ^Answer(0) // the reports count
)

// The host writes into buffer and reads out of output; globals do not move.
var (
	buffer   [BufferBytes]byte
	output   [OutputBytes]byte
	postback Postback
	reports  = Reports{out: output[:]}
)

// MapperBuffer tells the host where to write.
//
//go:wasmexport mapper_v1_buffer
func MapperBuffer() uint64 { return place(buffer[:]) | BufferBytes }

func place(p []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(p)))) << 32 }

// Config is the configuration, in mapper_v1_init(length): copy what you need of
// it, the first request overwrites it.
func Config(length uint32) []byte { return buffer[:min(length, BufferBytes)] }

// Run maps the request in the buffer; mapper_v1_map returns what it returns.
func Run(length uint32, mapper func(*Postback, *Reports) Answer) uint64 {
	if length > BufferBytes || !postback.read(buffer[:length]) {
		return uint64(Malformed)
	}
	reports.reset()
	switch answer := mapper(&postback, &reports); {
	case answer != Done:
		return uint64(answer)
	case reports.full: // half a report is worse than a refused one
		return uint64(Unsupported)
	}
	return place(reports.out) | uint64(reports.at)
}

// Postback is the request.
type Postback struct{ input, pairs, body []byte }

// NewPostback reads an input as the host writes it, for tests.
func NewPostback(input []byte) (p *Postback, ok bool) {
	p = new(Postback)
	return p, p.read(input)
}

func (p *Postback) read(input []byte) bool {
	if len(input) < headerBytes || binary.LittleEndian.Uint32(input) != magic {
		return false
	}
	body, bodyLength := int(binary.LittleEndian.Uint32(input[16:])), int(binary.LittleEndian.Uint32(input[20:]))
	pairs, total := int(binary.LittleEndian.Uint16(input[24:])), int(binary.LittleEndian.Uint32(input[28:]))
	if total != len(input) || pairs < headerBytes || body < pairs || body > total || bodyLength != total-body {
		return false
	}
	p.input, p.pairs, p.body = input, input[pairs:body], input[body:]
	return true
}

// IsTest tells a test of the integration: it is mapped as usual and books nothing.
func (p *Postback) IsTest() bool { return p.input[4]&1 != 0 }

// ReceivedMillis is when the request came, milliseconds since 1970.
func (p *Postback) ReceivedMillis() int64 { return int64(binary.LittleEndian.Uint64(p.input[8:])) }

// Body is the body as it came.
func (p *Postback) Body() []byte { return p.body }

// Get gives the value of the first pair of that kind and name, nil without one.
//
//go:noinline
func (p *Postback) Get(kind Kind, name string) []byte {
	for pairs := p.Pairs(); pairs.Next(); {
		if pairs.Kind == kind && string(pairs.Name) == name {
			return pairs.Value
		}
	}
	return nil
}

// Pairs walks all pairs in order: for pairs := p.Pairs(); pairs.Next(); { … }
func (p *Postback) Pairs() Pairs { return Pairs{rest: p.pairs} }

// Pairs is a pair and what follows it.
type Pairs struct {
	Kind        Kind
	Name, Value []byte
	rest        []byte
}

// Next steps to the next pair. Loops and what is in them are functions of their
// own here and in text.go: on a turn of a loop Go goes back to the head of the
// function, and the host charges all of it.
//
//go:noinline
func (p *Pairs) Next() bool {
	r := p.rest
	if len(r) < pairBytes {
		return false
	}
	name := pairBytes + int(binary.LittleEndian.Uint16(r[2:]))
	end := name + int(binary.LittleEndian.Uint16(r[4:]))
	if end > len(r) {
		return false
	}
	p.Kind, p.Name, p.Value, p.rest = Kind(r[0]), r[pairBytes:name], r[name:end], r[end:]
	return true
}

// Reports takes the reports. Nothing that the host would refuse gets in.
type Reports struct {
	out         []byte
	at          int
	reportAt    int // where this report begins
	count       int
	extras      int
	seen        uint32 // bit per field of this report, bit 0 its error text
	begun, full bool
}

// NewReports returns empty ones, for tests.
func NewReports() *Reports { return &Reports{out: make([]byte, OutputBytes), count: 1} }

// Output is what the host would read.
func (r *Reports) Output() []byte { return r.out[:r.at] }

func (r *Reports) reset() { *r = Reports{out: r.out, count: 1} }

// Set sets a field of this report; an empty value is none. False: the field is
// set already, or the value is over 256 bytes or no UTF-8 (the report is invalid
// then).
func (r *Reports) Set(field Field, value []byte) bool {
	r.begun = true
	if field < RefID || field > ReportKind || r.seen>>field&1 != 0 {
		return false
	}
	switch {
	case len(value) == 0:
		return true
	case len(value) > ValueBytesMax:
		r.fail(fieldNames[field], " is longer than 256 bytes")
		return false
	case !isUTF8(value):
		r.fail(fieldNames[field], " is not UTF-8")
		return false
	case !r.room(4 + len(value)):
		return false
	}
	r.head(field, len(value))
	r.at += copy(r.out[r.at:], value)
	r.seen |= 1 << field
	return true
}

// SetString is Set of a text of your own.
func (r *Reports) SetString(field Field, value string) bool {
	return r.Set(field, unsafe.Slice(unsafe.StringData(value), len(value)))
}

// Extra keeps a value under a key of your own. False: nothing was kept, for the
// report has that key or 64 others, or the two are over 1,024 bytes or no UTF-8.
func (r *Reports) Extra(key, value []byte) bool {
	r.begun = true
	n := len(key) + len(value)
	if len(key) == 0 || r.extras == ExtrasMax || n > LongValueBytesMax || r.hasExtra(key) || !isUTF8(key) || !isUTF8(value) || !r.room(6+n) {
		return false
	}
	r.head(extension, 2+n)
	binary.LittleEndian.PutUint16(r.out[r.at:], uint16(len(key)))
	r.at += 2
	r.at += copy(r.out[r.at:], key)
	r.at += copy(r.out[r.at:], value)
	r.extras++
	return true
}

// Fail makes this report invalid; a person reads the text. The first text counts.
func (r *Reports) Fail(text string) bool { return r.fail("", text) }

// NextReport begins a report. The first one needs no call, and one before
// anything was set does nothing, so a loop may call it for each. False: there
// are 256.
func (r *Reports) NextReport() bool {
	if !r.begun {
		r.begun = true
		return true
	}
	if r.count == ReportsMax || !r.room(4) {
		r.full = true
		return false
	}
	r.head(nextReport, 0)
	r.count++
	r.reportAt, r.extras, r.seen = r.at, 0, 0
	return true
}

func (r *Reports) fail(what, text string) bool {
	r.begun = true
	n := len(text)
	for n > LongValueBytesMax-len(what) || n < len(text) && n > 0 && !utf8.RuneStart(text[n]) {
		n-- // not within a character
	}
	if r.seen&1 != 0 || !r.room(4+len(what)+n) {
		return false
	}
	r.head(errorText, len(what)+n)
	from := r.at
	r.at += copy(r.out[r.at:], what)
	r.at += copy(r.out[r.at:], text[:n])
	if p := r.out[from:r.at]; !utf8.Valid(p) {
		for i, c := range p {
			if c >= utf8.RuneSelf {
				p[i] = '?'
			}
		}
	}
	r.seen |= 1
	return true
}

//go:noinline
func (r *Reports) room(n int) bool {
	if len(r.out)-r.at < n {
		r.full = true
	}
	return !r.full
}

//go:noinline
func (r *Reports) head(field Field, n int) {
	binary.LittleEndian.PutUint16(r.out[r.at:], uint16(field))
	binary.LittleEndian.PutUint16(r.out[r.at+2:], uint16(n))
	r.at += 4
}

//go:noinline
func (r *Reports) hasExtra(key []byte) bool {
	for at := r.reportAt; at < r.at; at += 4 + int(binary.LittleEndian.Uint16(r.out[at+2:])) {
		if r.keyAt(at, key) {
			return true
		}
	}
	return false
}

// keyAt reports whether an extension of that key stands at a place.
//
//go:noinline
func (r *Reports) keyAt(at int, key []byte) bool {
	p := r.out[at:r.at]
	return len(p) >= 6+len(key) && Field(binary.LittleEndian.Uint16(p)) == extension &&
		int(binary.LittleEndian.Uint16(p[4:])) == len(key) && string(p[6:6+len(key)]) == string(key)
}

func isUTF8(p []byte) bool { return ascii(p) || utf8.Valid(p) }

//go:noinline
func ascii(p []byte) bool {
	var all byte
	for _, c := range p {
		all |= c
	}
	return all < utf8.RuneSelf
}
