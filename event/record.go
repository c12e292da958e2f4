package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// RecordKind says what a journal record holds.
type RecordKind uint8

const (
	RecordPostback RecordKind = iota + 1 // one request of a sender
	RecordCalls                          // up to ReportsMax call upserts in Body, see AppendCall
)

// Flags of a record.
type Flags uint8

const (
	FlagTest   Flags = 1 << iota // runs the whole way and books nothing
	FlagPaused                   // came while its source was paused
	FlagReply                    // the sender waits for the verdict
	FlagKeyed                    // ingest has checked the call's key: we issued it
)

// HeaderCallID is the pseudo header that holds the call's id of a request whose
// path names it. No header of HTTP can have that name.
const HeaderCallID = ":call-id"

// ReportsMax is how many reports, or calls, one record may hold.
const ReportsMax = 256

// Record is what somebody told us, raw. ID and ReceivedAt come from the
// journal's frame, the rest from the record's bytes:
//
//	version 1 | kind | flags                       3 bytes
//	source method query content_type peer          uvarint length, bytes, each
//	headers                                        uvarint count, then name and value of each
//	body                                           uvarint length, bytes
//
// Query is as it came on the wire, Body after Content-Encoding was undone. No
// header that carries a secret of ours is in Headers.
type Record struct {
	ID          ID
	ReceivedAt  int64 // microseconds since the Unix epoch; never decreases in a journal
	Kind        RecordKind
	Flags       Flags
	Source      string
	Method      string
	Query       string
	ContentType string
	Peer        string
	Headers     []Pair
	Body        []byte

	Poison     bool // not to be parsed: the process died on it, see pipeline.InHand
	Unreadable bool // it waited, and what was kept of it is damaged or gone
	Kept       bool // it comes from the verdict log, without its secrets
	Cut        bool // and its body was longer than is kept
}

const recordVersion = 1

// AppendRecord appends the encoding of r to dst.
func AppendRecord(dst []byte, r *Record) []byte {
	dst = append(dst, recordVersion, byte(r.Kind), byte(r.Flags))
	for _, s := range [...]string{r.Source, r.Method, r.Query, r.ContentType, r.Peer} {
		dst = appendText(dst, s)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
	for _, h := range r.Headers {
		dst = appendText(appendText(dst, h.Name), h.Value)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.Body)))
	return append(dst, r.Body...)
}

var errRecordEncoding = errors.New("record encoding is cut short or damaged")

// DecodeRecord reads an encoded record. The texts of r are views into src.
// ID and ReceivedAt are left alone.
func DecodeRecord(r *Record, src []byte) error {
	d := decoder{p: src}
	if v := d.byte(); v != recordVersion {
		if d.bad {
			return errRecordEncoding
		}
		return fmt.Errorf("record version %d: this build reads version %d only", v, recordVersion)
	}
	r.Kind, r.Flags = RecordKind(d.byte()), Flags(d.byte())
	for _, s := range [...]*string{&r.Source, &r.Method, &r.Query, &r.ContentType, &r.Peer} {
		*s = d.text()
	}
	r.Headers = r.Headers[:0]
	for n := d.count(); n > 0 && !d.bad; n-- {
		r.Headers = append(r.Headers, Pair{Name: d.text(), Value: d.text()})
	}
	r.Body = d.bytes()
	if d.bad || len(d.p) > 0 || (r.Kind != RecordPostback && r.Kind != RecordCalls) {
		return errRecordEncoding
	}
	return nil
}

func appendText(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// decoder reads the fields of our own encodings; bad stays set once anything
// was cut short, and everything read after that is zero.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.p) == 0 {
		d.bad = true
		return 0
	}
	b := d.p[0]
	d.p = d.p[1:]
	return b
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 {
		d.bad, d.p = true, nil
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.p)
	if n <= 0 {
		d.bad, d.p = true, nil
		return 0
	}
	d.p = d.p[n:]
	return v
}

// count reads how many pairs follow; each takes two bytes at least.
func (d *decoder) count() uint64 {
	n := d.uvarint()
	if n > uint64(len(d.p)/2) {
		d.bad, d.p = true, nil
		return 0
	}
	return n
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.p)) {
		d.bad, d.p = true, nil
		return nil
	}
	b := d.p[:n:n]
	d.p = d.p[n:]
	return b
}

func (d *decoder) text() string { return View(d.bytes()) }

// View returns b as a string without copying: it changes when b does.
func View(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
