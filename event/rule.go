package event

import (
	"fmt"
	"strings"
)

// Rule says what a publisher is paid of a call's value. Its text is one of
//
//	flat 12.50      that amount for every qualified call, in the call's currency
//	percent 80      that share of the value, rounded half to even
//	*0.8-1          operations + - * / with decimals, strictly from left to right
//
// A share is never below zero, and zero for a call that is worth nothing.
type Rule struct {
	flat bool
	ops  []op
}

type op struct {
	sign byte
	arg  Amount
}

// RuleOpsMax is how many operations a rule may have.
const RuleOpsMax = 16

// ParseRule reads the text of a rule.
func ParseRule(text string) (*Rule, error) {
	bad := func(why string) (*Rule, error) {
		return nil, fmt.Errorf("payout rule %q: %s; want \"flat 12.50\", \"percent 80\" or operations such as \"*0.8-1\"", text, why)
	}
	s := strings.TrimSpace(text)
	if arg, ok := strings.CutPrefix(s, "flat "); ok {
		v, err := ParseAmount(strings.TrimSpace(arg))
		if err != nil || v < 0 {
			return bad("the amount is not a plain decimal")
		}
		return &Rule{flat: true, ops: []op{{'+', v}}}, nil
	}
	if arg, ok := strings.CutPrefix(s, "percent "); ok {
		v, err := ParseAmount(strings.TrimSpace(strings.TrimSuffix(arg, "%")))
		if err != nil || v < 0 || v > 1000*Unit {
			return bad("the percentage is not between 0 and 1000")
		}
		return &Rule{ops: []op{{'%', v}}}, nil
	}
	r := new(Rule)
	for s != "" {
		sign := s[0]
		if !strings.ContainsRune("+-*/", rune(sign)) {
			return bad("an operation starts with + - * or /")
		}
		end := 1
		for end < len(s) && (s[end] == '.' || (s[end] >= '0' && s[end] <= '9')) {
			end++
		}
		v, err := ParseAmount(s[1:end])
		switch {
		case err != nil:
			return bad(fmt.Sprintf("%q is not a plain decimal", s[1:end]))
		case sign == '/' && v == 0:
			return bad("division by zero")
		case len(r.ops) == RuleOpsMax:
			return bad(fmt.Sprintf("more than %d operations", RuleOpsMax))
		}
		r.ops = append(r.ops, op{sign, v})
		s = strings.TrimSpace(s[end:])
	}
	if len(r.ops) == 0 {
		return bad("it is empty")
	}
	return r, nil
}

// Share computes the publisher's share of value. A result beyond what an
// Amount holds is an error: the event is held for a person.
func (r *Rule) Share(value Amount) (Amount, error) {
	if r == nil || value <= 0 {
		return 0, nil
	}
	v := value
	if r.flat {
		v = 0
	}
	ok := true
	for _, o := range r.ops {
		switch o.sign {
		case '+':
			v += o.arg
		case '-':
			v -= o.arg
		case '*':
			v, ok = v.MulDiv(int64(o.arg), int64(Unit))
		case '/':
			v, ok = v.MulDiv(int64(Unit), int64(o.arg))
		case '%':
			v, ok = v.MulDiv(int64(o.arg), 100*int64(Unit))
		}
		if !ok || v > AmountMax || v < -AmountMax {
			return 0, fmt.Errorf("the share of %s is beyond %s", value, AmountMax)
		}
	}
	return max(v, 0), nil
}
