package event

import (
	"errors"
	"math/bits"
	"strconv"
)

// Amount is money in millionths of a currency's major unit. It is read from
// text, never from a float: 50.00 is Amount(50_000_000).
type Amount int64

// Unit is one major unit, AmountMax the largest amount that a report may name
// (twelve digits before the point).
const (
	Unit      Amount = 1_000_000
	AmountMax Amount = 999_999_999_999*Unit + 999_999
)

// Money is an amount with its currency: an ISO code such as "USD" or a virtual one.
type Money struct {
	Amount   Amount
	Currency string
}

// Errors of ParseAmount.
var (
	ErrAmountSyntax = errors.New("not a plain decimal number")
	ErrAmountDigits = errors.New("more than six digits after the point")
	ErrAmountRange  = errors.New("more than twelve digits before the point")
)

// ParseAmount reads -?digits[.digits] with at most twelve digits before the
// point and six after it. Exponents, signs of currency, separators, hex, NaN
// and blanks are refused: a source that sends those says so, and the mapper
// takes them off first.
func ParseAmount(s string) (Amount, error) {
	neg := len(s) > 0 && s[0] == '-'
	if neg {
		s = s[1:]
	}
	var v int64
	var whole, frac int // significant digits before the point, digits after it
	var digit, dot bool
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '.' && !dot && digit:
			dot = true
		case c < '0' || c > '9':
			return 0, ErrAmountSyntax
		case dot && frac == 6:
			if c != '0' {
				return 0, ErrAmountDigits
			}
		case dot:
			v, frac = v*10+int64(c-'0'), frac+1
		case whole == 12:
			return 0, ErrAmountRange
		default:
			v, digit = v*10+int64(c-'0'), true
			if v > 0 {
				whole++
			}
		}
	}
	if !digit || (dot && frac == 0) {
		return 0, ErrAmountSyntax
	}
	for ; frac < 6; frac++ {
		v *= 10
	}
	if neg {
		v = -v
	}
	return Amount(v), nil
}

// Append appends a as text with at least two decimals and no needless zeros
// beyond them: 50.00, 0.125, -3.50.
func (a Amount) Append(dst []byte) []byte {
	u := uint64(a)
	if a < 0 {
		dst = append(dst, '-')
		u = -u
	}
	dst = strconv.AppendUint(dst, u/uint64(Unit), 10)
	frac := u % uint64(Unit)
	var d [7]byte
	d[0] = '.'
	for i := 6; i >= 1; i-- {
		d[i] = byte('0' + frac%10)
		frac /= 10
	}
	n := 7
	for n > 3 && d[n-1] == '0' {
		n--
	}
	return append(dst, d[:n]...)
}

func (a Amount) String() string { return string(a.Append(nil)) }

// MarshalText renders a as a decimal string, so that JSON never holds a float.
func (a Amount) MarshalText() ([]byte, error) { return a.Append(nil), nil }

// UnmarshalText reads what MarshalText wrote.
func (a *Amount) UnmarshalText(p []byte) error {
	v, err := ParseAmount(string(p))
	*a = v
	return err
}

// MulDiv returns a×num/den rounded half to even with a 128-bit intermediate.
// num and den must not be negative, den not zero; ok is false on overflow.
func (a Amount) MulDiv(num, den int64) (Amount, bool) {
	neg, u := a < 0, uint64(a)
	if neg {
		u = -u
	}
	hi, lo := bits.Mul64(u, uint64(num))
	if hi >= uint64(den) {
		return 0, false
	}
	q, r := bits.Div64(hi, lo, uint64(den))
	if q > 1<<63-1 { // before rounding, which could carry the largest quotient to zero
		return 0, false
	}
	if d := uint64(den) - r; r > d || (r == d && q&1 == 1) {
		q++
	}
	if q > 1<<63-1 {
		return 0, false
	}
	if neg {
		return -Amount(q), true
	}
	return Amount(q), true
}
