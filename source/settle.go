package source

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// Limits of what is settled.
const (
	AccountBytesMax     = 256 // of an account's name, once its fields are filled in
	AccountPartsMax     = 16
	TransitionsMax      = 100
	ReversalPrefixBytes = 16
)

// compileSettle reads what is booked and on what.
func compileSettle(src *Source) error {
	s, p := &src.Spec, &src.Policy
	var err error
	if p.Duplicates, err = event.ParseDuplicates(s.Duplicates); err != nil {
		return err
	}
	switch s.Adjustments {
	case "", "absolute":
	case "relative":
		p.Relative = true
	default:
		return fmt.Errorf("adjustments %q: want absolute or relative", s.Adjustments)
	}
	if s.DailyMax != "" {
		if p.DailyMax, err = event.ParseAmount(s.DailyMax); err != nil || p.DailyMax <= 0 || p.DailyMax > AmountMaxMost {
			return fmt.Errorf("daily_max %q: want a positive decimal such as 5000.00, at most %s", s.DailyMax, AmountMaxMost)
		}
	}
	if len(s.ReversalPrefix) > ReversalPrefixBytes {
		return fmt.Errorf("reversal_prefix %q: at most %d bytes", s.ReversalPrefix, ReversalPrefixBytes)
	}
	identified := s.Identity != "" || src.MapperName != ""
	for _, need := range []struct {
		what string
		is   bool
	}{
		{"duplicates: add", p.Duplicates == event.Add},
		{"adjustments: relative", p.Relative},
		{"settle: account", s.Settle == SettleAccount},
		{"reversal_prefix", s.ReversalPrefix != ""},
	} {
		if need.is && !identified {
			return fmt.Errorf("%s needs an identity: name the field that identifies a postback in identity, or retries could not be told apart", need.what)
		}
	}
	p.Triggers, p.CallKeys = s.Triggers, s.CallKeys
	if err := compileTransitions(src); err != nil {
		return err
	}
	return compileAccount(src)
}

func compileTransitions(src *Source) error {
	given := src.Spec.Transitions
	if len(given) == 0 {
		return nil
	}
	if len(given) > TransitionsMax {
		return fmt.Errorf("transitions: %d words: at most %d", len(given), TransitionsMax)
	}
	to := map[string][]string{}
	for from, words := range given {
		f := strings.ToLower(strings.TrimSpace(from))
		if f == "" || len(f) > StatusWordBytesMax || len(words) > TransitionsMax {
			return fmt.Errorf("transitions.%s: want a word of 1 to %d bytes, and at most %d words that may follow", from, StatusWordBytesMax, TransitionsMax)
		}
		to[f] = []string{}
		for _, w := range words {
			to[f] = append(to[f], strings.ToLower(strings.TrimSpace(w)))
		}
	}
	for from, words := range to {
		for _, w := range append(words, from) {
			if _, known := src.MeaningOf(w); src.Statuses == nil || !known {
				return fmt.Errorf("transitions: word %q: say in statuses what it means: conversion, reversal, adjustment or ignore", w)
			}
		}
	}
	src.Policy.Transitions = to
	return nil
}

func compileAccount(src *Source) error {
	s := &src.Spec
	switch s.Settle {
	case "":
		s.Settle = SettleCall
	case SettleCall, SettleAccount:
	default:
		return fmt.Errorf("settle %q: want call or account", s.Settle)
	}
	if s.Settle == SettleCall {
		if s.Account != "" || s.Reward != nil {
			return fmt.Errorf("account and reward go with settle: account only")
		}
		return nil
	}
	if s.SetValue {
		return fmt.Errorf("set_value goes with settle: call only: the key of one call would open every account")
	}
	src.Policy.ToAccount = true
	var err error
	if src.Account, err = parseAccount(s.Account); err != nil {
		return err
	}
	if src.Policy.Duplicates != event.Overwrite {
		return fmt.Errorf("duplicates %s: with settle: account each transaction counts once, whatever comes after", s.Duplicates)
	}
	if s.Reward == nil {
		return nil
	}
	r := *s.Reward
	if src.RewardIn = strings.ToUpper(strings.TrimSpace(r.Currency)); !currencyForm.MatchString(src.RewardIn) {
		return fmt.Errorf("reward.currency %q: want a code of 3 to 12 letters or digits, such as COINS", r.Currency)
	}
	if r.Rate != "" {
		if src.RewardRate, err = event.ParseAmount(r.Rate); err != nil || src.RewardRate <= 0 {
			return fmt.Errorf("reward.rate %q: want a positive decimal, the units for one unit of payout, such as 1000", r.Rate)
		}
	}
	s.Reward = &Reward{Currency: src.RewardIn, Rate: r.Rate}
	return nil
}

// parseAccount reads the template of an account's name.
func parseAccount(text string) ([]AccountPart, error) {
	bad := func(why string) ([]AccountPart, error) {
		return nil, fmt.Errorf("account %q: %s; want for example user:{user_id}", text, why)
	}
	var parts []AccountPart
	for rest := text; rest != ""; {
		literal, after, field := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return bad("a brace closes that was not opened")
		}
		if literal != "" {
			parts = append(parts, AccountPart{Literal: literal})
		}
		if !field {
			break
		}
		names, behind, closed := strings.Cut(after, "}")
		if !closed {
			return bad("a brace is not closed")
		}
		var part AccountPart
		for name := range strings.SplitSeq(names, "|") {
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" || strings.Contains(name, "{") || len(name) > FieldBytesMax {
				return bad("a field's name stands between braces, or several parted by |")
			}
			part.Fields = append(part.Fields, name)
		}
		if len(parts) > 0 && len(parts[len(parts)-1].Fields) > 0 {
			return bad("two fields stand side by side, so that two users could share an account: part them by a text")
		}
		parts, rest = append(parts, part), behind
	}
	switch {
	case len(text) > AccountBytesMax || len(parts) > AccountPartsMax:
		return bad(fmt.Sprintf("at most %d bytes and %d parts", AccountBytesMax, AccountPartsMax))
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return bad("it holds control characters")
	case !slices.ContainsFunc(parts, func(p AccountPart) bool { return len(p.Fields) > 0 }):
		return bad("it names no field, so all would share one account")
	}
	return parts, nil
}
