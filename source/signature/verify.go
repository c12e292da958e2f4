package signature

import (
	"strings"
	"time"
)

// Verify checks a request. now is for timestamps and for the end of the
// previous secret. It is safe for concurrent use, and allocates nothing for
// the common schemes but a copy of the message's id. Comparisons take the
// same time wherever the bytes differ.
func (v *Verifier) Verify(r *Request, s *Secrets, now time.Time) Outcome {
	if len(r.URL)+len(r.Query)+len(r.Body) > RequestBytesMax {
		return Outcome{Reason: TooLong}
	}
	u := v.runs.get(r, s, now)
	out := v.try(u)
	v.runs.put(u)
	return out
}

// try checks the schemes in turn. When all refuse, the first that found a
// signature says why.
func (v *Verifier) try(u *run) (out Outcome) {
	for i := range v.schemes {
		o := u.verify(&v.schemes[i])
		if o.Alternative = i; o.OK {
			return o
		}
		if i == 0 || out.Reason == SignatureMissing && o.Reason != SignatureMissing {
			out = o
		}
	}
	return out
}

func (u *run) verify(sc *scheme) (out Outcome) {
	u.about, u.at, u.keyID = "", time.Time{}, ""
	which, why := u.steps(sc)
	out = Outcome{OK: why == "", Reason: why, Field: u.about, At: u.at}
	if !out.OK {
		return out
	}
	out.ID, out.Secret, out.KeyID = strings.Clone(u.id), which, u.keyID
	return out
}

func (u *run) steps(sc *scheme) (which Which, why Reason) {
	if why = u.candidates(sc); why != "" {
		return WhichNone, why
	}
	if why = u.freshness(sc); why != "" {
		return WhichNone, why
	}
	if why = u.identify(sc); why != "" {
		return WhichNone, why
	}
	if why = u.bodyCounts(sc); why != "" {
		return WhichNone, why
	}
	if sc.algorithm.family == familyKey {
		return u.checkKeys(sc)
	}
	return u.checkShared(sc)
}

// bodyCounts refuses a body that the scheme leaves unsigned, and one that is
// not there when nothing else is signed.
func (u *run) bodyCounts(sc *scheme) (why Reason) {
	if sc.bodyOnly() && len(trimBlanks(u.r.Body)) == 0 {
		return BodyMissing
	}
	if !sc.urlOnly && !sc.formOnly || len(u.r.Body) == 0 {
		return ""
	}
	if why = u.loaded(); why != "" || u.params.unsaid || sc.formOnly && !u.params.hasJSON() {
		return why
	}
	return BodyUnsigned
}

// shared is a secret to be tried.
type shared struct {
	secret []byte
	which  Which
}

// secrets lists the live secrets.
func (u *run) secrets(sc *scheme) (list [2]shared, why Reason) {
	if sc.object != nil {
		name, ok, why := u.find(*sc.object)
		if why != "" || !ok || len(name) == 0 {
			u.about = sc.object.name
			if why == "" {
				why = FieldMissing
			}
			return list, why
		}
		if len(name) > IDBytesMax {
			return list, TooLong
		}
		if u.s.Lookup == nil {
			return list, SecretMissing
		}
		secret, ok := u.s.Lookup(string(name))
		if !ok || len(secret) == 0 {
			return list, ObjectUnknown
		}
		list[0] = shared{secret, WhichObject}
		return list, ""
	}
	list[0] = shared{u.s.Current, WhichCurrent}
	if u.s.PreviousUntil.IsZero() || u.now.Before(u.s.PreviousUntil) {
		list[1] = shared{u.s.Previous, WhichPrevious}
	}
	if len(list[0].secret)+len(list[1].secret) == 0 {
		return list, SecretMissing
	}
	return list, ""
}

// checkShared tries all live secrets on all candidates.
func (u *run) checkShared(sc *scheme) (Which, Reason) {
	list, why := u.secrets(sc)
	if why != "" {
		return WhichNone, why
	}
	var input []byte
	why = SignatureWrong
	for _, s := range list {
		if len(s.secret) == 0 {
			continue
		}
		key, ok := u.key(sc, s.secret)
		if !ok {
			why = SecretMalformed
			continue
		}
		if sc.algorithm.family == familySecret {
			if u.sent(key) {
				return s.which, ""
			}
			continue
		}
		if input == nil || sc.has(partSecret) {
			var bad Reason
			if input, bad = u.build(sc, key, false); bad != "" {
				return WhichNone, bad
			}
		}
		digest := u.hasher.digest(sc.algorithm, key, input)
		for i := range u.founds {
			if same(digest, u.candidate(i)) {
				return s.which, ""
			}
		}
	}
	return WhichNone, why
}

// sent reports whether a candidate is the secret itself.
func (u *run) sent(secret []byte) bool {
	for i := range u.founds {
		if sameSecret(secret, u.candidate(i)) {
			return true
		}
	}
	return false
}

// key decodes a secret, into memory that is cleared when the run ends.
func (u *run) key(sc *scheme, secret []byte) (key []byte, ok bool) {
	if len(secret) > SecretBytesMax {
		return nil, false
	}
	if u.secret == nil {
		u.secret = make([]byte, 0, SecretBytesMax) // so that no copy is left behind
	}
	u.secret, ok = sc.secret.append(u.secret[:0], text(secret))
	return u.secret, ok && len(u.secret) > 0
}

func (f secretForm) append(dst []byte, secret string) ([]byte, bool) {
	switch f {
	case secretHex:
		return appendDecoded(dst, encodingHex, secret)
	case secretWhsec:
		return appendDecoded(dst, encodingBase64, strings.TrimPrefix(secret, "whsec_"))
	case secretBase64:
		if strings.ContainsAny(secret, "-_") {
			return appendDecoded(dst, encodingBase64URL, secret)
		}
		return appendDecoded(dst, encodingBase64, secret)
	}
	return append(dst, secret...), true
}

// checkKeys tries the public key that the request names, or all.
func (u *run) checkKeys(sc *scheme) (Which, Reason) {
	one := ""
	if sc.keyID != nil {
		id, why := u.textAt(sc.keyID, KeyUnknown, KeyUnknown)
		if why != "" {
			return WhichNone, why
		}
		if id, _, _ = sc.keyID.next(id); u.s.Keys[id] == nil {
			return WhichNone, KeyUnknown
		}
		one = id
	}
	switch {
	case len(u.s.Keys) == 0:
		return WhichNone, KeyUnknown
	case len(u.s.Keys) > KeysMax && sc.keyID == nil:
		return WhichNone, TooMany
	}
	input, why := u.build(sc, nil, false)
	if why != "" {
		return WhichNone, why
	}
	for id, key := range u.s.Keys {
		if sc.keyID != nil && id != one {
			continue
		}
		for i := range u.founds {
			if verifyKey(sc.algorithm, sc.rawECDSA, key, input, u.candidate(i)) {
				u.keyID = id
				return WhichKey, ""
			}
		}
	}
	return WhichNone, SignatureWrong
}

// bodyOnly reports whether nothing of the request but its body is signed.
func (sc *scheme) bodyOnly() bool {
	for i := range sc.parts {
		switch sc.parts[i].kind {
		case partText, partSecret, partBody:
		default:
			return false
		}
	}
	return len(sc.parts) > 0
}
