package sink

import (
	"database/sql"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// calls checks I4. Along the postings of a call every value is the one before
// plus the delta, in one currency; call_state says what the last one says; a
// state without postings is worth nothing; and the verdict at the state's rank
// is one that accepts the value and names it.
func (v *verifier) calls() (string, error) {
	if err := v.expect("posting"); err != nil {
		return "", err
	}
	w := chainWalk{}
	return firstOf(
		func() (string, error) {
			return v.each(`
SELECT p.call, p.no, p.currency, p.value, p.share, p.delta, p.share_delta, s.no IS NOT NULL,
  coalesce(s.currency, ''), coalesce(s.value, 0), coalesce(s.share, 0), coalesce(s.last_posting, 0)
FROM posting p LEFT JOIN call_state s ON s.no = p.call ORDER BY p.call, p.no`, w.look)
		},
		func() (string, error) { return w.end(), nil },
		func() (string, error) {
			return v.none(`SELECT 'call_state ' || s.no || ': ' || CASE
    WHEN p.no IS NOT NULL THEN 'its last_posting ' || p.no || ' is on call ' || p.call
    WHEN s.last_posting <> 0 THEN 'there is no posting ' || s.last_posting
    ELSE 'it has a value or share and no posting' END
FROM call_state s LEFT JOIN posting p ON p.no = s.last_posting
WHERE CASE WHEN s.last_posting = 0 THEN s.value <> 0 OR s.share <> 0 ELSE p.call IS DISTINCT FROM s.no END ORDER BY s.no LIMIT 1`)
		},
		v.ranks)
}

// chainRow is a posting with what its call's state says.
type chainRow struct {
	call, no                        int64
	currency                        string
	value, share, delta, shareDelta int64
	hasState                        bool
	stateCurrency                   string
	stateValue, stateShare, last    int64
}

// chainWalk goes through the postings of one call at a time.
type chainWalk struct{ chainRow }

func (w *chainWalk) look(scan func(...any) error) (string, error) {
	var r chainRow
	err := scan(&r.call, &r.no, &r.currency, &r.value, &r.share, &r.delta, &r.shareDelta, &r.hasState, &r.stateCurrency, &r.stateValue, &r.stateShare, &r.last)
	if err != nil {
		return "", err
	}
	before := w.chainRow
	if before.call != r.call {
		if fault := w.end(); fault != "" {
			return fault, nil
		}
		before = chainRow{currency: r.currency}
	}
	w.chainRow = r
	value, ok := addChecked(before.value, r.delta)
	share, ok2 := addChecked(before.share, r.shareDelta)
	at := fmt.Sprintf("posting %d: ", r.no)
	switch {
	case !ok || !ok2:
		return at + "its delta takes the call beyond 64 bits", nil
	case value != r.value:
		return at + fmt.Sprintf("value is %s, %s before it and its delta %s make %s", event.Amount(r.value), event.Amount(before.value), event.Amount(r.delta), event.Amount(value)), nil
	case share != r.share:
		return at + fmt.Sprintf("share is %s, %s before it and its share_delta %s make %s", event.Amount(r.share), event.Amount(before.share), event.Amount(r.shareDelta), event.Amount(share)), nil
	case before.currency != r.currency && (before.value != 0 || before.share != 0):
		return at + fmt.Sprintf("it is in %s, the call is booked in %s", r.currency, before.currency), nil
	}
	return "", nil
}

// end compares the last posting of the call that ends with its state.
func (w *chainWalk) end() string {
	if w.call == 0 {
		return ""
	}
	at := fmt.Sprintf("call_state %d: ", w.call)
	switch {
	case !w.hasState:
		return fmt.Sprintf("posting %d: its call %d has no state", w.no, w.call)
	case w.stateValue != w.value:
		return at + fmt.Sprintf("value is %s, its last posting %d says %s", event.Amount(w.stateValue), w.no, event.Amount(w.value))
	case w.stateShare != w.share:
		return at + fmt.Sprintf("share is %s, its last posting %d says %s", event.Amount(w.stateShare), w.no, event.Amount(w.share))
	case w.last != w.no:
		return at + fmt.Sprintf("last_posting is %d, its last posting is %d", w.last, w.no)
	case w.stateCurrency != w.currency:
		return at + fmt.Sprintf("currency is %s, its last posting %d says %s", w.stateCurrency, w.no, w.currency)
	}
	return ""
}

// ranks is the part of I4 that looks at the event which booked a call.
func (v *verifier) ranks() (string, error) {
	pruned, err := v.pruned()
	if err != nil {
		return "", err
	}
	return v.each(`
SELECT s.no, s.value, s.parts, (SELECT sum(k.value) FROM component k WHERE k.call = s.no), s.rank_stream, s.rank_seq, s.rank_n, coalesce(w.status, ''), coalesce(w.call, 0), coalesce(w.value, 0), coalesce(w.received_at, 0), s.rank_at, coalesce(w.payout, 0), coalesce(w.kind, ''), coalesce(w.reason, '')
FROM call_state s LEFT JOIN verdict w ON w.stream = s.rank_stream AND w.seq = s.rank_seq AND w.n = s.rank_n AND w.final = 1
ORDER BY s.no`, func(scan func(...any) error) (string, error) {
		var no, value, parts, call, said, receivedAt, rankAt int64
		var id event.ID
		var status, kind, reason string
		var payout int64
		var sum sql.NullInt64
		if err := scan(&no, &value, &parts, &sum, &id.Stream, &id.Seq, &id.N, &status, &call, &said, &receivedAt, &rankAt, &payout, &kind, &reason); err != nil {
			return "", err
		}
		at := fmt.Sprintf("call_state %d: ", no)
		if kind == event.Reversal.String() {
			payout = 0
		}
		switch {
		case parts != sum.Int64:
			return at + fmt.Sprintf("its parts are %s, its components make %s", event.Amount(parts), event.Amount(sum.Int64)), nil
		case sum.Valid && id.IsZero() && value == parts: // nothing but components
		case sum.Valid && (status == "" || accepts(status)) && (status == "" || call == no): // what it said has had components added since
		case (status == "stale" || reason == string(event.ToldFirst)) && call == no && payout == value && receivedAt == rankAt: // it counts again: what outranked it was a repeat
		case status == "" && pruned:
		case status == "":
			return at + fmt.Sprintf("event %q, which booked it, has no final verdict", id), nil
		case !accepts(status):
			return at + fmt.Sprintf("event %s, which booked it, ended %s", id, status), nil
		case call != no || said != value || receivedAt != rankAt:
			return at + fmt.Sprintf("value is %s, event %s, which booked it, said %s for call %d", event.Amount(value), id, event.Amount(said), call), nil
		}
		return "", nil
	})
}

// accepts reports whether an event of that status sets its call's value.
func accepts(status string) bool {
	switch status {
	case "booked", "unchanged", "unqualified", "reversed":
		return true
	}
	return false
}

// shares checks I5. A call's share is what its rule makes of its whole value,
// and nothing when the call is not booked, not qualified or not assigned by
// that rule any more; a posting that changes the share makes it what its rule
// says of its value, or nothing. A share that no amount can hold is left as it
// was booked.
func (v *verifier) shares() (string, error) {
	if err := v.expect("posting"); err != nil {
		return "", err
	}
	rules, fault, err := v.rules()
	if err != nil || fault != "" {
		return fault, err
	}
	return firstOf(
		func() (string, error) {
			return v.each(`
SELECT s.no, s.value, s.share, s.status, s.rule, coalesce(c.qualified, -1), coalesce(c.campaign, ''), coalesce(c.publisher, '')
FROM call_state s LEFT JOIN call c ON c.no = s.no WHERE c.target IS NULL ORDER BY s.no`, func(scan func(...any) error) (string, error) {
				var no, value, share, id, qualified int64
				var status, campaign, publisher string
				if err := scan(&no, &value, &share, &status, &id, &qualified, &campaign, &publisher); err != nil {
					return "", err
				}
				r := rules[id]
				switch {
				case id != 0 && r == nil:
					return fmt.Sprintf("call_state %d: there is no rule %d", no, id), nil
				case r == nil || status != "booked" || qualified == 0 || !r.assigns(campaign, publisher):
					r = &rule{}
				}
				want, err := r.payout.Share(event.Amount(value))
				if err == nil && int64(want) != share {
					return fmt.Sprintf("call_state %d: share is %s, rule %d makes %s of %s", no, event.Amount(share), id, want, event.Amount(value)), nil
				}
				return "", nil
			})
		},
		func() (string, error) {
			return v.each(`SELECT no, value, share, share_delta, rule FROM posting WHERE share_currency IS NULL ORDER BY no`, func(scan func(...any) error) (string, error) {
				var no, value, share, shareDelta, id int64
				if err := scan(&no, &value, &share, &shareDelta, &id); err != nil || share == 0 || shareDelta == 0 {
					return "", err
				}
				r := rules[id]
				if r == nil {
					return fmt.Sprintf("posting %d: share is %s and there is no rule %d", no, event.Amount(share), id), nil
				}
				want, err := r.payout.Share(event.Amount(value))
				if err == nil && int64(want) != share {
					return fmt.Sprintf("posting %d: share is %s, rule %d makes %s of %s", no, event.Amount(share), id, want, event.Amount(value)), nil
				}
				return "", nil
			})
		})
}

// rules reads every payout rule.
func (v *verifier) rules() (rules map[int64]*rule, fault string, err error) {
	rules = map[int64]*rule{}
	fault, err = v.each(`SELECT id, campaign, publisher, payout FROM rule ORDER BY id`, func(scan func(...any) error) (string, error) {
		r, text := new(rule), ""
		if err := scan(&r.id, &r.campaign, &r.publisher, &text); err != nil {
			return "", err
		}
		rules[r.id] = r
		if text == "" {
			return "", nil
		}
		p, err := event.ParseRule(text)
		if err != nil {
			return fmt.Sprintf("rule %d: %v", r.id, err), nil
		}
		r.payout = p
		return "", nil
	})
	if err != nil || fault != "" {
		return rules, fault, err
	}
	fault, err = v.each(`SELECT id, campaign, spec FROM conversion_group WHERE spec <> '' ORDER BY id`, func(scan func(...any) error) (string, error) {
		g, text := new(group), ""
		if err := scan(&g.id, &g.campaign, &text); err != nil {
			return "", err
		}
		spec, err := event.ParseGroup(text)
		if err != nil {
			return fmt.Sprintf("conversion_group %d: %v", g.id, err), nil
		}
		for id, triggered := range map[int64]bool{g.postedRule(): false, g.triggeredRule(): true} {
			rules[id] = &rule{id: id, assignment: assignment{campaign: g.campaign}, payout: spec.Share(triggered)}
		}
		return "", nil
	})
	return rules, fault, err
}

// assigns reports whether r is that of a publisher in a campaign: its own, or
// that of the campaign's conversion group.
func (r *rule) assigns(campaign, publisher string) bool {
	return r.campaign == campaign && (r.id < 0 || r.publisher == publisher)
}
