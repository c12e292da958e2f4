package ingest

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

// header is what we look at of a request's header, as views into its raw
// bytes. It is read from those, not from fasthttp's parsed fields, for two
// reasons: there the trailers of a chunked body are merged into the fields,
// behind the back of whatever proxy checked them; and one pass is cheaper than
// a search per name.
type header struct {
	raw       []byte   // all of it
	secret    []byte   // X-Webhook-Secret; nil when absent or sent twice
	auth      []byte   // Authorization
	encoding  []byte   // Content-Encoding
	forwarded [][]byte // X-Forwarded-For, line by line
	kept      []event.Pair

	secrets, encodings int // how many lines there were
}

// Header values that go into the record: harmless, and of use to who debugs a
// sender. Everything else is dropped, above all Authorization, Cookie,
// X-Webhook-Secret and whatever else carries a secret, token, key or signature.
const (
	keptMax           = 8
	signedKeptMax     = 4 // more of them, that a source's signature scheme names
	keptValueBytesMax = 256
)

const badFraming = "The request is not well-formed HTTP/1.1."

// faults of framing, as sentences.
const (
	faultBoth   = "The request has both Content-Length and Transfer-Encoding; send one of them."
	faultFolded = "A header is folded over several lines; send it on one."
)

// scan reads raw, the header lines after the request line up to and with the
// blank one, and returns "" or what is wrong with the framing. fasthttp has
// checked the syntax of each line before; scan refuses what it lets pass and
// two readers may understand in two ways.
func (h *header) scan(raw []byte) (fault string) {
	*h = header{raw: raw, forwarded: h.forwarded[:0], kept: h.kept[:0]}
	var length, transfer bool
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\n')
		if i < 1 || raw[i-1] != '\r' {
			return badFraming
		}
		line := raw[:i-1]
		raw = raw[i+1:]
		if len(line) == 0 {
			if len(raw) > 0 {
				return badFraming
			}
			break
		}
		if line[0] == ' ' || line[0] == '\t' {
			return faultFolded
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 {
			return badFraming
		}
		name, value := line[:colon], bytes.Trim(line[colon+1:], " \t")
		switch {
		case isName(name, "content-length"):
			length = true
		case isName(name, "transfer-encoding"):
			transfer = true
		default:
			h.field(name, value)
		}
	}
	if length && transfer {
		return faultBoth
	}
	return ""
}

func (h *header) field(name, value []byte) {
	switch len(name) {
	case 10:
		h.keep(name, value, "user-agent", "webhook-id", "request-id")
	case 12:
		h.keep(name, value, "x-request-id", "x-webhook-id", "")
	case 13:
		if isName(name, "authorization") && h.auth == nil {
			h.auth = value
		}
	case 15:
		if isName(name, "x-forwarded-for") {
			h.forwarded = append(h.forwarded, value)
		}
	case 16:
		switch {
		case isName(name, "x-webhook-secret"):
			if h.secrets++; h.secrets == 1 {
				h.secret = value
			} else {
				h.secret = nil
			}
		case isName(name, "content-encoding"):
			h.encoding = value
			h.encodings++
		default:
			h.keep(name, value, "x-correlation-id", "", "")
		}
	case 17:
		h.keep(name, value, "webhook-timestamp", "", "")
	}
}

func (h *header) keep(name, value []byte, a, b, c string) {
	if len(h.kept) == keptMax || len(value) > keptValueBytesMax || !utf8.Valid(value) {
		return
	}
	for _, want := range [...]string{a, b, c} {
		if isName(name, want) {
			h.kept = append(h.kept, event.Pair{Name: want, Value: event.View(value)})
			return
		}
	}
}

// keepAs keeps a header that is not kept anyway, under a name in lower case.
func (h *header) keepAs(name, value string) {
	if len(value) > keptValueBytesMax || !utf8.ValidString(value) || len(h.kept) >= keptMax+signedKeptMax {
		return
	}
	for i := range h.kept {
		if h.kept[i].Name == name {
			return
		}
	}
	h.kept = append(h.kept, event.Pair{Name: name, Value: value})
}

// each calls f with every header line, until f returns false. It stops at what
// is no line, which scan has refused before.
func (h *header) each(f func(name, value []byte) bool) {
	for raw := h.raw; ; {
		line, rest, ok := bytes.Cut(raw, []byte("\r\n"))
		if !ok || len(line) == 0 {
			return
		}
		colon := bytes.IndexByte(line, ':')
		if colon < 1 || !f(line[:colon], bytes.Trim(line[colon+1:], " \t")) {
			return
		}
		raw = rest
	}
}

// value gives a header by its name in any case: a view into the raw bytes, or
// a fresh text of all of them, joined by ", ", when it was sent more than once.
func (h *header) value(name string) (value string, ok bool) {
	for raw := h.raw; ; {
		line, rest, more := bytes.Cut(raw, []byte("\r\n"))
		colon := bytes.IndexByte(line, ':')
		if !more || colon < 1 {
			return value, ok
		}
		if raw = rest; colon != len(name) || !strings.EqualFold(event.View(line[:colon]), name) {
			continue
		}
		v := event.View(bytes.Trim(line[colon+1:], " \t"))
		if ok {
			v = value + ", " + v
		}
		value, ok = v, true
	}
}

// isName compares a header's name with one in lower case.
func isName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i := range len(lower) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}
