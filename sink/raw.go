package sink

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"

	"github.com/tallyhook/tallyhook/event"
)

// A raw request, as the verdict log keeps it:
//
//	version 1 | flags                      2 bytes: 1 the rest is one S2 block, 2 the body was cut
//	method query content_type peer         uvarint length, bytes, each
//	headers                                uvarint count, then name and value of each
//	body                                   uvarint length, bytes
//
// From the method on that is the encoding of an event.Record.
// Secrets are taken out before anything is written (event/redact.go). What is
// not a secret stays byte for byte, so that a mapper can be tried again on it.
const rawVersion = 1

const (
	rawS2 byte = 1 << iota
	rawCut
)

// Limits of a raw request.
const (
	// RawBodyBytesMax is how much of a body is kept; ingest lets more through
	// only when a body grows by decompression.
	RawBodyBytesMax = 64 << 10
	// RawTextBytesMax is how much is kept of each text beside the body.
	RawTextBytesMax = 16 << 10
	// RawHeadersMax is how many headers are kept.
	RawHeadersMax = 64

	// rawPlainBytesMax is the size up to which requests are kept as they are.
	// Above it S2 halves a JSON postback in well under a microsecond; Zstandard
	// would take a third more off, but five to ten microseconds for each.
	rawPlainBytesMax = 256
	rawBytesMax      = 4 << 20 // of a decompressed request: every limit above at once
)

// Raw encodes redacted raw requests. One goroutine uses it at a time.
type Raw struct{ block []byte }

// NewRaw makes an encoder.
func NewRaw() (*Raw, error) { return &Raw{block: make([]byte, s2.MaxEncodedLen(4<<10))}, nil }

// Append appends the redacted encoding of r to dst. Of a record that holds
// calls nothing but the envelope is kept: its body holds the calls' keys.
func (e *Raw) Append(dst []byte, r *event.Record) []byte {
	start := len(dst)
	dst = append(dst, rawVersion, 0)
	dst = appendRawText(dst, r.Method)
	dst = appendSized(dst, cut(r.Query, RawTextBytesMax), event.RedactQuery)
	dst = appendRawText(dst, r.ContentType)
	dst = appendRawText(dst, r.Peer)
	headers := r.Headers[:min(len(r.Headers), RawHeadersMax)]
	dst = binary.AppendUvarint(dst, uint64(len(headers)))
	for _, h := range headers {
		dst = appendRawText(dst, h.Name)
		value := cut(h.Value, RawTextBytesMax)
		if event.SecretHeader(h.Name) {
			dst = appendSized(dst, value, event.RedactAll)
		} else {
			dst = appendSized(dst, value, event.RedactURL)
		}
	}
	body := event.View(r.Body)
	if r.Kind == event.RecordCalls {
		body = ""
	}
	if len(body) > RawBodyBytesMax {
		body, dst[start+1] = body[:RawBodyBytesMax], dst[start+1]|rawCut
	}
	dst = appendSized(dst, body, event.RedactorOf(r.ContentType, body))
	if len(dst)-start > rawPlainBytesMax {
		dst = e.compress(dst, start)
	}
	return dst
}

// compress replaces what follows the two bytes at start by an S2 block, if
// that is shorter.
func (e *Raw) compress(dst []byte, start int) []byte {
	plain := dst[start+2:]
	if n := s2.MaxEncodedLen(len(plain)); n > len(e.block) {
		e.block = make([]byte, n)
	}
	block := s2.Encode(e.block, plain)
	if len(block) < len(plain) {
		dst = append(dst[:start+2], block...)
		dst[start+1] |= rawS2
	}
	return dst
}

func appendRawText(dst []byte, s string) []byte {
	s = cut(s, RawTextBytesMax)
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func cut(s string, most int) string { return s[:min(len(s), most)] }

// appendSized appends what redact makes of s behind its length. The length is
// known only afterwards: one byte is left for it, and what follows moves up in
// the rare case that it takes more.
func appendSized(dst []byte, s string, redact func(dst []byte, s string) []byte) []byte {
	at := len(dst)
	dst = redact(append(dst, 0), s)
	n := len(dst) - at - 1
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	var size [binary.MaxVarintLen64]byte
	k := binary.PutUvarint(size[:], uint64(n))
	dst = append(dst, size[1:k]...)
	copy(dst[at+k:], dst[at+1:at+1+n])
	copy(dst[at:], size[:k])
	return dst
}

// Request is a raw request as it is shown: redacted, otherwise as it came.
type Request struct {
	Method      string
	Query       string
	ContentType string
	Headers     []event.Pair
	Peer        string
	Body        []byte
	BodyCut     bool // the body was longer than RawBodyBytesMax
}

// MarshalJSON renders headers as an object in the order in which they came
// (one that came several times has its values joined by a comma), and the body
// as text, or in base64 when it is not UTF-8.
func (q *Request) MarshalJSON() ([]byte, error) {
	j := struct {
		Method      string          `json:"method"`
		Query       string          `json:"query"`
		ContentType string          `json:"content_type"`
		Headers     json.RawMessage `json:"headers"`
		Peer        string          `json:"peer"`
		Body        *string         `json:"body,omitempty"`
		Base64      []byte          `json:"body_base64,omitempty"`
		BodyCut     bool            `json:"body_cut,omitempty"`
	}{Method: q.Method, Query: q.Query, ContentType: q.ContentType, Headers: headersJSON(q.Headers), Peer: q.Peer, BodyCut: q.BodyCut}
	if text := string(q.Body); utf8.ValidString(text) {
		j.Body = &text
	} else {
		j.Base64 = q.Body
	}
	return json.Marshal(j)
}

func headersJSON(headers []event.Pair) []byte {
	dst := []byte{'{'}
	for i, h := range headers {
		same := func(o event.Pair) bool { return strings.EqualFold(o.Name, h.Name) }
		var values []string
		first := true
		for k, o := range headers {
			if same(o) {
				values, first = append(values, o.Value), first && k >= i
			}
		}
		if !first {
			continue
		}
		if len(dst) > 1 {
			dst = append(dst, ',')
		}
		dst = append(event.AppendJSONString(dst, h.Name), ':')
		dst = event.AppendJSONString(dst, strings.Join(values, ", "))
	}
	return append(dst, '}')
}

var errRawEncoding = errors.New("raw request is cut short or damaged")

// recordHead is what stands before a record's method when it has no source. From
// there on records and raw requests are laid out alike, so one decoder reads both.
var recordHead = event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback})[:4]

// ParseRaw reads what Append wrote. The request owns its memory.
func ParseRaw(p []byte) (*Request, error) {
	if len(p) < 2 {
		return nil, errRawEncoding
	}
	if p[0] != rawVersion {
		return nil, fmt.Errorf("raw request version %d: this build reads version %d only", p[0], rawVersion)
	}
	flags, src := p[1], p[2:]
	if flags&^(rawS2|rawCut) != 0 {
		return nil, errRawEncoding
	}
	own, err := ownRecord(src, flags&rawS2 != 0)
	if err != nil {
		return nil, err
	}
	var r event.Record
	if err := event.DecodeRecord(&r, own); err != nil {
		return nil, errRawEncoding
	}
	return &Request{Method: r.Method, Query: r.Query, ContentType: r.ContentType, Headers: r.Headers, Peer: r.Peer, Body: r.Body, BodyCut: flags&rawCut != 0}, nil
}

// ownRecord copies the fields of a raw request, out of their S2 block if they
// are in one, behind the head that makes them a record.
func ownRecord(src []byte, compressed bool) ([]byte, error) {
	if !compressed {
		return slices.Concat(recordHead, src), nil
	}
	n, err := s2.DecodedLen(src)
	if err != nil || n > rawBytesMax {
		return nil, errRawEncoding
	}
	own := append(make([]byte, 0, len(recordHead)+n), recordHead...)
	if _, err := s2.Decode(own[len(own):cap(own)], src); err != nil {
		return nil, fmt.Errorf("%w: %w", errRawEncoding, err)
	}
	return own[:cap(own)], nil
}
