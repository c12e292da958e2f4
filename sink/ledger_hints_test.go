package sink_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/sink"
)

// indexed gives the harness a real index and dedupe table, filled from the
// store as a start fills them.
type indexed struct {
	*harness
	m *match.Matcher
}

func withIndex(h *harness) indexed {
	now := func() time.Time { return time.UnixMicro(h.now) }
	ix := match.NewMemoryIndex(match.MemoryIndexConfig{Now: now})
	through, err := sink.CallsThrough(h.t.Context(), h.db.Read)
	if err == nil {
		err = ix.Rebuild(h.t.Context(), func(ctx context.Context, yield func([]event.Call) error) error {
			return sink.ScanCalls(ctx, h.db.Read, yield)
		}, through, nil)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return indexed{h, &match.Matcher{Index: ix, Dedupe: match.NewMemoryDeduper(match.MemoryDeduperConfig{Now: now})}}
}

func (x indexed) find(b *event.Batch) *event.Batch {
	if err := x.m.Find(x.t.Context(), b); err != nil {
		x.t.Fatal(err)
	}
	return b
}

func (x indexed) commit(b *event.Batch) event.Verdict {
	res, err := x.ledger.Post(x.t.Context(), b)
	if err == nil {
		err = x.m.Put(x.t.Context(), b, res.CallsFrom, res.CallsThrough)
	}
	if err != nil {
		x.t.Fatal(err)
	}
	return b.Events[len(b.Events)-1].Verdict
}

// The second lane asks the index before, the first one after a batch that
// tells a call was committed; the call must be seen by both.
func lanesOverlap(t *testing.T, h *harness) {
	h.post(ended("elsewhere", h.now, 5)) // so that the index knows a change
	x := withIndex(h)
	x.commit(x.find(h.batch(ended("old", h.now-3*hour, 95))))
	first := x.find(h.batch(ended("new", h.now-5*minute, 90)))
	second := h.batch(ended("x", h.now-5*minute, 10))
	third := x.find(h.batch(pays("50", byCaller(90))))
	x.commit(first)
	x.commit(x.find(second))
	if v := x.commit(third); v.CallID != "new" {
		t.Errorf("booked on %q", v.CallID)
	}
}

// A caller with more calls than the index gives: the exactly reported one counts.
func manyCalls(t *testing.T, h *harness) {
	start := h.now - 3*hour
	for i := range 70 {
		h.post(ended(fmt.Sprintf("c%02d", i), start+int64(i)*2*minute, int32(90+i)))
	}
	x := withIndex(h)
	r := byCaller(90)
	r.StartedAt = start
	if v := x.commit(x.find(h.batch(pays("50", r)))); v.CallID != "c00" {
		t.Errorf("with the index: booked on %q", v.CallID)
	}
	r.StartedAt = start + 2*minute
	r.Duration.N = 91
	if v := h.post(pays("50", r))[0]; v.CallID != "c01" {
		t.Errorf("with the store: booked on %q", v.CallID)
	}
}

// A ref_id is right whatever start the report names, with the index and without.
func refBeatsStart(t *testing.T, h *harness) {
	h.post(ended("c", h.now-10*minute, 90))
	r := event.Report{RefID: "ref-c", StartedAt: h.now - 48*hour}
	status(t, h.post(pays("50", r)), "booked")
	x := withIndex(h)
	if v := x.commit(x.find(h.batch(pays("60", r)))); v.CallID != "c" {
		t.Errorf("booked on %q", v.CallID)
	}
}

// A ref_id older than the index goes before a fresh call of the same caller.
func oldRef(t *testing.T, h *harness) {
	h.post(ended("old", h.now-100*hour, 90))
	x := withIndex(h)
	r := byCaller(90)
	r.RefID = "ref-old"
	if v := x.commit(x.find(h.batch(ended("new", h.now-5*minute, 90), pays("50", r)))); v.CallID != "old" {
		t.Errorf("booked on %q", v.CallID)
	}
}

// A transaction that failed and is tried again claims no more for an upsert
// than it told: another node's upsert that ranks between still counts.
func retriedUpsert(t *testing.T, h *harness) {
	h.post(callOf(event.Call{CallID: "c", Buyer: "b1", Caller: caller}))
	h.now += 10 * minute
	b := h.batch(callOf(event.Call{CallID: "c", Duration: event.Seconds{N: 90, OK: true}}))
	mend := h.breakStreams()
	if _, err := h.ledger.Post(t.Context(), b); err == nil {
		t.Fatal("the transaction did not fail")
	}
	mend()
	if _, err := h.ledger.Post(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if c := b.Events[0].Call; c.No == 0 || c.Caller != caller {
		t.Errorf("the merged call is not told after the commit: %+v", c)
	}
	h.wipe()
	h.now -= 5 * minute
	h.post(callOf(event.Call{CallID: "c", Buyer: "b2"}))
	var buyer string
	if err := h.db.Read.QueryRow(`SELECT buyer FROM call`).Scan(&buyer); err != nil || buyer != "b2" {
		t.Errorf("buyer %q, %v", buyer, err)
	}
}

// breakStreams makes every posting fail at its checkpoint until mend is called.
func (h *harness) breakStreams() (mend func()) {
	if !h.db.Postgres() {
		h.exec(`CREATE TRIGGER broken BEFORE UPDATE ON stream BEGIN SELECT RAISE(ABORT, 'broken'); END`)
		return func() { h.exec(`DROP TRIGGER broken`) }
	}
	h.exec(`CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$`)
	h.exec(`CREATE TRIGGER broken BEFORE UPDATE ON stream FOR EACH STATEMENT EXECUTE FUNCTION broken()`)
	return func() { h.exec(`DROP TRIGGER broken ON stream`) }
}

func (h *harness) exec(q string, args ...any) {
	h.t.Helper()
	if _, err := h.db.Write.Exec(q, args...); err != nil {
		h.t.Fatal(err)
	}
}

// What waits of one source does not keep another's from its call.
func crowdedCaller(t *testing.T, h *harness) {
	h.policy["t"] = testPolicy("t")
	var list []told
	for i := range 300 {
		list = append(list, pays(fmt.Sprint(i+1), byCaller(int32(5000+i))))
	}
	h.post(list...)
	good := pays("50", byCaller(90))
	good.source = "t"
	status(t, h.post(good), "parked")
	h.post(ended("c", h.now-minute, 90))
	booked(t, h, "c", "50.00", "0.00")
}

// A source that is gone prices nothing any more; its events end.
func sourceGone(t *testing.T, h *harness) {
	vs := h.post(pays("50", byCaller(90)))
	status(t, vs, "parked")
	delete(h.policy, "s")
	h.post(ended("c", h.now-minute, 90))
	booked(t, h, "c", "", "")
	h.now += hour
	h.tick()
	h.revisions(vs[0].Event, "parked", "failed")
}

// A recorded report that cannot be read again ends its own event, not the stream.
func unreadableReport(t *testing.T, h *harness) {
	vs := h.post(pays("50", byCaller(90)))
	h.exec(`UPDATE verdict SET report = '{"kind":"conversion","started_at":"10000-01-01T00:00:00Z"}'`)
	h.post(ended("c", h.now-minute, 90))
	h.now += hour
	h.tick()
	h.revisions(vs[0].Event, "parked", "failed")
	status(t, h.post(pays("60", byRef("ref-c"))), "booked")
}

// A reversal of what was only held takes nothing from another's booking.
func reversalOfHeld(t *testing.T, h *harness) {
	h.post(ended("c", h.now, 90))
	status(t, h.post(pays("20000", byRef("ref-c")).strong("big"), pays("50", byRef("ref-c")).strong("ok")), "held", "booked")
	h.post(told{source: "s", id: "big", reports: []event.Report{{Kind: event.Reversal}}})
	booked(t, h, "c", "50.00", "0.00")
}

// An identity that names a call which is not there is an error, not a panic.
func danglingIdentity(t *testing.T, h *harness) {
	h.post(ended("c", h.now, 90))
	h.post(pays("50", byRef("ref-c")).strong("t1"))
	h.exec(`UPDATE identity SET call = 999`)
	b := h.batch(told{source: "s", id: "t1", reports: []event.Report{{Kind: event.Reversal}}})
	if _, err := h.ledger.Post(t.Context(), b); err == nil {
		t.Error("posted")
	}
}

// Calls that another node tells the store are found although no index knows
// them; on SQLite, which is for one node, they are refused.
func foreignWriter(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	x := withIndex(h)
	mine := h.batch(pays("1", byRef("ref-b")))
	x.find(mine)
	other := *h
	other.ledger = h.another()
	other.newStream()
	other.post(ended("b", h.now, 90))
	_, err := h.ledger.Post(t.Context(), mine)
	switch {
	case !h.db.Postgres() && !errors.Is(err, sink.ErrFenced):
		t.Errorf("beside another writer: %v", err)
	case h.db.Postgres() && (err != nil || mine.Events[0].Verdict.CallID != "b"):
		t.Errorf("booked on %q, %v", mine.Events[0].Verdict.CallID, err)
	}
}

// An index that says nothing of a time so long ago is not taken to say that
// this batch's call of the same caller is the only one.
func olderThanTheIndex(t *testing.T, h *harness) {
	h.policy["s"].Window = 200 * time.Hour
	h.post(ended("exact", h.now-80*hour, 90))
	x := withIndex(h)
	r := byCaller(90)
	r.StartedAt = h.now - 80*hour
	if v := x.commit(x.find(h.batch(ended("other", h.now-60*hour, 90), pays("50", r)))); v.CallID != "exact" {
		t.Errorf("booked on %q", v.CallID)
	}
}

// What failed gives its identity back: the same report books when it is sent
// again to a source that is there again.
func failedGivesBack(t *testing.T, h *harness) {
	status(t, h.post(pays("50", byCaller(90))), "parked")
	gone := h.policy["s"]
	delete(h.policy, "s")
	h.now += 11 * minute
	h.tick()
	h.policy["s"] = gone
	h.post(ended("c", h.now-minute, 90))
	status(t, h.post(pays("50", byCaller(90))), "booked")
}
