package event

import (
	"errors"
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestParseAmount(t *testing.T) {
	f := func(text string, want Amount) {
		t.Helper()
		if got, err := ParseAmount(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	f("0", 0)
	f("-0", 0)
	f("-0.000000", 0)
	f("50", 50_000_000)
	f("50.00", 50_000_000)
	f("50.25", 50_250_000)
	f("-3.5", -3_500_000)
	f("0.000001", 1)
	f("-0.000001", -1)
	f("1.0000000000", 1_000_000)
	f("0.1234560", 123_456)
	f("00000000000000000000007", 7_000_000)
	f("999999999999.999999", AmountMax)
	f("-999999999999.999999", -AmountMax)
}

func TestParseAmountRefuses(t *testing.T) {
	f := func(want error, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if got, err := ParseAmount(text); !errors.Is(err, want) || got != 0 {
				t.Errorf("%q: %d, %v; want %v", text, got, err, want)
			}
		}
	}
	f(ErrAmountSyntax, "", "-", "--1", "+1", ".", ".5", "5.", "-.5", "1.2.3", "1,5", "1 ", " 1", "1e3", "0x10", "1_000", "NaN", "Inf", "$5", "٣", "1.0000000x", "5\x00")
	f(ErrAmountDigits, "0.0000001", "1.1234567", "1.00000000000001")
	f(ErrAmountRange, "1000000000000", "-1000000000000", strings.Repeat("9", 40))
}

func TestAmountText(t *testing.T) {
	f := func(a Amount, want string) {
		t.Helper()
		if got := a.String(); got != want {
			t.Errorf("%d: %q, want %q", int64(a), got, want)
		}
	}
	f(0, "0.00")
	f(1, "0.000001")
	f(-1, "-0.000001")
	f(50*Unit, "50.00")
	f(125_000, "0.125")
	f(-3_500_000, "-3.50")
	f(100_010, "0.10001")
	f(AmountMax, "999999999999.999999")
	f(math.MinInt64, "-9223372036854.775808")
}

func TestAmountJSONIsText(t *testing.T) {
	p, err := Amount(50_250_000).MarshalText()
	if err != nil || string(p) != "50.25" {
		t.Errorf("%q, %v", p, err)
	}
	var a Amount
	if err := a.UnmarshalText(p); err != nil || a != 50_250_000 {
		t.Errorf("%d, %v", a, err)
	}
	if err := a.UnmarshalText([]byte("50,25")); !errors.Is(err, ErrAmountSyntax) {
		t.Errorf("%v, want %v", err, ErrAmountSyntax)
	}
}

func FuzzAmount(f *testing.F) {
	for _, s := range []string{"50.00", "-0.000001", "999999999999.999999", "1.1234567", "1e3", ".5", "0012", "-", "1.0000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAmount(s)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q was read as %d and is no number", s, a)
		}
		if exact.Mul(exact, big.NewRat(int64(Unit), 1)); exact.Cmp(big.NewRat(int64(a), 1)) != 0 {
			t.Fatalf("%q was read as %d, want %s", s, a, exact)
		}
		if again, err := ParseAmount(a.String()); err != nil || again != a {
			t.Fatalf("%q as text %q reads as %d, %v", s, a, again, err)
		}
	})
}

func TestMulDiv(t *testing.T) {
	f := func(a Amount, num, den int64, want Amount, ok bool) {
		t.Helper()
		if got, is := a.MulDiv(num, den); got != want || is != ok {
			t.Errorf("%d×%d/%d: %d, %t; want %d, %t", int64(a), num, den, got, is, want, ok)
		}
	}
	f(10, 1, 4, 2, true) // 2.5 to even
	f(14, 1, 4, 4, true) // 3.5 to even
	f(-10, 1, 4, -2, true)
	f(-14, 1, 4, -4, true)
	f(11, 1, 4, 3, true)
	f(9, 1, 4, 2, true)
	f(7, 0, 5, 0, true)
	f(math.MaxInt64, 1, 1, math.MaxInt64, true)
	f(math.MaxInt64, math.MaxInt64, math.MaxInt64, math.MaxInt64, true)
	f(math.MaxInt64, 2, 1, 0, false)
	f(math.MinInt64, 1, 1, 0, false)
	f(math.MaxInt64, math.MaxInt64, 1, 0, false)
	f(8198552921648689607, 9, 4, 0, false) // (4×2^64−1)/4 rounds up to 2^64
	f(-8198552921648689607, 9, 4, 0, false)
}

func FuzzMulDiv(f *testing.F) {
	f.Add(int64(10), int64(1), int64(4))
	f.Add(int64(math.MaxInt64), int64(800_000), int64(Unit))
	f.Add(int64(math.MinInt64), int64(math.MaxInt64), int64(3))
	f.Fuzz(func(t *testing.T, a, num, den int64) {
		if num < 0 || den <= 0 {
			return
		}
		got, ok := Amount(a).MulDiv(num, den)
		want := halfEven(a, num, den)
		if want.CmpAbs(big.NewInt(math.MaxInt64)) > 0 {
			if ok {
				t.Fatalf("%d×%d/%d: %d, want overflow: %s", a, num, den, got, want)
			}
		} else if !ok || want.Int64() != int64(got) {
			t.Fatalf("%d×%d/%d: %d, %t; want %s", a, num, den, got, ok, want)
		}
	})
}

// halfEven is a×num/den with big numbers.
func halfEven(a, num, den int64) *big.Int {
	p := new(big.Int).Mul(big.NewInt(a), big.NewInt(num))
	q, r := new(big.Int).QuoRem(new(big.Int).Abs(p), big.NewInt(den), new(big.Int))
	switch r.Lsh(r, 1).Cmp(big.NewInt(den)) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, new(big.Int).And(q, big.NewInt(1)))
	}
	if p.Sign() < 0 {
		q.Neg(q)
	}
	return q
}
