package sink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

// Conversion groups: until when a call of a campaign may convert.
func TestLedgerConversions(t *testing.T) {
	plays(t, map[string]func(*testing.T, *harness){
		"in time up to the very deadline":                          inTime,
		"in time though decided late":                              decidedLate,
		"not converted once":                                       notConverted,
		"a value that comes late converts and says so":             convertedLate,
		"a value that comes late before anybody gave up":           convertedLateAtOnce,
		"a value of zero converts nothing":                         zeroConverts,
		"a reversed conversion stays one":                          reversedConversion,
		"a call's end told late moves the deadline":                endMoves,
		"a call without an end":                                    withoutEnd,
		"a call with neither start nor end":                        withoutStart,
		"a call whose end is its start and duration":               endByDuration,
		"a group's own timeouts":                                   ownTimeouts,
		"a price before the campaign is known":                     campaignLater,
		"a parked postback counts when it was received":            parkedInTime,
		"a parked postback that came too late":                     parkedLate,
		"the group is changed while a call waits":                  groupChangedWaiting,
		"a posting that is made twice converts once":               convertedTwice,
		"a crash before the commit converts nothing":               convertedCrash,
		"a stream that lags holds back what others would give up":  lagging,
		"the same call through two nodes":                          convertedTwoNodes,
		"a test does not convert":                                  convertedTest,
		"a held value converts when it is let go":                  convertedHeld,
		"many calls at once":                                       manyGivenUp,
		"a value without a campaign's group is not asked for time": noGroup,
	})
}

// group sets a campaign's conversion group.
func (h *harness) group(campaign, spec string) {
	h.t.Helper()
	if spec != "" {
		if _, err := event.ParseGroup(spec); err != nil {
			h.t.Fatal(err)
		}
	}
	h.exec(`INSERT INTO conversion_group (id, campaign, spec, created_at) VALUES ((SELECT coalesce(max(id), 0) + 1 FROM conversion_group), $1, $2, 1)`, campaign, spec)
}

const posted = `{"posted":true}`

// became checks what became of a call: "not_converted converted", say.
func (h *harness) became(call, want string) {
	h.t.Helper()
	rows, err := h.db.Read.Query(`SELECT k.outcome FROM conversion k JOIN call c ON c.no = k.call WHERE c.call_id = $1 ORDER BY k.no`, call)
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
	if err := rows.Err(); err != nil || strings.Join(got, " ") != want {
		h.t.Fatalf("call %s became %q, %v; want %q", call, got, err, want)
	}
}

// ofCampaign is a call of campaign c and publisher p that ended now.
func (h *harness) ofCampaign(id string) told {
	c := ended(id, h.now-90*second, 90)
	c.call.Campaign, c.call.Publisher = "c", "p"
	return c
}

func inTime(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"))
	h.now += 10 * minute
	h.tick()
	h.became("a", "")
	says(t, h.post(price("50", "a", "t1")), "booked ")
	h.became("a", "converted")
	h.became("b", "") // another record may be received at this very time
	says(t, h.post(price("60", "b", "t2")), "booked ")
	h.became("b", "converted")
	h.now++
	h.tick()
	h.became("b", "converted")
}

func decidedLate(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"))
	h.now += 10 * minute
	b := h.batch(price("50", "a", "t1"))
	b.Watermark = h.now + hour
	says(t, h.send(b), "booked ")
	h.became("a", "converted")
	h.became("b", "not_converted")
}

func notConverted(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"))
	h.now += 10 * minute
	h.tick()
	h.became("a", "")
	h.now++
	h.tick()
	h.became("a", "not_converted")
	for range 3 {
		h.now += hour
		h.tick()
		h.post(h.ofCampaign("a")) // told again, with another end
	}
	h.ledger = h.another()
	h.tick()
	h.became("a", "not_converted")
	var at int64
	if err := h.db.Read.QueryRow(`SELECT at FROM conversion`).Scan(&at); err != nil || at != day0+10*minute {
		t.Errorf("at %d, %v; want the deadline %d", at, err, day0+10*minute)
	}
}

func convertedLate(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"))
	h.now += hour
	h.tick()
	h.became("a", "not_converted")
	vs := h.post(price("50", "a", "t1"), price("60", "a", "t2"))
	says(t, vs, "booked converted_late", "booked ")
	if d := vs[0].Detail; d.Got != "2026-03-02T12:10:00.000000Z" || d.Call != "a" {
		t.Errorf("detail %+v", d)
	}
	h.became("a", "not_converted converted")
	booked(t, h, "a", "60.00", "60.00")
}

func convertedLateAtOnce(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"))
	h.now += 10*minute + 1
	vs := h.post(price("50", "a", "t1"))
	says(t, vs, "booked converted_late")
	if d := vs[0].Detail; d.Got != "2026-03-02T12:10:00.000000Z" {
		t.Errorf("detail %+v", d)
	}
	h.tick()
	h.became("a", "not_converted converted")
}

func zeroConverts(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"))
	says(t, h.post(price("0", "a", "t1")), "unqualified")
	h.became("a", "")
	h.now += hour
	h.tick()
	h.became("a", "not_converted")
	booked(t, h, "a", "0.00", "0.00")
}

func reversedConversion(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"))
	says(t, h.post(price("50", "a", "t1"), undo("s", "t1"), undo("s", "t2"), price("50", "b", "t2")), "booked", "reversed", "reversed", "reversed")
	h.now += hour
	h.tick()
	says(t, h.post(price("60", "a", "t3")), "booked ")
	h.became("a", "converted")
	h.became("b", "not_converted") // it never had a value
}

func endMoves(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(callOf(event.Call{CallID: "a", Campaign: "c", StartedAt: h.now}))
	h.now += 3 * hour
	h.post(callOf(event.Call{CallID: "a", EndedAt: day0 + 3*hour}))
	h.now += 10 * minute
	h.tick()
	h.became("a", "")
	h.post(callOf(event.Call{CallID: "a", EndedAt: day0 + 3*hour + 5*minute})) // corrected
	h.now += 5 * minute
	h.tick()
	h.became("a", "")
	h.now++
	h.tick()
	h.became("a", "not_converted")
}

func withoutEnd(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(callOf(event.Call{CallID: "a", Campaign: "c", StartedAt: h.now}))
	h.now += 4 * hour
	h.tick()
	h.became("a", "")
	h.now++
	h.tick()
	h.became("a", "not_converted")
}

func withoutStart(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(callOf(event.Call{CallID: "a", Campaign: "c"}))
	h.now += 1000 * hour
	h.tick()
	h.became("a", "")
	h.post(callOf(event.Call{CallID: "a", StartedAt: h.now - hour}))
	h.now += 3 * hour
	h.tick()
	h.became("a", "")
	h.now++
	h.tick()
	h.became("a", "not_converted")
}

func endByDuration(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(callOf(event.Call{CallID: "a", Campaign: "c", StartedAt: h.now, Duration: event.Seconds{N: 60, OK: true}}))
	h.now += 11 * minute
	h.tick()
	h.became("a", "")
	h.now++
	h.tick()
	h.became("a", "not_converted")
}

func ownTimeouts(t *testing.T, h *harness) {
	h.group("c", `{"posted":true,"timeout":"30s","timeout_without_end":"45m"}`)
	h.post(h.ofCampaign("a"), callOf(event.Call{CallID: "b", Campaign: "c", StartedAt: h.now}))
	h.now += 30*second + 1
	h.tick()
	h.became("a", "not_converted")
	h.became("b", "")
	h.now += 45 * minute
	h.tick()
	h.became("b", "not_converted")
}

func campaignLater(t *testing.T, h *harness) {
	h.group("c", `{"posted":true,"modifier":"*0.5"}`)
	h.post(ended("a", h.now, 90))
	h.now += minute
	vs := h.post(price("50", "a", "t1"))
	h.became("a", "")
	h.now += hour
	h.post(callOf(event.Call{CallID: "a", Campaign: "c", Publisher: "p"}))
	h.became("a", "converted")
	booked(t, h, "a", "50.00", "25.00")
	var at int64
	var seq uint64
	if err := h.db.Read.QueryRow(`SELECT at, seq FROM conversion`).Scan(&at, &seq); err != nil || at != day0+minute || seq != vs[0].Event.Seq {
		t.Errorf("at %d by record %d, %v", at, seq, err)
	}
	h.tick()
	h.became("a", "converted")
}

// It was received in time, and its call told long after: nobody can have given
// the call up before it was known.
func parkedInTime(t *testing.T, h *harness) {
	h.source("s", func(p *event.Policy) { p.ParkFor = 100 * 3600 * 1e9 })
	h.group("c", posted)
	call := h.ofCampaign("a")
	h.now += 10 * minute
	says(t, h.post(price("50", "a", "t1")), "parked")
	h.now += 3 * hour
	h.post(call)
	h.became("a", "converted")
	booked(t, h, "a", "50.00", "50.00")
	h.tick()
	h.became("a", "converted")
}

func parkedLate(t *testing.T, h *harness) {
	h.source("s", func(p *event.Policy) { p.ParkFor = 100 * 3600 * 1e9 })
	h.group("c", posted)
	call := h.ofCampaign("a")
	h.now += 10*minute + 1
	vs := h.post(price("50", "a", "t1"))
	says(t, vs, "parked")
	h.now += 3 * hour
	h.post(call)
	h.became("a", "not_converted converted")
	h.last(vs[0].Event, "booked", "converted_late")
}

// What a call was promised stands until it is told again.
func groupChangedWaiting(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"), h.ofCampaign("d"))
	h.group("c", "")
	h.now += 10*minute + 1
	h.tick()
	h.became("a", "not_converted")
	h.group("c", `{"posted":true,"timeout":"2h"}`)
	h.post(h.ofCampaign("e"))
	h.group("c", "")
	e := h.ofCampaign("e")
	e.call.RefID = "other" // told again, when the campaign has no group any more
	h.post(e)
	h.now += 10 * hour
	h.tick()
	h.became("e", "")
	says(t, h.post(pays("50", byRef("other"))), "booked ")
	h.became("e", "")
}

func convertedTwice(t *testing.T, h *harness) {
	h.group("c", posted)
	b := h.batch(h.ofCampaign("a"), price("50", "a", "t1"), h.ofCampaign("b"))
	late := h.now + hour
	b.Watermark = late
	for range 2 {
		says(t, h.send(b), "booked")
		h.became("a", "converted")
	}
	h.now = late
	h.tick()
	h.tick()
	h.became("b", "not_converted")
}

func convertedCrash(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"))
	h.now += 20 * minute
	b := h.batch(price("50", "a", "t1"))
	mend := h.breakStreams()
	if _, err := h.ledger.Post(t.Context(), b); err == nil {
		t.Fatal("it was committed")
	}
	mend()
	h.became("a", "")
	h.became("b", "")
	h.ledger = h.another()
	says(t, h.send(b), "booked converted_late")
	h.became("a", "not_converted converted")
	h.became("b", "not_converted")
}

// Until a node that lives has passed the deadline, its journal may hold a value
// in time. One that is dead is waited for no longer than its lease. An embedded
// store has one node: whatever streams there were before it are over.
func lagging(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"), h.ofCampaign("d"))
	if !h.db.Postgres() {
		h.node()
		h.now += hour
		h.tick()
		h.became("a", "not_converted")
		return
	}
	other := h.node()
	other.post(ended("elsewhere", h.now, 10))
	other.now += 10 * minute
	in := other.batch(price("50", "a", "t1"))
	h.now += hour
	h.tick()
	h.became("a", "")
	says(t, other.send(in), "booked ")
	h.became("a", "converted")
	h.tick()
	h.became("b", "") // the other has come up to the deadline, not beyond
	other.now++
	other.tick()
	h.became("b", "not_converted")
	h.became("d", "not_converted")

	h.post(h.ofCampaign("e"))
	h.now += hour
	h.tick()
	h.became("e", "")
	h.exec(`UPDATE stream SET seen_at = 0 WHERE stream = $1`, int64(other.stream))
	h.tick()
	h.became("e", "not_converted")
}

// Whichever posts first, the call is given up once and converts once.
func convertedTwoNodes(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"))
	other := h.node()
	other.now += 20 * minute
	late := other.batch(price("60", "a", "t2"), price("60", "b", "t3"))
	h.now += 5 * minute
	early := h.batch(price("50", "a", "t1"))
	says(t, other.send(late), "booked", "booked converted_late")
	says(t, h.send(early), "stale")
	h.now += hour
	h.tick()
	other.now = h.now
	other.tick()
	h.became("b", "not_converted converted")
	if h.db.Postgres() { // a lone node has no other whose journal may hold a value that was in time
		h.became("a", "converted")
	}
	booked(t, h, "a", "60.00", "60.00")
	booked(t, h, "b", "60.00", "60.00")
}

func convertedTest(t *testing.T, h *harness) {
	h.triggering()
	h.group("c", `{"trigger":"won","revenue":"40"}`)
	h.post(h.ofCampaign("a"))
	p := asks("won", "a", "t1")
	p.test = true
	vs := h.post(p)
	says(t, vs, "ignored test")
	if d := vs[0].Detail; d.Would != "booked" || d.Value != "40.00" {
		t.Errorf("would have been %+v", d)
	}
	h.became("a", "")
	h.now += hour
	h.tick()
	h.became("a", "not_converted")
}

func convertedHeld(t *testing.T, h *harness) {
	h.group("c", posted)
	h.post(h.ofCampaign("a"), h.ofCampaign("b"))
	vs := h.post(price("20000", "a", "t1"), price("20000", "b", "t2"))
	says(t, vs, "held", "held")
	h.became("a", "")
	h.rules(vs[0].Event, true, "")
	h.tick()
	h.became("a", "converted")
	h.now += hour
	h.tick()
	h.became("b", "not_converted") // no value came to be booked in time
	h.rules(vs[1].Event, true, "7")
	h.tick()
	h.became("b", "not_converted converted")
	h.last(vs[1].Event, "booked", "released")
	booked(t, h, "b", "7.00", "7.00")
}

func manyGivenUp(t *testing.T, h *harness) {
	h.group("c", posted)
	var list []told
	for i := range 300 {
		list = append(list, h.ofCampaign(fmt.Sprint("x", i)))
	}
	h.post(list...)
	h.now += hour
	h.post(price("5", "x7", "t1"), h.ofCampaign("x8"))
	var once, twice int
	err := h.db.Read.QueryRow(`SELECT (SELECT count(*) FROM call WHERE converts = 1), (SELECT count(*) FROM call WHERE converts = 3)`).Scan(&once, &twice)
	if err != nil || once != 298 || twice != 1 {
		t.Fatalf("%d not converted, %d after all, %v", once, twice, err)
	}
	h.became("x8", "") // this batch told of another end
}

func noGroup(t *testing.T, h *harness) {
	h.group("other", posted)
	h.post(h.ofCampaign("a"))
	h.now += 5 * hour
	h.tick()
	says(t, h.post(price("50", "a", "t1")), "booked ")
	h.became("a", "")
	booked(t, h, "a", "50.00", "0.00")
}
