package learn

import (
	"net/netip"
	"regexp"
	"strings"
)

// shape is the set of things that one value may be.
type shape uint32

const (
	isPhone        shape = 1 << iota // a phone number in any usual notation
	isPhoneSure                      // and nothing else: with a plus or punctuation
	isWhole                          // digits alone
	isDecimal                        // digits with at most one point, maybe negative
	isNegative                       // an amount below zero, in any notation
	isComma                          // 12,34 and 1.234,56
	isThousands                      // 1,234.56 and 1,234
	isSigned                         // with one currency sign
	isClock                          // 1:35 and 1:02:03
	isUnix                           // seconds since 1970, of this century
	isUnixMillis                     //
	isTime                           // a date and time with an offset
	isLocalTime                      // without one
	isUUID                           //
	isToken                          // long enough and mixed enough to be made by a machine
	isCurrency                       // an ISO 4217 code in use
	isIP                             //
	isWord                           // letters alone, maybe parted
	isFlag                           // 0, 1, true, false, yes, no
	isCurrencyLike                   // 3 to 12 capitals or digits
)

var (
	phoneForm     = regexp.MustCompile(`^\+?[0-9(][0-9 ().\-/]{5,24}$`)
	decimalForm   = regexp.MustCompile(`^[-+]?[0-9]{1,12}(\.[0-9]{1,12})?$`)
	commaForm     = regexp.MustCompile(`^[-+]?([0-9]{1,12}|[0-9]{1,3}(\.[0-9]{3})+),[0-9]{1,6}$`)
	thousandsForm = regexp.MustCompile(`^[-+]?[0-9]{1,3}([,' ][0-9]{3})+(\.[0-9]{1,6})?$`)
	clockForm     = regexp.MustCompile(`^[0-9]{1,4}:[0-5][0-9](:[0-5][0-9])?$`)
	timeForm      = regexp.MustCompile(`^20[0-9]{2}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|z|[+-][0-9]{2}:[0-9]{2})?$`)
	uuidForm      = regexp.MustCompile(`^[0-9a-zA-Z]{8}-[0-9a-zA-Z]{4}-[0-9a-zA-Z]{4}-[0-9a-zA-Z]{4}-[0-9a-zA-Z]{12}$`)
	tokenForm     = regexp.MustCompile(`^[0-9A-Za-z_\-.:]{10,}$`)
	wordForm      = regexp.MustCompile(`^[A-Za-z][A-Za-z _\-]{0,31}$`)
	codeForm      = regexp.MustCompile(`^[A-Z0-9]{3,12}$`)
)

// currencies are the codes that payouts come in.
var currencies = strings.Fields("AED ARS AUD BGN BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR JPY KES KRW KZT MXN MYR NGN NOK NZD PEN PHP PKR PLN RON RUB SAR SEK SGD THB TRY TWD UAH USD UYU VND ZAR")

func shapeOf(s string) (f shape) {
	if len(s) > 128 {
		return 0
	}
	digits := onlyDigits(s)
	set := func(is bool, bit shape) {
		if is {
			f |= bit
		}
	}
	whole := digits != "" && len(digits) == len(s)
	set(whole, isWhole)
	set(whole && len(s) == 10 && s[0] == '1' && s[1] >= '2', isUnix)
	set(whole && len(s) == 13 && s[0] == '1' && s[1] >= '2', isUnixMillis)
	n := len(digits)
	if phoneForm.MatchString(s) && n >= 7 && n <= 15 && f&(isUnix|isUnixMillis) == 0 && !decimalFraction(s) && !timeForm.MatchString(s) {
		marked := s[0] == '+' || strings.ContainsAny(s, "() -/") || strings.Count(s, ".") > 1
		set(marked || n >= 10 && n <= 15, isPhone)
		set((s[0] == '+' || strings.ContainsAny(s, "() -/")) && n >= 10 || whole && n == 11 && s[0] == '1', isPhoneSure)
	}
	amount, signed := unsign(s)
	set(decimalForm.MatchString(s), isDecimal)
	set(commaForm.MatchString(amount), isComma)
	set(thousandsForm.MatchString(amount), isThousands)
	set(signed && f&(isComma|isThousands) == 0 && decimalForm.MatchString(amount), isSigned)
	set(signed && f&(isComma|isThousands) != 0, isSigned)
	set(strings.HasPrefix(s, "-") || strings.HasPrefix(amount, "-"), isNegative)
	set(clockForm.MatchString(s), isClock)
	if timeForm.MatchString(s) {
		last := s[len(s)-1]
		zoned := last == 'Z' || last == 'z' || s[len(s)-3] == ':' && strings.ContainsAny(s[len(s)-6:len(s)-5], "+-")
		set(zoned, isTime)
		set(!zoned, isLocalTime)
	}
	set(uuidForm.MatchString(s), isUUID)
	set(tokenForm.MatchString(s) && n > 0 && n < len(s) && !decimalForm.MatchString(s) && f&(isTime|isLocalTime|isPhone) == 0, isToken)
	set(codeForm.MatchString(s), isCurrencyLike)
	for _, c := range currencies {
		set(strings.EqualFold(c, s), isCurrency)
	}
	if _, err := netip.ParseAddr(s); err == nil {
		f = f&^(isPhone|isPhoneSure|isToken) | isIP
	}
	set(wordForm.MatchString(s), isWord)
	switch strings.ToLower(s) {
	case "0", "1", "true", "false", "yes", "no":
		f |= isFlag
	}
	return f
}

// decimalFraction reports whether s is digits, a point and digits.
func decimalFraction(s string) bool { return strings.Contains(s, ".") && decimalForm.MatchString(s) }

// unsign takes one currency sign off an amount, and says whether one was there.
func unsign(s string) (rest string, signed bool) {
	sign := ""
	if strings.HasPrefix(s, "-") {
		s, sign = s[1:], "-"
	}
	for _, c := range [...]string{"$", "€", "£"} {
		if r, ok := strings.CutPrefix(s, c); ok {
			return sign + strings.TrimLeft(r, " \u00a0\u202f"), true
		}
		if r, ok := strings.CutSuffix(s, c); ok {
			return sign + strings.TrimRight(r, " \u00a0\u202f"), true
		}
	}
	return sign + s, false
}

func onlyDigits(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}

const isAmount = isDecimal | isComma | isThousands | isSigned

// all reports whether every value of c is one of want.
func (c *column) all(want shape) bool {
	for _, s := range c.shapes {
		if s&want == 0 {
			return false
		}
	}
	return len(c.shapes) > 0
}

// any reports whether some value of c is one of want.
func (c *column) any(want shape) bool {
	for _, s := range c.shapes {
		if s&want != 0 {
			return true
		}
	}
	return false
}

// distinct is how many different values c has.
func (c *column) distinct() int {
	seen := map[string]bool{}
	for _, t := range c.texts {
		if t != "" {
			seen[t] = true
		}
	}
	return len(seen)
}
