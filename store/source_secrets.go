package store

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// secretRow is a secret or, with a key id, a public key of a source.
type secretRow struct {
	hash   [32]byte
	until  int64  // microseconds; 0 does not end
	sealed []byte // nil: only the digest is kept
	keyID  string
}

func (s *secretRow) live(now int64) bool { return s.until == 0 || s.until > now }

// place is the row of sealed bytes as Seal authenticates it.
func (s *secretRow) place(id string) string {
	return id + "/" + hex.EncodeToString(s.hash[:]) + "/" + s.keyID
}

func (s *secretRow) open(seal *Seal, id string) ([]byte, error) {
	return seal.Open(s.sealed, "source_secret", s.place(id), "sealed")
}

// sealSecret makes the row of a secret that can be read again. Its digest has a
// key: senders' own secrets are words that could be guessed.
func sealSecret(seal *Seal, id, text string) *secretRow {
	return sealRow(seal, id, secretRow{hash: secretDigest(seal, text)}, text)
}

func secretDigest(seal *Seal, text string) [32]byte { return digest(seal, "secret\x00"+text) }

// sealKey makes the row of a public key: one for each id.
func sealKey(seal *Seal, id, keyID, text string) *secretRow {
	return sealRow(seal, id, secretRow{hash: digest(seal, "key\x00"+keyID), keyID: keyID}, text)
}

func sealRow(seal *Seal, id string, s secretRow, text string) *secretRow {
	s.sealed = seal.Seal([]byte(text), "source_secret", s.place(id), "sealed")
	return &s
}

func digest(seal *Seal, text string) [32]byte {
	m := hmac.New(sha256.New, seal.Pepper("source secret"))
	m.Write([]byte(text))
	return [32]byte(m.Sum(nil))
}

// hashSecret makes the row of a secret that is only compared.
func hashSecret(text string) *secretRow { return &secretRow{hash: source.HashToken([]byte(text))} }

// openSecrets sets what src's requests are checked against as of now: Signing
// when they are signed, else the digests of what they show.
func (r *sourceRow) openSecrets(src *source.Source, seal *Seal, now int64) error {
	if r.deleted { // nothing of it is taken any more
		return nil
	}
	signing := new(signature.Secrets)
	for i := range r.secrets {
		s := &r.secrets[i]
		if !s.live(now) {
			continue
		}
		var text []byte
		if s.sealed != nil {
			var err error
			if text, err = s.open(seal, r.id); err != nil {
				return err
			}
		}
		if err := s.sort(text, src, signing); err != nil {
			return err
		}
	}
	if src.Verifier != nil {
		src.Signing = signing
	}
	return nil
}

// sort puts a live secret, opened unless only its digest is kept, where it belongs.
func (s *secretRow) sort(text []byte, src *source.Source, signing *signature.Secrets) error {
	switch {
	case s.keyID != "":
		key, err := signature.ParsePublicKey(string(text))
		if err != nil {
			return fmt.Errorf("key %q: %w", s.keyID, err)
		}
		if signing.Keys == nil {
			signing.Keys = map[string]signature.PublicKey{}
		}
		signing.Keys[s.keyID] = key
	case src.Spec.Unsigned && text != nil: // it was for the signature that is not asked for
	case src.Verifier == nil && text == nil:
		src.Secrets = append(src.Secrets, s.hash)
	case src.Verifier == nil:
		src.Secrets = append(src.Secrets, source.HashToken(text))
	case text == nil: // it cannot check a signature
	case s.until == 0:
		signing.Current = text
	default:
		signing.Previous, signing.PreviousUntil = text, time.UnixMicro(s.until).UTC()
	}
	return nil
}

// checks is what the signatures of a source are checked with.
type checks struct{ secret, ed25519, ecdsa, object bool }

func checksOf(spec *signature.Spec) (c checks) {
	if spec == nil {
		return checks{secret: true} // shown in X-Webhook-Secret
	}
	add := func(algorithm, object string) {
		switch {
		case algorithm == "ed25519":
			c.ed25519 = true
		case algorithm == "ecdsa-p256":
			c.ecdsa = true
		case object != "":
			c.object = true
		default:
			c.secret = true
		}
	}
	add(spec.Algorithm, spec.Object)
	for _, a := range spec.Alternatives { // what one leaves out is the scheme's
		if a.Algorithm == "" {
			a.Algorithm = spec.Algorithm
		}
		if a.Object == "" {
			a.Object = spec.Object
		}
		add(a.Algorithm, a.Object)
	}
	return c
}

// awaits reports whether src refuses every request as of now for want of a
// secret or a public key.
func (r *sourceRow) awaits(src *source.Source, now int64) bool {
	if src.Verifier == nil || src.Spec.SignatureOptional {
		return false
	}
	with := checksOf(src.Spec.Signature)
	for i := range r.secrets {
		s := &r.secrets[i]
		if s.live(now) && s.sealed != nil && (s.keyID == "" && with.secret || s.keyID != "" && (with.ed25519 || with.ecdsa)) {
			return false
		}
	}
	return !with.object
}

// checkGiven objects to a secret that requests to src cannot be made with. No
// error holds it.
func checkGiven(src *source.Source, text string) error {
	if err := takesSecret(src); err != nil {
		return err
	}
	if src.Verifier != nil {
		if err := src.Verifier.CheckSecret([]byte(text)); err != nil {
			return asInvalid(err)
		}
	}
	switch {
	case len(text) == 0 || len(text) > signature.SecretBytesMax:
		return invalid("secret of %d bytes: want 1 to %d", len(text), signature.SecretBytesMax)
	case text != strings.TrimSpace(text):
		return invalid("secret: a blank or a line end stands before or behind it: paste it without")
	case !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return invalid("secret: it holds control characters: want one line of text, as the sender shows it")
	case isBasic(src) && !strings.Contains(text, ":"):
		return invalid("secret: the sender shows a user and a password: want USER:PASSWORD")
	}
	return nil
}

// takesSecret objects to sources that are not checked with one secret.
func takesSecret(src *source.Source) error {
	switch with := checksOf(src.Spec.Signature); {
	case with.secret:
		return nil
	case with.object:
		return invalid("source %q: each object that its requests name in %q has a secret of its own: the source has none", src.Spec.ID, src.Spec.Signature.Object)
	default:
		return invalid("source %q: its signature is %s, which is checked with public keys: add the sender's with \"tallyhook source secret %s --public-key ID=FILE\" or POST /api/v1/sources/%s/keys",
			src.Spec.ID, src.Spec.Signature.Algorithm, src.Spec.ID, src.Spec.ID)
	}
}

func isBasic(src *source.Source) bool {
	return src.Spec.Signature != nil && strings.EqualFold(src.Spec.Signature.Signature.In, "basic")
}

// makeSecret makes a secret in the form that the source's signature wants.
func makeSecret(src *source.Source) (string, error) {
	if err := takesSecret(src); err != nil {
		return "", err
	}
	text := newSecret()
	switch {
	case src.Verifier == nil:
		return text, nil
	case isBasic(src):
		return "sender:" + text, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		panic("bug: own secret does not decode: " + err.Error())
	}
	switch src.Spec.Signature.SecretEncoding {
	case "hex":
		text = hex.EncodeToString(raw)
	case "base64":
		text = base64.StdEncoding.EncodeToString(raw)
	case "whsec":
		text = "whsec_" + base64.StdEncoding.EncodeToString(raw)
	}
	if err := src.Verifier.CheckSecret([]byte(text)); err != nil {
		return "", invalid("source %q: its alternatives want secrets of several forms, so none can be generated: give the sender's", src.Spec.ID)
	}
	return text, nil
}

// takesKey objects to a public key that the source's signature is not checked
// with, or that would be one too many.
func (r *sourceRow) takesKey(keyID string, key signature.PublicKey) error {
	src, err := r.compileSpec()
	if err != nil {
		return asInvalid(err)
	}
	with, kind := checksOf(src.Spec.Signature), "ecdsa-p256"
	fits := with.ecdsa
	if _, ok := key.(ed25519.PublicKey); ok {
		kind, fits = "ed25519", with.ed25519
	}
	have := r.keyIDs()
	switch {
	case !fits:
		return invalid("source %q: this is a key of %s, and its signature is not checked with such keys: change the signature's algorithm first", r.id, kind)
	case slices.Contains(have, keyID):
		return exists("source %q has a public key %q: drop it first, or choose another id", r.id, keyID)
	case len(have) >= signature.KeysMax:
		return invalid("source %q has %d public keys: at most %d; drop one that its sender does not use any more", r.id, len(have), signature.KeysMax)
	}
	return nil
}

// keyIDs lists the ids of the source's public keys.
func (r *sourceRow) keyIDs() []string {
	var ids []string
	for i := range r.secrets {
		if id := r.secrets[i].keyID; id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
