package signature

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
)

// What an explanation shows of what it is about.
const (
	digestShownBytes  = 4    // of a digest, of its length whatever it is
	textShownBytesMax = 2000 // of one step's text
)

// Explain says step by step why a request passes or fails. No step holds a
// secret, or enough of a digest to be of use to anybody.
func (v *Verifier) Explain(r *Request, s *Secrets, now time.Time) []Step {
	if len(r.URL)+len(r.Query)+len(r.Body) > RequestBytesMax {
		return []Step{{Name: "result", Text: fmt.Sprintf("too_long: URL and body are more than %d bytes", RequestBytesMax)}}
	}
	u := v.runs.get(r, s, now)
	defer v.runs.put(u)
	x := explainer{run: u}
	for i := range v.schemes {
		if i > 0 {
			x.add("alternative", true, "then alternative %d of %d is tried", i, len(v.schemes)-1)
		}
		x.scheme(&v.schemes[i])
		if x.passed {
			break
		}
	}
	o := v.try(u)
	switch {
	case o.OK:
		x.add("result", true, "the signature is good, by the secret named %s%s", o.Secret, x.keyName(o.KeyID))
	case o.Field != "":
		x.add("result", false, "%s: %s", o.Reason, o.Field)
	default:
		x.add("result", false, "%s", o.Reason)
	}
	return x.masked(v)
}

type explainer struct {
	*run
	steps  []Step
	passed bool
}

func (x *explainer) add(name string, ok bool, format string, args ...any) {
	x.steps = append(x.steps, Step{name, ok, fmt.Sprintf(format, args...)})
}

func (x *explainer) keyName(id string) string {
	if id == "" {
		return ""
	}
	return " " + id
}

// scheme explains one scheme, as far as it gets.
func (x *explainer) scheme(sc *scheme) {
	x.about = ""
	where := sc.signature.where()
	if why := x.candidates(sc); why != "" {
		x.add("signature", false, "%s: looked in %s for %s in %s", why, where, sc.algorithm.name, sc.signature.words())
		return
	}
	x.add("signature", true, "found %d in %s, of %d bytes", x.founds, where, len(x.candidate(0)))
	if sc.timestamp != nil {
		why := x.freshness(sc)
		x.explainTime(sc, why)
		if why != "" {
			return
		}
	}
	if sc.id != nil {
		why := x.identify(sc)
		if why != "" {
			x.add("id", false, "%s: looked in %s", why, sc.id.where())
			return
		}
		x.add("id", true, "%s is %q", sc.id.where(), x.id)
	}
	if why := x.bodyCounts(sc); why != "" {
		x.add("input", false, "%s: the body has %d bytes", why, len(x.r.Body))
		return
	}
	switch sc.algorithm.family {
	case familySecret:
		x.explainSecret(sc)
	default:
		x.explainInput(sc)
	}
}

func (c *place) words() string {
	for name, e := range encodingNames {
		if e == c.encoding {
			if c.prefix+c.each != "" {
				return fmt.Sprintf("%s after %q", name, c.prefix+c.each)
			}
			return name
		}
	}
	panic(fmt.Sprintf("bug: encoding %d", c.encoding))
}

func (x *explainer) explainTime(sc *scheme, why Reason) {
	where := sc.timestamp.where()
	if x.at.IsZero() {
		x.add("timestamp", false, "%s: looked in %s", why, where)
		return
	}
	age := x.now.Sub(x.at).Round(time.Second)
	x.add("timestamp", why == "", "%s says %s, %s before now; at most %d s before and %d s ahead are taken", where, x.at.Format(time.RFC3339), age, sc.tolerance, sc.ahead)
}

func (x *explainer) explainSecret(sc *scheme) {
	which, why := x.checkShared(sc)
	x.passed = why == ""
	if x.passed {
		x.add("digest", true, "what was sent is the secret named %s", which)
		return
	}
	x.add("digest", false, "%s: what was sent is no live secret%s", why, x.objectWords(sc))
}

func (x *explainer) objectWords(sc *scheme) string {
	if sc.object == nil {
		return ""
	}
	return " of the object in " + sc.object.String()
}

// explainInput shows what is signed and what comes out of it.
func (x *explainer) explainInput(sc *scheme) {
	input, why := x.build(sc, nil, true)
	if why != "" {
		x.add("input", false, "%s: %s", why, x.about)
		return
	}
	x.add("input", true, "signed is %s%s", shown(input), sc.innerWords())
	if sc.algorithm.family == familyKey {
		_, why := x.checkKeys(sc)
		if x.passed = why == ""; x.passed {
			x.add("key", true, "%s fits the public key %q, of %d", sc.algorithm.name, x.keyID, len(x.s.Keys))
		} else {
			x.add("key", false, "%s: %s with %d public keys", why, sc.algorithm.name, len(x.s.Keys))
		}
		return
	}
	list, why := x.secrets(sc)
	if why != "" {
		x.add("key", false, "%s%s", why, x.objectWords(sc))
		return
	}
	for _, s := range list {
		if len(s.secret) > 0 && !x.passed {
			x.explainDigest(sc, s)
		}
	}
}

func (sc *scheme) innerWords() string {
	if len(sc.inner.steps) == 0 {
		return ""
	}
	words := make([]string, len(sc.inner.steps))
	for i, t := range sc.inner.steps {
		words[i] = t.String()
	}
	return ", then " + strings.Join(words, ", ")
}

func (x *explainer) explainDigest(sc *scheme, s shared) {
	key, ok := x.key(sc, s.secret)
	if !ok {
		x.add("key", false, "secret_malformed: the secret named %s is not what the scheme says it is", s.which)
		return
	}
	input, why := x.build(sc, key, false)
	if why != "" {
		x.add("input", false, "%s: %s", why, x.about)
		return
	}
	digest := x.hasher.digest(sc.algorithm, key, input)
	var sent []string
	for i := range x.founds {
		c := x.candidate(i)
		x.passed = x.passed || same(digest, c)
		sent = append(sent, hex.EncodeToString(c[:min(len(c), digestShownBytes)])+"…")
	}
	x.add("digest", x.passed, "%s with the secret named %s gives %s…, sent was %s", sc.algorithm.name, s.which, hex.EncodeToString(digest[:digestShownBytes]), strings.Join(sent, ", "))
}

// shown makes a text fit to be read: one line, no control characters.
func shown(p []byte) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, strings.ToValidUTF8(string(p), "·"))
}

// shorten cuts s to at most n bytes of whole characters.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// masked replaces every secret, in whatever way it may be written, in every step.
func (x *explainer) masked(v *Verifier) []Step {
	var hide []string
	add := func(s string) {
		if s != "" {
			hide = append(hide, s, url.QueryEscape(s), url.PathEscape(s), shown([]byte(s)), strings.Trim(fmt.Sprintf("%q", s), `"`))
		}
	}
	secrets := [][]byte{x.s.Current, x.s.Previous}
	for i := range v.schemes {
		if list, why := x.secrets(&v.schemes[i]); why == "" {
			secrets = append(secrets, list[0].secret)
		}
	}
	for _, s := range secrets {
		add(string(s))
		for i := range v.schemes {
			if key, ok := x.key(&v.schemes[i], s); ok {
				add(string(bytes.Clone(key)))
			}
		}
	}
	for _, s := range x.s.Mask {
		add(s)
	}
	slices.SortFunc(hide, func(a, b string) int { return len(b) - len(a) })
	for i := range x.steps {
		for _, h := range hide {
			if h != masked {
				x.steps[i].Text = strings.ReplaceAll(x.steps[i].Text, h, masked)
			}
		}
		x.steps[i].Text = shorten(x.steps[i].Text, textShownBytesMax) // not before: half a secret would not be found
	}
	return x.steps
}
