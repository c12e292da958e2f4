package sink_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// Records whose mapper cannot be asked when they come.
func TestLedgerUnmapped(t *testing.T) {
	stories := map[string]func(*testing.T, *harness){
		"what waited is decided with its own rank":             mappedLater,
		"later postbacks of the source queue behind":           queuesBehind,
		"another source does not wait":                         othersGoOn,
		"several reports of a record that waited":              severalLater,
		"what waited may wait for its call then":               mappedThenParked,
		"what waited longer than its call may is unmatched":    mappedTooLate,
		"a retry of what waits is a duplicate in the end":      retryOfWaiting,
		"a test that waited books nothing":                     testWaited,
		"what another has mapped meanwhile is left alone":      mappedByAnother,
		"a batch of waiting ones posted twice":                 waitingTwice,
		"a wiped journal's records are mapped by the next one": waitingOfTheDead,
		"what is given up is failed":                           givenUp,
		"a paused source's postbacks do not wait":              pausedDoesNotWait,
		"raw requests of what waits are not dropped":           rawStays,
	}
	for backend, open := range ledgers {
		t.Run(backend, func(t *testing.T) {
			for name, story := range stories {
				t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
					h := open(t)
					h.policy["other"] = testPolicy("other")
					h.post(ended("a", h.now-minute, 90), ended("b", h.now-minute, 90))
					story(t, h)
					h.verify()
				})
			}
		})
	}
}

// unasked is a postback whose mapper cannot be asked.
func unasked() told {
	return told{source: "s", reports: []event.Report{{Unmapped: true, Invalid: event.MapperUnavailable, Detail: event.Detail{Got: "it is away"}}}}
}

func (h *harness) backlog() *sink.Backlog {
	return &sink.Backlog{DB: h.db.Read, Stream: h.stream, Now: time.Now}
}

// again makes a batch of up to limit waiting records of source s, each mapped
// to the reports of the told of its place.
func (h *harness) again(limit int, list ...told) *event.Batch {
	h.t.Helper()
	b := &event.Batch{Stream: h.stream, Watermark: h.now}
	lanes, err := h.backlog().Lanes(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	for _, l := range lanes {
		if l.Source == "s" {
			if err := h.backlog().Add(h.t.Context(), b, l, limit); err != nil {
				h.t.Fatal(err)
			}
		}
	}
	if len(b.Waiting) != len(list) {
		h.t.Fatalf("%d records wait, want %d", len(b.Waiting), len(list))
	}
	for i, p := range list {
		for n := range p.reports {
			e := b.NewEvent(&b.Waiting[i], n)
			e.Report, e.Policy, e.Mapper, e.Again, e.Fuel = p.reports[n], h.policy["s"], "acme@1", true, 1000
			event.Identify(e, "s", p.id, nil)
		}
	}
	return b
}

// retake posts again(limit, list) and gives the verdicts.
func (h *harness) retake(limit int, list ...told) (vs []event.Verdict) {
	h.t.Helper()
	b := h.again(limit, list...)
	if _, err := h.ledger.Post(h.t.Context(), b); err != nil {
		h.t.Fatal(err)
	}
	for i := range b.Events {
		vs = append(vs, b.Events[i].Verdict)
	}
	return vs
}

// waits is how many records wait for their mapper.
func (h *harness) waits(want int64) {
	h.t.Helper()
	var n int64
	if err := h.db.Read.QueryRow(`SELECT count(*) FROM unmapped`).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	lanes, err := h.backlog().Lanes(h.t.Context())
	if err != nil || (len(lanes) > 0) != (want > 0) || n != want {
		h.t.Fatalf("%d records wait, want %d, in lanes %+v, %v", n, want, lanes, err)
	}
}

func mappedLater(t *testing.T, h *harness) {
	vs := h.post(unasked())
	status(t, vs, "parked")
	h.waits(1)
	h.now += minute
	status(t, h.post(pays("60", byRef("ref-a")).strong("t2")), "parked")
	status(t, h.retake(10, pays("50", byRef("ref-a")).strong("t1"), pays("60", byRef("ref-a")).strong("t2")), "booked", "booked")
	h.revisions(vs[0].Event, "parked", "booked")
	booked(t, h, "a", "60.00", "0.00")
	h.waits(0)
	status(t, h.post(pays("50", byRef("ref-a")).strong("t1")), "duplicate")
	h.reason(vs[0].Event, "mapper_unavailable")
}

// reason checks the reason of an event's first verdict, and that the fuel
// stands in the second.
func (h *harness) reason(id event.ID, want string) {
	h.t.Helper()
	var reason string
	var fuel int64
	err := h.db.Read.QueryRow(`SELECT v.reason, w.fuel FROM verdict v JOIN verdict w ON w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision = 2
WHERE v.stream = $1 AND v.seq = $2 AND v.n = 0 AND v.revision = 1`, id.Stream, int64(id.Seq)).Scan(&reason, &fuel)
	if err != nil || reason != want || fuel != 1000 {
		h.t.Fatalf("event %s: reason %q, fuel %d, %v", id, reason, fuel, err)
	}
}

func queuesBehind(t *testing.T, h *harness) {
	h.post(unasked(), unasked())
	vs := h.post(pays("60", byRef("ref-a")), unasked(), pays("70", byRef("ref-a")))
	status(t, vs, "parked", "parked", "parked")
	h.waits(5)
	// Two are taken up; what comes in the same batch waits for the other three.
	b := h.again(2, pays("1", byRef("ref-a")), pays("2", byRef("ref-a")))
	if len(b.Queued) != 1 || b.Queued[0] != "s" {
		t.Fatalf("queued %v", b.Queued)
	}
	h.join(b, pays("80", byRef("ref-a")))
	status(t, []event.Verdict{b.Events[0].Verdict, b.Events[1].Verdict, b.Events[2].Verdict}, "booked", "booked", "parked")
	// The rest is taken up; what comes then is behind nobody.
	b = h.again(10, pays("60", byRef("ref-a")), pays("3", byRef("ref-a")), pays("70", byRef("ref-a")), pays("80", byRef("ref-a")))
	h.join(b, pays("90", byRef("ref-a")))
	for i := range b.Events {
		status(t, []event.Verdict{b.Events[i].Verdict}, "booked")
	}
	booked(t, h, "a", "90.00", "0.00")
	h.waits(0)
}

// join posts the next records behind those that come again.
func (h *harness) join(b *event.Batch, list ...told) {
	h.t.Helper()
	more := h.batch(list...)
	b.Records, b.First, b.Next, b.Watermark = more.Records, more.First, more.Next, more.Watermark
	for i := range more.Events {
		e := b.NewEvent(&b.Records[i], 0)
		id := e.ID
		*e = more.Events[i]
		e.ID, e.Record = id, &b.Records[i]
	}
	if _, err := h.ledger.Post(h.t.Context(), b); err != nil {
		h.t.Fatal(err)
	}
}

func othersGoOn(t *testing.T, h *harness) {
	other := pays("60", byRef("ref-b"))
	other.source = "other"
	status(t, h.post(unasked(), other, unasked()), "parked", "booked", "parked")
	status(t, h.post(other, pays("5", byRef("ref-a"))), "duplicate", "parked")
	h.waits(3)
}

func severalLater(t *testing.T, h *harness) {
	vs := h.post(unasked())
	array := pays("50", byRef("ref-a"))
	array.reports = append(array.reports, pays("60", byRef("ref-b")).reports...)
	// Of an array that has to queue, one event tells it.
	if vs := h.post(array); len(vs) != 1 {
		t.Fatalf("%d events of a record that waits", len(vs))
	}
	status(t, h.retake(10, array, pays("70", byRef("ref-b"))), "booked", "booked", "booked")
	h.revisions(vs[0].Event, "parked", "booked")
	second := vs[0].Event
	second.N = 1
	h.revisions(second, "booked")
	booked(t, h, "a", "50.00", "0.00")
	booked(t, h, "b", "70.00", "0.00")
}

func mappedThenParked(t *testing.T, h *harness) {
	vs := h.post(unasked())
	h.now += minute
	status(t, h.retake(10, pays("50", byRef("ref-c"))), "parked")
	h.revisions(vs[0].Event, "parked", "parked")
	h.waits(0)
	h.post(ended("c", h.now-2*minute, 90))
	h.revisions(vs[0].Event, "parked", "parked", "booked")
	status(t, h.post(pays("50", byRef("ref-c"))), "duplicate")
}

func mappedTooLate(t *testing.T, h *harness) {
	vs := h.post(unasked())
	h.now += hour
	status(t, h.retake(10, pays("50", byRef("ref-c"))), "unmatched")
	h.revisions(vs[0].Event, "parked", "parked", "unmatched")
	h.post(ended("c", h.now-2*minute, 90))
	h.revisions(vs[0].Event, "parked", "parked", "unmatched")
	status(t, h.post(pays("50", byRef("ref-c"))), "booked") // its identity was free again
}

func retryOfWaiting(t *testing.T, h *harness) {
	h.post(unasked())
	h.now += second
	h.post(unasked())
	status(t, h.retake(10, pays("50", byRef("ref-a")), pays("50", byRef("ref-a"))), "booked", "duplicate")
	booked(t, h, "a", "50.00", "0.00")
}

func testWaited(t *testing.T, h *harness) {
	p := unasked()
	p.test = true
	status(t, h.post(p), "parked")
	status(t, h.retake(10, pays("50", byRef("ref-a"))), "ignored")
	if v, _, _ := h.value("a"); v != "" {
		t.Fatalf("a test booked %s", v)
	}
}

func mappedByAnother(t *testing.T, h *harness) {
	h.post(unasked())
	late := h.again(10, pays("50", byRef("ref-a")))
	status(t, h.retake(10, pays("50", byRef("ref-a"))), "booked")
	if _, err := h.ledger.Post(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	status(t, []event.Verdict{late.Events[0].Verdict}, "")
	booked(t, h, "a", "50.00", "0.00")
}

func waitingTwice(t *testing.T, h *harness) {
	h.post(unasked())
	b := h.again(10, pays("50", byRef("ref-a")))
	h.join(b, pays("60", byRef("ref-a")))
	if _, err := h.ledger.Post(t.Context(), b); err != nil { // the answer to the commit was lost
		t.Fatal(err)
	}
	status(t, []event.Verdict{b.Events[1].Verdict}, "booked")
	booked(t, h, "a", "60.00", "0.00")
}

func waitingOfTheDead(t *testing.T, h *harness) {
	vs := h.post(unasked())
	h.wipe()
	h.waits(1)
	status(t, h.post(pays("60", byRef("ref-a"))), "booked") // not behind another journal's
	status(t, h.retake(10, pays("50", byRef("ref-a"))), "stale")
	h.revisions(vs[0].Event, "parked", "stale")
	booked(t, h, "a", "60.00", "0.00")
}

func givenUp(t *testing.T, h *harness) {
	vs := h.post(unasked())
	h.now += 25 * hour
	status(t, h.retake(10, told{reports: []event.Report{{Failed: true, Invalid: event.MapperUnavailable}}}), "failed")
	h.revisions(vs[0].Event, "parked", "failed")
	h.waits(0)
}

func pausedDoesNotWait(t *testing.T, h *harness) {
	h.post(unasked())
	b := h.batch(pays("50", byRef("ref-a")))
	b.Records[0].Flags |= event.FlagPaused
	if _, err := h.ledger.Post(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	status(t, []event.Verdict{b.Events[0].Verdict}, "ignored")
	h.waits(1)
}

func rawStays(t *testing.T, h *harness) {
	vs := h.post(unasked())
	for {
		more, err := sink.DropRaw(t.Context(), h.db.Write, time.Now().Add(time.Hour).UnixMicro(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if more < 1000 {
			break
		}
	}
	b := h.again(10, pays("50", byRef("ref-a")))
	if r := &b.Waiting[0]; r.Unreadable || r.Method != "GET" || r.ID != vs[0].Event {
		t.Fatalf("the record came back as %+v", r)
	}
}
