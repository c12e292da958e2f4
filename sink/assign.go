package sink

import (
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// assign says what a claim does to the call in o, or the account: the value
// that it sets, or why it sets none.
//
//	value = base + parts
//
// Events assign the base, the latest by rank, unless their source keeps
// components: with duplicates: add each conversion sets its own, and an
// absolute adjustment that of the conversion it names; with relative
// adjustments each adjustment sets its own. A reversal takes back what it names.
func (w *work) assign(c *claim, o *outcome) error {
	row, s := o.call, &o.call.state
	if !w.permitted(c, o) {
		return nil
	}
	price, err := w.priced(c, o)
	if err != nil || o.status != event.NoStatus {
		return err
	}
	if tomb := w.ids[c.key]; c.r.Kind != event.Reversal && tomb != nil && !tomb.gone && tomb.reversedBy != "" {
		price, o.reward.Amount, o.leaves, o.back = 0, 0, event.Reversed, true
		o.reason, o.detail = event.ReversedOnArrival, event.Detail{Of: tomb.reversedBy}
	}
	o.value, err = w.total(c, o, price)
	if err != nil || o.status != event.NoStatus {
		return err
	}
	if held, err := w.withheld(c, o, price); held || err != nil {
		return err
	}
	if w.outranked(c, o) {
		return nil
	}
	o.assigns, o.status = true, o.leaves
	if o.back {
		o.status = event.Reversed // whatever else stays of the call's value
	}
	if row.hasState && s.value == o.value && s.status == o.leaves && (row.target == "" || s.share == o.reward.Amount) && o.part == nil {
		o.status = event.Unchanged
	}
	o.say()
	return nil
}

// say gives a reason to what needs none of its own.
func (o *outcome) say() {
	if o.reason != event.NoReason {
		return
	}
	switch o.status {
	case event.Unchanged:
		o.reason = event.SameValue
	case event.Unqualified:
		o.reason = event.BuyerSaidZero
	case event.Reversed:
		o.reason = event.TakenBack
		if o.value > 0 {
			o.detail = event.Detail{Value: o.value.String()}
		}
	}
}

// permitted asks what does not depend on the price: the call's key, and whether
// the sender's word may follow the one before.
func (w *work) permitted(c *claim, o *outcome) bool {
	row := o.call
	if c.p.CallKeys && c.r.Key != event.KeyIssued && (row.Key == "" || event.CallKeyDigest(row.Key) != c.r.Key) {
		o.status, o.reason, o.detail, o.holds = event.Invalid, event.CallKeyWrong, event.Detail{Call: row.CallID}, false
		return false
	}
	if c.p.Transitions == nil || row.state.word == "" {
		return true
	}
	word := strings.ToLower(c.r.Status)
	if word == row.state.word || slices.Contains(c.p.Transitions[row.state.word], word) {
		return true
	}
	o.status, o.reason, o.holds = event.Ignored, event.TransitionNotAllowed, false
	o.detail = event.Detail{Got: word, Value: row.state.word, Call: callID(row)}
	return false
}

// priced gives what the claim itself is worth. A status in o says that it is
// worth nothing that could be booked.
func (w *work) priced(c *claim, o *outcome) (price event.Amount, err error) {
	o.currency = c.r.Payout.Currency
	if o.currency == "" {
		o.currency = c.p.Currency
	}
	price = c.r.Payout.Amount
	if o.call.target != "" {
		o.reward = c.r.Reward
		if c.p.PayoutUnsure || !c.r.HasPayout {
			price = 0
		}
		if s := &o.call.state; o.call.hasState { // an adjustment leaves what it does not name
			if !c.r.HasPayout {
				price, o.currency = s.value, s.currency
			}
			if !c.r.HasReward {
				o.reward = event.Money{Amount: s.share, Currency: s.shareCurrency}
			}
		}
	}
	if c.r.Kind == event.Reversal {
		o.leaves, o.reward.Amount, o.back = event.Reversed, 0, true
		return 0, nil
	}
	if o.call.target == "" && (c.p.Triggers || !c.r.HasPayout) {
		return w.triggered(c, o)
	}
	return price, nil
}

// total gives what the call is worth with price, and sets o.part when the claim
// has a part of its own; o.leaves becomes what the call is then.
func (w *work) total(c *claim, o *outcome, price event.Amount) (event.Amount, error) {
	row := o.call
	value := price + row.state.parts
	key, own := c.key, row.target == "" && !c.weak &&
		(c.r.Kind == event.Conversion && c.p.Duplicates == event.Add || c.r.Kind == event.Adjustment && c.p.Relative)
	if !own && c.reverses != (idKey{}) && (row.state.parts != 0 || c.p.Duplicates == event.Add) {
		parts, err := w.componentsOf(row)
		if err != nil {
			return 0, err
		}
		if _, own = parts[c.reverses]; own {
			key = c.reverses
		}
	}
	if !own && row.target == "" && !c.weak && c.r.Kind == event.Adjustment && c.p.Duplicates == event.Add {
		o.status, o.reason, o.holds = event.Unmatched, event.NoSuchTransaction, false // what it names is not known, or no more: it waited
		o.detail = event.Detail{Got: c.r.TransactionID, Call: callID(row)}
		return 0, nil
	}
	if own {
		parts, err := w.componentsOf(row)
		if err != nil {
			return 0, err
		}
		o.part = &componentRow{call: row.No, key: key, value: price, was: parts[key]}
		value = row.state.value - o.part.was + price
	}
	switch {
	case value != 0 || row.target != "" && o.reward.Amount != 0:
		o.leaves = event.Booked
	case o.leaves == event.NoStatus:
		o.leaves = event.Unqualified
	}
	return value, nil
}

// withheld asks whether a person has to decide first.
func (w *work) withheld(c *claim, o *outcome, price event.Amount) (bool, error) {
	row, s := o.call, &o.call.state
	hold := func(why event.Reason, d event.Detail) (bool, error) {
		d.Call = callID(row)
		o.status, o.reason, o.detail, o.part = event.Held, why, d, nil
		return true, nil
	}
	if row.hasState && s.lastPosting != 0 {
		if o.back {
			o.currency = s.currency
		}
		if s.currency != o.currency {
			return hold(event.CurrencyDiffers, event.Detail{Got: s.currency, Value: o.currency})
		}
		if row.target != "" && c.r.Kind != event.Reversal && s.shareCurrency != "" && s.shareCurrency != o.reward.Currency {
			return hold(event.CurrencyDiffers, event.Detail{Got: s.shareCurrency, Value: o.reward.Currency})
		}
	}
	if o.value < 0 && row.target == "" {
		return hold(event.BelowZero, event.Detail{Value: o.value.String()})
	}
	if c.released {
		return false, nil
	}
	switch {
	case row.target == "" && c.p.PayoutUnsure && price != 0:
		return hold(event.MoneyUnsigned, event.Detail{Field: "payout"})
	case row.target != "" && c.p.RewardUnsure && o.reward.Amount != 0:
		return hold(event.MoneyUnsigned, event.Detail{Field: "reward"})
	case abs(price) > c.p.AmountMax || o.value > c.p.AmountMax || abs(o.reward.Amount) > c.p.AmountMax:
		return hold(event.AmountOverCap, event.Detail{Limit: int64(c.p.AmountMax)})
	}
	over, err := w.overDay(c, o)
	if err != nil || !over {
		return false, err
	}
	return hold(event.DailyCapReached, event.Detail{Limit: int64(c.p.DailyMax)})
}

func abs(a event.Amount) event.Amount { return max(a, -a) }

// outranked asks whether a later event has set what the claim would set, or
// the first one, where that counts.
func (w *work) outranked(c *claim, o *outcome) bool {
	row, s := o.call, &o.call.state
	if !row.hasState || o.part != nil {
		return false
	}
	later := c.rank().Less(s.rank)
	if later && c.r.Kind == event.Reversal && c.reverses != (idKey{}) && w.stands(c.reverses, row) {
		return false // another node was told of it first, and posts it last: what it names is what stands
	}
	if c.p.Duplicates == event.First && c.r.Kind == event.Conversion && s.status == event.Booked {
		if later { // it came to another node first
			return false
		}
		o.status, o.reason, o.detail = event.Stale, event.FirstCounts, event.Detail{Of: s.rank.ID.String()}
		return true
	}
	if later {
		o.status, o.reason, o.detail = event.Stale, event.OlderThanBooked, event.Detail{Of: s.rank.ID.String()}
	}
	return later
}

// stands reports whether a call's price is that of whoever holds an identity.
func (w *work) stands(key idKey, row *callRow) bool {
	i := w.ids[key]
	return i != nil && !i.gone && !i.id.IsZero() && i.id == row.state.rank.ID
}
