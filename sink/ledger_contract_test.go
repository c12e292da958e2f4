package sink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

func TestLedger(t *testing.T) {
	stories := map[string]func(*testing.T, *harness){
		"the caller rings again before the retry of a postback without id": ringsAgain,
		"two genuine equal payouts for two calls":                          twoGenuine,
		"50, 60, late 50":                                          lateRetry,
		"50, 60, 50 next day":                                      nextDay,
		"reversal first":                                           reversalFirst,
		"reversal of a booked conversion, twice":                   reversalTwice,
		"the same id twice in one batch":                           sameIDInBatch,
		"the same id with other money":                             conflict,
		"a wiped journal folder beside an old ledger":              wipedJournal,
		"the clock stepping back an hour":                          clockBack,
		"a call that arrives after its postback":                   callAfter,
		"a call that arrives after its postback in the same batch": callAfterInBatch,
		"a call that never arrives":                                callNever,
		"a call whose end comes after the postback":                endAfter,
		"a call of which only its id is told":                      bareCall,
		"lanes that overlap":                                       lanesOverlap,
		"a caller with more calls than the index gives":            manyCalls,
		"a ref_id beats the reported start":                        refBeatsStart,
		"a ref_id older than the index":                            oldRef,
		"a start older than the index":                             olderThanTheIndex,
		"a failed event gives its identity back":                   failedGivesBack,
		"an upsert tried again claims what it told":                retriedUpsert,
		"what waits of one source keeps no other from its call":    crowdedCaller,
		"a source that is gone prices nothing":                     sourceGone,
		"a recorded report that cannot be read ends its event":     unreadableReport,
		"a reversal of what was held":                              reversalOfHeld,
		"an identity without its call is an error":                 danglingIdentity,
		"another writer of calls is noticed":                       foreignWriter,
		"an array of reports":                                      arrayOfReports,
		"a batch posted twice":                                     postedTwice,
		"unqualified at zero":                                      unqualified,
		"a publisher told after the price":                         publisherLater,
		"a buyer corrected after the price":                        buyerLater,
		"a changed rule leaves booked calls alone":                 ruleChanged,
		"a test books nothing":                                     testBooksNothing,
		"over the cap is held":                                     overCap,
		"another currency is held":                                 otherCurrency,
		"an unmatched event gives its identity back":               released,
		"a gap in the journal is refused":                          gap,
	}
	for backend, open := range ledgers {
		t.Run(backend, func(t *testing.T) {
			for name, story := range stories {
				t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
					h := open(t)
					story(t, h)
					h.verify()
				})
			}
		})
	}
}

func status(t *testing.T, vs []event.Verdict, want ...string) {
	t.Helper()
	var got []string
	for _, v := range vs {
		got = append(got, v.Status.String())
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("verdicts %v, want %v", got, want)
	}
}

func booked(t *testing.T, h *harness, call, value, share string) {
	t.Helper()
	if v, s, st := h.value(call); v != value || s != share {
		t.Fatalf("call %s: value %q, share %q (%s), want %q and %q", call, v, s, st, value, share)
	}
}

const caller = "+13055551234"

// ended is a call of caller that started at and lasted duration seconds.
func ended(id string, at int64, duration int32) told {
	return callOf(event.Call{CallID: id, RefID: "ref-" + id, Caller: caller, StartedAt: at, EndedAt: at + int64(duration)*second,
		Duration: event.Seconds{N: duration, OK: true}, Buyer: "acme"})
}

func byCaller(duration int32) event.Report {
	return event.Report{Caller: caller, CallerRaw: caller, Duration: event.Seconds{N: duration, OK: true}}
}

func byRef(ref string) event.Report { return event.Report{RefID: ref} }

func ringsAgain(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.now += 3 * minute
	status(t, h.post(pays("50", byCaller(90))), "booked")
	h.now += minute
	h.post(ended("b", h.now, 90))
	h.now += 3 * minute
	status(t, h.post(pays("50", byCaller(90))), "duplicate")
	booked(t, h, "a", "50.00", "0.00")
	booked(t, h, "b", "", "")
}

func twoGenuine(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90), ended("b", h.now+5*minute, 91))
	h.now += 20 * minute
	status(t, h.post(pays("50", byRef("ref-a")), pays("50", byRef("ref-b"))), "booked", "booked")
	booked(t, h, "a", "50.00", "0.00")
	booked(t, h, "b", "50.00", "0.00")
}

func lateRetry(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.now += minute
	status(t, h.post(pays("50", byRef("ref-a"))), "booked")
	h.now += 5 * minute
	status(t, h.post(pays("60", byRef("ref-a"))), "booked")
	h.now += 5 * minute
	status(t, h.post(pays("50", byRef("ref-a"))), "duplicate")
	booked(t, h, "a", "60.00", "0.00")
}

func nextDay(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	for _, amount := range []string{"50", "60", "50"} {
		h.now += 23 * hour
		status(t, h.post(pays(amount, byRef("ref-a"))), "booked")
	}
	booked(t, h, "a", "50.00", "0.00")
}

func reversalFirst(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	r := byRef("ref-a")
	r.Kind = event.Reversal
	status(t, h.post(told{source: "s", id: "t1", reports: []event.Report{r}}), "reversed")
	vs := h.post(pays("50", byRef("ref-a")).strong("t1"))
	status(t, vs, "reversed")
	if vs[0].Reason != event.ReversedOnArrival {
		t.Fatalf("reason %s", vs[0].Reason)
	}
	booked(t, h, "a", "0.00", "0.00")
	status(t, h.post(pays("50", byRef("ref-a")).strong("t1")), "duplicate")
}

func reversalTwice(t *testing.T, h *harness) {
	h.assign("c", "p", "percent 80")
	c := ended("a", h.now, 90)
	c.call.Campaign, c.call.Publisher = "c", "p"
	h.post(c)
	status(t, h.post(pays("50", byRef("ref-a")).strong("t1")), "booked")
	booked(t, h, "a", "50.00", "40.00")
	r := told{source: "s", id: "t1", reports: []event.Report{{Kind: event.Reversal, RefID: "elsewhere"}}}
	status(t, h.post(r, r), "reversed", "duplicate")
	booked(t, h, "a", "0.00", "0.00")
}

func sameIDInBatch(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	status(t, h.post(pays("50", byRef("ref-a")).strong("t1"), pays("50", byRef("ref-a")).strong("t1"), pays("50", byRef("ref-a")).strong("t2")),
		"booked", "duplicate", "unchanged")
	booked(t, h, "a", "50.00", "0.00")
}

func conflict(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	status(t, h.post(pays("50", byRef("ref-a")).strong("t1")), "booked")
	h.now += 400 * 24 * hour
	status(t, h.post(pays("51", byRef("ref-a")).strong("t1")), "conflict")
	booked(t, h, "a", "50.00", "0.00")
}

func wipedJournal(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.now += minute
	status(t, h.post(pays("50", byRef("ref-a"))), "booked")
	h.wipe()
	h.now += minute
	status(t, h.post(pays("50", byRef("ref-a"))), "duplicate")
	status(t, h.post(pays("70", byRef("ref-a"))), "booked")
	booked(t, h, "a", "70.00", "0.00")
}

func clockBack(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.now += 2 * hour
	status(t, h.post(pays("50", byRef("ref-a"))), "booked")
	h.wipe() // within one journal received_at never decreases
	h.now -= hour
	status(t, h.post(pays("60", byRef("ref-a"))), "stale")
	booked(t, h, "a", "50.00", "0.00")
	h.now += 2 * hour
	status(t, h.post(pays("60", byRef("ref-a")), pays("61", byRef("ref-a"))), "booked", "booked")
	booked(t, h, "a", "61.00", "0.00")
}

func callAfter(t *testing.T, h *harness) {
	vs := h.post(pays("50", byRef("ref-a")))
	status(t, vs, "parked")
	h.now += 9 * minute
	h.post(ended("a", h.now-10*minute, 90))
	booked(t, h, "a", "50.00", "0.00")
	status(t, h.post(pays("50", byRef("ref-a"))), "duplicate")
	h.now += hour
	h.tick()
	booked(t, h, "a", "50.00", "0.00")
	h.revisions(vs[0].Event, "parked", "booked")
}

// revisions checks the statuses that an event went through.
func (h *harness) revisions(id event.ID, want ...string) {
	h.t.Helper()
	rows, err := h.db.Read.Query(`SELECT status FROM verdict WHERE stream = $1 AND seq = $2 AND n = $3 ORDER BY revision`, id.Stream, int64(id.Seq), id.N)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			h.t.Fatal(err)
		}
		got = append(got, s)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		h.t.Fatalf("revisions of %s: %v, want %v", id, got, want)
	}
}

func callAfterInBatch(t *testing.T, h *harness) {
	vs := h.post(pays("50", byCaller(70)), ended("a", h.now-2*minute, 90))
	status(t, vs, "booked")
	h.revisions(vs[0].Event, "parked", "booked")
	booked(t, h, "a", "50.00", "0.00")
}

func callNever(t *testing.T, h *harness) {
	vs := h.post(pays("50", byRef("ref-x")))
	status(t, vs, "parked")
	h.now += 10*minute - second
	h.tick()
	h.revisions(vs[0].Event, "parked")
	h.now += second
	h.tick()
	h.revisions(vs[0].Event, "parked", "unmatched")
}

func endAfter(t *testing.T, h *harness) {
	h.post(callOf(event.Call{CallID: "a", Caller: caller, StartedAt: h.now}))
	h.now += minute
	vs := h.post(pays("50", byCaller(60)))
	status(t, vs, "parked")
	h.post(callOf(event.Call{CallID: "a", EndedAt: h.now, Duration: event.Seconds{N: 62, OK: true}}))
	booked(t, h, "a", "50.00", "0.00")
}

func bareCall(t *testing.T, h *harness) {
	h.post(callOf(event.Call{CallID: "a"}))
	h.post(callOf(event.Call{CallID: "a"}))
	status(t, h.post(pays("50", event.Report{CallID: "a"})), "booked")
	booked(t, h, "a", "50.00", "0.00")
}

func arrayOfReports(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90), ended("b", h.now, 30))
	p := pays("50", byRef("ref-a"))
	p.reports = append(p.reports, pays("20", byRef("ref-b")).reports[0], p.reports[0], pays("1", byRef("ref-x")).reports[0])
	vs := h.post(p)
	status(t, vs, "booked", "booked", "duplicate", "parked")
	if vs[3].Event.N != 3 {
		t.Fatalf("event %s", vs[3].Event)
	}
	booked(t, h, "a", "50.00", "0.00")
	booked(t, h, "b", "20.00", "0.00")
}

func postedTwice(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	b := h.batch(pays("50", byRef("ref-a")), pays("60", byRef("ref-a")), pays("9", byRef("ref-x")))
	for range 2 {
		for i := range b.Events {
			b.Events[i].Verdict = event.Verdict{}
		}
		if _, err := h.ledger.Post(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		status(t, []event.Verdict{b.Events[0].Verdict, b.Events[1].Verdict, b.Events[2].Verdict}, "booked", "booked", "parked")
		booked(t, h, "a", "60.00", "0.00")
		h.revisions(b.Events[1].ID, "booked")
	}
}

func unqualified(t *testing.T, h *harness) {
	h.assign("c", "p", "flat 12.50")
	c := ended("a", h.now, 90)
	c.call.Campaign, c.call.Publisher = "c", "p"
	h.post(c)
	status(t, h.post(pays("50", byRef("ref-a"))), "booked")
	booked(t, h, "a", "50.00", "12.50")
	status(t, h.post(pays("0", byRef("ref-a"))), "unqualified")
	booked(t, h, "a", "0.00", "0.00")
	h.now += hour
	status(t, h.post(pays("0", byRef("ref-a"))), "unchanged")
	status(t, h.post(pays("40", byRef("ref-a"))), "booked")
	booked(t, h, "a", "40.00", "12.50")
}

func publisherLater(t *testing.T, h *harness) {
	h.assign("c", "p", "*0.8-1")
	h.post(ended("a", h.now, 90))
	h.post(pays("50", byRef("ref-a")))
	booked(t, h, "a", "50.00", "0.00")
	h.post(callOf(event.Call{CallID: "a", Campaign: "c", Publisher: "p"}))
	booked(t, h, "a", "50.00", "39.00")
	h.post(callOf(event.Call{CallID: "a", Qualified: event.No}))
	booked(t, h, "a", "50.00", "0.00")
}

func buyerLater(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.post(pays("50", byRef("ref-a")))
	h.post(callOf(event.Call{CallID: "a", Buyer: "other"}))
	booked(t, h, "a", "50.00", "0.00")
	var owner string
	var balance int64
	err := h.db.Read.QueryRow(`SELECT a.owner, b.debits - b.credits FROM account a JOIN balance b ON b.account = a.id
		WHERE a.kind = 'buyer_receivable' AND b.debits <> b.credits`).Scan(&owner, &balance)
	if err != nil || owner != "other" || balance != 50*int64(event.Unit) {
		t.Fatalf("receivable of %q is %d, %v", owner, balance, err)
	}
}

func ruleChanged(t *testing.T, h *harness) {
	h.assign("c", "p", "percent 80")
	for _, id := range []string{"a", "b"} {
		c := ended(id, h.now, 90)
		c.call.Campaign, c.call.Publisher = "c", "p"
		h.post(c)
	}
	h.post(pays("50", byRef("ref-a")))
	h.assign("c", "p", "percent 10")
	h.post(pays("60", byRef("ref-a")), pays("60", byRef("ref-b")))
	booked(t, h, "a", "60.00", "48.00")
	booked(t, h, "b", "60.00", "6.00")
}

func testBooksNothing(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	p := pays("50", byRef("ref-a"))
	p.test = true
	vs := h.post(p)
	status(t, vs, "ignored")
	if d := vs[0].Detail; d.Would != "booked" || d.Value != "50.00" {
		t.Fatalf("would have been %+v", d)
	}
	booked(t, h, "a", "", "")
	p.test = false
	status(t, h.post(p), "booked")
}

func overCap(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	status(t, h.post(pays("10000.01", byRef("ref-a")), pays("10000.00", byRef("ref-a"))), "held", "booked")
	booked(t, h, "a", "10000.00", "0.00")
}

func otherCurrency(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.post(pays("50", byRef("ref-a")))
	p := pays("60", byRef("ref-a"))
	p.reports[0].Payout.Currency = "EUR"
	status(t, h.post(p), "held")
	booked(t, h, "a", "50.00", "0.00")
}

func released(t *testing.T, h *harness) {
	status(t, h.post(pays("50", byRef("ref-a")).strong("t1")), "parked")
	status(t, h.post(pays("50", byRef("ref-a")).strong("t1")), "duplicate")
	h.now += hour
	h.tick()
	h.post(ended("a", h.now-hour, 90))
	booked(t, h, "a", "", "")
	status(t, h.post(pays("55", byRef("ref-a")).strong("t1")), "booked")
	booked(t, h, "a", "55.00", "0.00")
}

func gap(t *testing.T, h *harness) {
	h.seq = 5
	if _, err := h.ledger.Post(t.Context(), h.batch(pays("50", byRef("x")))); err == nil {
		t.Fatal("a batch beyond the checkpoint was posted")
	}
	h.seq = 1
	h.post(pays("50", byRef("x")))
}
