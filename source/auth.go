package source

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/source/signature"
)

// Limits of who may send.
const (
	AllowIPsMax        = 1000
	ClientNameBytesMax = 255
)

// AnyIP in AllowIPs takes off the preset's list.
const AnyIP = "any"

// Methods that a source may take.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodHead}

// compileAuth reads who may send, and what of the money nothing vouches for.
func compileAuth(src *Source) error {
	s := &src.Spec
	if s.Unsigned {
		s.Signature, s.SignatureOptional = nil, false
	}
	if s.Signature != nil {
		if s.Signature.Object != "" {
			return fmt.Errorf("signature.object %q: keys that were issued for single calls are compared with the call itself: use call_keys: true instead", s.Signature.Object)
		}
		v, err := signature.Compile(*s.Signature)
		if err != nil {
			return fmt.Errorf("signature: %w", err)
		}
		src.Verifier = v
	}
	if len(s.AllowIPs) > AllowIPsMax {
		return fmt.Errorf("allow_ips: %d entries: at most %d", len(s.AllowIPs), AllowIPsMax)
	}
	if !slices.Equal(s.AllowIPs, []string{AnyIP}) {
		for _, text := range s.AllowIPs {
			p, err := ParsePrefix(text)
			if err != nil {
				return fmt.Errorf("allow_ips %q: want an address or a prefix such as 203.0.113.7 or 2001:db8::/32, or [any] alone", text)
			}
			src.Allow = append(src.Allow, p)
		}
	}
	if len(s.ClientName) > ClientNameBytesMax {
		return fmt.Errorf("client_name of %d bytes: at most %d", len(s.ClientName), ClientNameBytesMax)
	}
	s.Methods = slices.Clone(s.Methods)
	for i, m := range s.Methods {
		if s.Methods[i] = strings.ToUpper(m); !slices.Contains(methods, s.Methods[i]) {
			return fmt.Errorf("methods %q: want some of %s", m, strings.Join(methods, ", "))
		}
	}
	vouch(src)
	return nil
}

// vouch says which money the signature leaves open. A source that takes from
// named addresses only, or is bound to a certificate, needs none for that; one
// without any signature rests on its URL, or on a secret that is sent with every
// request, as its operator chose.
func vouch(src *Source) {
	if src.Verifier == nil || src.Spec.Signature.Algorithm == "secret" || len(src.Allow) > 0 || src.Spec.ClientName != "" || src.MapperName != "" {
		return
	}
	// A signed body vouches for nothing in the query, so that is not read.
	src.BodyOnly = src.Verifier.Covers("query:x") == signature.CoverNone && src.Verifier.Covers("json:x") == signature.CoverFull
	covered := func(slot Slot) signature.Cover {
		least := signature.CoverFull
		for _, name := range src.Names[slot] {
			if src.BodyOnly {
				name = "json:" + name
			}
			least = min(least, src.Verifier.Covers(name))
		}
		return least
	}
	src.Policy.PayoutUnsure = covered(SlotPayout) != signature.CoverFull
	switch covered(SlotReward) {
	case signature.CoverPart:
		src.RewardWhole = true
	case signature.CoverNone:
		src.Policy.RewardUnsure = true
	}
	if src.RewardIn == "" || src.RewardRate != 0 {
		src.Policy.RewardUnsure, src.RewardWhole = src.Policy.PayoutUnsure, false
	}
}

// ParsePrefix reads an address or a prefix. One of IPv4 in IPv6 form is of
// IPv4: peers are compared so.
func ParsePrefix(text string) (netip.Prefix, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("prefix %s holds more than the addresses of IPv4", text)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}
