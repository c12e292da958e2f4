package signature

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

type op uint8

const (
	opInt op = iota
	opFixed
	opUpper
	opLower
	opTrim
	opEscape // n is an index of escapes
	opURLDecode
	opPercentDecode
	opMD5
	opSHA1
	opSHA256
	opSHA512
	opBase64
)

// transform is one step of a pipe.
type transform struct {
	op op
	n  int
}

// pipe is what happens to a value, and what holds when there is none.
type pipe struct {
	steps     []transform
	optional  bool
	skipEmpty bool
	required  bool
}

// escape is one way to percent-encode: which bytes stay besides letters and
// digits, and whether a blank becomes a plus.
type escape struct {
	name string
	stay string
	plus bool
}

var escapes = [...]escape{
	{"urlencode", "-_.", true},
	{"rawurlencode", "-_.~", false},
	{"queryescape", "-_.~", true},
	{"formencode", "*-._", true},
	{"jsencode", "-_.!~*'()", false},
}

var plainOps = map[string]op{"int": opInt, "upper": opUpper, "lower": opLower, "trim": opTrim, "urldecode": opURLDecode,
	"percentdecode": opPercentDecode, "md5": opMD5, "sha1": opSHA1, "sha256": opSHA256, "sha512": opSHA512, "base64": opBase64}

const transformsText = "int, fixed:N, upper, lower, trim, urlencode, rawurlencode, queryescape, formencode, jsencode, urldecode, percentdecode, md5, sha1, sha256, sha512 or base64"

const fixedDecimalsMax = 12

// parsePipe reads "int|upper"; rules says whether optional, skip_empty and
// required may stand in it.
func parsePipe(text string, rules bool) (p pipe, err error) {
	if text == "" {
		return p, nil
	}
	if n := strings.Count(text, "|") + 1; n > PipeWordsMax {
		return p, fmt.Errorf("transforms %q: %d of them, at most %d", text, n, PipeWordsMax)
	}
	for word := range strings.SplitSeq(text, "|") {
		if rules && p.rule(word) {
			continue
		}
		t, ok := transformOf(word)
		if !ok {
			return p, fmt.Errorf("transform %q: want %s", word, transformsText)
		}
		p.steps = append(p.steps, t)
	}
	if p.required && (p.optional || p.skipEmpty) {
		return p, fmt.Errorf("transforms %q: required contradicts optional and skip_empty: keep one", text)
	}
	return p, nil
}

func (p *pipe) rule(word string) bool {
	switch word {
	case "optional":
		p.optional = true
	case "skip_empty":
		p.skipEmpty = true
	case "required":
		p.required = true
	default:
		return false
	}
	return true
}

func transformOf(word string) (transform, bool) {
	if o, ok := plainOps[word]; ok {
		return transform{op: o}, true
	}
	if digits, ok := strings.CutPrefix(word, "fixed:"); ok {
		n, err := strconv.Atoi(digits)
		return transform{opFixed, n}, err == nil && n >= 0 && n <= fixedDecimalsMax
	}
	for i := range escapes {
		if escapes[i].name == word {
			return transform{opEscape, i}, true
		}
	}
	return transform{}, false
}

// lossy reports whether two values may come out of the pipe alike, so that
// what is signed is not quite what was sent.
func (p *pipe) lossy() bool {
	for _, t := range p.steps {
		switch t.op {
		case opInt, opFixed, opUpper, opLower, opTrim, opURLDecode, opPercentDecode:
			return true
		}
	}
	return false
}

// append adds what t makes of src to dst; ok is false when src is not what t
// needs. dst and src must not overlap.
func (t transform) append(dst, src []byte) (out []byte, ok bool) {
	switch t.op {
	case opInt:
		return appendInt(dst, src)
	case opFixed:
		return appendFixed(dst, src, t.n)
	case opUpper, opLower:
		return appendCase(dst, src, t.op == opUpper), true
	case opTrim:
		return append(dst, trimBlanks(src)...), true
	case opEscape:
		return appendEscape(dst, src, &escapes[t.n]), true
	case opURLDecode, opPercentDecode:
		return appendUnescape(dst, src, t.op == opURLDecode), true
	case opMD5:
		sum := md5.Sum(src)
		return hex.AppendEncode(dst, sum[:]), true
	case opSHA1:
		sum := sha1.Sum(src)
		return hex.AppendEncode(dst, sum[:]), true
	case opSHA256:
		sum := sha256.Sum256(src)
		return hex.AppendEncode(dst, sum[:]), true
	case opSHA512:
		sum := sha512.Sum512(src)
		return hex.AppendEncode(dst, sum[:]), true
	case opBase64:
		return base64.StdEncoding.AppendEncode(dst, src), true
	}
	panic(fmt.Sprintf("bug: transform %d", t.op))
}

func appendCase(dst, src []byte, upper bool) []byte {
	for _, c := range src {
		switch {
		case upper && 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case !upper && 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimBlanks(p []byte) []byte {
	for len(p) > 0 && isBlank(p[0]) {
		p = p[1:]
	}
	for len(p) > 0 && isBlank(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	return p
}

func appendEscape(dst, src []byte, e *escape) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range src {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte(e.stay, c) >= 0:
			dst = append(dst, c)
		case c == ' ' && e.plus:
			dst = append(dst, '+')
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

// appendUnescape undoes percent escapes; one that is none (100%) stands for
// itself, as the mapper and browsers have it.
func appendUnescape[T []byte | string](dst []byte, src T, plus bool) []byte {
	for i := 0; i < len(src); i++ {
		c := src[i]
		switch {
		case c == '+' && plus:
			c = ' '
		case c == '%' && i+2 < len(src) && isHex(src[i+1]) && isHex(src[i+2]):
			c = unhex(src[i+1])<<4 | unhex(src[i+2])
			i += 2
		}
		dst = append(dst, c)
	}
	return dst
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
