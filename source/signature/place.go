package signature

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// origin is where in a request a field stands.
type origin uint8

const (
	fromAny origin = iota // query, form, JSON, the first that has it
	fromQuery
	fromForm
	fromJSON
	fromHeader
	fromPath
	fromBearer
	fromBasic
	fromBasicUser
	fromBasicPassword
)

var originNames = map[string]origin{"query": fromQuery, "form": fromForm, "json": fromJSON, "header": fromHeader, "path": fromPath}

// ref names a field of a request.
type ref struct {
	origin origin
	name   string
	index  int // of a path's part
}

// parseRef reads query:NAME, path:-1 and so on, or a plain name.
func parseRef(text string) (r ref, err error) {
	if text == "" || len(text) > SettingBytesMax {
		return r, fmt.Errorf("field %q: want a name of 1 to %d bytes, such as user_id or query:user_id", text, SettingBytesMax)
	}
	r.name = text
	before, after, ok := strings.Cut(text, ":")
	if !ok {
		return r, nil
	}
	if r.origin, ok = originNames[before]; !ok {
		return r, fmt.Errorf("field %q: want query:, form:, json:, header: or path: before the name", text)
	}
	r.name = after
	if after == "" {
		return r, fmt.Errorf("field %q: a name is missing after the colon", text)
	}
	if r.origin == fromPath {
		r.index, err = strconv.Atoi(after)
		if err != nil || r.index == 0 || r.index > 64 || r.index < -64 {
			return r, fmt.Errorf("field %q: want the number of a part of the path, path:1 for the first, path:-1 for the last", text)
		}
	}
	return r, nil
}

// needsParams reports whether query and body have to be taken apart for r.
func (r ref) needsParams() bool { return r.origin <= fromJSON }

func (r ref) String() string {
	for name, o := range originNames {
		if o == r.origin {
			return name + ":" + r.name
		}
	}
	return r.name
}

type encoding uint8

const (
	encodingRaw encoding = iota
	encodingHex
	encodingBase64
	encodingBase64URL
)

var encodingNames = map[string]encoding{"raw": encodingRaw, "hex": encodingHex, "base64": encodingBase64, "base64url": encodingBase64URL}

// The last bits of an encoding that hold nothing must be zero, so that each
// digest has one text, but for padding and the case of hex.
var (
	strictStd    = base64.StdEncoding.Strict()
	strictRawStd = base64.RawStdEncoding.Strict()
	strictURL    = base64.URLEncoding.Strict()
	strictRawURL = base64.RawURLEncoding.Strict()
)

// place is a compiled Place.
type place struct {
	ref
	prefix, list, each string
	encoding           encoding
}

func compilePlace(what string, p Place, byDefault encoding) (c place, err error) {
	switch p.In {
	case "":
		return c, fmt.Errorf("%s: in is missing: say where it stands, for example header:X-Signature or query:hash", what)
	case "bearer":
		c.ref = ref{origin: fromBearer}
	case "basic":
		c.ref = ref{origin: fromBasic}
	case "basic-user":
		c.ref = ref{origin: fromBasicUser}
	case "basic-password":
		c.ref = ref{origin: fromBasicPassword}
	default:
		if c.ref, err = parseRef(p.In); err != nil {
			return c, fmt.Errorf("%s: %w", what, err)
		}
	}
	for _, s := range [...]string{p.Prefix, p.List, p.Each} {
		if len(s) > SettingBytesMax {
			return c, fmt.Errorf("%s: a setting of %d bytes: at most %d", what, len(s), SettingBytesMax)
		}
	}
	c.prefix, c.list, c.each, c.encoding = p.Prefix, p.List, p.Each, byDefault
	if p.Encoding != "" {
		e, ok := encodingNames[p.Encoding]
		if !ok {
			return c, fmt.Errorf("%s: encoding %q: want hex, base64, base64url or raw", what, p.Encoding)
		}
		c.encoding = e
	}
	return c, nil
}

// authorization reports whether c stands in the Authorization header.
func (c *place) authorization() bool { return c.origin >= fromBearer }

// where names c as a field, for people and for Sign.
func (c *place) where() string {
	if c.authorization() {
		return "header:Authorization"
	}
	return c.ref.String()
}

// next gives the next of the values in text, without what is around it; ok is
// false when there is none left.
func (c *place) next(text string) (value, rest string, ok bool) {
	for text != "" {
		value, rest = text, ""
		if c.list != "" {
			value, rest, _ = strings.Cut(text, c.list)
		}
		if c.list != "" && c.list != " " {
			value = strings.Trim(value, " ")
		}
		if v, fits := strings.CutPrefix(value, c.each); fits && v != "" {
			return v, rest, true
		}
		text = rest
	}
	return "", "", false
}

// appendDecoded adds the bytes that text stands for.
func appendDecoded(dst []byte, e encoding, text string) (out []byte, ok bool) {
	var err error
	switch e {
	case encodingRaw:
		return append(dst, text...), true
	case encodingHex:
		out, err = hex.AppendDecode(dst, view(text))
	case encodingBase64:
		out, err = appendBase64(dst, text, strictStd, strictRawStd)
	case encodingBase64URL:
		out, err = appendBase64(dst, text, strictURL, strictRawURL)
	}
	return out, err == nil
}

func appendBase64(dst []byte, text string, padded, bare *base64.Encoding) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // the decoder would pass over them
		return dst, base64.CorruptInputError(0)
	}
	if strings.HasSuffix(text, "=") {
		return padded.AppendDecode(dst, view(text))
	}
	return bare.AppendDecode(dst, view(text))
}

// appendEncoded is the other way round: hex in lower case, base64 padded.
func appendEncoded(dst []byte, e encoding, p []byte) []byte {
	switch e {
	case encodingHex:
		return hex.AppendEncode(dst, p)
	case encodingBase64:
		return base64.StdEncoding.AppendEncode(dst, p)
	case encodingBase64URL:
		return base64.URLEncoding.AppendEncode(dst, p)
	}
	return append(dst, p...)
}
