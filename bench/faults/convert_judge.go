package faults

import (
	"cmp"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// outcomeRow is what the store says became of a call.
type outcomeRow struct {
	at      int64
	outcome string
	event   string // that brought its value
}

// tellingRow is a revision of an event that is about a call.
type tellingRow struct {
	event          string
	change         int64
	status, reason string
	received       int64
	delta          int64
}

const (
	converted    = "converted"
	notConverted = "not_converted"
)

// timedBooks is what the store holds of a run's calls.
type timedBooks struct {
	ended    map[string]int64
	became   map[string][]outcomeRow
	tellings map[string][]tellingRow
	away     map[string]bool // calls whose values only a dead node knows of
	dead     string          // begins the ids of its events, "" when none died
}

// judge waits until nothing is awaited any more and holds every call against
// what the recorded times say. dead is the stream of a node that was killed, 0
// for none: until it is back, what it has acknowledged and not booked is away,
// which judge counts; then that is booked as late.
func (t *timed) judge(dead int64, back bool) (away int) {
	w := t.w
	w.Helper()
	db := w.books()
	w.decided(db, "every call has its outcome", fmt.Sprintf(`SELECT (SELECT count(*) FROM call WHERE convert_by IS NOT NULL)
 + (SELECT count(*) FROM parked) + %d - (SELECT count(DISTINCT call) FROM conversion)`, len(t.calls)))
	b := t.read(db)
	if dead != 0 {
		b.dead = fmt.Sprint(dead, "-")
	}
	known := w.verdicts(db)
	for event, c := range t.acked {
		switch {
		case known[event]:
		case b.dead != "" && strings.HasPrefix(event, b.dead) && !back:
			b.away[c.id] = true
		default:
			w.Errorf("LOST: event %s was acknowledged and has no verdict", event)
		}
	}
	kinds, total := map[string]int{}, int64(0)
	for _, c := range t.calls {
		kind, err := b.is(c)
		if err != nil {
			w.Errorf("%s, ended at %d: %v\noutcomes %+v\ntellings %+v", c.id, b.ended[c.id], err, b.became[c.id], b.tellings[c.id])
		}
		if kinds[kind]++; c.when != never && !b.away[c.id] {
			total += c.value
		}
	}
	w.say("%d taken, %d tried again; calls: %v, %d away", t.take.taken.Load(), t.take.again.Load(), kinds, len(b.away))
	for _, kind := range []string{"in time", "late", "never"} {
		if kinds[kind] == 0 {
			w.Errorf("no call was paid %s: the run says nothing", kind)
		}
	}
	w.holds("buyer_receivable", "acme", "USD", total)
	w.holds("publisher_pending", "pub", "USD", -total/10*8)
	if n, want := w.count(db, `SELECT count(*) FROM posting`), int64(len(t.calls)-kinds["never"]); n != want {
		w.Errorf("there are %d postings for %d values", n, want)
	}
	w.invariants()
	return len(b.away)
}

// read reads it all; outcomes are numbered without a gap.
func (t *timed) read(db *sql.DB) *timedBooks {
	w := t.w
	w.Helper()
	b := &timedBooks{ended: map[string]int64{}, became: map[string][]outcomeRow{}, tellings: map[string][]tellingRow{}, away: map[string]bool{}}
	w.each(db, `SELECT call_id, ended_at FROM call`, func(row func(...any) error) error {
		var id string
		var ended int64
		err := row(&id, &ended)
		b.ended[id] = ended
		return err
	})
	last := int64(0)
	w.each(db, `SELECT v.no, v.at, v.outcome, v.stream, v.seq, c.call_id FROM conversion v JOIN call c ON c.no = v.call ORDER BY v.no`, func(row func(...any) error) error {
		var o outcomeRow
		var no, stream, seq int64
		var id string
		err := row(&no, &o.at, &o.outcome, &stream, &seq, &id)
		if o.event = fmt.Sprintf("%d-%d", stream, seq); no != last+1 {
			w.Errorf("conversion %d follows on %d", no, last)
		}
		b.became[id], last = append(b.became[id], o), no
		return err
	})
	w.each(db, `SELECT v.stream, v.seq, v.change_seq, v.status, v.reason, v.received_at, v.delta, coalesce(c.call_id, '')
 FROM verdict v LEFT JOIN call c ON c.no = v.call WHERE v.source = 'timed' ORDER BY v.change_seq`, func(row func(...any) error) error {
		var r tellingRow
		var stream, seq int64
		var id string
		err := row(&stream, &seq, &r.change, &r.status, &r.reason, &r.received, &r.delta, &id)
		r.event = fmt.Sprintf("%d-%d", stream, seq)
		b.tellings[id] = append(b.tellings[id], r)
		return err
	})
	return b
}

// is says what a call was, and what is wrong with what became of it.
func (b *timedBooks) is(c *timedCall) (kind string, err error) {
	if ended := b.ended[c.id]; ended != c.ended.UnixMicro() {
		return "wrong", fmt.Errorf("it ended at %d as told", c.ended.UnixMicro())
	}
	paid, err := b.paid(c)
	if err != nil {
		return "wrong", err
	}
	deadline := c.ended.Add(timedOut).UnixMicro()
	want := []outcomeRow{{outcome: notConverted, at: deadline, event: "0-0"}}
	reason, became := "", b.became[c.id]
	switch {
	case paid == nil:
		kind = "never"
	case paid.received <= deadline && !b.cameBack(paid.event, became):
		kind, want = "in time", []outcomeRow{{outcome: converted, at: paid.received, event: paid.event}}
	default:
		if kind = "late"; paid.received <= deadline {
			kind = "late, from the dead"
		}
		reason, want = "converted_late", append(want, outcomeRow{outcome: converted, at: paid.received, event: paid.event})
	}
	if paid != nil && (paid.reason != reason || paid.delta != c.value) {
		return kind, fmt.Errorf("event %s books %d with the reason %q, want %d with %q", paid.event, paid.delta, paid.reason, c.value, reason)
	}
	if !slices.Equal(became, want) {
		return kind, fmt.Errorf("it was paid %s, want %+v", kind, want)
	}
	return kind, nil
}

// paid gives the one event that has booked a call's value, nil when none has.
// All others only repeat it.
func (b *timedBooks) paid(c *timedCall) (paid *tellingRow, err error) {
	for i := range b.tellings[c.id] {
		r := &b.tellings[c.id][i]
		switch {
		case r.status == "booked" && paid == nil:
			paid = r
		case r.status == "duplicate":
		case r.status == "unchanged" && r.reason == "told_first" && paid != nil && b.dead != "" && strings.HasPrefix(r.event, b.dead):
		default:
			return nil, fmt.Errorf("event %s is %s %s", r.event, r.status, r.reason)
		}
	}
	if want := c.when != never && !b.away[c.id]; (paid != nil) != want {
		return nil, fmt.Errorf("its value is booked: %t, want %t", !want, want)
	}
	return paid, nil
}

// cameBack says that an event was received in time by a node that was dead when
// its call was given up.
func (b *timedBooks) cameBack(event string, became []outcomeRow) bool {
	return b.dead != "" && strings.HasPrefix(event, b.dead) && len(became) == 2
}

// holds says that an account holds an amount, debits less credits.
func (w *world) holds(kind, owner, currency string, want int64) {
	w.Helper()
	if got := w.balances(w.books(), kind)[owner+" "+currency]; got != want {
		w.Errorf("account %s %s holds %s %s, want %s", kind, owner, decimal(got), currency, decimal(want))
	}
}

// balances reads what accounts of a kind hold, by owner and currency.
func (w *world) balances(db *sql.DB, kind string) map[string]int64 {
	w.Helper()
	held := map[string]int64{}
	w.each(db, `SELECT a.kind, a.owner, a.currency, b.debits - b.credits FROM account a JOIN balance b ON b.account = a.id`, func(row func(...any) error) error {
		var of, owner, currency string
		var amount int64
		err := row(&of, &owner, &currency, &amount)
		if of == kind {
			held[cmp.Or(owner, "-")+" "+currency] += amount
		}
		return err
	})
	return held
}
