package mapper

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

// form adds the fields of a query string or form. Pairs are parted by '&'
// only; '+' is a blank; an escape that is none (100%) stands for itself, as
// browsers have it. A pair that is not UTF-8 is left out and noted.
func (w *worker) form(text string, from origin) {
	for text != "" {
		var pair string
		pair, text, _ = strings.Cut(text, "&")
		if pair == "" {
			continue
		}
		rawName, rawText, _ := strings.Cut(pair, "=")
		name, nameOK := w.unescape(rawName)
		value, valueOK := w.unescape(rawText)
		if !nameOK || !valueOK {
			w.whole.note(event.BodyNotUTF8, event.Detail{Field: w.named(name), Got: w.shown(name, value)})
			continue
		}
		if !w.add(name, value, from) {
			w.whole.note(event.BodyTooManyKeys, tooManyFields)
			return
		}
	}
}

// unescape undoes percent encoding: s itself when there is none, else a copy
// in the batch. ok is false when the outcome is not UTF-8.
func (w *worker) unescape(s string) (out string, ok bool) {
	var escaped, wide bool
	for i := 0; i < len(s); i++ {
		c := s[i]
		escaped = escaped || c == '%' || c == '+'
		wide = wide || c >= utf8.RuneSelf
	}
	if escaped {
		p := w.b.Alloc(len(s))
		n := 0
		for i := 0; i < len(s); i++ {
			c := s[i]
			switch {
			case c == '+':
				c = ' '
			case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
				c = unhex(s[i+1])<<4 | unhex(s[i+2])
				i += 2
				wide = wide || c >= utf8.RuneSelf
			}
			p[n] = c
			n++
		}
		s = event.View(p[:n])
	}
	return s, !wide || utf8.ValidString(s)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c >= 'a':
		return c - 'a' + 10
	}
	return c - 'A' + 10
}

type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyForm
	bodyJSON
	bodyTooLong
	bodyOdd
)

// bodyKind says how to read rec's body. The content type decides; one that
// says nothing of use gives way to what the body looks like.
func (w *worker) bodyKind(rec *event.Record) bodyKind {
	start := 0
	for start < len(rec.Body) && isSpace(rec.Body[start]) {
		start++
	}
	if start == len(rec.Body) {
		return bodyNone
	}
	if tooLong(rec) {
		return bodyTooLong
	}
	bracket := rec.Body[start] == '{' || rec.Body[start] == '['
	media, _, _ := strings.Cut(rec.ContentType, ";")
	media = strings.TrimSpace(media)
	switch {
	case strings.EqualFold(media, "application/json"), hasJSONSuffix(media):
		return bodyJSON
	case strings.EqualFold(media, "application/x-www-form-urlencoded"):
		// What curl -d sends unless told otherwise. A form may start with a
		// bracket too, so only what is JSON through and through is taken for it.
		// The verifier of signatures asks the same function: of what it takes for
		// JSON, nothing may be read as a form here.
		if bracket && json.Valid(rec.Body) {
			return bodyJSON
		}
		return bodyForm
	case bracket:
		return bodyJSON
	case media == "":
		return bodyForm
	}
	return bodyOdd
}

func hasJSONSuffix(media string) bool {
	n := len(media) - len("+json")
	return n >= 0 && strings.EqualFold(media[n:], "+json")
}
