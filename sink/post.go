package sink

import (
	"fmt"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// claim is a report that asks for a verdict: straight from a batch, or again
// after it was parked.
type claim struct {
	id    event.ID
	at    int64 // received
	r     *event.Report
	p     *event.Policy
	flags event.Flags // of its record, while that is at hand

	key      idKey // the identity it claims
	weak     bool
	money    event.Digest
	reverses idKey // of the conversion it takes back; zero without a strong identity
	first    bool  // decided for the first time, though its verdict has an earlier revision: it waited for its mapper
	released bool  // a person lets it be booked: caps are not asked

	hints  []int64 // calls that may fit
	hinted bool    // hints are all there is, together with byKey
}

func (c *claim) rank() event.Rank { return event.Rank{At: c.at, ID: c.id} }

// start is the time around which a claim's call is looked for.
func (c *claim) start() int64 {
	if c.r.StartedAt != 0 {
		return c.r.StartedAt
	}
	return c.at
}

// outcome is what a claim comes to, before anything is written.
type outcome struct {
	status event.Status
	reason event.Reason
	detail event.Detail

	call       *callRow
	strategy   event.Strategy
	fits       int
	considered []byte

	value    event.Amount // to be assigned, components and all
	currency string
	stands   *standing     // whose price it is, when it is not the claim's own
	reward   event.Money   // of an account
	part     *componentRow // of the value, that the claim sets
	trigger  bool          // the campaign's trigger says what it is worth
	back     bool          // it takes something back: of itself it is worth nothing
	leaves   event.Status  // what the call is then: booked, unqualified or reversed
	assigns  bool          // call's state becomes value, status and rank
	holds    bool          // the claim's identity stays with it
	deadline int64
}

// report decides one postback, or one report of it, and applies the outcome.
// revision is that of its newest verdict, 0 when it has none yet.
func (w *work) report(e *event.Event, revision int) error {
	c := w.claimOf(e)
	c.first = true
	o, err := w.judge(e, &c)
	if err != nil {
		return err
	}
	v := w.verdictOf(e)
	if v.v.Revision = revision + 1; revision > 0 {
		v.raw = nil // the first one has it
	}
	if c.flags&event.FlagTest != 0 && o.reason != event.MapperUnavailable && o.status != event.Ignored && o.status != event.Invalid && o.status != event.Failed {
		would := event.Detail{Would: o.status.String(), Call: callID(o.call)}
		if o.assigns {
			would.Value = o.value.String()
		}
		if o.assigns && c.p.ToAccount {
			would.Call, would.Value = c.r.Account, o.reward.Amount.String()
		}
		o = outcome{status: event.Ignored, reason: event.TestPostback, detail: would,
			call: o.call, strategy: o.strategy, fits: o.fits, considered: o.considered}
	}
	if err := w.apply(&c, &o, &v); err != nil {
		return err
	}
	e.Verdict = v.v
	if v.v.Status == event.Parked && v.v.Reason != event.MapperUnavailable {
		w.waitHere(&c, v, e, o.deadline)
	}
	return nil
}

func (w *work) claimOf(e *event.Event) claim {
	c := claim{id: e.ID, at: e.Record.ReceivedAt, r: &e.Report, p: e.Policy,
		flags: e.Record.Flags, money: e.Money,
		hints: e.Hints, hinted: w.indexed && e.HintOwner.IsZero()}
	if e.Strong.IsZero() {
		c.key, c.weak = keyOf(classWeak, e.Weak), true
	} else {
		c.key = keyOf(classStrong, e.Strong)
	}
	if !e.Reverses.IsZero() {
		c.reverses = keyOf(classStrong, e.Reverses)
	}
	return c
}

// judge says what becomes of a report that is told for the first time.
func (w *work) judge(e *event.Event, c *claim) (outcome, error) {
	switch {
	case c.r.Failed:
		return outcome{status: event.Failed, reason: c.r.Invalid, detail: c.r.Detail}, nil
	case e.Record.Flags&event.FlagPaused != 0:
		return outcome{status: event.Ignored, reason: event.SourcePaused}, nil
	case c.r.Unmapped:
		return outcome{status: event.Parked, reason: event.MapperUnavailable, detail: c.r.Detail}, nil
	case c.r.Dropped:
		return outcome{status: event.Ignored, reason: c.r.Invalid, detail: c.r.Detail}, nil
	case c.r.Invalid != "":
		return outcome{status: event.Invalid, reason: c.r.Invalid, detail: c.r.Detail}, nil
	}
	if held := w.holder(c); held != nil {
		return w.repeated(c, held)
	}
	if c.r.Kind == event.Reversal && c.reverses != (idKey{}) {
		return w.reversal(c)
	}
	if c.p.ToAccount {
		return w.settleOnAccount(c)
	}
	return w.settle(c)
}

// repeated is the outcome of a claim whose identity somebody holds already.
func (w *work) repeated(c *claim, held *identity) (outcome, error) {
	o := outcome{status: event.Duplicate, reason: event.SameEvent, detail: event.Detail{Of: held.id.String()}}
	if c.weak {
		o.detail.Limit = int64(c.p.DedupeWindow / time.Second)
	} else if held.money != c.money { // a weak one covers the money itself
		o.status, o.reason = event.Conflict, event.OtherContent
	}
	if held.call != 0 {
		row, err := w.callByNo(held.call)
		if err != nil {
			return o, err
		}
		o.call = row
	}
	if row := o.call; o.status == event.Conflict && row != nil && c.p.Transitions != nil && strings.ToLower(c.r.Status) != row.state.word {
		// The same transaction, a step further.
		next := outcome{call: row, strategy: event.ByReversal, fits: 1, holds: true}
		if c.p.ToAccount {
			next.strategy = event.ByAccount
		}
		return next, w.assign(c, &next)
	}
	if row := o.call; o.status == event.Duplicate && row != nil && row.hasState && row.state.rank.ID == held.id && c.rank().Less(row.state.rank) && row.target == "" && row.state.parts == 0 {
		return w.toldFirst(c, row, held.id)
	}
	return o, nil
}

// standing is an event that set a call's value, or would have but for a later one.
type standing struct {
	rank     event.Rank
	value    event.Amount
	status   event.Status
	pricedBy int64
}

// toldFirst is the outcome of a claim whose repeat, received later by another
// node, was booked before it and is what the call's value stands on. The claim
// takes its place, and what came between the two counts again: the call ends
// as it would have on one node.
func (w *work) toldFirst(c *claim, row *callRow, repeat event.ID) (outcome, error) {
	s := &row.state
	o := outcome{status: event.Unchanged, reason: event.ToldFirst, detail: event.Detail{Of: repeat.String()}, call: row, fits: 1,
		value: s.value, leaves: s.status, trigger: s.rule < 0 && s.rule%2 != 0, currency: s.currency, assigns: true, holds: true}
	between, err := w.tx.between(row.No, c.rank(), s.rank)
	if err != nil {
		return o, fmt.Errorf("what was told between %s and %s: %w", c.id, repeat, err)
	}
	for i := range w.verdicts { // what waited may have been decided by this very batch
		v := &w.verdicts[i]
		at := event.Rank{At: v.receivedAt, ID: v.v.Event}
		if v.call == row && v.prices() && c.rank().Less(at) && at.Less(s.rank) && (between == nil || between.rank.Less(at)) {
			between = v.standing()
		}
	}
	if between != nil {
		o.stands, o.value, o.leaves = between, between.value, between.status
		if between.value != s.value || between.status != s.status {
			o.status = between.status
		}
	}
	return o, nil
}

// reversal takes back the conversion that it names by id, or is remembered
// until that comes.
func (w *work) reversal(c *claim) (outcome, error) {
	conversion := w.ids[c.reverses]
	if conversion == nil || conversion.gone || conversion.call == 0 {
		return outcome{status: event.Reversed, reason: event.ReversalBeforehand, holds: true}, nil
	}
	row, err := w.callByNo(conversion.call)
	if err != nil {
		return outcome{}, err
	}
	if row == nil {
		return outcome{}, fmt.Errorf("identity of event %s names call %d, which is not in the store; verify the ledger", conversion.id, conversion.call)
	}
	o := outcome{call: row, strategy: event.ByReversal, fits: 1, holds: true}
	return o, w.assign(c, &o)
}

// settle looks for the call of a claim and says what it is worth.
func (w *work) settle(c *claim) (outcome, error) {
	d, err := w.match(c)
	if err != nil {
		return outcome{}, err
	}
	o := outcome{strategy: d.Strategy, fits: d.Fits, reason: d.Reason, detail: d.Detail, considered: w.considered(c, d)}
	if d.Pick < 0 {
		o.status, o.deadline = event.Unmatched, c.at+c.p.ParkFor.Microseconds()
		if canPark(c.r) {
			o.status, o.holds = event.Parked, true
		}
		return o, nil
	}
	o.call, o.holds = w.calls[w.cands[d.Pick].Call.No], true
	return o, w.assign(c, &o)
}

// canPark reports whether a call that comes later could still fit.
func canPark(r *event.Report) bool {
	return r.RefID != "" || r.CallID != "" || r.NetworkCallID != "" || (r.Caller != "" && r.Duration.OK)
}

// apply writes an outcome down: identity, state, posting, parking, verdict.
func (w *work) apply(c *claim, o *outcome, v *verdictRow) error {
	v.v.Status, v.v.Reason, v.v.Detail = o.status, o.reason, o.detail
	v.v.Strategy, v.v.Candidates, v.considered = o.strategy, o.fits, o.considered
	if o.assigns {
		w.adopt(o.call)
		if err := w.book(c, o, &v.v); err != nil {
			return err
		}
		o.assigns = v.v.Status != event.Held
	}
	if o.assigns {
		if err := w.convert(c, o, &v.v); err != nil {
			return err
		}
	} else if err := w.inTime(c, o); err != nil {
		return err
	}
	if o.call != nil && o.call.No != 0 {
		v.call, v.v.CallNo = o.call, o.call.No
		if o.call.target == "" {
			v.v.CallID = o.call.CallID
		}
		if o.call.hasState && v.v.Status != event.Held { // what is held may be in another currency
			v.v.Value, v.v.Currency, v.hasValue = o.call.state.value, o.call.state.currency, true
		}
	}
	if o.holds {
		w.hold(c, o)
	}
	if c.weak && (o.holds || !c.first) { // else there is nothing to hold or to give back
		v.weak, v.weakUntil = event.Digest(c.key[1:]), c.at+c.p.DedupeWindow.Microseconds()
	}
	if v.v.Status == event.Parked && c.r.Unmapped {
		w.putOff(c, v)
	} else if v.v.Status == event.Parked {
		w.parkClaim(c, o)
	}
	if v.v.Status == event.Held {
		w.heldNow = append(w.heldNow, heldRow{id: c.id, source: c.p.Source, reason: v.v.Reason, identity: c.key})
	}
	w.record(v)
	return nil
}

// hold gives the claim its identity, and a reversal's mark to what it reverses.
func (w *work) hold(c *claim, o *outcome) {
	if c.key == (idKey{}) {
		return // held before identities were kept with what is held
	}
	id := w.ids[c.key]
	if id == nil || c.weak && id.id != c.id {
		id = &identity{before: id}
		w.ids[c.key] = id
	}
	id.id, id.money, id.receivedAt, id.dirty, id.gone = c.id, c.money, c.at, true, false
	if o.assigns { // what is held or stale has nothing that a reversal could take back
		id.call = o.call.No
	}
	if c.reverses == (idKey{}) || c.r.Kind != event.Reversal {
		return
	}
	conversion := w.ids[c.reverses]
	if conversion == nil {
		conversion = new(identity)
		w.ids[c.reverses] = conversion
	}
	conversion.reversedBy, conversion.dirty, conversion.gone = c.id.String(), true, false
}

// release gives an identity back, so that a corrected resend may still book. A
// reversal that waits for it stays.
func (w *work) release(key idKey, id event.ID) {
	for held := w.ids[key]; held != nil; held = held.before {
		if held.id == id {
			held.id, held.call, held.dirty = event.ID{}, 0, true
			held.gone = held.reversedBy == ""
		}
	}
}

// record appends a verdict to the log.
func (w *work) record(v *verdictRow) {
	w.change++
	v.v.ChangeSeq = w.change
	w.verdicts = append(w.verdicts, *v)
}

// verdictOf starts the verdict row of an event: everything but the outcome.
func (w *work) verdictOf(e *event.Event) verdictRow {
	r, rec := &e.Report, e.Record
	v := verdictRow{v: event.Verdict{Event: e.ID}, source: rec.Source, receivedAt: rec.ReceivedAt, kind: r.Kind,
		caller: r.Caller, duration: r.Duration, hasPayout: r.HasPayout, payout: r.Payout.Amount, currency: r.Payout.Currency,
		mapper: e.Mapper, fuel: e.Fuel, peer: rec.Peer, usMap: w.b.Mapped.Microseconds(), usMatch: w.b.Matched.Microseconds(),
		usQueue: max(0, w.b.BegunAt-rec.ReceivedAt)}
	if v.caller == "" {
		v.caller = r.CallerRaw
	}
	if v.mapper == "" {
		v.mapper = "none"
	}
	v.report = w.keep(func(dst []byte) []byte { return event.AppendReportJSON(dst, r) })
	if e.ID.N == 0 {
		v.raw = w.keep(func(dst []byte) []byte { return w.l.raw.Append(dst, rec) })
	}
	return v
}

func callID(c *callRow) string {
	if c == nil || c.target != "" {
		return ""
	}
	return c.CallID
}
