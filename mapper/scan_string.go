package mapper

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

// string checks a string and steps over it. Only a key's text is given: a view
// of the document, or of s.text when something in it was escaped.
func (s *scanner) string(isKey bool) (string, bool) {
	s.i++
	from, textFrom, escaped := s.i, len(s.text), false
	for {
		switch c := s.peek(); {
		case c == '"':
			text := s.p[from:s.i]
			if s.i++; escaped {
				text = s.text[textFrom:]
			}
			return event.View(text), true
		case c == '\\':
			if isKey && !escaped {
				escaped = true
				s.text = append(s.text, s.p[from:s.i]...)
			}
			r, ok := s.escape()
			if !ok {
				return "", false
			}
			if isKey {
				s.text = utf8.AppendRune(s.text, r)
			}
		case c < ' ':
			return "", s.unexpected()
		default:
			n := 1
			if c >= utf8.RuneSelf {
				var r rune
				if r, n = utf8.DecodeRune(s.p[s.i:]); r == utf8.RuneError && n == 1 {
					return "", s.refuse(event.BodyNotUTF8, event.Detail{Field: "JSON", Got: fmt.Sprintf("byte 0x%02x at byte %d", c, s.i)})
				}
			}
			if escaped {
				s.text = append(s.text, s.p[s.i:s.i+n]...)
			}
			s.i += n
		}
	}
}

// escape checks what follows a backslash and gives the character it stands for.
func (s *scanner) escape() (rune, bool) {
	s.i++
	c := s.peek()
	if c == 'u' {
		return s.escapedRune()
	}
	at := strings.IndexByte(`"\/bfnrt`, c)
	if at < 0 {
		return 0, s.unexpected()
	}
	s.i++
	return rune("\"\\/\b\f\n\r\t"[at]), true
}

func (s *scanner) escapedRune() (rune, bool) {
	at := s.i - 1
	r, ok := s.hex4()
	if !ok {
		return 0, false
	}
	if r < 0xD800 || r > 0xDFFF {
		return r, true
	}
	if r < 0xDC00 && s.peek() == '\\' && s.i+1 < len(s.p) && s.p[s.i+1] == 'u' {
		s.i++
		low, ok := s.hex4()
		if !ok {
			return 0, false
		}
		if 0xDC00 <= low && low <= 0xDFFF {
			return (r-0xD800)<<10 | (low - 0xDC00) + 0x10000, true
		}
	}
	return 0, s.refuse(event.BodyNotUTF8, event.Detail{Field: "JSON", Got: fmt.Sprintf("half a surrogate pair at byte %d", at)})
}

// hex4 steps over u and four hex digits.
func (s *scanner) hex4() (r rune, ok bool) {
	s.i++
	for range 4 {
		c := s.peek()
		if !isHex(c) {
			return 0, s.unexpected()
		}
		r = r<<4 | rune(unhex(c))
		s.i++
	}
	return r, true
}
