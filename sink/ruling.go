package sink

import (
	"database/sql"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// A held event waits for a person. What one decides is written to the table
// ruling, by whichever node was asked, and carried out here, under the ledger's
// lock, with the next batch of any node:
//
//	held ──► booked, unqualified, stale …   released
//	     ──► rejected                       refused; its identity stays taken

// heldRow is an event that begins to wait for a person.
type heldRow struct {
	id       event.ID
	source   string
	reason   event.Reason
	identity idKey
}

// rulingsMax is how many decisions are carried out with one batch.
const rulingsMax = 500

// ruling is what a person has decided of a held event.
type ruling struct {
	*waiting
	call    int64
	release int64 // 1 to book it
	value   sql.NullInt64
	actor   string
}

// carryOut ends the held events of which people have decided.
func (w *work) carryOut() error {
	if !w.ruled {
		return nil
	}
	var list []ruling
	err := w.tx.ruled(rulingsMax, func(r scanner) (err error) {
		var d ruling
		if d.waiting, err = w.scanWaiting(r, &d.call, &d.release, &d.value, &d.actor); err != nil {
			return err
		}
		list = append(list, d)
		return nil
	})
	if err != nil {
		return err
	}
	w.orphans = len(list) == 0
	var all []*waiting
	for _, d := range list {
		if d.key != (idKey{}) {
			all = append(all, d.waiting)
		}
	}
	if err := w.loadHeld(all); err != nil {
		return err
	}
	for i := range list {
		if err := w.tx.breathe(); err != nil {
			return err
		}
		if err := w.rule(&list[i]); err != nil {
			return fmt.Errorf("carry out what was decided of event %s: %w", list[i].id, err)
		}
	}
	return nil
}

// rule ends one held event.
func (w *work) rule(d *ruling) error {
	p := d.waiting
	p.hinted, p.hints, p.released = false, nil, true
	if held := w.ids[p.key]; held != nil {
		p.money = held.money
	}
	o := outcome{status: event.Rejected, reason: event.RefusedByPerson, detail: event.Detail{Got: d.actor}, holds: true}
	if d.release == 1 {
		var err error
		if o, err = w.letGo(d); err != nil {
			return err
		}
	} else if d.call != 0 {
		row, err := w.callByNo(d.call)
		if err != nil {
			return err
		}
		o.call = row
	}
	w.unheld = append(w.unheld, p.id)
	w.settled++
	p.v.v = event.Verdict{Event: p.id, Revision: p.v.v.Revision + 1}
	p.v.call, p.v.hasValue, p.v.raw = nil, false, nil
	if !o.holds {
		w.release(p.key, p.id)
	}
	return w.apply(&p.claim, &o, &p.v)
}

// letGo decides a held event that may be booked, at another value if a
// person gave one: that of the call, or what the account is credited.
func (w *work) letGo(d *ruling) (o outcome, err error) {
	p := d.waiting
	if p.broken != event.NoReason {
		return outcome{status: event.Failed, reason: p.broken}, nil
	}
	var row *callRow
	if d.call != 0 {
		if row, err = w.callByNo(d.call); err != nil {
			return o, err
		}
	}
	if d.value.Valid {
		amount := event.Amount(d.value.Int64)
		if p.p.ToAccount {
			p.r.Reward.Amount, p.r.HasReward = amount, true
			if row != nil && row.hasState && row.state.lastPosting != 0 {
				p.r.Reward.Currency = row.state.shareCurrency
				p.r.HasPayout = p.r.HasPayout && p.r.Payout.Currency == row.state.currency // else what is booked stays
			}
		} else {
			p.r.Payout.Amount, p.r.HasPayout = amount, true
			if row != nil && row.hasState && row.state.lastPosting != 0 {
				p.r.Payout.Currency = row.state.currency
			}
		}
	}
	switch {
	case row != nil:
		o = outcome{call: row, fits: 1, holds: true, strategy: event.ByCallID}
		if p.p.ToAccount {
			o.strategy = event.ByAccount
		}
		if p.r.Kind == event.Reversal {
			if p.reverses, err = w.partTakenBack(row, p.id); err != nil {
				return o, err
			}
		}
		err = w.assign(&p.claim, &o)
	case p.p.ToAccount:
		o, err = w.settleOnAccount(&p.claim)
	default:
		o, err = w.settle(&p.claim)
	}
	if o.status == event.Parked {
		o.status, o.holds = event.Unmatched, false
	}
	switch o.reason {
	case event.NoReason, event.SameValue, event.BuyerSaidZero, event.TakenBack:
		if o.assigns {
			o.reason, o.detail = event.Released, event.Detail{Got: d.actor}
		}
	}
	return o, err
}

// partTakenBack gives the part of a call's value that a held reversal takes
// back, none when it takes back the rest. The mark on what it names tells which.
func (w *work) partTakenBack(row *callRow, reversal event.ID) (idKey, error) {
	parts, err := w.componentsOf(row)
	if err != nil {
		return idKey{}, err
	}
	var want []wantedIdentity
	for key := range parts {
		want = append(want, wantedIdentity{key: key})
	}
	if err := w.tx.loadIdentities(want, w); err != nil {
		return idKey{}, err
	}
	for key := range parts {
		if i := w.ids[key]; i != nil && i.reversedBy == reversal.String() {
			return key, nil
		}
	}
	return idKey{}, nil
}
