package sink

import (
	"encoding/hex"

	"github.com/tallyhook/tallyhook/event"
)

// A source that settles on accounts looks for no call. Each transaction is a
// row of its own on which its payout and its reward are booked, so that all
// that holds for a call holds for it:
//
//	payout  buyer_receivable(buyer) → network_revenue     in the payout's currency
//	reward  network_rewards         → account(name)       in the reward's
//
// The balance of an account is what its transactions have left there.

// settleOnAccount decides a claim of such a source.
func (w *work) settleOnAccount(c *claim) (outcome, error) {
	o := outcome{strategy: event.ByAccount, fits: 1, holds: true}
	key := c.key
	if c.r.Kind == event.Adjustment && !c.p.Relative {
		known := w.ids[c.reverses]
		if known == nil || known.gone || known.call == 0 {
			return outcome{status: event.Unmatched, reason: event.NoSuchTransaction, detail: event.Detail{Got: c.r.TransactionID}}, nil
		}
		row, err := w.callByNo(known.call)
		if err != nil {
			return o, err
		}
		o.call, key = row, c.reverses
	}
	if c.r.Kind == event.Reversal { // of an id it would have been found by that
		return outcome{status: event.Unmatched, reason: event.NoSuchTransaction, detail: event.Detail{Got: c.r.TransactionID}}, nil
	}
	if o.call == nil {
		name := c.p.Source + "\t" + hex.EncodeToString(key[1:])
		if c.weak { // which is forgotten, and may come again
			name += "\t" + c.id.String()
		}
		o.call = &callRow{Call: event.Call{CallID: name}, target: clone(c.r.Account)}
	}
	return o, w.assign(c, &o)
}

// adopt gives a row that a claim has made up its number.
func (w *work) adopt(row *callRow) {
	if row.No != 0 {
		return
	}
	w.callNo++
	row.No, row.isNew, row.dirty = w.callNo, true, true
	w.add(row)
}

// touch marks a call as changed.
func (c *callRow) touch() {
	if !c.dirty && !c.isNew {
		c.was = c.names()
	}
	c.dirty = true
}
