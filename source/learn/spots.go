package learn

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// unverified says where a signature seems to stand, and why nothing verifies.
func (d *draft) unverified() {
	var list []Candidate
	for i := range d.in.Requests {
		list = mergeSpots(list, spots(&d.in.Requests[i]))
	}
	whole := 0
	for i := range d.in.Requests {
		if r := &d.in.Requests[i]; r.whole() && (!r.HeadersCut || len(spots(r)) > 0) {
			whole++
		}
	}
	tried := len(d.in.Secrets) > 0 && whole > 0
	f := Finding{What: "signature", State: Open, Of: len(d.in.Requests), Candidates: list}
	for _, c := range list {
		f.Seen = max(f.Seen, c.Seen)
	}
	has := d.src.Spec.Signature
	switch {
	case tried:
		f.Why = fmt.Sprintf("no shape of signature fits the secret on the %d requests that were tried: check the secret for blanks or another environment's, and that no proxy changes the URL", min(DetectRunsMax, whole))
	case len(list) > 0 && len(d.in.Secrets) > 0:
		f.Why = "a signature seems to stand here; what is kept of requests that were taken has it masked or left out, so nothing could be tried: ask for the signature, let one request be refused, and learn again"
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

// ownSecretHeader is where a source's own secret stands, which is no signature.
const ownSecretHeader = "X-Webhook-Secret"

// spots lists where in r something of a digest's length stands under the name
// of a signature.
func spots(r *Request) (list []Candidate) {
	add := func(in, value string) {
		if says := digestIn(value); says != "" {
			list = append(list, Candidate{Name: in + ", " + says, Seen: 1})
		}
	}
	for _, h := range r.Headers {
		if !strings.EqualFold(h.Name, ownSecretHeader) && (secretName(h.Name) || strings.Contains(strings.ToLower(h.Name), "hmac")) {
			add("header:"+cut(h.Name), h.Value)
		}
	}
	_, query, _ := strings.Cut(r.Target, "?")
	for _, f := range parseForm(nil, query, false) {
		if secretName(f.name) || strings.EqualFold(f.name, "verifier") || strings.EqualFold(f.name, "sid") {
			add("query:"+cut(f.name), f.text)
		}
	}
	return list
}

// mergeSpots counts each of more with its like in list.
func mergeSpots(list, more []Candidate) []Candidate {
	const most = 8
	for _, m := range more {
		i := slices.IndexFunc(list, func(c Candidate) bool { return c.Name == m.Name })
		switch {
		case i >= 0:
			list[i].Seen++
		case len(list) < most:
			list = append(list, m)
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
