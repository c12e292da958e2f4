package mapper

import (
	"strings"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// sum is an amount that a report names, and where.
type sum struct {
	value
	amount event.Amount
	ok     bool
}

// money reads payout and reward. Of two that are named neither may be below
// zero while the other is above: who takes back takes back both.
func (w *worker) money(r *event.Report) {
	src := w.source()
	payout := w.sum(source.SlotPayout, false)
	w.currency(r)
	if !src.Policy.ToAccount {
		r.Payout.Amount, r.HasPayout = w.signed(r, &payout), payout.ok
		w.wantPayout(r)
		return
	}
	var reward sum
	if src.RewardIn != "" && src.RewardRate == 0 {
		reward = w.sum(source.SlotReward, src.RewardWhole)
	}
	switch {
	case !apart(&payout, &reward):
		payout.amount = w.signed(r, &payout)
		reward.amount = w.signed(r, &reward)
	case payout.amount < 0:
		w.misread(event.PayoutNegative, payout.value)
	default:
		w.misread(event.PayoutNegative, reward.value)
	}
	r.Payout.Amount, r.HasPayout = payout.amount, payout.ok
	w.wantPayout(r)
	w.reward(r, &payout, &reward)
}

// apart reports whether one of two is below zero and the other above it. A
// constant is a bare number of the source's, and goes with either.
func apart(a, b *sum) bool {
	return !a.constant && !b.constant && (a.amount < 0 && b.amount > 0 || a.amount > 0 && b.amount < 0)
}

// sum reads the amount in a slot. Of one whose whole part alone counts, down,
// nothing may be rounded up.
func (w *worker) sum(s source.Slot, down bool) (m sum) {
	v, ok := w.slot(s)
	if !ok {
		return m
	}
	m.value = v
	if m.amount, m.ok = readAmountTo(v.text, v.by, down); !m.ok {
		w.misread(event.PayoutUnreadable, v)
	}
	return m
}

// signed gives what an amount below zero stands for: a step down in an
// adjustment by an amount, else, where the source says so, a reversal of it.
// One that stands for nothing is refused and stays for people to see.
func (w *worker) signed(r *event.Report, m *sum) event.Amount {
	if m.amount >= 0 {
		return m.amount
	}
	p := &w.source().Policy
	switch {
	case p.Relative && r.Kind == event.Adjustment:
		return m.amount
	case !p.NegativeReverses || r.Kind == event.Adjustment:
		w.misread(event.PayoutNegative, m.value)
		return m.amount
	}
	r.Kind = event.Reversal
	return -m.amount
}

// wantPayout refuses a report without a payout, unless it can do without: what
// takes back need not say how much.
func (w *worker) wantPayout(r *event.Report) {
	if !r.HasPayout && r.Kind != event.Reversal && !w.source().Spec.PayoutOptional {
		w.refuse(event.PayoutMissing, event.Detail{})
	}
}

// reward fills in what an account is credited: what the slot says, the payout
// at the source's rate, or the payout itself.
func (w *worker) reward(r *event.Report, payout, reward *sum) {
	src := w.source()
	from := source.SlotPayout
	switch {
	case src.RewardIn == "":
		r.Reward, r.HasReward = r.Payout, r.HasPayout
	case src.RewardRate != 0:
		r.Reward.Amount, r.HasReward = r.Payout.Amount, r.HasPayout
		if r.HasReward && !atRate(&r.Reward.Amount, src.RewardRate) {
			w.misread(event.PayoutUnreadable, payout.value)
			r.Reward.Amount, r.HasReward = 0, false
		}
	default:
		from = source.SlotReward
		r.Reward.Amount, r.HasReward = reward.amount, reward.ok
	}
	if !r.HasReward {
		if r.Kind != event.Reversal {
			w.refuse(event.RewardMissing, event.Detail{Field: w.wanted(from)})
		}
		r.Reward = event.Money{}
		return
	}
	if src.RewardIn != "" {
		r.Reward.Currency = src.RewardIn
	}
	if src.RewardWhole {
		r.Reward.Amount -= r.Reward.Amount % event.Unit
	}
}

// atRate multiplies a by units for one unit, rounded half to even. It reports
// false, and a is then of no use, when that is more than a report may name.
func atRate(a *event.Amount, rate event.Amount) (ok bool) {
	*a, ok = a.MulDiv(int64(rate), int64(event.Unit))
	return ok && -event.AmountMax <= *a && *a <= event.AmountMax
}

// wanted is the name under which a slot is looked for first.
func (w *worker) wanted(s source.Slot) string {
	if names := w.source().Names[s]; len(names) > 0 && w.told == nil {
		return names[0]
	}
	return s.String()
}

func (w *worker) currency(r *event.Report) {
	v, ok := w.slot(source.SlotCurrency)
	if !ok {
		r.Payout.Currency = w.source().Policy.Currency
		return
	}
	code := strings.TrimSpace(v.text)
	if len(code) < 3 || len(code) > 12 || strings.ContainsFunc(code, notCode) {
		w.misread(event.CurrencyBad, v)
		return
	}
	r.Payout.Currency = w.upper(code)
}

func notCode(r rune) bool {
	return !('0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}
