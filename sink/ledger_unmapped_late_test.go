package sink_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

func onBoth(t *testing.T, f func(t *testing.T, h *harness)) {
	for backend, open := range ledgers {
		t.Run(backend, func(t *testing.T) {
			h := open(t)
			h.post(ended("a", h.now-minute, 90), ended("b", h.now-minute, 90))
			f(t, h)
		})
	}
}

// a retry that waited for its mapper longer than its weak identity is remembered.
func TestWaitingRetryIsRemembered(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		status(t, h.post(pays("50", byRef("ref-a"))), "booked")
		h.now += 10 * second
		back := pays("0", byRef("ref-a"))
		back.reports[0].Kind = event.Reversal
		status(t, h.post(back), "reversed")
		h.now += 10 * second
		h.post(unasked()) // the sender's retry of the first, 20 s after it
		h.now += hour
		for range 300 {
			h.now += 2 * second
			h.tick()
		}
		vs := h.retake(10, pays("50", byRef("ref-a")))
		v, _, st := h.value("a")
		t.Logf("retry ended %s (%s), call a stands at %s %s", vs[0].Status, vs[0].Reason, v, st)
		h.verify()
		if vs[0].Status != event.Duplicate || v != "0.00" {
			t.Errorf("a retry within the dedupe window booked again")
		}
	})
}

// the same over a restart, with nothing but two waiting ones.
func TestWaitingRetryIsRememberedOverARestart(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.post(unasked())
		h.now += 10 * second
		h.post(unasked())
		h.now += 10 * second
		h.post(unasked())
		h.now += hour
		other := pays("1", byRef("ref-b"))
		other.source = "other"
		h.policy["other"] = testPolicy("other")
		h.post(other)
		back := pays("0", byRef("ref-a"))
		back.reports[0].Kind = event.Reversal
		h.retake(2, pays("50", byRef("ref-a")), back)
		// a new process: its connection's table of weak identities is empty
		if !h.db.Postgres() {
			h.exec(`DROP TABLE temp.weak`)
			h.exec(`DROP TABLE temp.weak_through`)
		}
		h.ledger = h.another()
		vs := h.retake(10, pays("50", byRef("ref-a")))
		v, _, st := h.value("a")
		t.Logf("retry ended %s (%s), call a stands at %s %s", vs[0].Status, vs[0].Reason, v, st)
		if vs[0].Status != event.Duplicate {
			t.Errorf("a retry within the dedupe window booked again")
		}
	})
}

// the call stands in the very batch, received in time.
func TestWaitingFindsACallOfTheSameBatch(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		f := func(waits bool) {
			name := fmt.Sprintf("c%v", waits)
			pay := pays("50", byRef("ref-"+name))
			var b *event.Batch
			var id event.ID
			t0 := h.now
			if waits {
				id = h.post(unasked())[0].Event
				b = h.again(1, pay)
			} else {
				id = h.post(pay)[0].Event // waits for its call
				b = &event.Batch{}
			}
			// The store was away for 15 minutes; intake went on. One batch of 2 records:
			// the call, a minute after, and something else at the end.
			h.now = t0 + 15*minute
			more := h.batch(ended(name, t0-minute, 90), ended("x"+name, t0, 90))
			more.Records[0].ReceivedAt = t0 + minute
			b.Stream, b.Records, b.First, b.Next, b.Watermark = more.Stream, more.Records, more.First, more.Next, more.Watermark
			for i := range more.Events {
				e := b.NewEvent(&b.Records[i], 0)
				eid := e.ID
				*e = more.Events[i]
				e.ID, e.Record = eid, &b.Records[i]
			}
			if _, err := h.ledger.Post(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			v, _, st := h.value(name)
			var last string
			h.db.Read.QueryRow(`SELECT status FROM verdict WHERE stream=$1 AND seq=$2 ORDER BY revision DESC LIMIT 1`, int64(id.Stream), int64(id.Seq)).Scan(&last)
			t.Logf("waited for its mapper=%v: ended %s, call %q %q", waits, last, v, st)
			if last != "booked" {
				t.Errorf("waited for its mapper=%v: ended %s although its call was told in time", waits, last)
			}
		}
		f(false)
		f(true)
	})
}

// verify after pruning.
func TestWaitingVerifiesAfterPrune(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.post(unasked())
		h.policy["other"] = testPolicy("other")
		for i := range 5 {
			o := pays(fmt.Sprint(i+1), byRef("ref-b"))
			o.source = "other"
			h.post(o)
		}
		array := pays("50", byRef("ref-a"))
		array.reports = append(array.reports, pays("60", byRef("ref-b")).reports...)
		h.retake(10, array)
		o := pays("77", byRef("ref-a"))
		o.source = "other"
		h.post(o)
		h.now += 3 * hour
		h.post(ended("z", h.now-minute, 90))
		h.verify()
		n, err := sink.Prune(t.Context(), h.db.Write, time.Now().Add(10*time.Hour).UnixMicro(), math.MaxInt64, 3)
		t.Logf("pruned %d, %v", n, err)
		h.verify()
	})
}

// The second of two waiting ones was mapped, the first was not.
func TestWaitingIsNotOvertaken(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.post(unasked(), unasked())
		b := &event.Batch{Stream: h.stream, Watermark: h.now}
		if err := h.backlog().Add(t.Context(), b, sink.WaitingLane{Source: "s", Stream: h.stream}, 10); err != nil {
			t.Fatal(err)
		}
		e := b.NewEvent(&b.Waiting[1], 0)
		e.Report, e.Policy, e.Mapper, e.Again = pays("60", byRef("ref-a")).reports[0], h.policy["s"], "acme@1", true
		event.Identify(e, "s", "tx", nil)
		h.join(b, pays("70", byRef("ref-b")))
		status(t, []event.Verdict{b.Events[0].Verdict, b.Events[1].Verdict}, "", "parked") // neither goes before the first
		status(t, h.retake(10, pays("50", byRef("ref-a")).strong("tx"), pays("60", byRef("ref-a")).strong("tx"), pays("70", byRef("ref-b"))), "booked", "conflict", "booked")
		booked(t, h, "a", "50.00", "0.00")
		h.verify()
	})
}

// Two reports of one record have one deadline.
func TestWaitingReportsHaveOneDeadline(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		id := h.post(unasked())[0].Event
		h.now += hour
		array := pays("50", byRef("ref-c"))
		array.reports = append(array.reports, pays("60", byRef("ref-d")).reports...)
		vs := h.retake(10, array)
		t.Logf("n0 %s n1 %s", vs[0].Status, vs[1].Status)
		h.verify() // between this batch and the next
		h.post(ended("c", h.now-2*hour, 90), ended("d", h.now-2*hour, 90))
		id1 := id
		id1.N = 1
		var s0, s1 string
		q := `SELECT status FROM verdict WHERE stream=$1 AND seq=$2 AND n=$3 ORDER BY revision DESC LIMIT 1`
		h.db.Read.QueryRow(q, int64(id.Stream), int64(id.Seq), 0).Scan(&s0)
		h.db.Read.QueryRow(q, int64(id.Stream), int64(id.Seq), 1).Scan(&s1)
		t.Logf("after their calls came: n0 %s, n1 %s", s0, s1)
		if s0 != s1 {
			t.Errorf("two reports of one record, both beyond their window: %s and %s", s0, s1)
		}
	})
}

// A retry of a whole batch whose commit failed after the walk: fresh multi-report
// records that were set back have lost their further reports; the queue is gone
// when it is tried again.
func TestSetBackAndPostedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		h.post(unasked())
		array := pays("50", byRef("ref-a"))
		array.reports = append(array.reports, pays("60", byRef("ref-b")).reports...)
		b := h.batch(array)
		// first try: the walk is done, then the world fails (here: a stale checkpoint is simulated by a cancelled flush)
		h.exec(`ALTER TABLE unmapped RENAME TO unmapped_away`)
		_, err := h.ledger.Post(t.Context(), b)
		t.Logf("first try with the table away: %v", err != nil)
		h.exec(`ALTER TABLE unmapped_away RENAME TO unmapped`)
		if _, err := h.ledger.Post(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		status(t, []event.Verdict{b.Events[0].Verdict}, "parked")
		status(t, h.retake(10, pays("1", byRef("ref-a")), array), "booked", "booked", "booked")
		h.verify()
	})
}

// verdicts-keep 1h, raw of nothing else: the first telling is pruned while its retry waits.
func TestWaitingRetryIsRememberedOverPruning(t *testing.T) {
	onBoth(t, func(t *testing.T, h *harness) {
		status(t, h.post(pays("50", byRef("ref-a"))), "booked")
		h.now += 10 * second
		back := pays("0", byRef("ref-a"))
		back.reports[0].Kind = event.Reversal
		status(t, h.post(back), "reversed")
		h.now += 10 * second
		h.post(unasked())
		h.now += 3 * hour
		h.policy["other"] = testPolicy("other")
		o := pays("1", byRef("ref-b"))
		o.source = "other"
		h.post(o)
		h.exec(`UPDATE verdict SET decided_at = received_at`)
		n, err := sink.Prune(t.Context(), h.db.Write, h.now-hour, 1<<62, 1000)
		t.Logf("pruned %d, %v", n, err)
		vs := h.retake(10, pays("50", byRef("ref-a")))
		v, _, _ := h.value("a")
		t.Logf("retry ended %s; a stands at %s", vs[0].Status, v)
		if vs[0].Status != event.Duplicate {
			t.Errorf("booked again")
		}
		h.verify()
	})
}
