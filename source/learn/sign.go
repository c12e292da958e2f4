package learn

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
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
		if r := &d.in.Requests[i]; !r.Cut && !r.Masked && len(whole) < VerifiedMax {
			whole = append(whole, r)
		}
	}
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
				s := sign{spec: spec, secret: n, of: len(whole), known: slices.ContainsFunc(known, func(k signature.Spec) bool { return sameScheme(&k, &spec) })}
				s.seen = d.holds(&spec, secret, whole)
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

// holds counts the requests on which a scheme verifies, whatever their age.
func (d *draft) holds(spec *signature.Spec, secret []byte, requests []*Request) (n int) {
	v, err := signature.Compile(ageless(*spec))
	if err != nil {
		return 0
	}
	for _, r := range requests {
		if v.Verify(d.request(r), &signature.Secrets{Current: secret}, time.Time{}).OK {
			n++
		}
	}
	return n
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
	f.Why = fmt.Sprintf("verifies with %s on %d of %d requests that are kept whole", d.whose(best.secret), best.seen, best.of)
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

// unverified says where a signature seems to stand, and why nothing verifies.
func (d *draft) unverified() {
	list := d.spots()
	masked := 0
	for i := range d.in.Requests {
		if d.in.Requests[i].Masked || d.in.Requests[i].Cut {
			masked++
		}
	}
	tried := len(d.in.Secrets) > 0 && masked < len(d.in.Requests)
	f := Finding{What: "signature", State: Open, Of: len(d.in.Requests), Candidates: list}
	for _, c := range list {
		f.Seen = max(f.Seen, c.Seen)
	}
	has := d.src.Spec.Signature
	switch {
	case tried:
		f.Why = fmt.Sprintf("no shape of signature fits the secret on the %d requests that were tried: check the secret for blanks or another environment's, and that no proxy changes the URL", min(DetectRunsMax, len(d.in.Requests)-masked))
	case len(list) > 0 && len(d.in.Secrets) > 0:
		f.Why = "a signature seems to stand here; what is kept of requests that were taken has it masked, so nothing could be tried: ask for the signature, let one request be refused, and learn again"
	case len(list) > 0:
		f.Why = "a signature seems to stand here: give the sender's secret to find how it is made"
	default:
		if has != nil && !d.src.Spec.SignatureOptional {
			f.Why, f.Proposed = "the source asks for a signature, and nothing looks like one in what came", inWords(has)
			d.add(f)
		}
		return
	}
	if has != nil && !tried && len(list) > 0 {
		f.State, f.Proposed = AsIs, inWords(has)
		f.Why = "the source asks for it; without its secret it was not checked"
	}
	d.add(f)
}

// spots lists where something of a digest's length stands under the name of a signature.
func (d *draft) spots() (list []Candidate) {
	const most = 8
	add := func(in, says string) {
		for i := range list {
			if list[i].Name == in+", "+says {
				list[i].Seen++
				return
			}
		}
		if len(list) < most {
			list = append(list, Candidate{Name: in + ", " + says, Seen: 1})
		}
	}
	for i := range d.in.Requests {
		r := &d.in.Requests[i]
		for _, h := range r.Headers {
			if secretName(h.Name) || strings.Contains(strings.ToLower(h.Name), "hmac") {
				if says := digestIn(h.Value); says != "" {
					add("header:"+cut(h.Name), says)
				}
			}
		}
		_, query, _ := strings.Cut(r.Target, "?")
		for _, f := range parseForm(nil, query, false) {
			if secretName(f.name) || strings.EqualFold(f.name, "verifier") || strings.EqualFold(f.name, "sid") {
				if says := digestIn(f.text); says != "" {
					add("query:"+cut(f.name), says)
				}
			}
		}
	}
	return list
}

// standsIn gives what a request has at a place, if it has something there.
func (d *draft) standsIn(r *Request, in string) (value string, ok bool) {
	origin, name, named := strings.Cut(in, ":")
	if !named {
		origin, name = "", in
	}
	switch {
	case origin == "header":
		return d.request(r).Header(name)
	case slices.Contains([]string{"bearer", "basic", "basic-user", "basic-password"}, in):
		return d.request(r).Header("Authorization")
	}
	_, query, _ := strings.Cut(r.Target, "?")
	for _, report := range bodies(r, parseForm(nil, query, false)) {
		for _, f := range report {
			if strings.EqualFold(f.name, name) && f.text != "" {
				return f.text, true
			}
		}
	}
	return "", false
}

// digestIn says of which algorithm's length a value is, "" when of none.
func digestIn(value string) string {
	if value == "***" {
		return "masked"
	}
	if i := strings.LastIndexAny(value, "=,"); i > 0 && i < len(value)-16 && i < 24 {
		value = value[i+1:]
	}
	encoded := "hex"
	p, err := hex.DecodeString(value)
	if err != nil {
		encoded = "base64"
		if p, err = base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "=")); err != nil {
			p, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(value, "="))
		}
	}
	names := map[int]string{16: "MD5", 20: "SHA-1", 32: "SHA-256", 64: "SHA-512 or Ed25519"}
	if name := names[len(p)]; err == nil && name != "" {
		return fmt.Sprintf("%d bytes in %s as of %s", len(p), encoded, name)
	}
	return ""
}
