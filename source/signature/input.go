package signature

import "strings"

// build makes the text that is signed, with the given secret in it, or with
// *** when mask is set. What it gives is good until the next build and may be
// the request's own body.
func (u *run) build(sc *scheme, secret []byte, mask bool) (input []byte, why Reason) {
	if len(sc.parts) == 1 && sc.parts[0].kind == partBody && len(sc.parts[0].pipe.steps) == 0 {
		return u.prepared(sc, u.r.Body, mask)
	}
	u.buf = u.buf[:0]
	for i := range sc.parts {
		p := &sc.parts[i]
		if p.kind == partText {
			u.buf = append(u.buf, p.text...)
			continue
		}
		if mask && p.kind == partSecret {
			u.buf = append(u.buf, masked...)
			continue
		}
		if why = u.part(sc, p, secret); why != "" {
			return nil, why
		}
		if len(u.buf) > InputBytesMax {
			return nil, TooLong
		}
	}
	return u.prepared(sc, u.buf, mask)
}

const masked = "***"

// prepared applies the scheme's inner transforms to the whole input. What is
// shown to people is the input before them.
func (u *run) prepared(sc *scheme, p []byte, mask bool) ([]byte, Reason) {
	if len(p) > InputBytesMax {
		return nil, TooLong
	}
	if len(p) == 0 {
		return nil, FieldMissing // a signature over nothing fits every such request
	}
	if mask || len(sc.inner.steps) == 0 {
		return p, ""
	}
	p, ok := u.apply(&sc.inner, p)
	if !ok {
		return nil, FieldMalformed
	}
	return p, ""
}

// part adds one placeholder's value to buf.
func (u *run) part(sc *scheme, p *part, secret []byte) (why Reason) {
	var value []byte
	switch p.kind {
	case partSecret:
		value = secret
	case partBody:
		value = u.r.Body
	case partHost:
		value = view(u.r.Host)
	case partMethod:
		value = view(u.r.Method)
	case partPath:
		path, _, _ := strings.Cut(u.r.URL, "?")
		value = view(path)
	case partTimestamp:
		value = view(u.timestamp)
	case partID:
		value = view(u.id)
	case partURL, partQuery:
		u.url, why = u.appendURL(u.url[:0], sc, p.kind == partURL)
		value = u.url
	case partSorted:
		from := len(u.buf)
		if why = u.appendSorted(sc); why != "" || len(p.pipe.steps) == 0 {
			return why
		}
		u.url = append(u.url[:0], u.buf[from:]...)
		u.buf, value = u.buf[:from], u.url
	case partField:
		var present bool
		if value, present, why = u.field(p.ref, &p.pipe); !present {
			return why
		}
	}
	if why != "" {
		return why
	}
	if why = u.appendPiped(&p.pipe, value); why != "" && p.kind == partField {
		u.about = p.ref.name
	}
	return why
}

// appendPiped adds what the pipe makes of value to buf.
func (u *run) appendPiped(p *pipe, value []byte) Reason {
	out, ok := u.apply(p, value)
	if !ok {
		return FieldMalformed
	}
	if len(u.buf)+len(out) > InputBytesMax {
		return TooLong
	}
	u.buf = append(u.buf, out...)
	return ""
}

// apply runs value through a pipe, from one scratch buffer into the other.
func (u *run) apply(p *pipe, value []byte) (out []byte, ok bool) {
	for i, t := range p.steps {
		dst := &u.scratch[i&1]
		if *dst, ok = t.append((*dst)[:0], value); !ok || len(*dst) > InputBytesMax {
			return nil, false
		}
		value = *dst
	}
	return value, true
}

// field gives a field's value by the rules of its pipe. present is false when
// it leaves nothing, with a reason when it may not.
func (u *run) field(r ref, p *pipe) (value []byte, present bool, why Reason) {
	if why = u.loadedFor(r); why != "" {
		return nil, false, why
	}
	value, present, why = u.find(r)
	switch {
	case why != "":
	case present && len(value) == 0 && p.required:
		present, why = false, FieldMissing
	case present && len(value) == 0 && p.skipEmpty:
		present = false
	case !present && !p.optional && !p.skipEmpty:
		why = FieldMissing
	}
	if why != "" {
		u.about = r.name
	}
	return value, present, why
}

// loadedFor takes query and body apart if r stands there.
func (u *run) loadedFor(r ref) Reason {
	if r.needsParams() {
		return u.loaded()
	}
	return ""
}

// find gives the value of a field wherever it stands.
func (u *run) find(r ref) (value []byte, ok bool, why Reason) {
	switch r.origin {
	case fromHeader:
		if u.r.Header == nil {
			return nil, false, ""
		}
		v, ok := u.r.Header(r.name)
		return view(v), ok, ""
	case fromPath:
		value, ok = u.pathPart(r.index)
		return value, ok, ""
	}
	if why = u.loaded(); why != "" {
		return nil, false, why
	}
	f, why := u.params.find(r)
	if f == nil {
		return nil, false, why
	}
	return u.params.value(f), true, ""
}

// pathPart gives the nth part of the path between slashes, from the end for a
// negative n, with escapes undone.
func (u *run) pathPart(n int) ([]byte, bool) {
	path, _, _ := strings.Cut(u.r.URL, "?")
	path = strings.Trim(path, "/")
	if n < 0 {
		n += strings.Count(path, "/") + 2
	}
	if path == "" || n < 1 {
		return nil, false
	}
	for ; n > 1; n-- {
		_, rest, ok := strings.Cut(path, "/")
		if !ok {
			return nil, false
		}
		path = rest
	}
	part, _, _ := strings.Cut(path, "/")
	from := len(u.pathText) // what was given before stays as it is
	u.pathText = appendUnescape(u.pathText, part, false)
	return u.pathText[from:], true
}
