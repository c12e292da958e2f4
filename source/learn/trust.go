package learn

import (
	"slices"
	"time"

	"github.com/tallyhook/tallyhook/source/signature"
)

// unprovenWhy follows what only refused requests say.
const unprovenWhy = "; only requests that were refused say so, which anybody may have sent, so it is not applied: give the sender's secret, or have one request taken, and learn again"

// refusedUnproven are the reasons of requests that were refused before they had
// shown that they are the sender's.
var refusedUnproven = []string{"ip", "certificate", "secret", "signature", "call_key"}

// sift parts the requests that count from those that anybody may have sent.
// When there are no others, these are looked at, and nothing is proposed.
func (d *draft) sift() {
	type scheme struct {
		*signature.Verifier
		secret []byte
	}
	var schemes []scheme
	for _, s := range d.signs {
		if v, err := signature.Compile(ageless(s.spec)); err == nil {
			schemes = append(schemes, scheme{v, d.in.Secrets[s.secret].Text})
		}
	}
	var strange []Request
	for i := range d.in.Requests {
		r := &d.in.Requests[i]
		proven := !d.stranger(r) || r.whole() && slices.ContainsFunc(schemes, func(s scheme) bool {
			return s.Verify(d.request(r), &signature.Secrets{Current: s.secret}, time.Time{}).OK
		})
		if proven {
			d.requests = append(d.requests, *r)
		} else {
			strange = append(strange, *r)
		}
	}
	if d.unproven = len(d.requests) == 0; d.unproven {
		d.requests, strange = strange, nil
	}
	d.data, d.strange = read(d.requests), read(strange)
}

// stranger reports whether r may be anybody's. Where a source asks for more
// than its URL, no refused request counts: it may have failed before that was
// looked at.
func (d *draft) stranger(r *Request) bool {
	asks := d.src.Verifier != nil || len(d.src.Secrets) > 0 || len(d.src.Allow) > 0 || d.src.Spec.ClientName != ""
	return r.Refused && (asks || slices.Contains(refusedUnproven, r.Reason))
}
