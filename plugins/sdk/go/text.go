package tallyhook

import "bytes"

// EqualFold compares without regard to the case of A to Z.
func EqualFold(a []byte, b string) bool {
	return len(a) == len(b) && (string(a) == b || equalFold(a, b))
}

//go:noinline
func equalFold(a []byte, b string) bool {
	for i, c := range a {
		if c != b[i] && lower(c) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c |= 0x20
	}
	return c
}

// Trim gives text without blanks and line ends around it.
//
//go:noinline
func Trim(text []byte) []byte {
	for len(text) > 0 && blank(text[0]) {
		text = text[1:]
	}
	for len(text) > 0 && blank(text[len(text)-1]) {
		text = text[:len(text)-1]
	}
	return text
}

func blank(c byte) bool { return c == ' ' || '\t' <= c && c <= '\r' }

// Cut gives the parts before and after the first c; all of it and nothing
// without one.
//
//go:noinline
func Cut(text []byte, c byte) (before, after []byte, found bool) {
	if i := bytes.IndexByte(text, c); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, nil, false
}

// Element reads the dotted name of something in a JSON array: calls.12.payout
// under "calls" is 12, "payout"; "" stands for the outermost array.
func Element(name []byte, array string) (index int, rest []byte, ok bool) {
	if len(name) < len(array) || string(name[:len(array)]) != array {
		return 0, nil, false
	}
	name = name[len(array):]
	if array != "" {
		if len(name) == 0 || name[0] != '.' {
			return 0, nil, false
		}
		name = name[1:]
	}
	digits, rest, _ := Cut(name, '.')
	if len(digits) < 1 || len(digits) > 6 {
		return 0, nil, false
	}
	index = number(digits)
	return index, rest, index >= 0
}

// number reads digits, -1 when there is something else.
//
//go:noinline
func number(digits []byte) (n int) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// Cents gives whole cents as a decimal: "1234" is "12.34", "-5" is "-0.05". The
// result is in scratch; nil when text is not an optional minus and 1 to 16 digits.
func Cents(text []byte, scratch *[CentsBytes]byte) []byte {
	out := scratch[:0]
	if len(text) > 0 && text[0] == '-' {
		out, text = append(out, '-'), text[1:]
	}
	if len(text) < 1 || len(text) > 16 {
		return nil
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return nil
		}
	}
	for len(text) > 3 && text[0] == '0' {
		text = text[1:]
	}
	switch len(text) {
	case 1:
		return append(append(out, "0.0"...), text...)
	case 2:
		return append(append(out, "0."...), text...)
	}
	whole := len(text) - 2
	return append(append(append(out, text[:whole]...), '.'), text[whole:]...)
}
