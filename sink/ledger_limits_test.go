package sink_test

import (
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

// A sender's words, caps by day and call keys: what keeps a postback from its call.
func TestLedgerLimits(t *testing.T) {
	plays(t, map[string]func(*testing.T, *harness){
		"words that may follow and words that may not":       words,
		"a word that follows under the same id":              wordsOfOneID,
		"a word that may not follow gives its identity back": wordsRelease,
		"a day's cap": daily,
		"a day's cap counts each currency for itself":            dailyCurrencies,
		"a day's cap is not given back by reversals":             dailyReversals,
		"a day's cap and what a person releases":                 dailyReleased,
		"a day's cap of one source is not another's":             dailySources,
		"a call's key: right, wrong, missing and issued by us":   keys,
		"a call's key: a wrong one holds nothing":                keysRelease,
		"a call's key: of a postback that comes before its call": keysParked,
	})
}

// word is a price with the sender's own status.
func word(p told, status string) told {
	p.reports = append([]event.Report(nil), p.reports...)
	p.reports[0].Status = status
	return p
}

func (h *harness) speaks() {
	h.source("s", func(p *event.Policy) {
		p.Transitions = map[string][]string{"pending": {"approved", "declined"}, "approved": {"charged back"}, "declined": {}}
	})
}

func words(t *testing.T, h *harness) {
	h.speaks()
	h.sold("percent 80", "a", "b")
	says(t, h.post(word(price("0", "a", "t1"), "Pending"), word(price("50", "a", "t2"), "APPROVED"), word(price("60", "a", "t3"), "approved")), "unqualified", "booked", "booked")
	vs := h.post(word(price("70", "a", "t4"), "Pending"), word(price("1", "a", "t5"), "nonsense"))
	says(t, vs, "ignored transition_not_allowed", "ignored transition_not_allowed")
	if d := vs[0].Detail; d.Got != "pending" || d.Value != "approved" || d.Call != "a" {
		t.Errorf("detail %+v", d)
	}
	booked(t, h, "a", "60.00", "48.00")
	says(t, h.post(price("65", "a", "t6"), word(price("66", "a", "t7"), "pending")), "ignored", "ignored") // no word follows none
	booked(t, h, "a", "60.00", "48.00")
	says(t, h.post(word(undo("s", "t3"), "Charged Back"), word(price("67", "a", "t8"), "approved")), "reversed", "ignored")
	booked(t, h, "a", "0.00", "0.00")
	says(t, h.post(word(price("50", "b", "u1"), "whatever"), word(price("51", "b", "u2"), "approved")), "booked", "ignored") // any word may be the first
	booked(t, h, "b", "50.00", "40.00")
}

// A sender that keeps one id through its statuses takes a step with each.
func wordsOfOneID(t *testing.T, h *harness) {
	h.speaks()
	h.sold("percent 80", "a")
	lead := word(price("10", "a", "q1"), "pending")
	says(t, h.post(lead, lead, word(price("50", "a", "q1"), "approved"), word(price("50", "a", "q1"), "approved"), lead), "booked", "duplicate", "booked", "duplicate", "ignored transition_not_allowed")
	says(t, h.post(word(price("60", "a", "q1"), "approved")), "conflict other_content")
	booked(t, h, "a", "50.00", "40.00")
	says(t, h.post(word(undo("s", "q1"), "charged back"), word(price("70", "a", "q1"), "approved")), "reversed", "ignored transition_not_allowed")
	booked(t, h, "a", "0.00", "0.00")
}

func wordsRelease(t *testing.T, h *harness) {
	h.speaks()
	h.sold("percent 80", "a")
	says(t, h.post(word(price("0", "a", "t1"), "approved")), "unqualified")
	says(t, h.post(word(price("50", "a", "t2"), "declined")), "ignored")
	says(t, h.post(word(price("55", "a", "t2"), "approved"), word(price("55", "a", "t2"), "approved")), "booked", "duplicate")
	says(t, h.post(word(undo("s", "t2"), "declined")), "ignored")
	booked(t, h, "a", "55.00", "44.00")
	says(t, h.post(word(undo("s", "t2"), "charged back")), "reversed")
	booked(t, h, "a", "0.00", "0.00")
}

func (h *harness) capped(most event.Amount) {
	h.source("s", func(p *event.Policy) { p.DailyMax = most * event.Unit })
}

func daily(t *testing.T, h *harness) {
	h.capped(100)
	h.sold("percent 80", "a", "b", "c")
	h.now = day0 + 12*hour - second // the last of its day in UTC
	vs := h.post(price("60", "a", "t1"), price("40.01", "b", "t2"), price("40", "b", "t3"), price("0.000001", "c", "t4"), price("0", "c", "t5"))
	says(t, vs, "booked", "held daily_cap_reached", "booked", "held daily_cap_reached", "unqualified")
	if vs[1].Detail.Limit != int64(100*event.Unit) {
		t.Errorf("detail %+v", vs[1].Detail)
	}
	says(t, h.post(price("60", "a", "t6"), price("30", "a", "t7")), "unchanged", "booked") // what adds nothing is not counted
	h.now += second
	says(t, h.post(price("90", "a", "t8"), price("80", "b", "t9"), price("0.5", "c", "t10")), "booked", "booked", "held") // 60 more, 40 more
	h.now += 24 * hour
	says(t, h.post(price("100", "c", "t11")), "booked")
}

func dailyCurrencies(t *testing.T, h *harness) {
	h.capped(100)
	h.sold("percent 80", "a", "b", "c")
	euros := func(p told) told {
		p.reports[0].Payout.Currency = "EUR"
		return p
	}
	says(t, h.post(price("100", "a", "t1"), euros(price("100", "b", "t2")), euros(price("1", "c", "t3"))), "booked", "booked", "held daily_cap_reached")
}

func dailyReversals(t *testing.T, h *harness) {
	h.capped(100)
	h.sold("percent 80", "a", "b")
	says(t, h.post(price("100", "a", "t1"), undo("s", "t1"), price("1", "b", "t2")), "booked", "reversed", "held daily_cap_reached")
	booked(t, h, "a", "0.00", "0.00")
}

// A person may go beyond it; what was let go counts for the day on which it came.
func dailyReleased(t *testing.T, h *harness) {
	h.capped(100)
	h.sold("percent 80", "a", "b", "c")
	vs := h.post(price("500", "a", "t1"), price("90", "b", "t2"))
	says(t, vs, "held", "booked")
	h.rules(vs[0].Event, true, "20")
	h.tick()
	booked(t, h, "a", "20.00", "16.00")
	says(t, h.post(price("1", "c", "t3")), "held daily_cap_reached")
	h.now += 24 * hour
	says(t, h.post(price("100", "c", "t4")), "booked")
}

func dailySources(t *testing.T, h *harness) {
	h.capped(100)
	h.source("t", func(p *event.Policy) { p.DailyMax = 100 * event.Unit })
	h.sold("percent 80", "a", "b")
	says(t, h.post(price("100", "a", "t1"), price("100", "b", "t1").from("t"), price("101", "a", "t2")), "booked", "booked", "held")
	other := h.node()
	says(t, other.post(price("101", "a", "t3"), price("101", "b", "t3").from("t")), "held", "held")
}

// shows gives a postback the key that its sender shows.
func shows(p told, key string) told {
	p.reports[0].Key = key
	return p
}

func (h *harness) keyed() {
	h.source("s", func(p *event.Policy) { p.CallKeys = true })
	c := ended("a", h.now, 90)
	c.call.Key = "secret"
	h.post(c, ended("b", h.now, 80))
}

func keys(t *testing.T, h *harness) {
	h.keyed()
	vs := h.post(shows(price("50", "a", "t1"), event.CallKeyDigest("Secret")), price("50", "a", "t2"), shows(price("50", "a", "t3"), event.CallKeyDigest("")),
		shows(price("50", "b", "t4"), event.CallKeyDigest("")), price("50", "b", "t5"), shows(price("50", "b", "t6"), event.CallKeyDigest("secret")))
	for _, v := range vs {
		says(t, []event.Verdict{v}, "invalid call_key_wrong")
	}
	booked(t, h, "a", "", "")
	booked(t, h, "b", "", "")
	says(t, h.post(shows(price("50", "a", "t7"), event.CallKeyDigest("secret")), shows(price("60", "b", "t8"), event.KeyIssued)), "booked", "booked")
	booked(t, h, "a", "50.00", "0.00")
	booked(t, h, "b", "60.00", "0.00")
	says(t, h.post(undo("s", "t7"), shows(undo("s", "t7"), event.CallKeyDigest("secret"))), "invalid call_key_wrong", "reversed")
	booked(t, h, "a", "0.00", "0.00")
}

func keysRelease(t *testing.T, h *harness) {
	h.keyed()
	wrong, right := event.CallKeyDigest("guess"), event.CallKeyDigest("secret")
	says(t, h.post(shows(price("50", "a", "t1"), wrong), shows(price("50", "a", "t1"), wrong), shows(price("55", "a", "t1"), right), shows(price("55", "a", "t1"), right)),
		"invalid", "invalid", "booked", "duplicate")
	booked(t, h, "a", "55.00", "0.00")
	says(t, h.post(shows(pays("70", byRef("ref-a")), wrong), shows(pays("70", byRef("ref-a")), right)), "invalid", "booked") // without an id too
	booked(t, h, "a", "70.00", "0.00")
}

func keysParked(t *testing.T, h *harness) {
	h.source("s", func(p *event.Policy) { p.CallKeys = true })
	vs := h.post(shows(price("50", "a", "t1"), event.CallKeyDigest("guess")), shows(price("60", "a", "t2"), event.CallKeyDigest("secret")))
	says(t, vs, "parked", "parked")
	c := ended("a", h.now-minute, 90)
	c.call.Key = "secret"
	h.post(c)
	h.revisions(vs[0].Event, "parked", "invalid")
	h.revisions(vs[1].Event, "parked", "booked")
	booked(t, h, "a", "60.00", "0.00")
	says(t, h.post(shows(price("61", "a", "t1"), event.CallKeyDigest("secret"))), "booked")
}
