package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"hash"
	"math/big"
	"strings"
)

// family is how a signature comes about.
type family uint8

const (
	familyHash   family = iota // the secret is in the input
	familyHMAC                 // it is the key
	familyKey                  // asymmetric
	familySecret               // it is sent as it is
)

type hashID uint8

const (
	hashMD5 hashID = iota
	hashSHA1
	hashSHA256
	hashSHA512
	hashes
)

var newHash = [hashes]func() hash.Hash{md5.New, sha1.New, sha256.New, sha512.New}

// algorithm is one of the names that Spec.Algorithm takes.
type algorithm struct {
	name   string
	family family
	hash   hashID
	bytes  int  // of a signature, 0 when its length says nothing
	legacy bool // broken or old hash
}

var algorithms = []algorithm{
	{"md5", familyHash, hashMD5, md5.Size, true},
	{"sha1", familyHash, hashSHA1, sha1.Size, true},
	{"sha256", familyHash, hashSHA256, sha256.Size, false},
	{"sha512", familyHash, hashSHA512, sha512.Size, false},
	{"hmac-md5", familyHMAC, hashMD5, md5.Size, true},
	{"hmac-sha1", familyHMAC, hashSHA1, sha1.Size, true},
	{"hmac-sha256", familyHMAC, hashSHA256, sha256.Size, false},
	{"hmac-sha512", familyHMAC, hashSHA512, sha512.Size, false},
	{"ed25519", familyKey, 0, ed25519.SignatureSize, false},
	{"ecdsa-p256", familyKey, hashSHA256, 0, false},
	{"secret", familySecret, hashSHA256, 0, false},
}

func algorithmOf(name string) (algorithm, error) {
	names := make([]string, len(algorithms))
	for i, a := range algorithms {
		if a.name == name {
			return a, nil
		}
		names[i] = a.name
	}
	return algorithm{}, fmt.Errorf("algorithm %q: want one of %s", name, strings.Join(names, ", "))
}

// hasher computes digests in memory of its own: crypto/hmac has none to reuse
// across keys, and every source has its own key. Its outcome is checked
// against crypto/hmac's.
type hasher struct {
	made [hashes]hash.Hash
	pad  [sha512.BlockSize]byte
	sum  [sha512.Size]byte
}

func (h *hasher) get(id hashID) hash.Hash {
	if h.made[id] == nil {
		h.made[id] = newHash[id]()
	}
	h.made[id].Reset()
	return h.made[id]
}

// digest hashes p, keyed for familyHMAC. The outcome is good until the next call.
func (h *hasher) digest(a algorithm, key, p []byte) []byte {
	if a.family == familyHMAC {
		return h.hmac(a.hash, key, p)
	}
	d := h.get(a.hash)
	d.Write(p)
	return d.Sum(h.sum[:0])
}

// hmac is RFC 2104: H(key ^ opad, H(key ^ ipad, p)).
func (h *hasher) hmac(id hashID, key, p []byte) []byte {
	d := h.get(id)
	if len(key) > d.BlockSize() {
		d.Write(key)
		key = d.Sum(h.sum[:0])
		d.Reset()
	}
	pad := h.pad[:d.BlockSize()]
	clear(pad)
	copy(pad, key)
	for i := range pad {
		pad[i] ^= 0x36
	}
	d.Write(pad)
	d.Write(p)
	inner := d.Sum(h.sum[:0])
	for i := range pad {
		pad[i] ^= 0x36 ^ 0x5c
	}
	d.Reset()
	d.Write(pad)
	d.Write(inner)
	clear(pad)
	return d.Sum(h.sum[:0])
}

// same compares digests in a time that tells nothing about either but its length.
func same(a, b []byte) bool { return hmac.Equal(a, b) }

// sameSecret compares secrets in a time that does not tell their length either.
func sameSecret(a, b []byte) bool {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

// verifyKey checks sig, which anybody may have made, against a public key.
func verifyKey(a algorithm, raw bool, key PublicKey, input, sig []byte) bool {
	switch k := key.(type) {
	case ed25519.PublicKey:
		return a.name == "ed25519" && len(k) == ed25519.PublicKeySize && ed25519.Verify(k, input, sig)
	case *ecdsa.PublicKey:
		if a.name != "ecdsa-p256" || !goodECDSA(k) {
			return false
		}
		sum := sha256.Sum256(input)
		if !raw {
			return ecdsa.VerifyASN1(k, sum[:], sig)
		}
		if len(sig) != 2*ecdsaPartBytes {
			return false
		}
		r, s := new(big.Int).SetBytes(sig[:ecdsaPartBytes]), new(big.Int).SetBytes(sig[ecdsaPartBytes:])
		return ecdsa.Verify(k, sum[:], r, s)
	}
	return false
}

const ecdsaPartBytes = 32
