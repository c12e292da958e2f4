package mapper

import (
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
)

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// got is an offending value as Detail holds it.
func (w *worker) got(s string) string { return w.printable(cut(s, GotBytesMax)) }

// named is a field's name as Detail holds it.
func (w *worker) named(s string) string { return w.printable(cut(s, NameBytesMax)) }

// printable gives s with control characters, tabs and line ends apart, and
// bytes that are no UTF-8 replaced by U+FFFD: not every store takes them. What
// has none is returned as it is.
func (w *worker) printable(s string) string {
	if !odd(s) {
		return s
	}
	p := w.b.Alloc(3 * len(s))[:0]
	for _, r := range s {
		if control(r) && r != '\t' && r != '\n' && r != '\r' {
			r = utf8.RuneError
		}
		p = utf8.AppendRune(p, r)
	}
	return event.View(p)
}

func odd(s string) bool {
	wide := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c == 0x7F {
			return true
		}
		wide = wide || c >= utf8.RuneSelf
	}
	return wide && !utf8.ValidString(s)
}

func control(r rune) bool { return r < ' ' || r == 0x7F }

// upper gives s in upper case.
func (w *worker) upper(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return 'a' <= r && r <= 'z' }) < 0 {
		return s
	}
	p := w.b.Alloc(len(s))
	for i := range p {
		p[i] = s[i]
		if 'a' <= p[i] && p[i] <= 'z' {
			p[i] -= 'a' - 'A'
		}
	}
	return event.View(p)
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
