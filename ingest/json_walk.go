package ingest

import (
	"bytes"
	"encoding/json"

	"github.com/tallyhook/tallyhook/event"
)

// jsonFault says what is wrong with p as one JSON value; nil if nothing.
func jsonFault(p []byte) error {
	if json.Valid(p) {
		return nil
	}
	return json.Unmarshal(p, new(json.RawMessage))
}

// The walkers below split JSON that encoding/json has found valid, without
// building anything. They see what it hides: names that are there twice and
// their exact case.

// eachMember calls f with the name, as written between its quotes, and the
// value of each member of object.
func eachMember(object []byte, f func(name, value []byte)) {
	for i := skipSpace(object, 1); object[i] != '}'; i = skipSeparator(object, i) {
		end := skipValue(object, i)
		name := object[i+1 : end-1]
		i = skipSpace(object, skipSpace(object, end)+1) // the colon
		end = skipValue(object, i)
		f(name, object[i:end])
		i = end
	}
}

// eachElement calls f with each element of array.
func eachElement(array []byte, f func(value []byte)) {
	for i := skipSpace(array, 1); array[i] != ']'; i = skipSeparator(array, i) {
		end := skipValue(array, i)
		f(array[i:end])
		i = end
	}
}

func skipSpace(p []byte, i int) int {
	for p[i] == ' ' || p[i] == '\t' || p[i] == '\n' || p[i] == '\r' {
		i++
	}
	return i
}

func skipSeparator(p []byte, i int) int {
	if i = skipSpace(p, i); p[i] == ',' {
		i = skipSpace(p, i+1)
	}
	return i
}

// skipValue gives the end of the value that begins at i.
func skipValue(p []byte, i int) int {
	for depth := 0; ; i++ {
		switch p[i] {
		case '"':
			for i++; p[i] != '"'; i++ {
				if p[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		default:
			if depth > 0 {
				continue
			}
			for i < len(p) && bytes.IndexByte([]byte(",]} \t\r\n"), p[i]) < 0 {
				i++
			}
			return i
		}
	}
}

// textOf gives the text of a JSON string: a view into value when it has no
// escapes.
func textOf(value []byte) (string, bool) {
	if value[0] != '"' {
		return "", false
	}
	if bytes.IndexByte(value, '\\') < 0 {
		return event.View(value[1 : len(value)-1]), true
	}
	var s string
	err := json.Unmarshal(value, &s)
	return s, err == nil
}
