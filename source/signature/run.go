package signature

import (
	"encoding/base64"
	"strings"
	"sync"
	"time"
)

// fieldShownBytesMax is how much of a field's name an outcome repeats.
const fieldShownBytesMax = 64

// keptBytesMax is how large a run's memory may be to be used again.
const keptBytesMax = 256 << 10

// run is the work on one request. Its memory is reused, and what it computes
// from a request are views, good until the run ends.
type run struct {
	r   *Request
	s   *Secrets
	now time.Time

	query    string // raw
	hasQuery bool
	params   params
	isLoaded bool
	loadWhy  Reason

	timestamp string // as sent
	id        string
	about     string // the field that a reason is about
	at        time.Time
	keyID     string

	found   [CandidatesMax]span // decoded signatures, in bytes
	founds  int
	bytes   []byte
	secret  []byte
	entries []entry
	hasher  hasher

	buf, url, joined, pathText, basic []byte
	scratch                           [2][]byte
}

// runPool keeps runs for reuse.
type runPool struct{ pool sync.Pool }

func (p *runPool) get(r *Request, s *Secrets, now time.Time) *run {
	u, _ := p.pool.Get().(*run)
	if u == nil {
		u = new(run)
	}
	if s == nil {
		s = new(Secrets)
	}
	u.r, u.s, u.now = r, s, now
	_, u.query, u.hasQuery = strings.Cut(r.URL, "?")
	if !u.hasQuery && len(r.Query) > 0 {
		u.query, u.hasQuery = text(r.Query), true
	}
	return u
}

func (p *runPool) put(u *run) {
	clear(u.secret[:cap(u.secret)]) // and what secrets were written into
	for _, b := range [...][]byte{u.buf, u.scratch[0], u.scratch[1]} {
		clear(b)
	}
	u.r, u.s, u.query, u.timestamp, u.id, u.about, u.keyID = nil, nil, "", "", "", "", ""
	u.params.query, u.params.body, u.isLoaded = "", nil, false
	u.pathText = u.pathText[:0]
	clear(u.entries)
	for _, b := range [...]*[]byte{&u.buf, &u.url, &u.joined, &u.scratch[0], &u.scratch[1], &u.params.text} {
		if cap(*b) > keptBytesMax {
			*b = nil
		}
	}
	p.pool.Put(u)
}

// loaded takes query and body apart, once per request.
func (u *run) loaded() Reason {
	if !u.isLoaded {
		u.loadWhy = u.params.load(u.r, u.query)
		u.isLoaded = true
	}
	return u.loadWhy
}

// textAt gives the text that stands in a place, without its prefix.
func (u *run) textAt(p *place, missing, malformed Reason) (value string, why Reason) {
	found, ok, why := u.rawAt(p)
	switch {
	case why == FieldRepeated:
		return "", malformed
	case why != "":
		return "", why
	case !ok || found == "":
		return "", missing
	case len(found) > SignatureBytesMax:
		return "", TooLong
	}
	if found, ok = strings.CutPrefix(found, p.prefix); !ok {
		return "", malformed
	}
	return found, ""
}

func (u *run) rawAt(p *place) (value string, ok bool, why Reason) {
	if p.authorization() {
		value, ok = u.authorization(p.origin)
		return value, ok, ""
	}
	if !p.needsParams() {
		v, ok, why := u.find(p.ref)
		return text(v), ok, why
	}
	if why = u.loaded(); why != "" {
		return "", false, why
	}
	f, why := u.params.find(p.ref)
	if f == nil {
		return "", false, why
	}
	if p.encoding == encodingBase64 && f.origin != fromJSON {
		// Base64 has a plus of its own, which careless senders do not escape.
		_, raw := u.params.raw(f)
		u.joined = appendUnescape(u.joined[:0], raw, false)
		return text(u.joined), true, ""
	}
	return text(u.params.value(f)), true, ""
}

// authorization takes the Authorization header apart.
func (u *run) authorization(o origin) (string, bool) {
	if u.r.Header == nil {
		return "", false
	}
	header, _ := u.r.Header("Authorization")
	kind, rest, ok := strings.Cut(header, " ")
	rest = strings.TrimLeft(rest, " ")
	want := "Basic"
	if o == fromBearer {
		want = "Bearer"
	}
	if !ok || !strings.EqualFold(kind, want) {
		return "", false
	}
	if o == fromBearer || len(rest) > SignatureBytesMax {
		return rest, true
	}
	var err error
	if u.basic, err = base64.StdEncoding.AppendDecode(u.basic[:0], view(rest)); err != nil {
		return "", false
	}
	pair := text(u.basic)
	user, password, ok := strings.Cut(pair, ":")
	switch {
	case !ok:
		return "", false
	case o == fromBasicUser:
		return user, true
	case o == fromBasicPassword:
		return password, true
	}
	return pair, true
}

// candidates decodes the signatures of a request into found.
func (u *run) candidates(sc *scheme) (why Reason) {
	u.bytes, u.founds = u.bytes[:0], 0
	value, why := u.textAt(&sc.signature, SignatureMissing, SignatureMalformed)
	if why != "" {
		return why
	}
	for seen := 0; ; seen++ {
		item, rest, ok := sc.signature.next(value)
		if !ok {
			break
		}
		if seen == CandidatesMax {
			return TooMany
		}
		value = rest
		from := len(u.bytes)
		u.bytes, ok = appendDecoded(u.bytes, sc.signature.encoding, item)
		if size := len(u.bytes) - from; !ok || !sc.fits(size) {
			u.bytes = u.bytes[:from]
			continue
		}
		u.found[u.founds] = span{int32(from), int32(len(u.bytes))}
		u.founds++
	}
	if u.founds == 0 {
		return SignatureMalformed
	}
	return ""
}

// ecdsaBytesMax is the longest that a P-256 signature is as DER.
const ecdsaBytesMax = 72

// fits reports whether a signature may have so many bytes.
func (sc *scheme) fits(size int) bool {
	switch a := &sc.algorithm; {
	case a.family == familySecret:
		return size > 0
	case a.bytes > 0:
		return size == a.bytes
	case sc.rawECDSA:
		return size == 2*ecdsaPartBytes
	}
	return size > 0 && size <= ecdsaBytesMax
}

func (u *run) candidate(i int) []byte { return u.bytes[u.found[i].from:u.found[i].to] }

// identify finds the message's id.
func (u *run) identify(sc *scheme) (why Reason) {
	u.id = ""
	if sc.id == nil {
		return ""
	}
	value, why := u.textAt(sc.id, IDMissing, IDMissing)
	if why != "" {
		return why
	}
	if value, _, _ = sc.id.next(value); value == "" {
		return IDMissing
	}
	if len(value) > IDBytesMax {
		return TooLong
	}
	u.id = value
	return ""
}
