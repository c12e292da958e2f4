package sink_test

import (
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

// What a further conversion does to a call, and adjustments.
func TestLedgerPolicies(t *testing.T) {
	plays(t, map[string]func(*testing.T, *harness){
		"overwrite: the latest counts":                              overwrites,
		"add: sums, retries and conflicts":                          adds,
		"add: a part is taken back":                                 addsTakenBack,
		"add: a reversal that comes first":                          addsTakenBackFirst,
		"add: a part is taken back when the parts make zero":        addsCancelled,
		"add: a reversal says nothing of money":                     addsReversedWithoutMoney,
		"add: beside a source that overwrites":                      addsBesideOverwrite,
		"add: the share follows the total":                          addsShare,
		"add: a flat share is paid once":                            addsShareFlat,
		"add: an absolute adjustment of a part":                     addsAdjusted,
		"add: two nodes in the other order":                         addsTwoNodes,
		"add: without an id it is as any price":                     addsWeak,
		"add: a total over the cap":                                 addsOverCap,
		"relative adjustments of a price":                           relative,
		"relative adjustments that go below zero":                   relativeBelowZero,
		"an absolute adjustment sets the price":                     absolute,
		"first: later ones change nothing":                          first,
		"first: a reversal lets the next one count":                 firstReversed,
		"first: an adjustment is no conversion":                     firstAdjusted,
		"first: two nodes in the other order":                       firstTwoNodes,
		"a test under a policy says what would be and does nothing": policiesTest,
	})
}

// sold tells calls of campaign c and publisher p.
func (h *harness) sold(payout string, ids ...string) {
	h.t.Helper()
	h.assign("c", "p", payout)
	for _, id := range ids {
		c := ended(id, h.now, 90)
		c.call.Campaign, c.call.Publisher = "c", "p"
		h.post(c)
	}
}

// price is a postback of source s for a call.
func price(amount, call, id string) told { return pays(amount, byRef("ref-"+call)).strong(id) }

// undo takes back what a source has told under an id.
func undo(source, id string) told {
	return told{source: source, id: id, reports: []event.Report{{Kind: event.Reversal}}}
}

func (h *harness) adding() {
	h.source("add", func(p *event.Policy) { p.Duplicates = event.Add })
}

func overwrites(t *testing.T, h *harness) {
	h.sold("percent 80", "a")
	says(t, h.post(price("50", "a", "t1"), price("60", "a", "t2"), price("50", "a", "t1"), price("60", "a", "t3")),
		"booked", "booked", "duplicate", "unchanged same_value")
	booked(t, h, "a", "60.00", "48.00")
	says(t, h.post(undo("s", "t3")), "reversed")
	booked(t, h, "a", "0.00", "0.00")
}

func adds(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a")
	one, two := price("50", "a", "t1").from("add"), price("60", "a", "t2").from("add")
	vs := h.post(one, two, one, price("51", "a", "t1").from("add"))
	says(t, vs, "booked ", "booked ", "duplicate", "conflict")
	if v := vs[1]; v.Value != 110*event.Unit || v.Delta != 60*event.Unit || v.ShareDelta != 48*event.Unit {
		t.Errorf("%+v", v)
	}
	h.now += 24 * hour
	says(t, h.post(two, price("0.000001", "a", "t3").from("add")), "duplicate", "booked")
	booked(t, h, "a", "110.000001", "88.000001")
}

func addsTakenBack(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a")
	h.post(price("50", "a", "t1").from("add"), price("60", "a", "t2").from("add"))
	vs := h.post(undo("add", "t1"), undo("add", "t1"))
	says(t, vs, "reversed taken_back", "duplicate")
	if vs[0].Delta != -50*event.Unit {
		t.Errorf("took %s back", vs[0].Delta)
	}
	booked(t, h, "a", "60.00", "48.00")
	says(t, h.post(price("50", "a", "t1").from("add")), "duplicate")
	says(t, h.post(undo("add", "t2")), "reversed")
	booked(t, h, "a", "0.00", "0.00")
	if _, _, s := h.value("a"); s != "reversed" {
		t.Errorf("the call is %s", s)
	}
	says(t, h.post(price("5", "a", "t3").from("add")), "booked")
	booked(t, h, "a", "5.00", "4.00")
}

func addsTakenBackFirst(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a")
	says(t, h.post(undo("add", "t1"), price("60", "a", "t2").from("add")), "reversed reversal_beforehand", "booked")
	says(t, h.post(price("50", "a", "t1").from("add")), "reversed reversed_on_arrival")
	booked(t, h, "a", "60.00", "48.00")
	if _, _, s := h.value("a"); s != "booked" {
		t.Errorf("the call is %s", s)
	}
	says(t, h.post(undo("add", "t1"), undo("add", "t2")), "duplicate", "reversed")
	booked(t, h, "a", "0.00", "0.00")
}

func addsCancelled(t *testing.T, h *harness) {
	h.source("add", func(p *event.Policy) { p.Duplicates, p.Relative = event.Add, true })
	h.sold("percent 80", "a")
	says(t, h.post(price("50", "a", "t1").from("add"), price("-50", "a", "a1").from("add").as(event.Adjustment)), "booked", "unqualified")
	says(t, h.post(undo("add", "t1")), "held below_zero") // 50 less than nothing
	booked(t, h, "a", "0.00", "0.00")
}

func addsReversedWithoutMoney(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a")
	euros := func(p told) told {
		p.reports[0].Payout.Currency = "EUR"
		return p.from("add")
	}
	says(t, h.post(euros(price("50", "a", "t1")), euros(price("60", "a", "t2")), undo("add", "t1")), "booked", "booked", "reversed")
	h.has("buyer:acme:receivable", "EUR", "60.00")
	says(t, h.post(price("1", "a", "t3").from("add")), "held currency_differs")
	h.has("publisher:p:pending", "EUR", "48.00")
}

// A price of the one source replaces prices of its own kind, not the parts.
func addsBesideOverwrite(t *testing.T, h *harness) {
	h.source("add", func(p *event.Policy) { p.Duplicates, p.Relative = event.Add, true })
	h.sold("percent 80", "a")
	says(t, h.post(price("50", "a", "t1"), price("7", "a", "x1").from("add"), price("60", "a", "t2")), "booked", "booked", "booked")
	booked(t, h, "a", "67.00", "53.60")
	says(t, h.post(price("-2", "a", "x2").from("add").as(event.Adjustment), undo("s", "t2")), "booked", "reversed taken_back")
	booked(t, h, "a", "5.00", "4.00")
	says(t, h.post(price("60", "a", "t3"), undo("add", "x1")), "booked", "reversed")
	booked(t, h, "a", "58.00", "46.40")
	says(t, h.post(undo("s", "t9"), price("9", "a", "t9")), "reversed reversal_beforehand", "held below_zero") // what is left of it is an adjustment alone
	booked(t, h, "a", "58.00", "46.40")
	says(t, h.post(price("7", "a", "x3").from("add"), undo("s", "t8"), price("9", "a", "t8")), "booked", "reversed reversal_beforehand", "reversed reversed_on_arrival")
	booked(t, h, "a", "5.00", "4.00")
}

func addsShare(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 33.3333", "a")
	for _, id := range []string{"t1", "t2", "t3"} {
		h.post(price("0.01", "a", id).from("add"))
	}
	booked(t, h, "a", "0.03", "0.01") // of the total, not three times 0.003333
	h.post(price("999.97", "a", "t4").from("add"))
	booked(t, h, "a", "1000.00", "333.333")
}

func addsShareFlat(t *testing.T, h *harness) {
	h.adding()
	h.sold("flat 12.50", "a")
	h.post(price("50", "a", "t1").from("add"), price("60", "a", "t2").from("add"))
	booked(t, h, "a", "110.00", "12.50")
	h.post(undo("add", "t1"))
	booked(t, h, "a", "60.00", "12.50")
	h.post(undo("add", "t2"))
	booked(t, h, "a", "0.00", "0.00")
}

func addsAdjusted(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a")
	to := price("40", "a", "t1").from("add").as(event.Adjustment)
	says(t, h.post(to, price("60", "a", "t2").from("add"), to), "unmatched no_such_transaction", "booked", "unmatched no_such_transaction")
	says(t, h.post(price("50", "a", "t1").from("add"), to, to), "booked", "booked", "duplicate")
	booked(t, h, "a", "100.00", "80.00")
	says(t, h.post(undo("add", "t1")), "reversed")
	booked(t, h, "a", "60.00", "48.00")
	says(t, h.post(undo("add", "t3"), price("5", "a", "t3").from("add"), price("6", "a", "t3").from("add").as(event.Adjustment)), "reversed", "reversed reversed_on_arrival", "booked")
	booked(t, h, "a", "66.00", "52.80") // what is said last counts

	vs := h.post(price("20000", "a", "t2").from("add").as(event.Adjustment)) // which part it names is not kept with what is held
	says(t, vs, "held amount_over_cap")
	h.rules(vs[0].Event, true, "")
	h.tick()
	h.last(vs[0].Event, "unmatched", "no_such_transaction")
	says(t, h.post(price("70", "a", "t2").from("add").as(event.Adjustment)), "booked") // its identity is free
	booked(t, h, "a", "76.00", "60.80")
}

func addsTwoNodes(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a", "b")
	for i, call := range []string{"a", "b"} {
		other := h.node()
		own := h.batch(price("50", call, call+"1").from("add"), price("5", call, call+"2").from("add"))
		other.now += minute
		theirs := other.batch(price("60", call, call+"3").from("add"), undo("add", call+"1"), price("5", call, call+"2").from("add"))
		if i == 0 {
			says(t, h.send(own), "booked", "booked")
			says(t, other.send(theirs), "booked", "reversed", "duplicate")
		} else {
			says(t, other.send(theirs), "booked", "reversed", "booked")
			says(t, h.send(own), "reversed", "duplicate")
		}
		booked(t, h, call, "65.00", "52.00")
		h.now = other.now + minute
	}
}

func addsWeak(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a")
	says(t, h.post(pays("50", byRef("ref-a")).from("add"), pays("50", byRef("ref-a")).from("add"), pays("60", byRef("ref-a")).from("add")), "booked", "duplicate", "booked")
	booked(t, h, "a", "60.00", "48.00")
}

func addsOverCap(t *testing.T, h *harness) {
	h.adding()
	h.sold("percent 80", "a")
	says(t, h.post(price("6000", "a", "t1").from("add"), price("4000.01", "a", "t2").from("add"), price("4000", "a", "t3").from("add")),
		"booked", "held amount_over_cap", "booked")
	booked(t, h, "a", "10000.00", "8000.00")
	says(t, h.post(undo("add", "t2"), undo("add", "t1")), "reversed reversal_beforehand", "reversed taken_back")
	booked(t, h, "a", "4000.00", "3200.00")
}

func relative(t *testing.T, h *harness) {
	h.source("s", func(p *event.Policy) { p.Relative = true })
	h.sold("percent 80", "a")
	less := price("-5", "a", "a1").as(event.Adjustment)
	says(t, h.post(price("50", "a", "t1"), less, less, price("-6", "a", "a1").as(event.Adjustment), price("2.5", "a", "a2").as(event.Adjustment)),
		"booked", "booked", "duplicate", "conflict", "booked")
	booked(t, h, "a", "47.50", "38.00")
	says(t, h.post(price("60", "a", "t2")), "booked") // a new price, adjusted as before
	booked(t, h, "a", "57.50", "46.00")
	says(t, h.post(price("-57.5", "a", "a3").as(event.Adjustment)), "unqualified")
	booked(t, h, "a", "0.00", "0.00")
}

func relativeBelowZero(t *testing.T, h *harness) {
	h.source("s", func(p *event.Policy) { p.Relative = true })
	h.sold("percent 80", "a", "b")
	says(t, h.post(price("50", "a", "t1"), price("-50.000001", "a", "a1").as(event.Adjustment)), "booked", "held below_zero")
	booked(t, h, "a", "50.00", "40.00")
	says(t, h.post(price("-5", "b", "a2").as(event.Adjustment)), "held below_zero") // nothing to take from
	booked(t, h, "b", "", "")
	says(t, h.post(price("3", "b", "a3").as(event.Adjustment)), "booked")
	booked(t, h, "b", "3.00", "2.40")
}

func absolute(t *testing.T, h *harness) {
	h.sold("percent 80", "a")
	to := price("40", "a", "t1").as(event.Adjustment)
	says(t, h.post(price("50", "a", "t1"), to, to, price("41", "a", "t1").as(event.Adjustment)), "booked", "booked ", "duplicate", "conflict")
	booked(t, h, "a", "40.00", "32.00")
	says(t, h.post(undo("s", "t1")), "reversed")
	booked(t, h, "a", "0.00", "0.00")
}

func (h *harness) firsts() {
	h.source("s", func(p *event.Policy) { p.Duplicates = event.First })
}

func first(t *testing.T, h *harness) {
	h.firsts()
	h.sold("percent 80", "a", "b")
	vs := h.post(price("50", "a", "t1"), price("60", "a", "t2"), price("60", "a", "t2"), price("50", "a", "t1"))
	says(t, vs, "booked", "stale first_counts", "duplicate", "duplicate")
	if of := vs[1].Detail.Of; of != vs[0].Event.String() {
		t.Errorf("%s counts, want %s", of, vs[0].Event)
	}
	booked(t, h, "a", "50.00", "40.00")
	says(t, h.post(undo("s", "t2")), "reversed reversal_beforehand") // it never counted
	booked(t, h, "a", "50.00", "40.00")
	says(t, h.post(price("0", "b", "t3"), price("60", "b", "t4"), price("0", "b", "t5")), "unqualified", "booked", "stale first_counts")
	booked(t, h, "b", "60.00", "48.00")
}

func firstReversed(t *testing.T, h *harness) {
	h.firsts()
	h.sold("percent 80", "a")
	says(t, h.post(price("50", "a", "t1"), undo("s", "t1"), price("60", "a", "t2"), price("70", "a", "t3")), "booked", "reversed", "booked", "stale first_counts")
	booked(t, h, "a", "60.00", "48.00")
}

func firstAdjusted(t *testing.T, h *harness) {
	h.firsts()
	h.sold("percent 80", "a")
	says(t, h.post(price("50", "a", "t1"), price("45", "a", "t1").as(event.Adjustment), price("60", "a", "t2")), "booked", "booked", "stale first_counts")
	booked(t, h, "a", "45.00", "36.00")
}

func firstTwoNodes(t *testing.T, h *harness) {
	h.firsts()
	h.sold("percent 80", "a")
	other := h.node()
	own := h.batch(price("50", "a", "t1"))
	other.now += minute
	says(t, other.post(price("60", "a", "t2"), price("70", "a", "t3")), "booked", "stale first_counts")
	says(t, h.send(own), "booked")
	booked(t, h, "a", "50.00", "40.00")
	h.now += hour
	vs := h.post(price("80", "a", "t4"))
	says(t, vs, "stale first_counts")
	booked(t, h, "a", "50.00", "40.00")
}

func policiesTest(t *testing.T, h *harness) {
	h.adding()
	h.firsts()
	h.sold("percent 80", "a", "b")
	h.post(price("50", "a", "t1").from("add"), price("50", "b", "u1"))
	try := price("60", "a", "t2").from("add")
	try.test = true
	late := price("60", "b", "u2")
	late.test = true
	vs := h.post(try, late)
	says(t, vs, "ignored test", "ignored test")
	if d, e := vs[0].Detail, vs[1].Detail; d.Would != "booked" || d.Value != "110.00" || e.Would != "stale" || e.Value != "" {
		t.Errorf("would have been %+v and %+v", d, e)
	}
	booked(t, h, "a", "50.00", "40.00")
	booked(t, h, "b", "50.00", "40.00")
	try.test = false
	says(t, h.post(try), "booked")
	booked(t, h, "a", "110.00", "88.00")
}
