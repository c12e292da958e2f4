package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
)

const publicKeyBytesMax = 4096

// ParsePublicKey reads a public key as senders hand it out: PEM, the base64 of
// the same bytes, or of Ed25519's 32 bytes alone, after whpk_ or not, or those
// in hex. The key is an ed25519.PublicKey or an *ecdsa.PublicKey of P-256.
func ParsePublicKey(text string) (PublicKey, error) {
	text = strings.TrimSpace(text)
	bad := fmt.Errorf("public key %q: want PEM, base64 or hex of an Ed25519 or P-256 public key", shorten(text, 24))
	if len(text) > publicKeyBytesMax {
		return nil, bad
	}
	if block, _ := pem.Decode([]byte(text)); block != nil {
		return publicKeyOf(block.Bytes, bad)
	}
	if der, err := hex.DecodeString(text); err == nil {
		return publicKeyOf(der, bad)
	}
	der, ok := appendDecoded(nil, encodingBase64, strings.TrimPrefix(text, "whpk_"))
	if !ok {
		return nil, bad
	}
	return publicKeyOf(der, bad)
}

func publicKeyOf(der []byte, bad error) (PublicKey, error) {
	if len(der) == ed25519.PublicKeySize {
		return ed25519.PublicKey(der), nil
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, bad
	}
	switch k := key.(type) {
	case ed25519.PublicKey:
		return k, nil
	case *ecdsa.PublicKey:
		if goodECDSA(k) {
			return k, nil
		}
	}
	return nil, bad
}

func goodECDSA(k *ecdsa.PublicKey) bool { return k != nil && k.Curve == elliptic.P256() }
