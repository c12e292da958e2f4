package sink

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tallyhook/tallyhook/event"
)

// lines checks I1. The transfers of a posting are in its currency, between
// accounts of that currency, each from a receivable to the revenue or from the
// cost to a publisher or from the rewards to an
// account or back, at most four; their sums are the posting's
// delta and share_delta; and after it the call's whole value stands on one
// receivable and its whole share on one publisher's account, at the end those
// that call_state names.
func (v *verifier) lines() (string, error) {
	if err := v.expect("transfer"); err != nil {
		return "", err
	}
	w := lineWalk{position: map[int64]int64{}, kinds: map[int64]string{}}
	fault, err := v.each(`
SELECT p.call, p.no, p.currency, coalesce(p.share_currency, ''), p.delta, p.share_delta, coalesce(s.buyer_account, 0), coalesce(s.publisher_account, 0),
  coalesce(t.line, -1), coalesce(t.debit_account, 0), coalesce(t.credit_account, 0), coalesce(t.amount, 0), coalesce(t.currency, ''),
  coalesce(d.kind, ''), coalesce(d.currency, ''), coalesce(c.kind, ''), coalesce(c.currency, '')
FROM posting p LEFT JOIN call_state s ON s.no = p.call LEFT JOIN transfer t ON t.posting = p.no
  LEFT JOIN account d ON d.id = t.debit_account LEFT JOIN account c ON c.id = t.credit_account
ORDER BY p.call, p.no, t.line`, w.look)
	if err != nil || fault != "" {
		return fault, err
	}
	if fault := w.endCall(); fault != "" {
		return fault, nil
	}
	return v.none(`SELECT 'transfer ' || t.posting || '/' || t.line || ': there is no posting ' || t.posting
FROM transfer t LEFT JOIN posting p ON p.no = t.posting WHERE p.no IS NULL LIMIT 1`)
}

// lineRow is a posting with one of its transfers; line is -1 when it has none.
type lineRow struct {
	call, no                    int64
	currency, shareCurrency     string
	delta, shareDelta           int64
	buyer, publisher            int64 // accounts that call_state names
	line, debit, credit, amount int64
	lineCurrency                string
	debitKind, debitCurrency    string
	creditKind, creditCurrency  string
}

// lineWalk follows the money of one call at a time through its postings.
type lineWalk struct {
	lineRow                        // the last one
	count         int              // lines of the posting so far
	value, share  int64            // what they moved
	total, shared int64            // of the call, after this posting's deltas
	position      map[int64]int64  // account → what of the call stands on it
	kinds         map[int64]string // of those accounts
}

func (w *lineWalk) look(scan func(...any) error) (string, error) {
	var r lineRow
	err := scan(&r.call, &r.no, &r.currency, &r.shareCurrency, &r.delta, &r.shareDelta, &r.buyer, &r.publisher, &r.line, &r.debit, &r.credit, &r.amount, &r.lineCurrency,
		&r.debitKind, &r.debitCurrency, &r.creditKind, &r.creditCurrency)
	if err != nil {
		return "", err
	}
	var fault string
	switch {
	case r.call != w.call:
		fault = w.endCall()
	case r.no != w.no:
		fault = w.endPosting()
	}
	if fault != "" {
		return fault, nil
	}
	if r.no != w.no {
		w.count, w.value, w.share = 0, 0, 0
	}
	w.lineRow = r
	if r.line < 0 {
		return fmt.Sprintf("posting %d: it has no lines", r.no), nil
	}
	return w.move(), nil
}

// move takes one transfer in.
func (w *lineWalk) move() string {
	at := fmt.Sprintf("posting %d: line %d", w.no, w.line)
	currency := w.currency
	if w.debitKind == kindAccount || w.creditKind == kindAccount {
		currency = w.shareCurrency
	}
	switch {
	case w.lineCurrency != currency:
		return fmt.Sprintf("%s is in %s, the posting in %s", at, w.lineCurrency, currency)
	case w.debitCurrency != currency || w.creditCurrency != currency:
		return fmt.Sprintf("%s of %s is between account %d in %q and account %d in %q", at, currency, w.debit, w.debitCurrency, w.credit, w.creditCurrency)
	case w.amount <= 0:
		return fmt.Sprintf("%s moves %s, not more than nothing", at, event.Amount(w.amount))
	}
	w.count++
	sum, party, amount := &w.value, w.debit, w.amount
	switch {
	case w.debitKind == kindBuyer && w.creditKind == kindRevenue:
	case w.debitKind == kindRevenue && w.creditKind == kindBuyer:
		party, amount = w.credit, -w.amount
	case w.debitKind == kindCost && w.creditKind == kindPublisher:
		sum, party = &w.share, w.credit
	case w.debitKind == kindPublisher && w.creditKind == kindCost, w.debitKind == kindAccount && w.creditKind == kindRewards:
		sum, amount = &w.share, -w.amount
	case w.debitKind == kindRewards && w.creditKind == kindAccount:
		sum, party = &w.share, w.credit
	default:
		return fmt.Sprintf("%s goes from %s to %s: money moves between receivable and revenue, between cost and publisher or between rewards and account", at, w.debitKind, w.creditKind)
	}
	w.kinds[party] = kindBuyer
	if sum == &w.share {
		w.kinds[party] = kindPublisher
	}
	was, ok := w.position[party], true
	if w.position[party], ok = addChecked(was, amount); !ok {
		return fmt.Sprintf("%s takes account %d beyond 64 bits", at, party)
	}
	if *sum, ok = addChecked(*sum, amount); !ok {
		return at + " takes the posting beyond 64 bits"
	}
	return ""
}

// endPosting compares the lines of the posting that ends with its deltas.
func (w *lineWalk) endPosting() string {
	if w.no == 0 {
		return ""
	}
	at := fmt.Sprintf("posting %d: ", w.no)
	var ok, ok2 bool
	w.total, ok = addChecked(w.total, w.delta)
	w.shared, ok2 = addChecked(w.shared, w.shareDelta)
	switch {
	case w.count > 4:
		return at + fmt.Sprintf("it has %d lines, four at most", w.count)
	case w.value != w.delta:
		return at + fmt.Sprintf("its lines move %s of value, its delta is %s", event.Amount(w.value), event.Amount(w.delta))
	case w.share != w.shareDelta:
		return at + fmt.Sprintf("its lines move %s of share, its share_delta is %s", event.Amount(w.share), event.Amount(w.shareDelta))
	case !ok || !ok2:
		return at + "its delta takes the call beyond 64 bits"
	}
	for _, account := range slices.Sorted(maps.Keys(w.position)) {
		amount := w.position[account]
		want := w.total
		if w.kinds[account] == kindPublisher {
			want = w.shared
		}
		if amount != 0 && amount != want {
			return at + fmt.Sprintf("of call %d's %s afterwards, %s stands on account %d: all of it belongs on one", w.call, event.Amount(want), event.Amount(amount), account)
		}
	}
	return ""
}

// endCall compares where the money of the call that ends stands with what its
// state names.
func (w *lineWalk) endCall() string {
	if fault := w.endPosting(); fault != "" {
		return fault
	}
	for _, account := range slices.Sorted(maps.Keys(w.position)) {
		amount := w.position[account]
		named := w.buyer
		if w.kinds[account] == kindPublisher {
			named = w.publisher
		}
		if amount != 0 && account != named {
			return fmt.Sprintf("call %d: %s stands on account %d, its state names account %d", w.call, event.Amount(amount), account, named)
		}
	}
	clear(w.position)
	clear(w.kinds)
	w.total, w.shared, w.lineRow = 0, 0, lineRow{}
	return ""
}

func addChecked(a, b int64) (int64, bool) {
	c := a + b
	return c, (c > a) == (b > 0)
}

// currencies checks I2: over all balances of a currency, debits and credits
// are the same.
func (v *verifier) currencies() (string, error) {
	sums := map[string]*wide{}
	fault, err := v.each(`SELECT coalesce(a.currency, ''), b.account, b.debits, b.credits FROM balance b LEFT JOIN account a ON a.id = b.account`,
		func(scan func(...any) error) (string, error) {
			var currency string
			var account, debits, credits int64
			if err := scan(&currency, &account, &debits, &credits); err != nil {
				return "", err
			}
			if currency == "" {
				return fmt.Sprintf("balance %d: there is no such account", account), nil
			}
			if sums[currency] == nil {
				sums[currency] = new(wide)
			}
			sums[currency].add(debits)
			sums[currency].add(-credits)
			return "", nil
		})
	if err != nil || fault != "" {
		return fault, err
	}
	for _, currency := range slices.Sorted(maps.Keys(sums)) {
		if sum := sums[currency]; *sum != (wide{}) {
			return fmt.Sprintf("currency %s: debits less credits of all balances is %s, not 0.00", currency, sum), nil
		}
	}
	return "", nil
}

// balances checks I3: the counters of every account are the sums of the
// transfers that name it, and last_posting is that of a posting not before
// the last of them.
func (v *verifier) balances() (string, error) {
	if err := v.expect("transfer"); err != nil {
		return "", err
	}
	type sums struct {
		debits, credits wide
		last            int64
	}
	accounts := map[int64]*sums{}
	sumOf := func(account, posting int64) *sums {
		s := accounts[account]
		if s == nil {
			s = new(sums)
			accounts[account] = s
		}
		s.last = max(s.last, posting)
		return s
	}
	fault, err := v.each(`SELECT posting, debit_account, credit_account, amount FROM transfer`, func(scan func(...any) error) (string, error) {
		var posting, debit, credit, amount int64
		if err := scan(&posting, &debit, &credit, &amount); err != nil {
			return "", err
		}
		sumOf(debit, posting).debits.add(amount)
		sumOf(credit, posting).credits.add(amount)
		return "", nil
	})
	if err != nil || fault != "" {
		return fault, err
	}
	fault, err = v.each(`SELECT account, debits, credits, last_posting FROM balance ORDER BY account`, func(scan func(...any) error) (string, error) {
		var account, last int64
		var have sums
		var debits, credits int64
		if err := scan(&account, &debits, &credits, &last); err != nil {
			return "", err
		}
		have.debits.add(debits)
		have.credits.add(credits)
		want := sumOf(account, 0)
		delete(accounts, account)
		switch {
		case have.debits != want.debits:
			return fmt.Sprintf("balance %d: debits are %s, its transfers say %s", account, have.debits, want.debits), nil
		case have.credits != want.credits:
			return fmt.Sprintf("balance %d: credits are %s, its transfers say %s", account, have.credits, want.credits), nil
		case last < want.last:
			return fmt.Sprintf("balance %d: last_posting is %d, posting %d touched it", account, last, want.last), nil
		}
		return "", nil
	})
	if err != nil || fault != "" {
		return fault, err
	}
	if len(accounts) > 0 {
		return fmt.Sprintf("account %d: it has transfers and no balance", slices.Min(slices.Collect(maps.Keys(accounts)))), nil
	}
	return "", nil
}
