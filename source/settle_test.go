package source_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

func offerwall(change func(*source.Spec)) source.Spec {
	s := source.Spec{ID: "wall", Identity: "token", Settle: source.SettleAccount, Account: "user:{user_id|user_id_sanitized}:{app}",
		Reward: &source.Reward{Currency: "coins", Rate: "1000"}}
	change(&s)
	return s
}

func TestSettleOnAccounts(t *testing.T) {
	src := compile(t, offerwall(func(*source.Spec) {}))
	want := []source.AccountPart{{Literal: "user:"}, {Fields: []string{"user_id", "user_id_sanitized"}}, {Literal: ":"}, {Fields: []string{"app"}}}
	if !reflect.DeepEqual(src.Account, want) || src.RewardIn != "COINS" || src.RewardRate != 1000*event.Unit || !src.Policy.ToAccount {
		t.Errorf("account %+v, reward in %s × %s, policy %+v", src.Account, src.RewardIn, src.RewardRate, src.Policy)
	}
	f := func(change func(*source.Spec), want string) {
		t.Helper()
		if _, err := source.Compile(offerwall(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	f(func(s *source.Spec) { s.Identity = "" }, "settle: account needs an identity")
	f(func(s *source.Spec) { s.Account = "user" }, "names no field")
	f(func(s *source.Spec) { s.Account = "user:{}" }, "a field's name stands between braces")
	f(func(s *source.Spec) { s.Account = "user:{a" }, "not closed")
	f(func(s *source.Spec) { s.Account = "user:{a}{b}" }, "stand side by side")
	f(func(s *source.Spec) { s.Account = "user}:{a}" }, "closes that was not opened")
	f(func(s *source.Spec) { s.Account = "user:\n{a}" }, "control characters")
	f(func(s *source.Spec) { s.Account = strings.Repeat("x", 300) + "{a}" }, "at most 256 bytes")
	f(func(s *source.Spec) { s.Reward.Rate = "0" }, `reward.rate "0"`)
	f(func(s *source.Spec) { s.Reward.Currency = "GOLD COINS" }, `reward.currency "GOLD COINS"`)
	f(func(s *source.Spec) { s.Duplicates = "add" }, "each transaction counts once")
	f(func(s *source.Spec) { s.Settle = "wallet" }, `settle "wallet"`)
	f(func(s *source.Spec) { s.Settle = "" }, "go with settle: account")
}

func TestPoliciesAreRead(t *testing.T) {
	src := compile(t, source.Spec{ID: "a", Identity: "id", Duplicates: "add", Adjustments: "relative", DailyMax: "500.50",
		Statuses:    map[string][]string{"conversion": {"lead", "sale"}, "reversal": {"Rejected"}},
		Transitions: map[string][]string{"Lead": {"Sale", " rejected "}, "sale": nil}, ReversalPrefix: "r-"})
	p := src.Policy
	if p.Duplicates != event.Add || !p.Relative || p.DailyMax != 500_500_000 ||
		!reflect.DeepEqual(p.Transitions, map[string][]string{"lead": {"sale", "rejected"}, "sale": {}}) {
		t.Errorf("policy %+v", p)
	}
	f := func(s source.Spec, want string) {
		t.Helper()
		s.ID = "a"
		if _, err := source.Compile(s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", s, err, want)
		}
	}
	f(source.Spec{Duplicates: "add"}, "duplicates: add needs an identity")
	f(source.Spec{Adjustments: "relative"}, "adjustments: relative needs an identity")
	f(source.Spec{ReversalPrefix: "r-"}, "reversal_prefix needs an identity")
	f(source.Spec{Duplicates: "sum"}, `duplicates "sum"`)
	f(source.Spec{Adjustments: "sum"}, `adjustments "sum"`)
	f(source.Spec{DailyMax: "-1"}, `daily_max "-1"`)
	f(source.Spec{Transitions: map[string][]string{" ": nil}}, "transitions")
	f(source.Spec{Transitions: map[string][]string{"lead": nil}}, `transitions: word "lead": say in statuses`)
	f(source.Spec{Statuses: map[string][]string{"conversion": {"lead"}}, Transitions: map[string][]string{"lead": {"void"}}}, `word "void"`)
	f(source.Spec{AllowIPs: []string{"10.0.0.0/8", "any"}}, `allow_ips "any"`)
	f(source.Spec{AllowIPs: []string{"::ffff:0:0/90"}}, "allow_ips")
	f(source.Spec{Methods: []string{"DELETE"}}, `methods "DELETE"`)
	f(source.Spec{Signature: &signature.Spec{Algorithm: "md6"}}, "signature: ")
}

// What a signature does not cover is not booked, unless something else vouches
// for it.
func TestSignatureVouchesForMoney(t *testing.T) {
	md5 := &signature.Spec{Algorithm: "md5", Input: "{@secret}.{user_id}.{value|int}.{token}", Signature: signature.Place{In: "query:signature"}}
	body := &signature.Spec{Algorithm: "hmac-sha256", Input: "body", Signature: signature.Place{In: "header:x-signature"}}
	wall := func(change func(*source.Spec)) source.Spec {
		return offerwall(func(s *source.Spec) {
			s.Signature, s.Reward = md5, &source.Reward{Currency: "COINS"}
			s.Fields = map[string][]string{"reward": {"value"}, "payout": {"payout_usd"}}
			change(s)
		})
	}
	f := func(s source.Spec, payout, reward, whole, bodyOnly bool) {
		t.Helper()
		src := compile(t, s)
		if src.Policy.PayoutUnsure != payout || src.Policy.RewardUnsure != reward || src.RewardWhole != whole || src.BodyOnly != bodyOnly {
			t.Errorf("%+v: payout unsure %v, reward unsure %v, whole %v, body only %v", s, src.Policy.PayoutUnsure, src.Policy.RewardUnsure, src.RewardWhole, src.BodyOnly)
		}
	}
	f(wall(func(s *source.Spec) {}), true, false, true, false)
	f(wall(func(s *source.Spec) { s.AllowIPs = []string{"192.0.2.1"} }), false, false, false, false)
	f(wall(func(s *source.Spec) { s.ClientName = "wall.example" }), false, false, false, false)
	f(wall(func(s *source.Spec) { s.Signature = nil }), false, false, false, false)
	f(wall(func(s *source.Spec) { s.Fields["reward"] = []string{"value", "coins"} }), true, true, false, false)
	f(wall(func(s *source.Spec) { s.Reward.Rate = "1000" }), true, true, false, false)
	f(source.Spec{ID: "a", Signature: body}, false, false, false, true)
	f(source.Spec{ID: "a", Signature: md5}, true, true, false, false)
}
