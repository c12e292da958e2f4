package mapper

import (
	"math/big"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

func TestReadAmount(t *testing.T) {
	f := func(tr source.Transforms, text, want string) {
		t.Helper()
		if got, ok := readAmount(text, &tr); !ok || got.String() != want {
			t.Errorf("%q with %+v: %s %v, want %s", text, tr, got, ok, want)
		}
	}
	bad := func(tr source.Transforms, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if got, ok := readAmount(text, &tr); ok {
				t.Errorf("%q with %+v: %s, want it refused", text, tr, got)
			}
		}
	}
	var none source.Transforms
	f(none, "50", "50.00")
	f(none, " +50.25 ", "50.25")
	f(none, "-3.5", "-3.50")
	f(none, "0.000001", "0.000001")
	f(none, "007", "7.00")
	bad(none, "$50", "50$", "5e1", "5E1", "1,000", "12,34", "+-5", "--5", "++5", "- 5", ".5", "5.", "1.2.3", "0.0000001", "1000000000000",
		"NaN", "Infinity", "0x10", "1_000", "true", "", strings.Repeat("0", 65), "５０")

	cents := source.Transforms{Cents: true}
	f(cents, "5000", "50.00")
	f(cents, "5000.00", "50.00")
	f(cents, "-1", "-0.01")
	bad(cents, "50.5", "$50", "5e3")

	comma := source.Transforms{DecimalComma: true}
	f(comma, "12,34", "12.34")
	f(comma, "1.234,56", "1234.56")
	f(comma, "1.234", "1234.00")
	f(comma, "12", "12.00")
	bad(comma, "12.34", "1,234,56", "1,234.56", "12,", ",5", "1234.567,00", "1.23,4", ".123")

	sign := source.Transforms{CurrencySign: true}
	for _, s := range []string{"$5", "5$", "€ 5", "5 €", "£5", "5", "+$5", "¥5", "5¥", "₹ 5", "5₽", "₽5", "5 zł", "zł5", "kr 5", "5kr"} {
		f(sign, s, "5.00")
	}
	f(sign, "-$5", "-5.00")
	f(sign, "$-5", "-5.00")
	bad(sign, "$$5", "$5$", "-$-5", "¥5¥", "kr kr 5", "5 zł kr", "k5", "kr.50", "₿5", "USD 5", "$", "$ +5", "$1,000")

	both := source.Transforms{Cents: true, CurrencySign: true}
	f(both, "$5000", "50.00")
	f(both, "-1 kr", "-0.01")
	bad(both, "$50.5", "kr")

	groups := source.Transforms{Thousands: true}
	f(groups, "1,234,567.89", "1234567.89")
	f(groups, "1 234 567", "1234567.00")
	f(groups, "1'234.5", "1234.50")
	f(groups, "1\u202f234", "1234.00")
	f(groups, "999", "999.00")
	f(source.Transforms{Thousands: true, DecimalComma: true, CurrencySign: true}, "-1 234,50 €", "-1234.50")
	bad(groups, "1,23", "12,34.5", "1234,567", ",123", "1,234 567", "1,,234", "1,234,", "1.234,5")

	round := source.Transforms{RoundHalfEven: true}
	f(round, "0.0000005", "0.00")
	f(round, "0.0000015", "0.000002")
	f(round, "0.0000025", "0.000002")
	f(round, "0.00000250001", "0.000003")
	f(round, "0.00000249999", "0.000002")
	f(round, "-1.9999999", "-2.00")
	f(round, "999999999999.9999994", "999999999999.999999")
	bad(round, "999999999999.9999999", "1.0000000x", "1000000000000")
	bad(source.Transforms{RoundHalfEven: true, Cents: true}, "1.5")
}

// Whatever is accepted is what exact arithmetic makes of the text.
func FuzzAmountTransforms(f *testing.F) {
	for _, s := range []string{"50", "-$1,234.5678905", "1.234,56 €", "£ 1 000 000,000001", "+0.0000005", "5000", "1'000", "kr 5", "5 zł", "₹1", "¥-5"} {
		for flags := range uint8(32) {
			f.Add(s, flags)
		}
	}
	f.Fuzz(func(t *testing.T, text string, flags uint8) {
		tr := source.Transforms{Cents: flags&1 > 0, DecimalComma: flags&2 > 0, CurrencySign: flags&4 > 0, Thousands: flags&8 > 0, RoundHalfEven: flags&16 > 0}
		got, ok := readAmount(text, &tr)
		if !ok {
			return
		}
		if got > event.AmountMax || got < -event.AmountMax {
			t.Fatalf("%q: %d is beyond the largest amount", text, got)
		}
		var digits strings.Builder
		neg := false
		for _, r := range text {
			switch {
			case '0' <= r && r <= '9':
				digits.WriteRune(r)
			case r == '.' && !tr.DecimalComma, r == ',' && tr.DecimalComma:
				digits.WriteByte('.')
			case r == '-':
				neg = true
			}
		}
		want, valid := new(big.Rat).SetString(digits.String())
		if !valid {
			t.Fatalf("%q: accepted as %s", text, got)
		}
		if neg {
			want.Neg(want)
		}
		if tr.Cents {
			want.Quo(want, big.NewRat(100, 1))
		}
		off := new(big.Rat).Sub(want, big.NewRat(int64(got), int64(event.Unit)))
		if limit := big.NewRat(1, 2*int64(event.Unit)); off.Abs(off).Cmp(limit) > 0 || (!tr.RoundHalfEven && off.Sign() != 0) ||
			(off.Cmp(limit) == 0 && got%2 != 0) {
			t.Fatalf("%q with %+v: %s, exact is %s", text, tr, got, want.FloatString(12))
		}
	})
}
