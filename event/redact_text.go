package event

import "strings"

// redactText copies text of a form that only its mapper knows: lines, or fields
// parted by semicolons, bars, tabs. What is assigned to a secret name goes, up
// to the next of those.
func redactText(dst []byte, s string) []byte {
	for {
		i := NextSecret(s, Assigned)
		if i < 0 {
			return append(dst, s...)
		}
		for i < len(s) && (s[i] == '=' || s[i] == ':' || s[i] == '"' || s[i] == ' ') {
			i++
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		end := strings.IndexAny(s, "&;|\t\r\n")
		if end < 0 {
			end = len(s)
		}
		dst = RedactAll(dst, s[:end])
		s = s[end:]
	}
}

// redactXML copies XML: what stands in elements and attributes with names of
// secrets becomes "***". A text or attribute that itself sounds like a secret's
// name (<param name="api_key">) may have the secret behind it, wherever: all
// that follows goes.
func redactXML(dst []byte, s string) []byte {
	for s != "" {
		if s[0] != '<' {
			text := s
			if i := strings.IndexByte(s, '<'); i >= 0 {
				text = s[:i]
			}
			if NextSecret(text, AnyPlace) >= 0 {
				return redactOpaque(dst, s)
			}
			dst, s = append(dst, text...), s[len(text):]
			continue
		}
		tag, whole := xmlTag(s)
		if !whole {
			return redactOpaque(dst, s)
		}
		name, plain := xmlName(tag)
		if !plain { // comments, CDATA, declarations
			if NextSecret(tag, AnyPlace) >= 0 {
				return redactOpaque(dst, s)
			}
			dst, s = append(dst, tag...), s[len(tag):]
			continue
		}
		var ok bool
		if dst, ok = redactAttributes(dst, tag, len(name)); !ok {
			return append(dst, Redacted...)
		}
		s = s[len(tag):]
		if tag[1] == '/' || tag[len(tag)-2] == '/' || !SecretName(name) {
			continue
		}
		end := strings.Index(s, "</"+name)
		if end < 0 {
			return RedactAll(dst, s)
		}
		dst, s = RedactAll(dst, s[:end]), s[end:]
	}
	return dst
}

// xmlTag gives what begins with "<", to its end.
func xmlTag(s string) (tag string, whole bool) {
	for _, long := range [...][2]string{{"<!--", "-->"}, {"<![CDATA[", "]]>"}, {"<?", "?>"}} {
		if strings.HasPrefix(s, long[0]) {
			end := strings.Index(s, long[1])
			if end < 0 {
				return "", false
			}
			return s[:end+len(long[1])], true
		}
	}
	var quote byte
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '>':
			return s[:i+1], i > 1
		}
	}
	return "", false
}

// xmlName gives the name of an element's tag; plain is false when it is none.
func xmlName(tag string) (name string, plain bool) {
	rest := strings.TrimPrefix(tag[1:], "/")
	if rest[0] == '!' || rest[0] == '?' {
		return "", false
	}
	return rest[:strings.IndexAny(rest, " \t\r\n/>")], true
}

// redactAttributes copies a tag; ok is false when it ends early because the
// value of an attribute sounds like a secret's name.
func redactAttributes(dst []byte, tag string, nameBytes int) (_ []byte, ok bool) {
	at := 1 + nameBytes
	dst = append(dst, tag[:at]...)
	for rest := tag[at:]; ; {
		i := strings.IndexAny(rest, `"'`)
		if i < 0 {
			return append(dst, rest...), true
		}
		end := strings.IndexByte(rest[i+1:], rest[i])
		if end < 0 {
			return append(dst, rest...), true
		}
		value := rest[i+1 : i+1+end]
		dst = append(dst, rest[:i+1]...)
		if SecretName(strings.TrimRight(rest[:i], " \t\r\n=")) {
			dst = RedactAll(dst, value)
		} else if NextSecret(value, AnyPlace) >= 0 {
			return dst, false
		} else {
			dst = append(dst, value...)
		}
		dst, rest = append(dst, rest[i]), rest[i+1+end+1:]
	}
}
