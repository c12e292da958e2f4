package sink

import (
	"encoding/json"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// redacted stands where a secret was.
const redacted = "***"

// Redacting walks the text and copies what is no secret as it is. Names count
// decoded (percent signs, JSON escapes) and in any case. Where the form of a
// text cannot be relied on (malformed JSON, XML, multipart), everything behind
// the first word that sounds like a secret goes: better a text that is less
// use for diagnosis than a secret in a database.

// redactAll replaces a value that is a secret as a whole.
func redactAll(dst []byte, s string) []byte {
	if s == "" {
		return dst
	}
	return append(dst, redacted...)
}

func keepAll(dst []byte, s string) []byte { return append(dst, s...) }

// redactQuery copies a query string or form. A value runs to the next "&";
// names also begin after ";" and "?", as some senders separate them.
func redactQuery(dst []byte, s string) []byte {
	for s != "" {
		pair := s
		if i := strings.IndexByte(s, '&'); i >= 0 {
			pair = s[:i+1]
		}
		s = s[len(pair):]
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
		if secretName(name, '%') {
			end := strings.TrimSuffix(value, "&")
			dst = append(dst, pair[:len(pair)-len(value)]...)
			return append(redactAll(dst, end), value[len(end):]...)
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
		if end := nextSecret(s, assigned); end >= 0 {
			return append(append(dst, s[:end]...), redacted...)
		}
	}
	return append(dst, s...)
}

// assigns reports whether s goes on as behind a name: with "=", ":" or a
// closing quote, as they are or encoded.
func assigns(s string) bool {
	for _, mark := range [...]string{"=", ":", `"`, `\`, "%3d", "%3a", "%22", "%5c", "%25"} {
		if len(s) >= len(mark) && strings.EqualFold(s[:len(mark)], mark) {
			return true
		}
	}
	return false
}

// redactURL copies text that may be or hold a URL: only what follows its first
// "?" is taken for a query.
func redactURL(dst []byte, s string) []byte {
	i := strings.IndexByte(s, '?')
	if i < 0 {
		return redactNested(dst, s)
	}
	return redactQuery(append(dst, s[:i+1]...), s[i+1:])
}

// redactorOf says how to read a body. The content type is often wrong, so the
// first character counts more.
func redactorOf(contentType, body string) func(dst []byte, s string) []byte {
	i := 0
	for i < len(body) && (body[i] <= ' ' || body[i] == 0xEF || body[i] == 0xBB || body[i] == 0xBF) {
		i++ // blanks and a byte order mark
	}
	switch {
	case i == len(body):
		return keepAll
	case body[i] == '{' || body[i] == '[' || body[i] == '"':
		return redactJSON
	case body[i] == '<' || foldContains(contentType, "multipart") || foldContains(contentType, "xml"):
		return redactOpaque
	}
	return redactQuery
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
	if end := nextSecret(s, anyPlace); end >= 0 {
		return append(append(dst, s[:end]...), redacted...)
	}
	return append(dst, s...)
}

// redactJSON copies JSON: the value of a key that sounds like a secret becomes
// "***", whatever it is, null excepted.
func redactJSON(dst []byte, s string) []byte {
	switch {
	case nextSecret(s, anyPlace) < 0 && !strings.Contains(s, `\u00`) && !strings.Contains(s, "?"):
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
			dst = append(redactURL(dst, s[i+1:end-1]), '"')
			i = end
			continue
		}
		value := skipBlank(s, colon+1)
		dst = append(dst, s[i:value]...)
		key := s[i+1 : end-1]
		if i = value; secretName(key, '\\') {
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
	return append(append(append(dst, '"'), redacted...), '"')
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

// secretHeader reports whether a header's value is a secret as a whole.
func secretHeader(name string) bool {
	return strings.EqualFold(name, "cookie") || strings.EqualFold(name, "set-cookie") || secretName(name, 0)
}

// SecretName reports whether a field of that name holds a secret, a key or a
// signature: api_key, apiKey, X-Webhook-Secret, data[sig], auth.token. A bare
// "token" is none: senders call their transaction id so.
func SecretName(name string) bool { return secretName(name, 0) }

// secretNameBytesMax is how much of the end of a name is looked at.
const secretNameBytesMax = 96

// secretName looks at the words of a name. escape is '%' or '\\' when the name
// is written with those, else 0.
func secretName(name string, escape byte) bool {
	if len(name) > secretNameBytesMax {
		name = name[len(name)-secretNameBytesMax:]
	}
	var plain [secretNameBytesMax]byte
	if escape != 0 && strings.IndexByte(name, escape) >= 0 {
		name = event.View(unescapeName(plain[:0], name, escape))
	}
	end := len(name) // of the last word that is not a number: key[0] is a key
	for end > 0 && (name[end-1] < 'A' || !alnum(name[end-1])) {
		end--
	}
	return nextSecret(name, end) >= 0
}

// Where nextSecret takes a weak word ("key", "auth") for the name of a secret,
// beside the end of a certain word.
const (
	anyPlace = -1
	assigned = -2 // before "=", ":" or a quote
)

// nextSecret walks the words of s and gives the end of the first that names a
// secret in that place, -1 when none does. Strong words do in any place but
// assigned ones; weak ones for example at the end of a name: "key" in api_key,
// but not in key_count. apiKey is two words.
func nextSecret(s string, place int) int {
	var buf [2][secretWordBytesMax]byte
	var before []byte
	for i, turn := 0, 0; ; turn ^= 1 {
		for i < len(s) && !alnum(s[i]) {
			if s[i] == '%' && i+2 < len(s) && unhex(s[i+1]) < 16 && unhex(s[i+2]) < 16 {
				i += 2 // an encoded character is no part of a word
			}
			i++
		}
		if i == len(s) {
			return -1
		}
		start := i
		for i++; i < len(s) && alnum(s[i]); i++ {
			if s[i] <= 'Z' && s[i] >= 'A' && s[i-1] >= 'a' {
				break
			}
		}
		word := buf[turn][:min(i-start, secretWordBytesMax)] // of a long word the end counts
		for k := range word {
			word[k] = s[i-len(word)+k] | 0x20
		}
		secret, strong := secretWord(before, word)
		if secret && (place == anyPlace || place == i || place >= 0 && strong || place == assigned && assigns(s[i:])) {
			return i
		}
		before = word
	}
}

// secretWordBytesMax is longer than any word that secretWord knows.
const secretWordBytesMax = 16

// secretWord judges one lower-case word and the one before it.
func secretWord(before, word []byte) (secret, strong bool) {
	if len(word) < 3 {
		return false, false
	}
	switch string(word) {
	case "key", "keys", "sig", "sign", "hash", "pwd", "auth", "bearer":
		return true, false
	case "hmac", "jwt", "passwd", "passphrase", "credential", "credentials":
		return true, true
	case "token":
		switch string(before) {
		case "access", "auth", "api", "bearer", "refresh", "session", "security", "id", "oauth", "webhook", "csrf", "xsrf":
			return true, true
		}
		return false, false
	}
	if len(word) < len("secret") {
		return false, false
	}
	for _, end := range [...]string{"secret", "secrets", "password", "signature", "authorization", "apikey", "accesskey", "authkey", "secretkey",
		"privatekey", "accesstoken", "authtoken", "apitoken"} {
		if len(word) >= len(end) && word[len(word)-1] == end[len(end)-1] && string(word[len(word)-len(end):]) == end {
			return true, true
		}
	}
	return false, false
}

func alnum(c byte) bool {
	return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}

// unescapeName undoes percent signs, or the \u escapes of JSON, as far as they
// stand for ASCII; others stay as they are, which ends a word.
func unescapeName(dst []byte, s string, escape byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == escape {
			hex, digits := s[i+1:], 2
			if escape == '\\' && strings.HasPrefix(hex, "u00") {
				hex, digits = hex[3:], 5
			} else if escape == '\\' {
				hex = ""
			}
			if len(hex) >= 2 {
				if hi, lo := unhex(hex[0]), unhex(hex[1]); hi < 8 && lo < 16 {
					dst, i = append(dst, hi<<4|lo), i+digits
					continue
				}
			}
		}
		dst = append(dst, s[i])
	}
	return dst
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xFF
}
