package main

import (
	"encoding/json"

	"github.com/tallyhook/tallyhook/event"
)

// settled is what a report says of the account that it settles on.
type settled struct {
	Account        string
	Reward         *event.Amount
	RewardCurrency string `json:"reward_currency"`
}

// settlement reads the account out of the report; none of a report about a call.
func (t *timeline) settlement() (s settled) {
	if err := json.Unmarshal(t.Report, &s); err != nil {
		return settled{} // printReport says so
	}
	for _, p := range t.Postings { // a reversal need not name the currency
		for _, l := range p.Transfers {
			if l.Debit == accountPrefix+s.Account || l.Credit == accountPrefix+s.Account {
				s.RewardCurrency = l.Currency
			}
		}
	}
	return s
}

// accountPrefix is what the ledger's listings put before an account's name.
const accountPrefix = "account:"

func (s settled) in() string {
	if s.RewardCurrency == "" {
		return ""
	}
	return " " + s.RewardCurrency
}

func (s settled) reported() string {
	if s.Reward == nil {
		return ""
	}
	return ", " + s.Reward.String() + s.in() + " reported"
}
