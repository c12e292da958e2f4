package ingest

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strings"
	"unicode"

	"github.com/tallyhook/tallyhook/event"
)

// Intake reads fields of a request in two places only, the key of a call and
// what a reply repeats. All else is the mapper's.

// eachField calls f with each name and value of a query or form, as they were
// sent, until f returns false.
func eachField(form []byte, f func(name, value []byte) bool) {
	for pair := range bytes.SplitSeq(form, []byte("&")) {
		name, value, _ := bytes.Cut(pair, []byte("="))
		if !f(name, value) {
			return
		}
	}
}

// unescaped undoes the escapes of a query or form; ok is false when they are
// broken, and the text then as it was.
func unescaped(p []byte) (s string, ok bool) {
	s, err := url.QueryUnescape(event.View(p))
	if err != nil {
		return event.View(p), false
	}
	return s, true
}

// formField gives the first field of that name, in any case.
func formField(form []byte, name string) (value string, ok bool) {
	eachField(form, func(n, v []byte) bool {
		if plain, _ := unescaped(n); strings.EqualFold(plain, name) {
			value, _ = unescaped(v)
			ok = true
		}
		return !ok
	})
	return value, ok
}

// jsonField gives the first member of that name, in any case, of a body that is
// a JSON object: a text, a number, true or false.
func jsonField(body []byte, name string) (value string) {
	body = trimJSON(body)
	if len(body) == 0 || body[0] != '{' || !json.Valid(body) {
		return ""
	}
	found := false
	eachMember(body, func(n, v []byte) {
		plain, ok := textOf(append(append([]byte{'"'}, n...), '"'))
		if found || !ok || !strings.EqualFold(plain, name) {
			return
		}
		found = true
		switch {
		case v[0] == '"':
			value, _ = textOf(v)
		case v[0] != '{' && v[0] != '[' && string(v) != "null":
			value = event.View(v)
		}
	})
	return value
}

func trimJSON(body []byte) []byte {
	return bytes.TrimFunc(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")), unicode.IsSpace)
}

// isForm reports whether a body is read as a form: it says so, or says nothing
// and does not look like JSON.
func isForm(contentType, body []byte) bool {
	kind := mediaType(contentType)
	if isName(kind, "application/x-www-form-urlencoded") {
		return true
	}
	body = trimJSON(body)
	return len(kind) == 0 && len(body) > 0 && body[0] != '{' && body[0] != '['
}
