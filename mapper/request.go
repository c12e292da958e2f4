package mapper

import (
	"strings"
	"unsafe"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/abi"
)

// PairsMax is how many fields of a body are parted for a partner's mapper. It
// is more than FieldsMax: such a mapper sees an array of calls whole.
const PairsMax = 2048

// maskedNamesMax bounds what a worker remembers of names.
const maskedNamesMax = 4096

// request writes rec into buf as a partner's mapper reads it, and gives its
// length. What the sender got wrong is noted in w.whole; the mapper is not
// asked then. raw says that the mapper parts the body itself: then a body of
// whatever kind is none of our business.
//
// Secrets are taken out first, as they are before a request is kept (sink/raw.go),
// so that one that was kept is written the same and can be mapped later.
func (w *worker) request(rec *event.Record, buf []byte, raw bool) (n int) {
	var flags uint16
	if rec.Flags&event.FlagTest != 0 {
		flags = abi.FlagTest
	}
	w.encoder = abi.Begin(buf, flags, rec.ReceivedAt/1000)
	w.whole, w.part, w.input, w.inputMax = fault{}, fault{}, &w.encoder, len(buf)
	defer func() { w.input = nil }()

	w.pair(abi.KindRequest, "method", rec.Method)
	w.pair(abi.KindRequest, "peer", rec.Peer)
	w.pair(abi.KindRequest, "content_type", rec.ContentType)
	w.kinds = [origins]abi.Kind{fromQuery: abi.KindQuery, fromBody: abi.KindForm}
	w.plain = w.plain[:0]
	w.form(w.redacted(rec.Query, event.RedactQuery), fromQuery)
	for _, h := range rec.Headers {
		value := h.Value
		if value != "" && w.isSecretHeader(h.Name) {
			value = event.Redacted
		} else {
			value = w.redacted(value, event.RedactURL)
		}
		w.pair(abi.KindHeader, w.lower(h.Name), value)
	}
	clean := *rec
	body := event.View(rec.Body)
	clean.Body, clean.Kept = nil, true
	if tooLong(rec) {
		w.whole.note(event.BodyMalformed, tooLongDetail(rec))
	} else if body != "" {
		if event.MayHoldSecret(body) { // else it need not be looked at for its form either
			body = w.redacted(body, event.RedactorOf(rec.ContentType, body))
		}
		clean.Body = unsafe.Slice(unsafe.StringData(body), len(body))
		if !raw {
			w.partBody(&clean)
		}
	}
	if f := w.part; f.reason != "" {
		w.whole.note(f.reason, f.detail)
	}
	if w.whole.reason != "" {
		return 0
	}
	n, ok := w.encoder.End(clean.Body)
	if !ok {
		w.whole.note(event.MapperInputLong, event.Detail{Limit: int64(len(buf))})
	}
	return n
}

// partBody writes the fields of a form or of JSON as pairs.
func (w *worker) partBody(rec *event.Record) {
	w.scan.keysMax = PairsMax
	defer func() { w.scan.keysMax = KeysMax }()
	switch w.bodyKind(rec) {
	case bodyForm:
		w.form(event.View(rec.Body), fromBody)
	case bodyJSON:
		w.kinds[fromBody] = abi.KindJSON
		w.leaves(rec)
	}
}

// redacted gives what redact makes of s: a view that lives until the next record.
func (w *worker) redacted(s string, redact func(dst []byte, s string) []byte) string {
	if !event.MayHoldSecret(s) {
		return s
	}
	from := len(w.plain)
	w.plain = redact(w.plain, s)
	return event.View(w.plain[from:])
}

// pair writes one pair. It reports that it goes on even when there is no room:
// that is noted, and the mapper is not asked.
func (w *worker) pair(k abi.Kind, name, text string) bool {
	if !w.input.Pair(k, name, text) {
		w.whole.note(event.MapperInputLong, event.Detail{Limit: int64(w.inputMax)})
	}
	return true
}

// isSecretHeader is event.SecretHeader, remembered.
func (w *worker) isSecretHeader(name string) bool {
	is, known := w.headers[name]
	if known {
		return is
	}
	is = event.SecretHeader(name)
	if len(w.headers) < maskedNamesMax && len(name) <= NameBytesMax {
		w.headers[strings.Clone(name)] = is
	}
	return is
}

// isSecret is event.SecretName of each part of a name, remembered.
func (w *worker) isSecret(name string) bool {
	is, known := w.masked[name]
	if known {
		return is
	}
	is = secret(name)
	if len(w.masked) < maskedNamesMax && len(name) <= NameBytesMax {
		w.masked[strings.Clone(name)] = is
	}
	return is
}

// lower gives s in lower case.
func (w *worker) lower(s string) string {
	i := 0
	for i < len(s) && (s[i] < 'A' || s[i] > 'Z') {
		i++
	}
	if i == len(s) {
		return s
	}
	p := w.b.Copy([]byte(s))
	for i, c := range p {
		if 'A' <= c && c <= 'Z' {
			p[i] = c + 'a' - 'A'
		}
	}
	return event.View(p)
}
