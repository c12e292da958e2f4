package learn

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// sign is a scheme by which requests verify.
type sign struct {
	spec   signature.Spec
	secret int // index of Input.Secrets
	seen   int // requests that it holds on
	of     int // of those that were checked
	known  bool
}

// detect tries every shape of signature with every secret on a few requests,
// and then what it found on the others.
func (d *draft) detect() (list []sign) {
	var whole []*Request
	for i := range d.in.Requests {
		if r := &d.in.Requests[i]; r.whole() {
			whole = append(whole, r)
		}
	}
	slices.SortStableFunc(whole, func(a, b *Request) int { // with all headers first
		switch {
		case a.HeadersCut == b.HeadersCut:
			return 0
		case b.HeadersCut:
			return -1
		}
		return 1
	})
	known := d.knownSchemes()
	runs := DetectRunsMax
	for n := range d.in.Secrets {
		secret := d.in.Secrets[n].Text
		for _, r := range whole {
			if runs == 0 || slices.ContainsFunc(list, func(s sign) bool { return s.secret == n }) {
				break
			}
			runs--
			for _, spec := range signature.Detect(d.request(r), secret, known...) {
				s := sign{spec: spec, secret: n, known: slices.ContainsFunc(known, func(k signature.Spec) bool { return sameScheme(&k, &spec) })}
				s.seen, s.of = d.holds(&spec, secret, whole)
				list = append(list, s)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b sign) int { return b.seen - a.seen })
	return list
}

// knownSchemes are the source's own and the presets'.
func (d *draft) knownSchemes() (list []signature.Spec) {
	if s := d.src.Spec.Signature; s != nil {
		list = append(list, *s)
	}
	for _, name := range source.Presets() {
		if p, err := source.PresetOf(name); err == nil && p.Source.Signature != nil &&
			!slices.ContainsFunc(list, func(k signature.Spec) bool { return sameScheme(&k, p.Source.Signature) }) {
			list = append(list, *p.Source.Signature)
		}
	}
	return list
}

// whole reports whether a signature can be checked on r.
func (r *Request) whole() bool { return !r.Cut && !r.Masked }

// holds counts the requests on which a scheme verifies, whatever their age, of
// those that still have what it checks.
func (d *draft) holds(spec *signature.Spec, secret []byte, requests []*Request) (n, of int) {
	v, err := signature.Compile(ageless(*spec))
	if err != nil {
		return 0, 0
	}
	for _, r := range requests {
		if r.HeadersCut && !d.hasHeaders(r, spec) {
			continue
		}
		if of == VerifiedMax {
			break
		}
		of++
		if v.Verify(d.request(r), &signature.Secrets{Current: secret}, time.Time{}).OK {
			n++
		}
	}
	return n, of
}

var signedHeader = regexp.MustCompile(`\{header:([^{}|]+)`)

// hasHeaders reports whether every header that a scheme looks into is kept of r.
func (d *draft) hasHeaders(r *Request, spec *signature.Spec) bool {
	places := []string{spec.Signature.In}
	if spec.Timestamp != nil {
		places = append(places, spec.Timestamp.In)
	}
	for _, p := range []*signature.Place{spec.ID, spec.KeyID} {
		if p != nil {
			places = append(places, p.In)
		}
	}
	for _, m := range signedHeader.FindAllStringSubmatch(spec.Input, -1) {
		places = append(places, "header:"+m[1])
	}
	return !slices.ContainsFunc(places, func(in string) bool {
		if !strings.HasPrefix(in, "header:") && in != "bearer" && !strings.HasPrefix(in, "basic") {
			return false
		}
		_, ok := d.standsIn(r, in)
		return !ok
	})
}

// ageless leaves out how old a request may be: captured ones are.
func ageless(s signature.Spec) signature.Spec {
	if s.Timestamp != nil {
		t := *s.Timestamp
		t.ToleranceSeconds, t.AheadSeconds = -1, -1
		s.Timestamp = &t
	}
	s.Alternatives = slices.Clone(s.Alternatives)
	for i := range s.Alternatives {
		s.Alternatives[i] = ageless(s.Alternatives[i])
	}
	return s
}

// sameScheme compares what two specs say.
func sameScheme(a, b *signature.Spec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// signature says how requests are signed, or seem to be.
func (d *draft) signature() {
	if len(d.signs) == 0 {
		d.unverified()
		d.secretless()
		return
	}
	best := d.signs[0]
	for _, s := range d.signs { // one that the source or a preset has, among those that hold as often
		if s.seen == best.seen && s.known && !best.known {
			best = s
		}
	}
	d.out.Secret = best.secret
	v, err := signature.Compile(best.spec)
	if err != nil {
		panic("bug: a scheme that was found does not compile: " + err.Error())
	}
	f := Finding{What: "signature", Proposed: inWords(&best.spec), Seen: best.seen, Of: best.of}
	f.Why = fmt.Sprintf("verifies with %s on %d of %d requests that can be checked", d.whose(best.secret), best.seen, best.of)
	if weak := v.Weak(); weak != "" {
		f.Why += "; weak: " + weak
	}
	if d.src.Spec.Signature != nil && sameScheme(d.src.Spec.Signature, &best.spec) {
		f.State = AsIs
		d.add(f)
	} else {
		spec := best.spec
		d.change(f, func(s *source.Spec) { s.Signature, s.Unsigned = &spec, false })
	}
	d.secretless()
}

// secretless warns of a signature that nothing can be checked against.
func (d *draft) secretless() {
	if d.src.Verifier == nil || d.src.Spec.SignatureOptional && d.out.Secret < 0 || slices.ContainsFunc(d.in.Secrets, func(s Secret) bool { return s.Live }) {
		return
	}
	why := "the source asks for a signature and has no secret, so every request is refused: give it the sender's secret"
	switch {
	case d.src.Spec.SignatureOptional:
		why = "the source does not have the given secret yet: until it has, unsigned requests are taken; store it together with the change"
	case d.out.Secret >= 0:
		why = "the source does not have the given secret yet: until it has, every request is refused; store it together with the change"
	}
	d.add(Finding{What: "secret", State: Open, Of: len(d.in.Requests), Why: why})
}

func (d *draft) whose(secret int) string {
	if d.in.Secrets[secret].Live {
		return "the source's secret"
	}
	return "the given secret"
}

// inWords says what a scheme does on one line.
func inWords(s *signature.Spec) string {
	if s.Algorithm == "secret" {
		return "the secret itself in " + s.Signature.In
	}
	return s.Algorithm + " of " + cut(s.Input) + " in " + s.Signature.In
}
