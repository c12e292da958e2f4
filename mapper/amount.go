package mapper

import (
	"strings"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// amountBytesMax bounds the text of an amount, whatever its notation.
const amountBytesMax = 64

// readAmount reads an amount in the notation that t declares. Without a
// declaration it is what event.ParseAmount reads, but for blanks around it and
// one leading plus. ok is false when it cannot be read exactly.
func readAmount(text string, t *source.Transforms) (v event.Amount, ok bool) {
	return readAmountTo(text, t, false)
}

// readAmountTo is readAmount; down says that digits beyond the sixth decimal
// are cut, whatever t says of rounding.
func readAmountTo(text string, t *source.Transforms, down bool) (v event.Amount, ok bool) {
	s := strings.TrimSpace(text)
	if len(s) > amountBytesMax {
		return 0, false
	}
	if strings.HasPrefix(s, "+") && !strings.HasPrefix(s, "+-") {
		s = s[1:]
	}
	if !t.Cents && !t.DecimalComma && !t.CurrencySign && !t.Thousands && !t.RoundHalfEven && !down {
		v, err := event.ParseAmount(s)
		return v, err == nil
	}

	s, neg := strings.CutPrefix(s, "-")
	if t.CurrencySign {
		s = withoutSign(s)
		if rest, minus := strings.CutPrefix(s, "-"); minus && !neg { // $-5 as well as -$5
			s, neg = rest, true
		}
	}
	var buf [amountBytesMax]byte
	plain, ok := plainDecimal(buf[:0], s, t)
	if !ok {
		return 0, false
	}
	up := false
	if t.RoundHalfEven || down {
		plain, up = roundHalfEven(plain)
		up = up && !down
	}
	v, err := event.ParseAmount(event.View(plain))
	if up {
		v++
	}
	if err != nil || v < 0 || v > event.AmountMax {
		return 0, false
	}
	if t.Cents {
		if v%event.Unit != 0 {
			return 0, false
		}
		v /= 100
	}
	if neg {
		v = -v
	}
	return v, true
}

// currencySigns are those of the field's usual currencies. Which currency they
// stand for is not guessed: crowns are of four countries, dollars of twenty.
var currencySigns = [...]string{"$", "€", "£", "¥", "₹", "₽", "zł", "kr"}

// withoutSign takes off one currency sign, before or after, with blanks beside it.
func withoutSign(s string) string {
	for _, sign := range &currencySigns {
		if rest, ok := strings.CutPrefix(s, sign); ok {
			return strings.TrimLeft(rest, " \u00a0\u202f")
		}
		if rest, ok := strings.CutSuffix(s, sign); ok {
			return strings.TrimRight(rest, " \u00a0\u202f")
		}
	}
	return s
}

// plainDecimal appends digits[.digits] as s means them to dst. Separators must
// part groups of three, all by the same character; a decimal comma goes with
// points between groups, as in 1.234,56.
func plainDecimal(dst []byte, s string, t *source.Transforms) ([]byte, bool) {
	point, group := '.', ','
	if t.DecimalComma {
		point, group = ',', '.'
	}
	var separator rune
	run := 0 // digits since the start or the last separator
	for i, r := range s {
		switch {
		case '0' <= r && r <= '9':
			run++
			dst = append(dst, byte(r))
		case r == point:
			frac := s[i+utf8.RuneLen(r):]
			if separator != 0 && run != 3 || !digits(frac) {
				return dst, false
			}
			return append(append(dst, '.'), frac...), true
		case r == group && (t.Thousands || t.DecimalComma), t.Thousands && isGroupBlank(r):
			if separator == 0 && (run < 1 || run > 3) || separator != 0 && (r != separator || run != 3) {
				return dst, false
			}
			separator, run = r, 0
		default:
			return dst, false
		}
	}
	return dst, separator == 0 || run == 3
}

func isGroupBlank(r rune) bool {
	return r == ' ' || r == '\'' || r == '’' || r == '\u00a0' || r == '\u202f'
}

// roundHalfEven cuts a plain decimal to six digits after the point; up says
// that a millionth is to be added for what was cut.
func roundHalfEven(p []byte) (cut []byte, up bool) {
	point := strings.IndexByte(event.View(p), '.')
	if point < 0 || len(p)-point-1 <= 6 {
		return p, false
	}
	rest := p[point+7:]
	last := p[point+6]
	switch {
	case rest[0] != '5':
		up = rest[0] > '5'
	case strings.Trim(event.View(rest[1:]), "0") != "":
		up = true
	default:
		up = (last-'0')%2 == 1
	}
	return p[:point+7], up
}
