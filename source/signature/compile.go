package signature

import (
	"fmt"
	"slices"
	"strings"
)

type cut uint8

const (
	cutNone cut = iota
	cutBefore
	cutOut
)

type unit uint8

const (
	unitSeconds unit = iota
	unitMillis
	unitRFC3339
)

var unitNames = map[string]unit{"": unitSeconds, "s": unitSeconds, "ms": unitMillis, "rfc3339": unitRFC3339}

type secretForm uint8

const (
	secretRaw secretForm = iota
	secretHex
	secretBase64
	secretWhsec
)

var secretForms = map[string]secretForm{"": secretRaw, "raw": secretRaw, "hex": secretHex, "base64": secretBase64, "whsec": secretWhsec}

const toleranceSecondsDefault = 300

// scheme is one compiled Spec without its alternatives.
type scheme struct {
	algorithm algorithm
	parts     []part
	inner     pipe
	sorted    *sortedRule
	signature place
	timestamp *place
	unit      unit
	tolerance int64 // seconds, -1 is not checked
	ahead     int64
	id, keyID *place
	object    *ref
	secret    secretForm
	rawECDSA  bool

	base     string
	cut      cut
	tail     []string
	unescape bool
	plus     bool

	urlOnly  bool // the body is not signed, nothing in it may count
	formOnly bool // of bodies forms are signed, nothing in JSON may count
}

// Compile checks a scheme. Its errors name the setting, the value and the way out.
func Compile(s Spec) (*Verifier, error) {
	if len(s.Alternatives) > AlternativesMax {
		return nil, fmt.Errorf("alternatives: %d of them, at most %d", len(s.Alternatives), AlternativesMax)
	}
	first, err := compileScheme(&s)
	if err != nil {
		return nil, err
	}
	v := &Verifier{schemes: []scheme{*first}}
	for i := range s.Alternatives {
		if len(s.Alternatives[i].Alternatives) > 0 {
			return nil, fmt.Errorf("alternative %d has alternatives of its own: list them all in one", i+1)
		}
		a := s.Alternatives[i].over(&s)
		sc, err := compileScheme(&a)
		if err != nil {
			return nil, fmt.Errorf("alternative %d: %w", i+1, err)
		}
		v.schemes = append(v.schemes, *sc)
	}
	v.weak = v.weakness()
	return v, nil
}

// over fills in what a leaves out from s.
func (a Spec) over(s *Spec) Spec {
	text := func(dst *string, from string) {
		if *dst == "" {
			*dst = from
		}
	}
	text(&a.Algorithm, s.Algorithm)
	text(&a.Input, s.Input)
	text(&a.Inner, s.Inner)
	text(&a.SecretEncoding, s.SecretEncoding)
	text(&a.Object, s.Object)
	text(&a.ECDSA, s.ECDSA)
	if a.Sorted == nil && strings.Contains(a.Input, "sorted") {
		a.Sorted = s.Sorted
	}
	if a.URL == nil {
		a.URL = s.URL
	}
	if a.Signature == (Place{}) {
		a.Signature = s.Signature
	}
	if a.Timestamp == nil {
		a.Timestamp = s.Timestamp
	}
	if a.ID == nil {
		a.ID = s.ID
	}
	if a.KeyID == nil {
		a.KeyID = s.KeyID
	}
	a.UnsignedBody = a.UnsignedBody || s.UnsignedBody
	return a
}

func compileScheme(s *Spec) (sc *scheme, err error) {
	sc = new(scheme)
	if sc.algorithm, err = algorithmOf(s.Algorithm); err != nil {
		return nil, err
	}
	byDefault := encodingHex
	if sc.algorithm.family == familySecret {
		byDefault = encodingRaw
	}
	if sc.signature, err = compilePlace("signature", s.Signature, byDefault); err != nil {
		return nil, err
	}
	for _, step := range []func(*Spec) error{sc.setInput, sc.setSecret, sc.setTimestamp, sc.setPlaces, sc.setURL, sc.check} {
		if err := step(s); err != nil {
			return nil, err
		}
	}
	return sc, nil
}

func (sc *scheme) setInput(s *Spec) (err error) {
	if sc.algorithm.family == familySecret {
		if s.Input != "" || s.Inner != "" {
			return fmt.Errorf("algorithm secret signs nothing: leave input and inner out")
		}
		return nil
	}
	if sc.parts, err = parseTemplate(s.Input); err != nil {
		return err
	}
	if sc.inner, err = parsePipe(s.Inner, false); err != nil {
		return fmt.Errorf("inner: %w", err)
	}
	if !sc.has(partSorted) {
		if s.Sorted != nil {
			return fmt.Errorf("sorted is set but input %q has no {@sorted}: use input sorted, or leave sorted out", s.Input)
		}
		return nil
	}
	settings := s.Sorted
	if settings == nil {
		settings = &Sorted{}
	}
	sc.sorted, err = compileSorted(settings)
	return err
}

func (sc *scheme) setSecret(s *Spec) (err error) {
	form, ok := secretForms[s.SecretEncoding]
	if !ok {
		return fmt.Errorf("secret_encoding %q: want raw, hex, base64 or whsec", s.SecretEncoding)
	}
	sc.secret = form
	switch s.ECDSA {
	case "", "der":
	case "raw":
		sc.rawECDSA = true
	default:
		return fmt.Errorf("ecdsa %q: want der or raw", s.ECDSA)
	}
	if s.Object == "" {
		return nil
	}
	if sc.algorithm.family == familyKey {
		return fmt.Errorf("object %q: algorithm %s has no secret per object: use key_id", s.Object, sc.algorithm.name)
	}
	r, err := parseRef(s.Object)
	if err != nil {
		return fmt.Errorf("object: %w", err)
	}
	sc.object = &r
	return nil
}

func (sc *scheme) setTimestamp(s *Spec) error {
	t := s.Timestamp
	if t == nil {
		return nil
	}
	p, err := compileRaw("timestamp", t.Place)
	if err != nil {
		return err
	}
	sc.timestamp = &p
	u, ok := unitNames[t.Unit]
	if !ok {
		return fmt.Errorf("timestamp: unit %q: want s, ms or rfc3339", t.Unit)
	}
	sc.unit = u
	for what, n := range map[string]int{"tolerance_seconds": t.ToleranceSeconds, "ahead_seconds": t.AheadSeconds} {
		if n < -1 || n > ToleranceSecondsMax {
			return fmt.Errorf("timestamp: %s %d: want 1 to %d, 0 for the default, or -1 for no check", what, n, ToleranceSecondsMax)
		}
	}
	if sc.tolerance = int64(t.ToleranceSeconds); sc.tolerance == 0 {
		sc.tolerance = toleranceSecondsDefault
	}
	if sc.ahead = int64(t.AheadSeconds); sc.ahead == 0 {
		sc.ahead = min(sc.tolerance, toleranceSecondsDefault)
	}
	return nil
}

// compileRaw compiles the place of a text, such as an id.
func compileRaw(what string, p Place) (place, error) {
	c, err := compilePlace(what, p, encodingRaw)
	if err == nil && c.encoding != encodingRaw {
		err = fmt.Errorf("%s: encoding %q: it is taken as it is, leave encoding out", what, p.Encoding)
	}
	return c, err
}

func (sc *scheme) setPlaces(s *Spec) error {
	if s.ID != nil {
		p, err := compileRaw("id", *s.ID)
		if err != nil {
			return err
		}
		sc.id = &p
	}
	if s.KeyID != nil {
		if sc.algorithm.family != familyKey {
			return fmt.Errorf("key_id: algorithm %s has no keys by id: leave key_id out, or use object for a secret per object", sc.algorithm.name)
		}
		p, err := compileRaw("key_id", *s.KeyID)
		if err != nil {
			return err
		}
		sc.keyID = &p
	}
	return nil
}

func (sc *scheme) setURL(s *Spec) error {
	url := s.URL
	if url == nil {
		url = &URL{}
	}
	inQuery := sc.signature.origin == fromQuery
	switch url.Cut {
	case "":
		if inQuery {
			sc.cut = cutBefore
		}
	case "before":
		sc.cut = cutBefore
	case "out":
		sc.cut = cutOut
	case "none":
	default:
		return fmt.Errorf("url: cut %q: want before, out or none", url.Cut)
	}
	if sc.cut != cutNone && !inQuery {
		return fmt.Errorf("url: cut %q needs the signature in the query: leave cut out", url.Cut)
	}
	switch url.Decode {
	case "":
	case "percent", "form":
		sc.unescape, sc.plus = true, url.Decode == "form"
	default:
		return fmt.Errorf("url: decode %q: want percent or form", url.Decode)
	}
	if len(url.Base) > SettingBytesMax || url.Base != "" && !strings.Contains(url.Base, "://") {
		return fmt.Errorf("url: base %q: want scheme and host, for example https://in.example.com", shorten(url.Base, 64))
	}
	if len(url.Tail) > ListedFieldsMax {
		return fmt.Errorf("url: tail of %d names, at most %d", len(url.Tail), ListedFieldsMax)
	}
	sc.base, sc.tail = url.Base, slices.Clone(url.Tail)
	if sc.keyID != nil && sc.keyID.origin == fromQuery {
		sc.tail = append(sc.tail, sc.keyID.name)
	}
	sc.urlOnly = !s.UnsignedBody && sc.signsURLOnly()
	sc.formOnly = !s.UnsignedBody && sc.signsFormsOnly()
	return nil
}

// check looks at settings that contradict each other.
func (sc *scheme) check(*Spec) error {
	secret := sc.has(partSecret)
	switch f := sc.algorithm.family; {
	case f == familyHash && !secret:
		return fmt.Errorf("algorithm %s without {@secret} in the input can be computed by anybody: put {@secret} where the sender has it, or use hmac-%s", sc.algorithm.name, sc.algorithm.name)
	case f == familyKey && secret:
		return fmt.Errorf("algorithm %s has no shared secret: take {@secret} out of the input", sc.algorithm.name)
	case f != familySecret && sc.signature.encoding == encodingRaw:
		return fmt.Errorf("signature: encoding raw is for the algorithm secret: want hex, base64 or base64url")
	case sc.has(partTimestamp) && sc.timestamp == nil:
		return fmt.Errorf("input has {@timestamp}: say in timestamp where it stands")
	case sc.has(partID) && sc.id == nil:
		return fmt.Errorf("input has {@id}: say in id where it stands")
	}
	return nil
}

func (sc *scheme) has(k partKind) bool {
	return slices.ContainsFunc(sc.parts, func(p part) bool { return p.kind == k })
}

// signsURLOnly reports whether all fields of the URL are signed and none of the body.
func (sc *scheme) signsURLOnly() bool {
	if sc.has(partBody) || sc.has(partField) {
		return false
	}
	if sc.has(partSorted) {
		return !sc.sorted.from[fromForm] && !sc.sorted.from[fromJSON] && sc.sorted.only == nil
	}
	return sc.has(partURL) || sc.has(partQuery)
}

// signsFormsOnly reports whether all fields of a form are signed, and none of JSON.
func (sc *scheme) signsFormsOnly() bool {
	return sc.has(partSorted) && !sc.has(partBody) && sc.sorted.only == nil && sc.sorted.from[fromForm] && !sc.sorted.from[fromJSON]
}

func (sc *scheme) inTail(name []byte) bool { return slices.Contains(sc.tail, text(name)) }

// isSignature reports whether a field of that origin and name holds the signature.
func (sc *scheme) isSignature(o origin, name []byte) bool {
	s := &sc.signature
	return (s.origin == o || s.origin == fromAny) && s.name == text(name)
}
