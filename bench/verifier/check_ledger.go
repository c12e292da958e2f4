package verifier

import (
	"context"
	"fmt"
	"slices"
)

const currency = "USD" // of all traffic

// readBalances: every account holds what the model says, and all sum to zero.
func (c *check) readBalances(ctx context.Context) error {
	rows, err := all[balanceRow](ctx, c.nodes[0], "/api/v1/ledger/balances")
	if err != nil {
		return err
	}
	got, sum := map[account]int64{}, int64(0)
	for _, r := range rows {
		if r.Currency != currency {
			c.differ("there is an account in %s: %s %s", r.Currency, r.Kind, r.Owner)
			continue
		}
		balance := int64(r.Debits - r.Credits)
		sum += balance
		if balance != 0 {
			got[account{r.Kind, r.Owner}] += balance
		}
	}
	if sum != 0 {
		c.differ("all balances sum to %s instead of zero", amount(sum))
	}
	want := c.model.balances()
	for a, v := range want {
		if got[a] != v {
			c.differ("account %s %s holds %s, and should hold %s", a.kind, a.owner, amount(got[a]), amount(v))
		}
		if a.kind == "network_revenue" {
			c.Booked = amount(-v).String()
		}
	}
	for a, v := range got {
		if _, known := want[a]; !known {
			c.differ("account %s %s holds %s, and should be empty", a.kind, a.owner, amount(v))
		}
	}
	c.Accounts = len(rows)
	return nil
}

// readTransfers: one posting for each event that changed money, none for
// others, none twice, and its lines are the event's deltas.
func (c *check) readTransfers(ctx context.Context) error {
	rows, err := all[transferRow](ctx, c.nodes[0], "/api/v1/ledger/transfers")
	if err != nil {
		return err
	}
	type place struct {
		posting int64
		line    int
	}
	seen, posting, lines := map[place]bool{}, map[string]int64{}, map[string][]amount{}
	for _, r := range rows {
		p := place{r.Posting, r.Line}
		if seen[p] {
			c.differ("line %d of posting %d is there twice", r.Line, r.Posting)
		}
		seen[p] = true
		if before, ok := posting[r.Event]; ok && before != r.Posting {
			c.differ("DOUBLED: event %s has the postings %d and %d", r.Event, before, r.Posting)
		}
		posting[r.Event] = r.Posting
		lines[r.Event] = append(lines[r.Event], r.Amount)
	}
	c.Postings, c.Transfers = len(posting), len(rows)
	for id, e := range c.events {
		var want []amount
		for _, d := range []amount{e.Delta, e.ShareDelta} {
			if d != 0 {
				want = append(want, max(d, -d))
			}
		}
		got := lines[id]
		delete(lines, id)
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			c.differ("event %s moved %v, and its transfers are %v", id, want, got)
		}
	}
	for id, amounts := range lines {
		c.differ("transfers of %v were made for %s, which is no event of ours", amounts, who(id))
	}
	return nil
}

func who(id string) string {
	if id == "" {
		return "no event"
	}
	return fmt.Sprintf("event %s", id)
}
