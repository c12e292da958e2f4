package event

import (
	"encoding/json"
	"strings"
)

// Redacted stands where a secret was.
const Redacted = "***"

// Redacting walks the text and copies what is no secret as it is. Names count
// decoded (percent signs, JSON escapes) and in any case. Where the form of a
// text cannot be relied on (malformed JSON, XML, multipart), everything behind
// the first word that sounds like a secret goes: better a text that is less
// use for diagnosis than a secret in a database.

// RedactAll replaces a value that is a secret as a whole.
func RedactAll(dst []byte, s string) []byte {
	if s == "" {
		return dst
	}
	return append(dst, Redacted...)
}

func keepAll(dst []byte, s string) []byte { return append(dst, s...) }

// RedactQuery copies a query string or form. A value runs to the next "&";
// names also begin after ";" and "?", as some senders separate them.
func RedactQuery(dst []byte, s string) []byte {
	if !MayHoldSecret(s) {
		return append(dst, s...)
	}
	for s != "" {
		pair := s
		if i := strings.IndexByte(s, '&'); i >= 0 {
			pair = s[:i+1]
		}
		s = s[len(pair):]
		if !MayHoldSecret(pair) {
			dst = append(dst, pair...)
			continue
		}
		dst = redactPair(dst, pair)
	}
	return dst
}

// redactPair copies one "name=value" with the "&" that ends it.
func redactPair(dst []byte, pair string) []byte {
	rest := pair
	for {
		eq := strings.IndexByte(rest, '=')
		if eq < 0 {
			return append(dst, pair...)
		}
		name := rest[strings.LastIndexAny(rest[:eq], ";?")+1 : eq]
		value := rest[eq+1:]
		if SecretNameIn(name, '%') {
			end := strings.TrimSuffix(value, "&")
			dst = append(dst, pair[:len(pair)-len(value)]...)
			return append(RedactAll(dst, end), value[len(end):]...)
		}
		next := strings.IndexAny(value, ";?")
		if next < 0 {
			end := strings.TrimSuffix(value, "&")
			dst = append(dst, pair[:len(pair)-len(value)]...)
			return append(redactNested(dst, end), value[len(end):]...)
		}
		rest = value[next:]
	}
}

// redactNested copies a value that may itself hold encoded JSON or a URL: it
// ends behind the first secret name that something is assigned to.
func redactNested(dst []byte, s string) []byte {
	if strings.IndexByte(s, '%') >= 0 || strings.IndexByte(s, '\\') >= 0 {
		if end := NextSecret(s, Assigned); end >= 0 {
			return append(append(dst, s[:end]...), Redacted...)
		}
	}
	return append(dst, s...)
}

// RedactURL copies text that may be or hold a URL: only what follows its first
// "?" is taken for a query.
func RedactURL(dst []byte, s string) []byte {
	if !MayHoldSecret(s) {
		return append(dst, s...)
	}
	i := strings.IndexByte(s, '?')
	if i < 0 {
		return redactNested(dst, s)
	}
	return RedactQuery(append(dst, s[:i+1]...), s[i+1:])
}

// RedactorOf says how to read a body. The content type is often wrong, so the
// first character counts more.
func RedactorOf(contentType, body string) func(dst []byte, s string) []byte {
	i := 0
	for i < len(body) && (body[i] <= ' ' || body[i] == 0xEF || body[i] == 0xBB || body[i] == 0xBF) {
		i++ // blanks and a byte order mark
	}
	switch {
	case i == len(body), !MayHoldSecret(body):
		return keepAll
	case body[i] == '{' || body[i] == '[' || body[i] == '"':
		return redactJSON
	case foldContains(contentType, "multipart"):
		return redactOpaque
	case body[i] == '<':
		return redactXML
	case foldContains(contentType, "xml"):
		return redactOpaque
	case contentType == "" || foldContains(contentType, "form"):
		return RedactQuery
	}
	return redactText
}

// foldContains reports whether s holds the lower-case word in any case.
func foldContains(s, word string) bool {
	for ; len(s) >= len(word); s = s[1:] {
		if strings.EqualFold(s[:len(word)], word) {
			return true
		}
	}
	return false
}

// redactOpaque copies a text whose form we do not rely on up to the first word
// that sounds like a secret.
func redactOpaque(dst []byte, s string) []byte {
	if end := NextSecret(s, AnyPlace); end >= 0 {
		return append(append(dst, s[:end]...), Redacted...)
	}
	return append(dst, s...)
}

// redactJSON copies JSON: the value of a key that sounds like a secret becomes
// "***", whatever it is, null excepted.
func redactJSON(dst []byte, s string) []byte {
	switch {
	case NextSecret(s, AnyPlace) < 0 && !strings.Contains(s, `\u00`) && !strings.Contains(s, "?"):
		return append(dst, s...)
	case !json.Valid([]byte(s)):
		return redactOpaque(dst, s)
	}
	for i := 0; i < len(s); {
		if s[i] != '"' {
			n := strings.IndexByte(s[i:], '"')
			if n < 0 {
				n = len(s) - i
			}
			dst, i = append(dst, s[i:i+n]...), i+n
			continue
		}
		end := jsonString(s, i)
		colon := skipBlank(s, end)
		if colon == len(s) || s[colon] != ':' {
			dst = append(dst, '"')
			dst = append(RedactURL(dst, s[i+1:end-1]), '"')
			i = end
			continue
		}
		value := skipBlank(s, colon+1)
		dst = append(dst, s[i:value]...)
		key := s[i+1 : end-1]
		if i = value; SecretNameIn(key, '\\') {
			i = skipJSON(s, value)
			dst = appendHidden(dst, s[value:i])
		}
	}
	return dst
}

// appendHidden stands for a secret JSON value; an empty one shows as it is.
func appendHidden(dst []byte, value string) []byte {
	switch value {
	case "null", `""`:
		return append(dst, value...)
	}
	return append(append(append(dst, '"'), Redacted...), '"')
}

func skipBlank(s string, i int) int {
	for i < len(s) && s[i] <= ' ' {
		i++
	}
	return i
}

// jsonString gives the end of the string that begins at i.
func jsonString(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// skipJSON gives the end of the value at i: a string, an object or array with
// all it holds, or a number or word.
func skipJSON(s string, i int) int {
	switch s[i] {
	case '"':
		return jsonString(s, i)
	case '{', '[':
		for depth := 0; i < len(s); {
			switch s[i] {
			case '"':
				i = jsonString(s, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			if i++; depth == 0 {
				break
			}
		}
		return i
	}
	for i < len(s) && s[i] > ' ' && s[i] != ',' && s[i] != '}' && s[i] != ']' {
		i++
	}
	return i
}

// SecretHeader reports whether a header's value is a secret as a whole.
func SecretHeader(name string) bool {
	return strings.EqualFold(name, "cookie") || strings.EqualFold(name, "set-cookie") || SecretNameIn(name, 0)
}
