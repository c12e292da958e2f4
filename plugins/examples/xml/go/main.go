// Xml maps XML bodies: a reader for the few elements and attributes that matter,
// which takes nothing that it does not understand. The package encoding/xml would
// do as well, at a hundred times the fuel. See ../README.md.
package main

import (
	"bytes"

	tallyhook "github.com/tallyhook/tallyhook/plugins/sdk/go"
)

// MapperRawBody asks the host for raw bodies; it is never called.
//
//go:wasmexport mapper_v1_raw_body
func MapperRawBody() {}

// MapperMap is what the host calls.
//
//go:wasmexport mapper_v1_map
func MapperMap(length uint32) uint64 { return tallyhook.Run(length, Map) }

func main() {}

const textBytesMax = 256

// tag finds the first <name …>: what is between its name and >, and what
// follows the >.
func tag(body []byte, name string) (attributes, after []byte, ok bool) {
	for {
		if _, body, ok = tallyhook.Cut(body, '<'); !ok {
			return nil, nil, false
		}
		rest := body
		if len(rest) <= len(name) || string(rest[:len(name)]) != name || bytes.IndexByte([]byte(" >/\t\n\r"), rest[len(name)]) < 0 {
			continue
		}
		return tallyhook.Cut(rest[len(name):], '>')
	}
}

// text gives what stands between <name> and </name>: text, no elements.
func text(body []byte, name string) []byte {
	attributes, after, ok := tag(body, name)
	if !ok || len(attributes) > 0 && attributes[len(attributes)-1] == '/' {
		return nil
	}
	value, closing, ok := tallyhook.Cut(after, '<')
	if !ok || len(closing) <= len(name)+1 || closing[0] != '/' || string(closing[1:len(name)+1]) != name {
		return nil
	}
	if closing = tallyhook.Trim(closing[len(name)+1:]); len(closing) == 0 || closing[0] != '>' {
		return nil
	}
	return tallyhook.Trim(value)
}

// attribute gives the value of an attribute of the first <name …>.
func attribute(body []byte, name, key string) []byte {
	rest, _, ok := tag(body, name)
	for ok {
		var is, after []byte
		if is, after, ok = tallyhook.Cut(rest, '='); !ok {
			break
		}
		after = tallyhook.Trim(after)
		if len(after) == 0 || after[0] != '"' && after[0] != '\'' {
			break
		}
		var value []byte
		if value, rest, ok = tallyhook.Cut(after[1:], after[0]); ok && string(tallyhook.Trim(is)) == key {
			return value
		}
	}
	return nil
}

var entities = [...]struct {
	text  string
	plain byte
}{{"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}}

// set sets a field to text with its five entities undone.
func set(out *tallyhook.Reports, field tallyhook.Field, text []byte) {
	var plain [textBytesMax + 1]byte // one byte too many makes the SDK refuse the value
	n := 0
	for len(text) > 0 && n < len(plain) {
		c, took := text[0], 1
		if c == '&' {
			took = 0
			for _, e := range entities {
				if bytes.HasPrefix(text, []byte(e.text)) {
					c, took = e.plain, len(e.text)
				}
			}
			if took == 0 {
				out.Fail("an entity other than amp, lt, gt, quot and apos")
				return
			}
		}
		plain[n] = c
		n++
		text = text[took:]
	}
	out.Set(field, plain[:n])
}

// Map maps one request.
func Map(p *tallyhook.Postback, out *tallyhook.Reports) tallyhook.Answer {
	body := p.Body()
	if bytes.Contains(body, []byte("<!")) {
		return tallyhook.Unsupported // a DOCTYPE, comments, CDATA
	}
	_, conversion, ok := tag(body, "conversion")
	if !ok || !bytes.Contains(body, []byte("</conversion>")) {
		return tallyhook.Malformed
	}
	set(out, tallyhook.RefID, attribute(conversion, "lead", "id"))
	set(out, tallyhook.Caller, text(conversion, "phone"))
	set(out, tallyhook.Duration, text(conversion, "talk"))
	set(out, tallyhook.Payout, text(conversion, "sale"))
	set(out, tallyhook.Currency, attribute(conversion, "sale", "currency"))
	set(out, tallyhook.Status, text(conversion, "status"))
	return tallyhook.Done
}
