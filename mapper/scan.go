package mapper

import (
	"fmt"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// Limits of a JSON body besides BodyBytesMax.
const (
	DepthMax = 32        // objects and arrays in one another
	KeysMax  = FieldsMax // of one report: keys of all its objects and elements of all its arrays
)

// scanner is the gate before the JSON decoder, in plain Go: it lets through
// only what RFC 8259 calls JSON, in valid UTF-8 without lone surrogates, within
// the limits, with no key twice in one object (without regard to case). It
// decodes nothing. The zero scanner with a seed is ready; its memory is reused.
type scanner struct {
	seed    uint32
	keysMax int // of one report; 0 is KeysMax

	p     []byte
	i     int
	depth int
	keys  int
	open  []key  // of all objects that are open
	text  []byte // of those that were escaped
	fault fault
}

type key struct {
	hash uint32
	text string
}

// shape is what a document is at its top.
type shape uint8

const (
	shapeScalar shape = iota
	shapeObject
	shapeArray
)

// document checks p whole. A fault's detail names the place as a byte offset.
func (s *scanner) document(p []byte) (shape, fault) {
	*s = scanner{seed: s.seed, keysMax: s.keysMax, p: p, open: s.open[:0], text: s.text[:0]}
	if s.keysMax == 0 {
		s.keysMax = KeysMax
	}
	top := shapeScalar
	ok := len(p) <= 2*BodyBytesMax || s.bad("more than %d bytes", 2*BodyBytesMax) // taking secrets out may lengthen it
	if ok {
		s.space()
		switch s.peek() {
		case '{':
			top = shapeObject
			ok = s.value()
		case '[':
			top = shapeArray
			ok = s.array(true)
		default:
			ok = s.value()
		}
	}
	if ok {
		if s.space(); s.i < len(p) {
			s.bad("text after the end at byte %d", s.i)
		}
	}
	s.p = nil
	return top, s.fault
}

func (s *scanner) bad(format string, args ...any) bool {
	s.fault.note(event.BodyMalformed, event.Detail{Field: "JSON", Got: fmt.Sprintf(format, args...)})
	return false
}

func (s *scanner) refuse(reason event.Reason, d event.Detail) bool {
	s.fault.note(reason, d)
	return false
}

// peek gives the byte at the cursor, 0 at the end: no token starts with it.
func (s *scanner) peek() byte {
	if s.i < len(s.p) {
		return s.p[s.i]
	}
	return 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (s *scanner) space() {
	for s.i < len(s.p) && isSpace(s.p[s.i]) {
		s.i++
	}
}

// unexpected refuses the byte at the cursor.
func (s *scanner) unexpected() bool {
	if s.i >= len(s.p) {
		return s.bad("cut short at byte %d", s.i)
	}
	if c := s.p[s.i]; c > ' ' && c < 0x7F {
		return s.bad("unexpected %q at byte %d", c, s.i)
	}
	return s.bad("unexpected byte 0x%02x at byte %d", s.p[s.i], s.i)
}

func (s *scanner) value() bool {
	switch c := s.peek(); {
	case c == '{':
		return s.object()
	case c == '[':
		return s.array(false)
	case c == '"':
		_, ok := s.string(false)
		return ok
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	}
	return s.unexpected()
}

func (s *scanner) literal(word string) bool {
	for j := range len(word) {
		if s.peek() != word[j] {
			return s.unexpected()
		}
		s.i++
	}
	return true
}

// number: -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?
func (s *scanner) number() bool {
	if s.peek() == '-' {
		s.i++
	}
	if s.peek() == '0' {
		s.i++
	} else if !s.digits() {
		return false
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return false
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		return s.digits()
	}
	return true
}

func (s *scanner) digits() bool {
	from := s.i
	for c := s.peek(); '0' <= c && c <= '9'; c = s.peek() {
		s.i++
	}
	return s.i > from || s.unexpected()
}

// enter steps over an opening bracket.
func (s *scanner) enter() bool {
	s.i++
	if s.depth++; s.depth > DepthMax {
		return s.refuse(event.BodyTooDeep, event.Detail{Limit: DepthMax})
	}
	s.space()
	return true
}

func (s *scanner) count() bool {
	if s.keys++; s.keys > s.keysMax {
		return s.refuse(event.BodyTooManyKeys, event.Detail{Limit: int64(s.keysMax)})
	}
	return true
}

// next steps over a comma and reports more, or over the closing bracket.
func (s *scanner) next(closing byte) (more, ok bool) {
	s.space()
	switch s.peek() {
	case ',':
		s.i++
		s.space()
		return true, true
	case closing:
		s.i++
		s.depth--
		return false, true
	}
	return false, s.unexpected()
}

// array checks an array. The elements of the outermost one are reports, with
// limits of their own.
func (s *scanner) array(reports bool) bool {
	if !s.enter() {
		return false
	}
	if s.peek() == ']' {
		_, ok := s.next(']')
		return ok
	}
	for more := true; more; {
		if reports {
			s.keys = 0
		} else if !s.count() {
			return false
		}
		if !s.value() {
			return false
		}
		var ok bool
		if more, ok = s.next(']'); !ok {
			return false
		}
	}
	return true
}

func (s *scanner) object() bool {
	if !s.enter() {
		return false
	}
	keys, text := len(s.open), len(s.text)
	if s.peek() == '}' {
		_, ok := s.next('}')
		return ok
	}
	for more := true; more; {
		if s.peek() != '"' {
			return s.unexpected()
		}
		name, ok := s.string(true)
		if !ok || !s.count() || !s.once(name, keys) {
			return false
		}
		if s.space(); s.peek() != ':' {
			return s.unexpected()
		}
		s.i++
		if s.space(); !s.value() {
			return false
		}
		if more, ok = s.next('}'); !ok {
			return false
		}
	}
	s.open, s.text = s.open[:keys], s.text[:text]
	return true
}

// once refuses a key that its object, whose keys start at from, already has.
func (s *scanner) once(name string, from int) bool {
	h := foldHash(s.seed, name)
	for _, k := range s.open[from:] {
		if k.hash == h && strings.EqualFold(k.text, name) {
			got := strings.Clone(cut(name, GotBytesMax))
			return s.refuse(event.BodyDuplicateKey, event.Detail{Field: got, Got: got})
		}
	}
	s.open = append(s.open, key{h, name})
	return true
}
