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

// Headers that are looked at even when the request does not list its own.
var (
	signatureHeaders = []string{"Signature", "X-Signature", "X-Signature-256", "X-Signature-SHA256", "X-Hub-Signature-256", "X-Hub-Signature", "X-Webhook-Signature",
		"webhook-signature", "svix-signature", "Stripe-Signature", "X-Slack-Signature", "X-Ayetstudios-Security-Hash", "X-HMAC", "X-HMAC-SHA256", "X-HMAC-Signature",
		"X-Shopify-Hmac-Sha256", "X-Twilio-Signature", "X-Outpost-Signature", "x-justcall-signature", "X-Callback-Signature", "X-Postback-Signature", "X-Webhook-Secret", "X-API-Key", "X-Auth-Token", "X-Token"}
	timestampHeaders = []string{"webhook-timestamp", "svix-timestamp", "X-Timestamp", "X-Signature-Timestamp", "X-Webhook-Timestamp", "X-Request-Timestamp", "X-Slack-Request-Timestamp", "x-justcall-request-timestamp"}
	idHeaders        = []string{"webhook-id", "svix-id", "X-Webhook-Id", "X-Request-Id", "X-Event-Id", "X-Delivery-Id"}
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

// spot is a value that may be a signature.
type spot struct {
	place     Place
	digest    []byte
	timestamp *Timestamp // that stands beside it
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
	test.UnsignedBody = true
	v, err := Compile(test)
	if err != nil || !v.Verify(d.r, d.u.s, d.u.now).OK {
		return false
	}
	d.found = append(d.found, s)
	return true
}

// foundAt reports whether the value at s is explained already.
func (d *detector) foundAt(s spot) bool {
	return slices.ContainsFunc(d.found, func(f Spec) bool { return f.Signature.In == s.place.In })
}

// headers lists the names worth looking at.
func (d *detector) headers(known []string) []string {
	names := slices.Clone(known)
	for _, n := range d.r.HeaderNames {
		if len(names) < 2*ListedFieldsMax && !slices.ContainsFunc(names, func(k string) bool { return strings.EqualFold(k, n) }) {
			names = append(names, n)
		}
	}
	return names
}

func (d *detector) header(name string) string {
	if d.r.Header == nil {
		return ""
	}
	v, _ := d.r.Header(name)
	return v
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

// spots finds what looks like a digest.
func (d *detector) spots() (list []spot) {
	for _, n := range d.headers(signatureHeaders) {
		if v := d.header(n); v != "" && len(v) <= SignatureBytesMax {
			list = append(list, spotsIn("header:"+n, v)...)
		}
	}
	for i := range d.u.params.list {
		f := &d.u.params.list[i]
		place := ref{origin: f.origin, name: string(d.u.params.name(f))}.String()
		list = append(list, spotsIn(place, string(d.u.params.value(f)))...)
		if f.origin != fromJSON { // base64 whose plus was not escaped
			_, raw := d.u.params.raw(f)
			for _, s := range spotsIn(place, string(appendUnescape(nil, raw, false))) {
				if !slices.ContainsFunc(list, func(t spot) bool { return t.place == s.place }) {
					list = append(list, s)
				}
			}
		}
	}
	return list[:min(len(list), detectSpotsMax)]
}

// spotsIn reads one value as a digest: bare, after a prefix, or in a list.
func spotsIn(in, value string) (list []spot) {
	add := func(p Place, item string, t *Timestamp) {
		p.In = in
		for _, name := range [...]string{"hex", "base64", "base64url"} {
			digest, ok := appendDecoded(nil, encodingNames[name], item)
			if !ok || len(hashesOf(len(digest))) == 0 {
				continue
			}
			if p.Encoding = name; name == "hex" {
				p.Encoding = ""
			}
			list = append(list, spot{p, digest, t})
			return
		}
	}
	add(Place{}, value, nil)
	if len(list) > 0 {
		return list
	}
	if name, item, ok := strings.Cut(value, "="); ok && len(name) < 16 {
		first, _, _ := strings.Cut(item, ",")
		if add(Place{Prefix: name + "=", List: ","}, first, nil); len(list) > 0 {
			return list
		}
	}
	for _, sep := range [...]string{",", " ", ";"} {
		for item := range strings.SplitSeq(value, sep) {
			item = strings.Trim(item, " ")
			at := strings.IndexAny(item, "=,")
			if at < 1 || at > 15 {
				continue
			}
			add(Place{List: sep, Each: item[:at+1]}, item[at+1:], timestampIn(in, value, sep))
		}
		if len(list) > 0 {
			return list
		}
	}
	return list
}

// timestampIn finds t=… or the like beside a signature.
func timestampIn(in, value, sep string) *Timestamp {
	for item := range strings.SplitSeq(value, sep) {
		name, digits, ok := strings.Cut(strings.Trim(item, " "), "=")
		if unit, good := unitOf(digits); ok && good {
			return &Timestamp{Place: Place{In: in, List: sep, Each: name + "="}, Unit: unit}
		}
	}
	return nil
}

func unitOf(s string) (unit string, ok bool) {
	if !allDigits([]byte(s)) {
		return "", false
	}
	switch len(s) {
	case 10:
		return "", true
	case 13:
		return "ms", true
	}
	return "", false
}

// hashesOf names the hashes whose digests have so many bytes.
func hashesOf(size int) (list []string) {
	for _, a := range algorithms {
		if a.family == familyHash && a.bytes == size {
			list = append(list, a.name)
		}
	}
	return list
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
			base := Spec{Algorithm: "hmac-" + hash, Secret: form, Signature: s.place}
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
