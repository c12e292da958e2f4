package sink_test

import (
	"database/sql"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// What people decide of held events.
func TestLedgerRulings(t *testing.T) {
	plays(t, map[string]func(*testing.T, *harness){
		"a held event is released":                          heldReleased,
		"a held event is released with a value":             heldReleasedAt,
		"a held event is rejected":                          heldRejected,
		"a later price came meanwhile":                      heldStale,
		"the same value came meanwhile":                     heldSame,
		"another currency with and without a value":         heldCurrency,
		"the source is gone":                                heldSourceGone,
		"a reversal comes while it is held":                 heldReversed,
		"a resend while it is held":                         heldResent,
		"a weak resend while it is held and afterwards":     heldWeak,
		"a decision with the next batch":                    heldWithBatch,
		"a decision that is posted twice":                   heldTwice,
		"a crash before the commit":                         heldCrash,
		"a decision that is carried out by another node":    heldElsewhere,
		"a decision of what is not held does nothing":       heldNot,
		"several decisions at once go in the order of time": heldInOrder,
		"a call that would be below zero is held again":     heldBelowZero,
		"an unsigned payout":                                heldUnsigned,
	})
}

// rules notes what a person decides of a held event, as store.Objects.Rule
// does. value "" keeps what was reported.
func (h *harness) rules(id event.ID, release bool, value string) {
	h.t.Helper()
	var micros sql.NullInt64
	if value != "" {
		micros = sql.NullInt64{Int64: int64(amountOf(value)), Valid: true}
	}
	one := 0
	if release {
		one = 1
	}
	_, err := h.db.Write.Exec(`INSERT INTO ruling (stream, seq, n, release, value, actor, at) VALUES ($1, $2, $3, $4, $5, 'eve', $6)
		ON CONFLICT (stream, seq, n) DO UPDATE SET release = excluded.release, value = excluded.value, at = excluded.at`,
		int64(id.Stream), int64(id.Seq), int64(id.N), one, micros, time.Now().UnixMicro())
	if err != nil {
		h.t.Fatal(err)
	}
}

// last checks the newest verdict of an event: its status, reason, and who is
// said to have decided.
func (h *harness) last(id event.ID, status, reason string) {
	h.t.Helper()
	var s, r, detail string
	err := h.db.Read.QueryRow(`SELECT status, reason, coalesce(detail, '') FROM verdict WHERE stream = $1 AND seq = $2 AND n = $3 ORDER BY revision DESC LIMIT 1`,
		int64(id.Stream), int64(id.Seq), int64(id.N)).Scan(&s, &r, &detail)
	if err != nil || s != status || r != reason {
		h.t.Fatalf("event %s: %s %s %s, %v; want %s %s", id, s, r, detail, err, status, reason)
	}
}

// undecided counts held events and rulings that were not carried out.
func (h *harness) undecided(held, rulings int) {
	h.t.Helper()
	var a, b int
	if err := h.db.Read.QueryRow(`SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM ruling)`).Scan(&a, &b); err != nil || a != held || b != rulings {
		h.t.Fatalf("%d held and %d rulings, %v; want %d and %d", a, b, err, held, rulings)
	}
}

// over tells a call of publisher p and a price for it that is over the cap.
func over(t *testing.T, h *harness) event.ID {
	h.assign("c", "p", "percent 80")
	c := ended("a", h.now, 90)
	c.call.Campaign, c.call.Publisher = "c", "p"
	h.post(c)
	vs := h.post(pays("20000", byRef("ref-a")).strong("t1"))
	says(t, vs, "held amount_over_cap")
	booked(t, h, "a", "", "")
	h.undecided(1, 0)
	return vs[0].Event
}

func heldReleased(t *testing.T, h *harness) {
	id := over(t, h)
	h.tick()
	h.undecided(1, 0)
	h.rules(id, true, "")
	h.tick()
	h.revisions(id, "held", "booked")
	h.last(id, "booked", "released")
	booked(t, h, "a", "20000.00", "16000.00")
	h.undecided(0, 0)
	says(t, h.post(pays("20000", byRef("ref-a")).strong("t1")), "duplicate")
	says(t, h.post(told{source: "s", id: "t1", reports: []event.Report{{Kind: event.Reversal}}}), "reversed taken_back")
	booked(t, h, "a", "0.00", "0.00")
}

func heldReleasedAt(t *testing.T, h *harness) {
	id := over(t, h)
	h.rules(id, true, "2000")
	h.tick()
	h.last(id, "booked", "released")
	booked(t, h, "a", "2000.00", "1600.00")
	says(t, h.post(pays("20000", byRef("ref-a")).strong("t1")), "duplicate") // the sender's money, not ours
	booked(t, h, "a", "2000.00", "1600.00")
	h.now += minute
	other := h.post(pays("30000", byRef("ref-a")).strong("t2"))
	h.rules(other[0].Event, true, "0")
	h.tick()
	h.last(other[0].Event, "unqualified", "released")
	booked(t, h, "a", "0.00", "0.00")
}

func heldRejected(t *testing.T, h *harness) {
	id := over(t, h)
	h.rules(id, false, "")
	h.tick()
	h.revisions(id, "held", "rejected")
	h.last(id, "rejected", "refused_by_person")
	h.undecided(0, 0)
	booked(t, h, "a", "", "")
	says(t, h.post(pays("20000", byRef("ref-a")).strong("t1"), pays("20", byRef("ref-a")).strong("t1")), "duplicate", "conflict")
	says(t, h.post(told{source: "s", id: "t1", reports: []event.Report{{Kind: event.Reversal}}}), "reversed reversal_beforehand")
	booked(t, h, "a", "", "")
	h.now += hour
	says(t, h.post(pays("20", byRef("ref-a")).strong("t2")), "booked")
}

func heldStale(t *testing.T, h *harness) {
	id := over(t, h)
	h.now += minute
	says(t, h.post(pays("60", byRef("ref-a")).strong("t2")), "booked")
	h.rules(id, true, "70")
	h.tick()
	h.last(id, "stale", "older_than_booked")
	booked(t, h, "a", "60.00", "48.00")
	h.undecided(0, 0)
}

func heldSame(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	says(t, h.post(pays("60", byRef("ref-a")).strong("t1")), "booked")
	vs := h.post(pays("20000", byRef("ref-a")).strong("t2"))
	h.rules(vs[0].Event, true, "60")
	h.tick()
	h.last(vs[0].Event, "unchanged", "released")
	booked(t, h, "a", "60.00", "0.00")
}

func heldCurrency(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	says(t, h.post(pays("50", byRef("ref-a")).strong("t1")), "booked")
	p := pays("60", byRef("ref-a")).strong("t2")
	p.reports[0].Payout.Currency = "EUR"
	vs := h.post(p)
	says(t, vs, "held currency_differs")
	h.rules(vs[0].Event, true, "")
	h.tick()
	h.revisions(vs[0].Event, "held", "held")
	h.undecided(1, 0)
	booked(t, h, "a", "50.00", "0.00")
	h.rules(vs[0].Event, true, "66")
	h.tick()
	h.last(vs[0].Event, "booked", "released")
	booked(t, h, "a", "66.00", "0.00")
	h.has("buyer:acme:receivable", "USD", "66.00")
	h.has("buyer:acme:receivable", "EUR", "")
}

func heldSourceGone(t *testing.T, h *harness) {
	id := over(t, h)
	policy := h.policy["s"]
	delete(h.policy, "s")
	h.rules(id, true, "")
	h.tick()
	h.last(id, "failed", "source_unknown")
	booked(t, h, "a", "", "")
	h.undecided(0, 0)
	h.policy["s"] = policy
	says(t, h.post(pays("20", byRef("ref-a")).strong("t1")), "booked") // its identity is free
	booked(t, h, "a", "20.00", "16.00")

	h.now += minute
	vs := h.post(pays("30000", byRef("ref-a")).strong("t2"))
	delete(h.policy, "s")
	h.rules(vs[0].Event, false, "")
	h.tick()
	h.last(vs[0].Event, "rejected", "refused_by_person")
	h.policy["s"] = policy
}

func heldReversed(t *testing.T, h *harness) {
	id := over(t, h)
	says(t, h.post(told{source: "s", id: "t1", reports: []event.Report{{Kind: event.Reversal}}}), "reversed reversal_beforehand")
	h.rules(id, true, "70")
	h.tick()
	h.last(id, "reversed", "reversed_on_arrival")
	booked(t, h, "a", "0.00", "0.00")
	says(t, h.post(pays("20000", byRef("ref-a")).strong("t1")), "duplicate")
}

func heldResent(t *testing.T, h *harness) {
	id := over(t, h)
	vs := h.post(pays("20000", byRef("ref-a")).strong("t1"), pays("21000", byRef("ref-a")).strong("t1"))
	says(t, vs, "duplicate same_event", "conflict other_content")
	if vs[0].Detail.Of != id.String() {
		t.Errorf("duplicate of %q", vs[0].Detail.Of)
	}
	h.undecided(1, 0)
}

func heldWeak(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	p := pays("20000", byRef("ref-a"))
	vs := h.post(p, p)
	says(t, vs, "held", "duplicate")
	h.now += minute
	h.rules(vs[0].Event, false, "")
	says(t, h.post(p), "duplicate")
	h.last(vs[0].Event, "rejected", "refused_by_person")
	h.now += minute
	says(t, h.post(p), "duplicate")
	h.now += hour
	vs = h.post(p)
	says(t, vs, "held")
	h.rules(vs[0].Event, true, "")
	h.tick()
	says(t, h.post(p), "duplicate")
	booked(t, h, "a", "20000.00", "0.00")
}

// What was decided ends with the batch that comes next, behind its events.
func heldWithBatch(t *testing.T, h *harness) {
	id := over(t, h)
	h.now += minute
	h.rules(id, true, "")
	says(t, h.post(pays("60", byRef("ref-a")).strong("t2"), pays("20000", byRef("ref-a")).strong("t1")), "booked", "duplicate")
	h.last(id, "stale", "older_than_booked")
	booked(t, h, "a", "60.00", "48.00")
}

func heldTwice(t *testing.T, h *harness) {
	id := over(t, h)
	h.rules(id, true, "70")
	b := h.batch(ended("b", h.now, 90), pays("5", byRef("ref-b")))
	for range 2 {
		says(t, h.send(b), "booked")
		h.tick()
		h.revisions(id, "held", "booked")
		booked(t, h, "a", "70.00", "56.00")
		h.undecided(0, 0)
	}
}

func heldCrash(t *testing.T, h *harness) {
	id := over(t, h)
	h.rules(id, true, "70")
	b := h.batch(ended("b", h.now, 90), pays("5", byRef("ref-b")))
	mend := h.breakStreams()
	if _, err := h.ledger.Post(t.Context(), b); err == nil {
		t.Fatal("it was committed")
	}
	mend()
	h.undecided(1, 1)
	h.revisions(id, "held")
	booked(t, h, "a", "", "")
	h.ledger = h.another() // what died has forgotten everything
	says(t, h.send(b), "booked")
	h.revisions(id, "held", "booked")
	booked(t, h, "a", "70.00", "56.00")
	h.undecided(0, 0)
}

func heldElsewhere(t *testing.T, h *harness) {
	id := over(t, h)
	other := h.node()
	h.rules(id, true, "")
	other.tick()
	h.last(id, "booked", "released")
	h.tick()
	h.revisions(id, "held", "booked")
	says(t, other.post(pays("20000", byRef("ref-a")).strong("t1")), "duplicate")
	says(t, h.post(pays("20000", byRef("ref-a")).strong("t1")), "duplicate")
	booked(t, h, "a", "20000.00", "16000.00")
}

func heldNot(t *testing.T, h *harness) {
	id := over(t, h)
	vs := h.post(ended("b", h.now, 80), pays("5", byRef("ref-b")))
	h.rules(vs[0].Event, false, "")
	h.tick()
	h.revisions(vs[0].Event, "booked")
	h.rules(id, true, "")
	h.tick()
	h.last(id, "booked", "released")
	booked(t, h, "b", "5.00", "0.00")
}

func heldInOrder(t *testing.T, h *harness) {
	h.source("add", func(p *event.Policy) { p.Duplicates, p.DailyMax = event.Add, 10*event.Unit })
	h.post(ended("a", h.now, 90))
	vs := h.post(pays("20", byRef("ref-a")).strong("t1").from("add"), pays("30", byRef("ref-a")).strong("t2").from("add"), pays("40", byRef("ref-a")).strong("t3").from("add"))
	says(t, vs, "held", "held", "held")
	h.rules(vs[2].Event, true, "")
	h.rules(vs[0].Event, false, "")
	h.rules(vs[1].Event, true, "35")
	h.tick()
	h.last(vs[0].Event, "rejected", "refused_by_person")
	h.last(vs[1].Event, "booked", "released")
	h.last(vs[2].Event, "booked", "released")
	booked(t, h, "a", "75.00", "0.00")
	var first uint64
	if err := h.db.Read.QueryRow(`SELECT seq FROM posting ORDER BY no LIMIT 1`).Scan(&first); err != nil || first != vs[2].Event.Seq {
		t.Errorf("first of record %d, %v", first, err)
	}
}

func heldBelowZero(t *testing.T, h *harness) {
	h.source("add", func(p *event.Policy) { p.Duplicates, p.Relative = event.Add, true })
	h.post(ended("a", h.now, 90))
	vs := h.post(pays("20", byRef("ref-a")).strong("t1").from("add"), pays("-30", byRef("ref-a")).strong("a1").from("add").as(event.Adjustment))
	says(t, vs, "booked", "held below_zero")
	if vs[1].Detail.Value != "-10.00" {
		t.Errorf("detail %+v", vs[1].Detail)
	}
	h.rules(vs[1].Event, true, "")
	h.tick()
	h.revisions(vs[1].Event, "held", "held")
	h.undecided(1, 0)
	says(t, h.post(pays("50", byRef("ref-a")).strong("t2").from("add")), "booked")
	h.rules(vs[1].Event, true, "")
	h.tick()
	h.last(vs[1].Event, "booked", "released")
	booked(t, h, "a", "40.00", "0.00")
	back := told{source: "add", reports: []event.Report{{Kind: event.Reversal}}}
	says(t, h.post(back.strong("t1")), "reversed")
	booked(t, h, "a", "20.00", "0.00")
	vs = h.post(back.strong("t2")) // 50 less than 20
	says(t, vs, "held below_zero")
	says(t, h.post(pays("100", byRef("ref-a")).strong("t3").from("add")), "booked")
	h.rules(vs[0].Event, true, "")
	h.tick()
	h.last(vs[0].Event, "reversed", "released")
	booked(t, h, "a", "70.00", "0.00") // 100 - 30
}

func heldUnsigned(t *testing.T, h *harness) {
	h.source("s", func(p *event.Policy) { p.PayoutUnsure = true })
	h.post(ended("a", h.now, 90))
	vs := h.post(pays("50", byRef("ref-a")).strong("t1"), pays("0", byRef("ref-a")).strong("t2"))
	says(t, vs, "held money_unsigned", "unqualified") // that it is worth nothing costs nobody
	if vs[0].Detail.Field != "payout" {
		t.Errorf("detail %+v", vs[0].Detail)
	}
	h.now += minute
	vs = h.post(pays("50", byRef("ref-a")).strong("t3"))
	h.rules(vs[0].Event, true, "")
	h.tick()
	booked(t, h, "a", "50.00", "0.00")
	h.now += minute
	says(t, h.post(told{source: "s", id: "t3", reports: []event.Report{{Kind: event.Reversal}}}), "reversed")
	booked(t, h, "a", "0.00", "0.00")
}
