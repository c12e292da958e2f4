package source

import (
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/source/signature"
)

// One signed request is good for one booking: where the identity alone keeps a
// second one away, it has to be signed as well.
func TestUnsignedIdentity(t *testing.T) {
	f := func(s Spec, input string, payoutUnsure, rewardUnsure bool) {
		t.Helper()
		s.ID, s.Preset = "s", "admob-ssv" // whose names are few
		s.Identity, s.Reward, s.PayoutOptional = "tid", &Reward{Currency: "COINS"}, true
		s.Account = "user:{user}"
		s.Signature = &signature.Spec{Algorithm: "hmac-sha256", Input: input, Signature: signature.Place{In: "query:signature"}}
		src, err := Compile(s)
		if err != nil {
			t.Fatal(err)
		}
		if p := src.Policy; p.RewardUnsure != rewardUnsure || p.PayoutUnsure != payoutUnsure {
			t.Errorf("%s: payout unsure %v, reward %v; want %v, %v", input, p.PayoutUnsure, p.RewardUnsure, payoutUnsure, rewardUnsure)
		}
	}
	f(Spec{}, "{user}|{reward_amount}|{tid}", false, false)
	f(Spec{}, "{user}|{reward_amount}", false, true)
	f(Spec{}, "{user}|{reward_amount}|{tid|lower}", false, true)
	f(Spec{}, "url", false, false)
	f(Spec{AllowIPs: []string{"203.0.113.7"}}, "{user}|{reward_amount}", false, false)
	f(Spec{ClientName: "sender"}, "{user}|{reward_amount}", false, false)
}

// A secret that is sent is kept out of what is stored by its field's name.
func TestSecretHasASecretName(t *testing.T) {
	f := func(in, also string, ok bool) {
		t.Helper()
		s := &signature.Spec{Algorithm: "secret", Signature: signature.Place{In: in}}
		if also != "" {
			s.Alternatives = []signature.Spec{{Signature: signature.Place{In: also}}}
		}
		_, err := Compile(Spec{ID: "s", Signature: s})
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "sounds like a secret's") {
			t.Errorf("%s, %s: %v", in, also, err)
		}
	}
	f("query:key", "", true)
	f("auth_token", "basic", true)
	f("json:data.api_key", "bearer", true)
	f("header:X-Anything", "", true)
	f("path:-1", "", true)
	f("query:k", "", false)
	f("pw", "", false)
	f("form:code", "", false)
	f("json:key.value", "", false)
	f("bearer", "query:code", false)
}
