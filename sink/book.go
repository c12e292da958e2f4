package sink

import (
	"fmt"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// Booking is assignment. What is booked on a call is four things: the buyer
// who owes its value, the value, the publisher who is owed a share, the share.
// An event sets them; the posting is the difference between what is booked and
// what should be:
//
//	value   buyer_receivable(buyer)   → network_revenue
//	share   network_publisher_cost    → publisher_pending(publisher)
//
// read as debit → credit of the rise, the other way round for a fall. When the
// buyer or the publisher itself changes (the call's end says more than its
// start), the old account is cleared and the new one filled.

// book assigns o.value to o.call and fills in the deltas of the verdict. A
// share that no Amount can hold turns the outcome into held.
func (w *work) book(c *claim, o *outcome, v *event.Verdict) error {
	row, s := o.call, &o.call.state
	r, err := w.ruleFor(row, o)
	if err != nil {
		return err
	}
	share, err := shareOf(row, o.leaves, o.value, r)
	if err != nil {
		v.Status, v.Reason, v.Detail = event.Held, event.AmountOverCap, event.Detail{Limit: int64(event.AmountMax), Call: callID(row)}
		return nil
	}
	if !row.hasState || s.lastPosting == 0 {
		s.currency = o.currency
		if row.target != "" {
			s.shareCurrency = o.reward.Currency
		}
	}
	if row.target != "" && o.leaves == event.Booked {
		share = o.reward.Amount
	}
	if err := w.countDay(c, o); err != nil {
		return err
	}
	cause := postingRow{id: c.id, cause: c.r.Kind.String(), source: c.p.Source, receivedAt: c.at}
	v.Delta, v.ShareDelta, err = w.post(row, cause, buyerOf(row, c.p), o.value, row.holder(), share, r)
	if err != nil {
		return err
	}
	s.status = o.leaves
	switch {
	case o.stands != nil:
		s.status, s.rank, s.pricedBy = o.stands.status, o.stands.rank, o.stands.pricedBy
	case o.part != nil:
		w.setPart(row, o.part)
	default:
		s.rank, s.pricedBy = c.rank(), c.r.PricedBy()
	}
	if c.r.Status != "" && c.p.Transitions != nil {
		s.word = strings.ToLower(c.r.Status)
	}
	row.hasState, row.stateDirty = true, true
	return nil
}

// buyerOf is who owes a call's value.
func buyerOf(row *callRow, p *event.Policy) string {
	switch {
	case row.Buyer != "":
		return row.Buyer
	case p.Buyer != "":
		return p.Buyer
	}
	return "source:" + p.Source
}

// holder is the account that a call's share stands on; none for a call without
// a publisher.
func (c *callRow) holder() account {
	switch {
	case c.target != "":
		return account{kindAccount, c.target, c.state.shareCurrency}
	case c.Publisher != "":
		return account{kindPublisher, c.Publisher, c.state.currency}
	}
	return account{}
}

// rebook carries a change of the call itself (its buyer, publisher, campaign
// or qualification came after the price) into what is booked.
func (w *work) rebook(row *callRow, e *event.Event) error {
	if !row.hasState {
		return nil
	}
	s := &row.state
	r, err := w.ruleFor(row, nil)
	if err != nil {
		return err
	}
	share, err := shareOf(row, s.status, s.value, r)
	if err != nil {
		share = s.share // beyond any Amount: the booked share stays until a new price
	}
	cause := postingRow{id: e.ID, cause: "call", source: e.Record.Source, receivedAt: e.Record.ReceivedAt}
	if _, _, err = w.post(row, cause, row.Buyer, s.value, row.holder(), share, r); err != nil {
		return err
	}
	row.stateDirty = true
	return nil
}

// shareOf computes a publisher's share from the total value.
func shareOf(row *callRow, status event.Status, value event.Amount, r *rule) (event.Amount, error) {
	if r == nil || status != event.Booked || row.Qualified == event.No {
		return 0, nil
	}
	return r.payout.Share(value)
}

// post writes the posting that takes row from what is booked to value and
// share, if there is a difference. buyer "" keeps the account in use, and so
// does a holder of no kind.
func (w *work) post(row *callRow, p postingRow, buyer string, value event.Amount, holder account, share event.Amount, r *rule) (delta, shareDelta event.Amount, err error) {
	s := &row.state
	buyerAccount, holderAccount := s.buyerAccount, s.publisherAccount
	if buyer != "" && (value != 0 || s.value != 0) {
		if buyerAccount, err = w.account(account{kindBuyer, buyer, s.currency}); err != nil {
			return 0, 0, err
		}
	}
	cost := account{kindCost, "", s.currency}
	if holder.kind == kindAccount {
		cost = account{kindRewards, "", holder.currency}
	}
	if holder.kind != "" && (share != 0 || s.share != 0) {
		if holderAccount, err = w.account(holder); err != nil {
			return 0, 0, err
		}
	}
	delta, shareDelta = value-s.value, share-s.share
	from := len(w.transfers)
	no := w.posting + 1
	if err := w.lines(no, s.currency, account{kindRevenue, "", s.currency}, s.buyerAccount, buyerAccount, s.value, value, true); err != nil {
		return 0, 0, err
	}
	if err := w.lines(no, cost.currency, cost, s.publisherAccount, holderAccount, s.share, share, false); err != nil {
		return 0, 0, err
	}
	s.value, s.share, s.buyerAccount, s.publisherAccount = value, share, buyerAccount, holderAccount
	if r != nil {
		s.rule = r.id
	}
	if len(w.transfers) == from {
		return delta, shareDelta, nil
	}
	for i := range w.transfers[from:] {
		w.transfers[from+i].line = i + 1
	}
	w.posting = no
	p.no, p.call, p.currency, p.shareCurrency, p.rule = no, row.No, s.currency, s.shareCurrency, s.rule
	p.value, p.share, p.delta, p.shareDlt = value, share, delta, shareDelta
	w.postings = append(w.postings, p)
	s.lastPosting = no
	return delta, shareDelta, nil
}

// lines appends the transfers that take one side of a call from was (on the
// account from) to is (on the account to). network is the other end; debit
// says that a rise debits the party and credits the network.
func (w *work) lines(no int64, currency string, network account, from, to int64, was, is event.Amount, debit bool) error {
	if from == to && was == is || was == 0 && is == 0 {
		return nil
	}
	net, err := w.account(network)
	if err != nil {
		return err
	}
	move := func(party int64, rise event.Amount) {
		t := transferRow{posting: no, debit: party, credit: net, amount: rise, currency: currency}
		if debit != (rise > 0) {
			t.debit, t.credit = t.credit, t.debit
		}
		t.amount = max(rise, -rise)
		w.transfers = append(w.transfers, t)
	}
	if from == to {
		move(to, is-was)
		return nil
	}
	if was != 0 {
		move(from, -was)
	}
	if is != 0 {
		move(to, is)
	}
	return nil
}

// account gives the number of an account, opening it when it is new.
func (w *work) account(a account) (int64, error) {
	if id, ok := w.l.accounts[a]; ok {
		return id, nil
	}
	if id, ok := w.newAccounts[a]; ok {
		return id, nil
	}
	id, err := w.tx.accountID(a)
	if err != nil {
		return 0, err
	}
	w.newAccounts[a] = id
	return id, nil
}

// ruleFor gives the payout rule of a call: the assignment's that was pinned when
// the call was first booked, as long as campaign and publisher are the same, else
// its current one, else that of the campaign's conversion group. An assignment
// goes before a group also when it was made later. nil: nobody is paid a share.
func (w *work) ruleFor(row *callRow, o *outcome) (*rule, error) {
	if row.Campaign == "" || row.Publisher == "" || row.target != "" {
		return nil, nil
	}
	a := assignment{row.Campaign, row.Publisher}
	if row.state.rule > 0 {
		r, err := w.ruleByID(row.state.rule)
		if err != nil || r.assignment == a {
			return r, err
		}
	}
	id, known := w.l.assigned[a]
	if !known {
		var err error
		if id, err = w.tx.currentRule(a); err != nil {
			return nil, err
		}
		w.l.assigned[a] = id
	}
	if id == 0 {
		return w.groupRule(row, o)
	}
	r, err := w.ruleByID(id)
	if err != nil || r.payout == nil {
		return nil, err
	}
	return r, nil
}

// groupRule is the rule of a call whose publisher has no assignment: that of
// the campaign's conversion group, the same as long as it is priced the same way.
func (w *work) groupRule(row *callRow, o *outcome) (*rule, error) {
	if row.state.rule < 0 {
		id, triggered := groupOfRule(row.state.rule)
		g, err := w.groupByID(id)
		if err != nil || g.campaign == row.Campaign && (o == nil || o.trigger == triggered) {
			return w.ruleOfGroup(g, triggered), err
		}
	}
	g, err := w.groupOf(row.Campaign)
	if err != nil || g == nil {
		return nil, err
	}
	return w.ruleOfGroup(g, o != nil && o.trigger), nil
}

func (w *work) ruleOfGroup(g *group, triggered bool) *rule {
	if g == nil || g.spec == nil {
		return nil
	}
	id := g.postedRule()
	if triggered {
		id = g.triggeredRule()
	}
	if w.l.rules[id] == nil {
		w.l.rules[id] = &rule{id: id, assignment: assignment{campaign: g.campaign}, payout: g.spec.Share(triggered)}
	}
	return w.l.rules[id]
}

func (w *work) ruleByID(id int64) (*rule, error) {
	if r := w.l.rules[id]; r != nil {
		return r, nil
	}
	r := &rule{id: id}
	text, err := w.tx.rule(id, &r.assignment)
	if err != nil {
		return nil, err
	}
	if text != "" {
		if r.payout, err = event.ParseRule(text); err != nil {
			return nil, fmt.Errorf("rule %d: %w", id, err)
		}
	}
	w.l.rules[id] = r
	return r, nil
}
