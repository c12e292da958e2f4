package signature

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Limits of Detect, which runs when a person asks for it, for less than a second.
const (
	detectSpotsMax  = 8       // values that look like a signature
	detectTriesMax  = 30_000  // schemes
	detectHashesMax = 600_000 // templates of single fields, for all spots together
	detectFoundMax  = 8
)

// Detect gives the schemes by which one request fits a secret: those of known,
// such as the presets' own, then what it finds by trying every shape, simplest
// first. Times are not checked. A scheme with a public key is found only among
// the known, and not with a secret. It is not for the path of requests: it may
// compute some hundred thousand digests.
func Detect(r *Request, secret []byte, known ...Spec) []Spec {
	if len(secret) == 0 || len(secret) > SecretBytesMax || len(r.URL)+len(r.Query)+len(r.Body) > RequestBytesMax {
		return nil
	}
	var pool runPool
	d := detector{r: r, secret: secret, u: pool.get(r, &Secrets{Current: secret}, time.Time{}), tries: detectTriesMax}
	if d.u.loaded() != "" {
		d.u.params = params{}
	}
	for _, s := range known {
		d.try(s)
	}
	d.sentSecret()
	spots := d.spots()
	for _, s := range spots {
		if !d.foundAt(s) {
			d.shapes(s)
		}
	}
	for _, s := range spots {
		if !d.foundAt(s) {
			d.fields(s, detectHashesMax/len(spots))
		}
	}
	return d.found
}

type detector struct {
	r      *Request
	secret []byte
	u      *run
	tries  int
	found  []Spec
}

// try verifies one scheme and keeps it when it fits.
func (d *detector) try(s Spec) bool {
	if d.tries == 0 || len(d.found) == detectFoundMax {
		return false
	}
	d.tries--
	test := s
	if s.Timestamp != nil {
		t := *s.Timestamp
		t.ToleranceSeconds, t.AheadSeconds = -1, -1
		test.Timestamp = &t
	}
	v, err := Compile(test)
	if err != nil {
		return false
	}
	out := v.Verify(d.r, d.u.s, d.u.now)
	if out.Reason == BodyUnsigned {
		test.UnsignedBody, s.UnsignedBody = true, true
		if v, err = Compile(test); err != nil {
			return false
		}
		out = v.Verify(d.r, d.u.s, d.u.now)
	}
	if !out.OK {
		return false
	}
	d.found = append(d.found, s)
	return true
}

// foundAt reports whether the value at s is explained already.
func (d *detector) foundAt(s spot) bool {
	return slices.ContainsFunc(d.found, func(f Spec) bool { return f.Signature.In == s.place.In })
}

// sentSecret finds the secret itself.
func (d *detector) sentSecret() {
	places := []Place{{In: "bearer"}, {In: "basic"}, {In: "basic-password"}, {In: "basic-user"}, {In: "path:-1"}, {In: "path:1"}}
	for _, n := range d.headers(signatureHeaders) {
		places = append(places, Place{In: "header:" + n})
	}
	for i := range d.u.params.list {
		f := &d.u.params.list[i]
		if sameSecret(d.u.params.value(f), d.secret) {
			places = append(places, Place{In: ref{origin: f.origin, name: string(d.u.params.name(f))}.String()})
		}
	}
	for _, p := range places {
		d.try(Spec{Algorithm: "secret", Signature: p})
	}
}

// secretForms lists how the secret may be read.
func (d *detector) secretForms() []string {
	forms := []string{""}
	for _, f := range [...]string{"whsec", "hex"} {
		if key, ok := secretForms[f].append(nil, string(d.secret)); ok && len(key) >= 16 {
			forms = append(forms, f)
		}
	}
	return forms
}

// shapes tries everything that signs the body, the URL, or all fields in order.
func (d *detector) shapes(s spot) {
	for _, hash := range hashesOf(len(s.digest)) {
		for _, form := range d.secretForms() {
			base := Spec{Algorithm: "hmac-" + hash, SecretEncoding: form, Signature: s.place}
			d.bodies(base, s)
			d.urls(base)
			d.sorted(base, []string{"sorted"})
		}
		base := Spec{Algorithm: hash, Signature: s.place}
		d.sorted(base, []string{"{@sorted}{@secret}", "{@secret}{@sorted}", "{@sorted}&{@secret}", "{@secret}&{@sorted}", "{@sorted}&key={@secret}", "{@secret}{@sorted}{@secret}"})
		for _, input := range [...]string{"{@body}{@secret}", "{@secret}{@body}", "{@secret}{@body}{@secret}"} {
			base.Input = input
			d.try(base)
		}
	}
}

func (d *detector) bodies(s Spec, at spot) {
	s.Input = "body"
	if len(d.r.Body) == 0 || d.try(s) {
		return
	}
	times := d.times(at)
	for _, t := range times {
		s.Timestamp = t
		for _, input := range [...]string{"{@timestamp}.{@body}", "{@timestamp}{@body}", "{@timestamp}:{@body}", "{@timestamp}|{@body}", "v0:{@timestamp}:{@body}", "{@body}{@timestamp}", "{@body}.{@timestamp}"} {
			s.ID, s.Input = nil, input
			if d.try(s) {
				return
			}
		}
		for _, n := range idHeaders {
			if d.header(n) == "" {
				continue
			}
			s.ID = &Place{In: "header:" + n}
			for _, input := range [...]string{"{@id}.{@timestamp}.{@body}", "{@id}{@timestamp}{@body}", "{@timestamp}.{@id}.{@body}"} {
				s.Input = input
				if d.try(s) {
					return
				}
			}
		}
	}
}

// times lists where a timestamp may stand.
func (d *detector) times(at spot) (list []*Timestamp) {
	if at.timestamp != nil {
		list = append(list, at.timestamp)
	}
	for _, n := range d.headers(timestampHeaders) {
		if unit, ok := unitOf(d.header(n)); ok {
			list = append(list, &Timestamp{Place: Place{In: "header:" + n}, Unit: unit})
		}
	}
	return list
}

func (d *detector) urls(s Spec) {
	s.Input = "url"
	bases := []string{""}
	if d.r.Host != "" && d.r.PublicBase == "" {
		bases = append(bases, "https://"+d.r.Host, "http://"+d.r.Host)
	}
	for _, base := range bases {
		for _, u := range [...]URL{{}, {Cut: "out"}, {Decode: "percent"}, {Decode: "form"}, {Cut: "out", Decode: "percent"}} {
			u.Base = base
			s.URL, s.Input = &u, "url"
			if base == "" && u.Cut+u.Decode == "" {
				s.URL = nil
			}
			if d.try(s) {
				return
			}
			if s.Input = "query"; base == "" && d.try(s) {
				return
			}
		}
		for _, join := range [...]string{"", "&"} {
			t := s
			t.URL, t.Input = &URL{Base: base}, "{@url}{@sorted}"
			t.Sorted = &Sorted{From: "form", Pair: "{key}{value}", Join: &join}
			if base == "" {
				t.URL = nil
			}
			if d.try(t) {
				return
			}
		}
	}
}

// sorted tries all fields in the order of their names or as sent.
func (d *detector) sorted(s Spec, inputs []string) {
	for _, from := range [...]string{"", "form", "json", "params"} {
		for _, by := range [...]string{"", "sent"} {
			for _, values := range [...]string{"", "urlencode", "rawurlencode", "formencode", "queryescape", "jsencode", "urlencode|urlencode", "raw"} {
				rule := Sorted{From: from, By: by, Values: values}
				if values == "raw" {
					rule.Values, rule.Raw = "", true
				} else if !strings.Contains(values, "|") {
					rule.Keys = values
				}
				if d.inputs(s, rule, inputs) {
					return
				}
			}
			for _, join := range [...]string{"", ":", "|", ",", ".", "-", "_", ";", "&"} {
				for _, pair := range [...]string{"{value}", "{key}{value}", "{key}:{value}"} {
					if d.inputs(s, Sorted{From: from, By: by, Pair: pair, Join: &join}, inputs) {
						return
					}
				}
			}
		}
	}
}

// inputs tries one order of the fields, with empty ones signed and left out.
func (d *detector) inputs(s Spec, rule Sorted, inputs []string) bool {
	for _, input := range inputs {
		kept := rule
		if s.Sorted, s.Input = &kept, input; d.try(s) {
			return true
		}
		skipped := rule
		if skipped.Values = strings.TrimPrefix(fmt.Sprintf("%s|skip_empty", rule.Values), "|"); !d.hasEmpty() {
			continue
		}
		if s.Sorted = &skipped; d.try(s) {
			return true
		}
	}
	return false
}

func (d *detector) hasEmpty() bool {
	return slices.ContainsFunc(d.u.params.list, func(f param) bool { return f.value.from == f.value.to })
}
