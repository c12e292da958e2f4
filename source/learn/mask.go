package learn

import (
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// shown is a value as a finding may show it: cut, without what is secret, a
// phone number as its last four digits, a mail address as its domain.
func (d *draft) shown(c *column, text string) string {
	if text == "" || secretName(c.key) {
		return ""
	}
	s := shapeOf(text)
	if s&isPhone != 0 && s&(isUUID|isUnix|isUnixMillis) == 0 {
		return lastFour(text)
	}
	if i := strings.LastIndexByte(text, '@'); i > 0 {
		text = event.Redacted + text[i:]
	}
	return cut(d.hide(text))
}

func (d *draft) example(c *column) string { return d.shown(c, c.example()) }

// lastFour leaves the last four digits of a number readable.
func lastFour(s string) string {
	left := len(onlyDigits(s)) - 4
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			if left--; left >= 0 {
				return '*'
			}
		}
		return r
	}, s)
}

// hide takes every secret out of a text, in whatever way it may be written.
func (d *draft) hide(text string) string {
	var list []string
	add := func(s string) {
		if len(s) > 0 {
			list = append(list, s, url.QueryEscape(s), url.PathEscape(s))
		}
	}
	for _, s := range d.in.Secrets {
		add(string(s.Text))
	}
	for _, s := range d.in.Mask {
		add(s)
	}
	slices.SortStableFunc(list, func(a, b string) int { return len(b) - len(a) })
	for _, s := range list {
		if s != event.Redacted {
			text = strings.ReplaceAll(text, s, event.Redacted)
		}
	}
	return text
}

// cut bounds what is repeated of a sender's text, on one line.
func cut(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, strings.ToValidUTF8(s, "·"))
	if len(s) <= ExampleBytesMax {
		return s
	}
	return strings.ToValidUTF8(s[:ExampleBytesMax], "") + "…"
}

// secretName reports whether any part of a dotted name is that of a secret or
// a signature.
func secretName(name string) bool {
	for part := range strings.SplitSeq(name, ".") {
		if event.SecretName(part) {
			return true
		}
	}
	return false
}

// signatureField reports whether c is where the source's signature stands.
func signatureField(s *source.Spec, c *column) bool {
	if s.Signature == nil {
		return false
	}
	in := s.Signature.Signature.In
	_, name, ok := strings.Cut(in, ":")
	if !ok {
		name = in
	}
	return strings.EqualFold(name, c.key) && !strings.HasPrefix(in, "header:")
}
