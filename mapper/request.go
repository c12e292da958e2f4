package mapper

import (
	"strings"

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
// No secret is in it. A record that was kept with its secrets taken out reads
// the same, so that it can be mapped again.
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
	w.form(rec.Query, fromQuery)
	for _, h := range rec.Headers {
		w.pair(abi.KindHeader, w.lower(h.Name), h.Value)
	}
	if len(rec.Body) > BodyBytesMax {
		w.whole.note(event.BodyMalformed, tooLong(rec))
	} else if !raw {
		w.partBody(rec)
	}
	if f := w.part; f.reason != "" {
		w.whole.note(f.reason, f.detail)
	}
	if w.whole.reason != "" {
		return 0
	}
	n, ok := w.encoder.End(w.withoutSecrets(rec))
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

// pair writes one pair. It reports false only when there are too many.
func (w *worker) pair(k abi.Kind, name, text string) bool {
	if k != abi.KindRequest && w.isSecret(name) && text != "" {
		text = event.Redacted
	}
	if !w.input.Pair(k, name, text) {
		w.whole.note(event.MapperInputLong, event.Detail{Limit: int64(w.inputMax)})
	}
	return true
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

// withoutSecrets gives rec's body, secrets taken out, until the next record.
func (w *worker) withoutSecrets(rec *event.Record) []byte {
	if len(rec.Body) == 0 {
		return nil
	}
	body := event.View(rec.Body)
	w.plain = event.RedactorOf(rec.ContentType, body)(w.plain[:0], body)
	return w.plain
}

// lower gives s in lower case.
func (w *worker) lower(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return 'A' <= r && r <= 'Z' }) < 0 {
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
