package signature

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// view is s as bytes, which must not be written to.
func view(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// text is p as a string, good for as long as p is left alone.
func text(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// span is a part of params.text, or of the raw query or body.
type span struct{ from, to int32 }

// param is one field of a request's query, form or JSON.
type param struct {
	origin           origin
	wide             bool // its name is not plain ASCII
	name, value      span // with escapes undone, in params.text
	rawName, rawText span // as sent, of query and form
}

// params are all fields of a request, in the order in which they were sent.
type params struct {
	list   []param
	text   []byte
	query  string // raw
	body   []byte // raw
	unsaid bool   // the body says nothing: it is blank, {} or the like
}

func (p *params) name(f *param) []byte  { return p.text[f.name.from:f.name.to] }
func (p *params) value(f *param) []byte { return p.text[f.value.from:f.value.to] }

// raw gives a field's name and value as they were sent.
func (p *params) raw(f *param) (name, value []byte) {
	src := p.body
	if f.origin == fromQuery {
		src = view(p.query)
	}
	return src[f.rawName.from:f.rawName.to], src[f.rawText.from:f.rawText.to]
}

// load takes query and body apart, the body as the mapper would.
func (p *params) load(r *Request, query string) Reason {
	p.list, p.text, p.query, p.body, p.unsaid = p.list[:0], p.text[:0], query, r.Body, false
	if !p.form(query, fromQuery) {
		return TooMany
	}
	inQuery := len(p.list)
	read, why := p.loadBody(r)
	p.unsaid = read && len(p.list) == inQuery
	return why
}

// loadBody adds the body's fields; read is false when it is neither form nor JSON.
func (p *params) loadBody(r *Request) (read bool, why Reason) {
	body := trimBlanks(r.Body)
	if len(body) == 0 {
		return true, ""
	}
	bracket := body[0] == '{' || body[0] == '['
	media, _, _ := strings.Cut(r.ContentType, ";")
	media = strings.TrimSpace(media)
	isForm := strings.EqualFold(media, "application/x-www-form-urlencoded")
	isJSON := strings.EqualFold(media, "application/json") || len(media) > 5 && strings.EqualFold(media[len(media)-5:], "+json")
	switch {
	case isJSON || bracket && (!isForm || json.Valid(body)): // a form may begin with a bracket
		return true, p.json(body)
	case !isForm && media != "":
		return false, "" // the mapper does not take it apart
	}
	if !p.form(text(r.Body), fromForm) {
		return true, TooMany
	}
	return true, ""
}

// form adds the fields of a query or form; false means there are too many.
func (p *params) form(s string, from origin) bool {
	for at := 0; at < len(s); {
		end := strings.IndexByte(s[at:], '&')
		if end < 0 {
			end = len(s)
		} else {
			end += at
		}
		if end > at {
			if len(p.list) == FieldsMax {
				return false
			}
			p.pair(s, at, end, from)
		}
		at = end + 1
	}
	return true
}

func (p *params) pair(s string, from, to int, o origin) {
	f := param{origin: o, rawName: span{int32(from), int32(to)}, rawText: span{int32(to), int32(to)}}
	if eq := strings.IndexByte(s[from:to], '='); eq >= 0 {
		f.rawName.to, f.rawText.from = int32(from+eq), int32(from+eq+1)
	}
	f.name.from = int32(len(p.text))
	p.text = appendUnescape(p.text, s[f.rawName.from:f.rawName.to], true)
	f.name.to = int32(len(p.text))
	f.value.from = f.name.to
	p.text = appendUnescape(p.text, s[f.rawText.from:f.rawText.to], true)
	f.value.to = int32(len(p.text))
	f.wide = !ascii(p.name(&f))
	p.list = append(p.list, f)
}

func ascii[T []byte | string](p T) bool {
	for i := range len(p) {
		if p[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// hasJSON reports whether the body is JSON that says something.
func (p *params) hasJSON() bool {
	return len(p.list) > 0 && p.list[len(p.list)-1].origin == fromJSON // the body's fields come last, and are of one kind
}

// named reports whether f is called name, without regard to case.
func (p *params) named(f *param, name string, wide bool) bool {
	if !f.wide && !wide && int(f.name.to-f.name.from) != len(name) {
		return false
	}
	return bytes.EqualFold(p.name(f), view(name))
}

// find gives the field that r names, nil when there is none. Whatever it is
// called for in r, no field of that name may have another value anywhere.
func (p *params) find(r ref) (f *param, why Reason) {
	wide := !ascii(r.name)
	var first *param
	for i := range p.list {
		g := &p.list[i]
		if !p.named(g, r.name, wide) {
			continue
		}
		if first == nil {
			first = g
		} else if !bytes.Equal(p.value(first), p.value(g)) {
			return nil, FieldRepeated
		}
		if f == nil && (r.origin == fromAny || r.origin == g.origin) {
			f = g
		}
	}
	return f, ""
}
