package signature

import "bytes"

// decimal is a plain decimal taken apart: -12.50 is {true, "12", "50"}.
type decimal struct {
	negative    bool
	whole, part []byte
}

// parseDecimal reads digits with at most one sign and one point. Exponents,
// groups, and decimal commas are refused: senders' languages disagree on what
// they are, and a guess would be signed.
func parseDecimal(p []byte) (d decimal, ok bool) {
	if len(p) > 0 && (p[0] == '-' || p[0] == '+') {
		d.negative = p[0] == '-'
		p = p[1:]
	}
	d.whole, d.part, _ = bytes.Cut(p, []byte{'.'})
	if len(d.whole)+len(d.part) == 0 || !allDigits(d.whole) || !allDigits(d.part) {
		return d, false
	}
	d.whole = bytes.TrimLeft(d.whole, "0")
	return d, true
}

func allDigits(p []byte) bool {
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func appendInt(dst, src []byte) ([]byte, bool) {
	d, ok := parseDecimal(src)
	if !ok {
		return dst, false
	}
	if len(d.whole) == 0 {
		return append(dst, '0'), true
	}
	if d.negative {
		dst = append(dst, '-')
	}
	return append(dst, d.whole...), true
}

// appendFixed writes src with n decimals, rounded half away from zero.
func appendFixed(dst, src []byte, n int) ([]byte, bool) {
	d, ok := parseDecimal(src)
	if !ok {
		return dst, false
	}
	start := len(dst)
	dst = append(dst, '-', '0') // a sign, and room for a carry
	dst = append(dst, d.whole...)
	if len(d.whole) == 0 {
		dst = append(dst, '0')
	}
	for i := range n {
		if i < len(d.part) {
			dst = append(dst, d.part[i])
		} else {
			dst = append(dst, '0')
		}
	}
	digits := dst[start+1:]
	if n < len(d.part) && d.part[n] >= '5' {
		for i := len(digits) - 1; ; i-- {
			if digits[i] < '9' {
				digits[i]++
				break
			}
			digits[i] = '0'
		}
	}
	zero := len(bytes.Trim(digits, "0")) == 0
	if len(digits) > n+1 && digits[0] == '0' {
		copy(digits, digits[1:])
		dst = dst[:len(dst)-1]
	}
	if !d.negative || zero {
		copy(dst[start:], dst[start+1:])
		dst = dst[:len(dst)-1]
	}
	if n > 0 {
		dst = append(dst, 0)
		at := len(dst) - 1 - n
		copy(dst[at+1:], dst[at:])
		dst[at] = '.'
	}
	return dst, true
}
