package signature

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"time"
)

// Sign makes the signature that a sender would, with the current secret and
// the scheme itself, not its alternatives. place is where it belongs, such as
// query:hash or header:X-Signature; value is unescaped. The request must hold
// everything that is signed already; a timestamp that stands beside the
// signature, as in t=…,v1=…, is made from now. A parameter of the query is
// to be appended as the last, but for what may follow it (URL.Tail).
func (v *Verifier) Sign(r *Request, s *Secrets, now time.Time) (place, value string, err error) {
	u := v.runs.get(r, s, now)
	defer v.runs.put(u)
	sc := &v.schemes[0]
	before, err := u.prepareSign(sc)
	if err != nil {
		return "", "", err
	}
	sig, why, err := u.sign(sc)
	if why != "" {
		err = fmt.Errorf("sign: %s %s", why, u.about)
	}
	if err != nil {
		return "", "", err
	}
	p := &sc.signature
	out := append([]byte(nil), p.prefix...)
	out = append(append(out, before...), p.each...)
	out = appendEncoded(out, p.encoding, sig)
	place = p.where()
	if p.origin == fromAny { // where it is looked for first
		place = "query:" + p.name
	}
	return place, p.wrapped(string(out)), nil
}

// wrapped makes an Authorization header of a value that belongs there.
func (c *place) wrapped(value string) string {
	switch c.origin {
	case fromBearer:
		return "Bearer " + value
	case fromBasicUser:
		value += ":"
	case fromBasicPassword:
		value = "sender:" + value
	case fromBasic:
	default:
		return value
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(value))
}

// prepareSign finds timestamp and id, and gives what stands before the
// signature in the same value.
func (u *run) prepareSign(sc *scheme) (before string, err error) {
	if t := sc.timestamp; t != nil && t.ref == sc.signature.ref {
		u.timestamp = formatTime(u.now, sc.unit)
		before = t.each + u.timestamp + t.list
	} else if why := u.freshness(sc); why != "" {
		return "", fmt.Errorf("sign: %s: put the time into %s first", why, t.where())
	}
	if why := u.identify(sc); why != "" {
		return "", fmt.Errorf("sign: %s: put an id into %s first", why, sc.id.where())
	}
	if why := u.bodyCounts(sc); why != "" {
		return "", fmt.Errorf("sign: %s", why)
	}
	return before, nil
}

func (u *run) sign(sc *scheme) (sig []byte, why Reason, err error) {
	if sc.algorithm.family == familyKey {
		return u.signWithKey(sc)
	}
	list, why := u.secrets(sc)
	if why != "" {
		return nil, why, nil
	}
	if len(list[0].secret) == 0 {
		return nil, SecretMissing, nil
	}
	key, ok := u.key(sc, list[0].secret)
	if !ok {
		return nil, SecretMalformed, nil
	}
	if sc.algorithm.family == familySecret {
		return key, "", nil
	}
	input, why := u.build(sc, key, false)
	if why != "" {
		return nil, why, nil
	}
	return u.hasher.digest(sc.algorithm, key, input), "", nil
}

func (u *run) signWithKey(sc *scheme) (sig []byte, why Reason, err error) {
	if u.s.Signer == nil {
		return nil, "", fmt.Errorf("sign: %s needs a private key, which the sender has: there is none here", sc.algorithm.name)
	}
	input, why := u.build(sc, nil, false)
	if why != "" {
		return nil, why, nil
	}
	if _, ok := u.s.Signer.Public().(ed25519.PublicKey); ok {
		sig, err = u.s.Signer.Sign(rand.Reader, input, crypto.Hash(0))
		return sig, "", err
	}
	sum := sha256.Sum256(input)
	if sig, err = u.s.Signer.Sign(rand.Reader, sum[:], crypto.SHA256); err != nil || !sc.rawECDSA {
		return sig, "", err
	}
	var pair struct{ R, S *big.Int }
	if _, err = asn1.Unmarshal(sig, &pair); err != nil {
		return nil, "", fmt.Errorf("sign: %w", err)
	}
	raw := make([]byte, 2*ecdsaPartBytes)
	pair.R.FillBytes(raw[:ecdsaPartBytes])
	pair.S.FillBytes(raw[ecdsaPartBytes:])
	return raw, "", nil
}

// CheckSecret says what is wrong with a secret's text for this scheme, before
// it is stored. The error does not hold the secret.
func (v *Verifier) CheckSecret(secret []byte) error {
	if len(secret) == 0 || len(secret) > SecretBytesMax {
		return fmt.Errorf("secret of %d bytes: want 1 to %d", len(secret), SecretBytesMax)
	}
	for i := range v.schemes {
		form := v.schemes[i].secret
		if key, ok := form.append(nil, string(secret)); !ok || len(key) == 0 {
			for name, f := range secretForms {
				if f == form && name != "" {
					return fmt.Errorf("secret: it is not %s, which the scheme says it is: paste it as the sender shows it", name)
				}
			}
		}
	}
	return nil
}
