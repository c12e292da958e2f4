package event

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestRuleShare(t *testing.T) {
	f := func(rule, value, want string) {
		t.Helper()
		r, err := ParseRule(rule)
		if err != nil {
			t.Errorf("%q: %v", rule, err)
			return
		}
		v, err := ParseAmount(value)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Share(v); err != nil || got.String() != want {
			t.Errorf("%q of %s: %s, %v; want %s", rule, value, got, err, want)
		}
	}
	f("percent 80", "50", "40.00")
	f("percent 80%", "50", "40.00")
	f("percent 33.333333", "1", "0.333333")
	f("percent 0", "50", "0.00")
	f("percent 1000", "50", "500.00")
	f("percent 50", "0.000001", "0.00")     // half a millionth, to even
	f("percent 50", "0.000003", "0.000002") // one and a half, to even
	f("percent 50", "0.000005", "0.000002") // two and a half, to even
	f("percent 51", "0.000001", "0.000001")
	f("percent 80", "999999999999.999999", "799999999999.999999")

	f("flat 12.50", "50", "12.50")
	f("flat 12.50", "0.01", "12.50")
	f("flat 12.50", "0", "0.00")
	f("flat 12.50", "-5", "0.00")
	f("flat 0", "50", "0.00")

	f("*0.8-1", "50", "39.00")
	f("-1*0.8", "50", "39.20") // from left to right
	f(" *0.8 -1 ", "50", "39.00")
	f("+1+1*2", "1", "6.00")
	f("/3", "10", "3.333333")
	f("/3*3", "10", "9.999999")
	f("*0.5", "0.000001", "0.00")
	f("-60", "50", "0.00")
	f("-60+20", "50", "10.00") // below zero only at the end
	f("*0", "50", "0.00")
	f("*2", "0", "0.00")
	f("+5", "0", "0.00")
	f("+5", "-1", "0.00")
	f(strings.Repeat("+1", RuleOpsMax), "1", "17.00")
}

func TestRuleShareTooLarge(t *testing.T) {
	f := func(rule string, value Amount) {
		t.Helper()
		r, err := ParseRule(rule)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Share(value); err == nil || got != 0 {
			t.Errorf("%q of %s: %s, want an error", rule, value, got)
		}
	}
	f("*2", AmountMax)
	f("percent 101", AmountMax)
	f("+0.000001", AmountMax)
	f("/0.000001", AmountMax)
	f("*999999999999*999999999999", Unit)
	f("*999999999999*999999999999-999999999999", 1) // on the way, too
	f(strings.Repeat("-999999999999", RuleOpsMax), Unit)
	f("*1", math.MaxInt64)
}

func TestParseRuleRefuses(t *testing.T) {
	for _, text := range []string{"", " ", "80", "80%", "percent", "percent ", "percent -1", "percent 1001", "percent 80%%", "percent abc", "flat", "flat -1",
		"flat 1e3", "flat 12,50", "Flat 1", "*", "*-1", "*0.8-", "*.5", "/0", "/0.000000", "%80", "^2", "*0.8x", "×0.8", "*1.1234567",
		strings.Repeat("+1", RuleOpsMax+1)} {
		r, err := ParseRule(text)
		if err == nil || r != nil {
			t.Errorf("%q: no error", text)
		} else if !strings.Contains(err.Error(), `want "flat 12.50"`) {
			t.Errorf("%q: %v does not say what is wanted", text, err)
		}
	}
	if got, err := (*Rule)(nil).Share(Unit); got != 0 || err != nil {
		t.Errorf("no rule: share %s, %v; want none", got, err)
	}
}

// A share by percent is that of the exact total, never below zero, and a
// percentage up to a hundred never takes more than there is.
func TestRulePercentExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := Amount(rapid.Int64Range(1, int64(AmountMax)).Draw(t, "value"))
		percent := Amount(rapid.Int64Range(0, int64(100*Unit)).Draw(t, "percent"))
		r, err := ParseRule("percent " + percent.String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Share(value)
		if want := halfEven(int64(value), int64(percent), 100*int64(Unit)); err != nil || int64(got) != want.Int64() || got < 0 || got > value {
			t.Fatalf("%s %% of %s: %s, %v; want %s millionths", percent, value, got, err, want)
		}
	})
}

func FuzzRule(f *testing.F) {
	for _, s := range []string{"flat 12.50", "percent 80%", "*0.8-1", "/3", "-60+20", "percent 1000"} {
		f.Add(s, int64(50*Unit))
	}
	f.Fuzz(func(t *testing.T, s string, value int64) {
		r, err := ParseRule(s)
		if err != nil {
			return
		}
		if got, err := r.Share(Amount(value)); got < 0 || got > AmountMax || (err != nil && got != 0) {
			t.Fatalf("%q of %s: %s, %v", s, Amount(value), got, err)
		}
	})
}
