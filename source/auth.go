package source

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
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
		if s.Signature == nil { // else a secret that is shown would be taken for that of a signature
			return fmt.Errorf("unsigned takes off the preset's signature, and preset %q has none: leave unsigned out", s.Preset)
		}
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
		if err := namedAsSecret(s.Signature); err != nil {
			return err
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

// namedAsSecret objects to a secret that is sent in a field whose name does not
// say what it is: requests are kept and shown, and secrets known by their names.
func namedAsSecret(s *signature.Spec) error {
	for _, one := range append([]signature.Spec{{}}, s.Alternatives...) { // what one leaves out is the scheme's
		if cmp.Or(one.Algorithm, s.Algorithm) != "secret" {
			continue
		}
		in := cmp.Or(one.Signature.In, s.Signature.In)
		origin, name, ok := strings.Cut(in, ":")
		if !ok {
			origin, name = "", in
		}
		if origin == "header" || origin == "path" || name == "bearer" || strings.HasPrefix(name, "basic") {
			continue // neither is kept
		}
		if !event.SecretName(name[strings.LastIndexByte(name, '.')+1:]) {
			return fmt.Errorf("signature: the secret is sent as %q: want a name that sounds like a secret's, such as key or auth_token, or a header, or the secret would be kept readable", in)
		}
	}
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
			if src.Verifier.Glued(name) {
				return signature.CoverNone
			}
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
	p := &src.Policy
	if again := !src.identified(); p.ToAccount {
		p.RewardUnsure = p.RewardUnsure || again
	} else if p.Duplicates == event.Add || p.Relative { // elsewhere the same price for the same call changes nothing
		p.PayoutUnsure = p.PayoutUnsure || again
	}
}

// identified reports whether the signature vouches for the identity: else one
// signed request would be good for as many as anybody cares to number.
func (src *Source) identified() bool {
	names := []string{src.Spec.Identity}
	if i := slices.Index(slotNames[:], src.Spec.Identity); i >= 0 {
		names = append(names, src.Names[i]...)
	}
	for _, name := range names {
		if src.BodyOnly {
			name = "json:" + name
		}
		if src.Verifier.Covers(name) != signature.CoverFull {
			return false
		}
	}
	return true
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
