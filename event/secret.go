package event

import "strings"

// SecretName reports whether a field of that name holds a secret, a key or a
// signature: api_key, apiKey, X-Webhook-Secret, data[sig], auth.token. A bare
// "token" is none: senders call their transaction id so.
func SecretName(name string) bool { return SecretNameIn(name, 0) }

// secretNameBytesMax is how much of the end of a name is looked at.
const secretNameBytesMax = 96

// SecretNameIn looks at the words of a name. escape is '%' or '\\' when the name
// is written with those, else 0.
func SecretNameIn(name string, escape byte) bool {
	if len(name) > secretNameBytesMax {
		name = name[len(name)-secretNameBytesMax:]
	}
	var plain [secretNameBytesMax]byte
	if escape != 0 && strings.IndexByte(name, escape) >= 0 {
		name = View(unescapeName(plain[:0], name, escape))
	}
	end := len(name) // of the last word that is not a number: key[0] is a key
	for end > 0 && (name[end-1] < 'A' || !alnum(name[end-1])) {
		end--
	}
	return NextSecret(name, end) >= 0
}

// Where NextSecret takes a weak word ("key", "auth") for the name of a secret,
// beside the end of a certain word.
const (
	AnyPlace = -1
	Assigned = -2 // before "=", ":" or a quote
)

// NextSecret walks the words of s and gives the end of the first that names a
// secret in that place, -1 when none does. Strong words do in any place but
// assigned ones; weak ones for example at the end of a name: "key" in api_key,
// but not in key_count. apiKey is two words.
func NextSecret(s string, place int) int {
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
		if secret && (place == AnyPlace || place == i || place >= 0 && strong || place == Assigned && assigns(s[i:])) {
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
