package mapper

import (
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// credit is what a report says that its account gets.
func credit(r *event.Report) string {
	out := "none"
	if r.HasReward {
		out = r.Reward.Amount.String() + " " + r.Reward.Currency
	} else if r.Reward != (event.Money{}) {
		out = "a reward that is none"
	}
	if r.Kind != event.Conversion {
		out = r.Kind.String() + " " + out
	}
	if r.Invalid != "" {
		out += " " + string(r.Invalid) + " " + r.Detail.Field
	}
	return out
}

// rewarding asserts what queries of a kind of source credit.
func rewarding(t *testing.T, change func(*source.Spec)) func(query, want string) {
	s := settling("{uid}")
	s.Reward = nil
	s.ReversalPrefix = "r-"
	change(&s)
	return func(query, want string) {
		t.Helper()
		if got := credit(&mapOne(t, s, request{query: query + "&uid=alice"}).Report); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

func TestRewardOfASlot(t *testing.T) {
	coins := &source.Reward{Currency: "coins"}
	f := rewarding(t, func(s *source.Spec) { s.Reward = coins })
	f("tid=1&coins=360", "360.00 COINS")
	f("tid=1&coins=360&payout=0.36&currency=EUR", "360.00 COINS")
	f("tid=1&coins=0", "0.00 COINS")
	f("tid=1&coins=0.000001", "0.000001 COINS")
	f("tid=1&payout=0.36", "none reward_missing coins")
	f("tid=1&coins=&payout=0.36", "none reward_missing coins")
	f("tid=1&coins=many", "none payout_unreadable coins")
	f("tid=1&coins=$5", "none payout_unreadable coins")
	f("tid=r-1", "reversal none") // takes back what was, however much
	f("tid=r-1&coins=360", "reversal 360.00 COINS")
	f("tid=1&coins=-360", "-360.00 COINS payout_negative coins")
	f("tid=1&coins=360&payout=-0.36", "360.00 COINS payout_negative payout")

	f = rewarding(t, func(s *source.Spec) { s.Reward, s.Fields = coins, nil })
	f("tid=1", "none reward_missing reward")
	f = rewarding(t, func(s *source.Spec) { s.Reward, s.PayoutOptional = coins, false })
	f("tid=1&coins=1", "1.00 COINS payout_missing ")
	f = rewarding(t, func(s *source.Spec) { s.Reward, s.Constants = coins, map[string]string{"reward": "10"} })
	f("tid=1", "10.00 COINS")
	f("tid=1&coins=7", "7.00 COINS")
}

func TestRewardBelowZero(t *testing.T) {
	f := rewarding(t, func(s *source.Spec) {
		s.Reward, s.Transforms.NegativeReverses = &source.Reward{Currency: "COINS"}, true
	})
	f("tid=1&coins=-360&payout=-0.36", "reversal 360.00 COINS")
	f("tid=1&coins=-360", "reversal 360.00 COINS")
	f("tid=1&payout=-0.36", "reversal none")
	f("tid=1&coins=-360&payout=0", "reversal 360.00 COINS")
	f("tid=1&coins=0&payout=-0.36", "reversal 0.00 COINS")
	f("tid=r-1&coins=-360&payout=-0.36", "reversal 360.00 COINS")
	f("tid=1&coins=360&payout=-0.36", "360.00 COINS payout_negative payout")
	f("tid=1&coins=-360&payout=0.36", "-360.00 COINS payout_negative coins")
	f("tid=r-1&coins=-360&payout=0.36", "reversal -360.00 COINS payout_negative coins")

	f = rewarding(t, func(s *source.Spec) {
		s.Reward, s.Transforms.NegativeReverses = &source.Reward{Currency: "COINS"}, true
		s.Constants = map[string]string{"reward": "10"}
	})
	f("tid=1&payout=-0.36", "reversal 10.00 COINS")

	f = rewarding(t, func(s *source.Spec) {
		s.Reward, s.Transforms.NegativeReverses, s.Adjustments = &source.Reward{Currency: "COINS"}, true, "relative"
		s.Fields = map[string][]string{"kind": {"kind"}, "reward": {"coins"}}
	})
	f("tid=1&kind=adjustment&coins=-5&payout=-0.5", "adjustment -5.00 COINS")
	f("tid=1&kind=adjustment&coins=5", "adjustment 5.00 COINS")
	f("tid=1&kind=adjustment&coins=-5&payout=0.5", "adjustment -5.00 COINS payout_negative coins")
	f("tid=1&coins=-5", "reversal 5.00 COINS")
}

func TestRewardAtARate(t *testing.T) {
	at := func(rate string) func(query, want string) {
		return rewarding(t, func(s *source.Spec) {
			s.Reward, s.Transforms.NegativeReverses = &source.Reward{Currency: "COINS", Rate: rate}, true
		})
	}
	f := at("1000")
	f("tid=1&payout=0.36", "360.00 COINS")
	f("tid=1&payout=-0.36", "reversal 360.00 COINS")
	f("tid=1&payout=0.36&coins=999999", "360.00 COINS") // the slot says nothing then
	f("tid=1&payout=0", "0.00 COINS")
	f("tid=1&coins=5", "none reward_missing payout")
	f("tid=r-1", "reversal none")
	f("tid=1&payout=999999999999", "none payout_unreadable payout")
	f = at("0.5")
	f("tid=1&payout=0.000001", "0.00 COINS") // half to even
	f("tid=1&payout=0.000003", "0.000002 COINS")
	f("tid=1&payout=0.000005", "0.000002 COINS")
	f("tid=1&payout=0.000007", "0.000004 COINS")
	f("tid=1&payout=-0.000007", "reversal 0.000004 COINS")
	f = at("0.333333")
	f("tid=1&payout=3", "0.999999 COINS")
	at("999999999999")("tid=1&payout=999999999999", "none payout_unreadable payout") // beyond 64 bits
}

func TestRewardIsThePayout(t *testing.T) {
	f := rewarding(t, func(s *source.Spec) { s.Transforms.NegativeReverses = true })
	f("tid=1&payout=0.36", "0.36 USD")
	f("tid=1&payout=0.36&currency=eur", "0.36 EUR")
	f("tid=1&payout=-0.36&currency=eur", "reversal 0.36 EUR")
	f("tid=1&coins=5", "none reward_missing payout")
	f = rewarding(t, func(s *source.Spec) { s.PayoutOptional = false })
	f("tid=1", "none payout_missing ")
}

// What a signature covers the whole part of counts for no more.
func TestRewardWhole(t *testing.T) {
	f := func(coins, want string) {
		t.Helper()
		s := settling("{uid}")
		s.Transforms.NegativeReverses = true
		for _, round := range []bool{false, true} {
			s.Transforms.RoundHalfEven = round
			src := compile(t, s)
			src.RewardWhole = true
			b := batchOf(t, request{query: "tid=1&uid=a&coins=" + coins})
			if err := NewBuiltin(liveOf(src)).Map(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if got := credit(&b.Events[0].Report); got != want {
				t.Errorf("%s, rounding %v: %s, want %s", coins, round, got, want)
			}
		}
	}
	f("100.1234", "100.00 COINS")
	f("100", "100.00 COINS")
	f("0.999999", "0.00 COINS")
	f("-100.9", "reversal 100.00 COINS")
	f("-0.5", "reversal 0.00 COINS")
	f("99.99999999", "99.00 COINS") // not even where others would round
	f("99.x", "none payout_unreadable coins")
}

// Rewards are read in the notation of payouts, and a sign of currency does not
// say which currency it is.
func TestNotationsOfRewards(t *testing.T) {
	f := func(tr source.Transforms, text, want string) {
		t.Helper()
		rewarding(t, func(s *source.Spec) { s.Reward, s.Transforms = &source.Reward{Currency: "COINS"}, tr })("tid=1&coins="+text, want)
	}
	f(source.Transforms{DecimalComma: true}, "1.234,5", "1234.50 COINS")
	f(source.Transforms{Cents: true}, "1250", "12.50 COINS")
	f(source.Transforms{Cents: true, CurrencySign: true}, "1250+z%C5%82", "12.50 COINS")
	f(source.Transforms{CurrencySign: true}, "%E2%82%B912.5", "12.50 COINS")
	f(source.Transforms{Thousands: true}, "1,250", "1250.00 COINS")
	f(source.Transforms{RoundHalfEven: true}, "0.0000015", "0.000002 COINS")

	signs := source.Spec{Transforms: source.Transforms{CurrencySign: true}, Currency: "NOK"}
	for query, want := range map[string]string{"payout=5+kr": "NOK", "payout=5+kr&currency=sek": "SEK", "payout=%245&currency=CAD": "CAD", "payout=%C2%A55": "NOK"} {
		if r := mapOne(t, signs, request{query: query}).Report; r.Payout != (event.Money{Amount: 5 * event.Unit, Currency: want}) || r.Invalid != "" {
			t.Errorf("%s: %v %s, want 5 %s", query, r.Payout, r.Invalid, want)
		}
	}
}
