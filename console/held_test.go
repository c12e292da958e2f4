package console

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/store"
)

// tick posts a batch without records, as an idle node does.
func (f *feed) tick() error {
	_, err := f.ledger.Post(f.t.Context(), &event.Batch{Stream: f.id.Stream, Watermark: f.at.UnixMicro()})
	return err
}

// beats ticks until the test has what it waits for.
func (f *feed) beats() (stop func()) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = f.tick()
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
		done <- err
	}()
	return func() {
		f.t.Helper()
		cancel()
		if err := <-done; err != nil {
			f.t.Error(err)
		}
	}
}

// ruled is what a test reads of an event.
type ruled struct {
	Status     string
	Reason     string
	ReasonText string `json:"reason_text"`
	Value      *event.Amount
	Currency   *string
	Revision   int
	Final      bool
}

// withHeld gives a bench on which n events of calls h0, h1 … are held.
func withHeld(t *testing.T, b *bench, n int) (f *feed, ids []string) {
	t.Helper()
	f = newFeed(t, b)
	for i := range n {
		call := "h" + string(rune('0'+i))
		f.call(event.Call{CallID: call, Buyer: "acme"})
		ids = append(ids, f.pays(call, "20000").String())
	}
	return f, ids
}

func TestHeldIsDecided(t *testing.T) {
	b := newBench(t)
	f, ids := withHeld(t, b, 3)
	var l listing[sink.HeldRow]
	b.ask("GET", "/api/v1/held?limit=2", "").is(http.StatusOK, &l)
	if len(l.Rows) != 2 || l.Rows[0].Event != ids[0] || l.Rows[0].Reason != "amount_over_cap" || *l.Rows[0].CallID != "h0" || l.Next == "" {
		t.Fatalf("held %+v", l)
	}
	b.ask("GET", "/api/v1/held?after="+l.Next, "").is(http.StatusOK, &l)
	if len(l.Rows) != 1 || l.Rows[0].Event != ids[2] {
		t.Errorf("the next page is %+v", l)
	}
	b.ask("GET", "/api/v1/held?source=other", "").is(http.StatusOK, &l)
	if len(l.Rows) != 0 {
		t.Errorf("of another source %+v", l)
	}

	stop := f.beats()
	var e ruled
	b.ask("POST", "/api/v1/held/"+ids[0]+"/release", "").is(http.StatusOK, &e)
	if e.Status != "booked" || e.Reason != "released" || e.Value.String() != "20000.00" || e.Revision != 2 || !strings.Contains(e.ReasonText, "admin@192.0.2.1") {
		t.Errorf("released %+v", e)
	}
	b.ask("POST", "/api/v1/held/"+ids[1]+"/release", `{"value":"12.50"}`).is(http.StatusOK, &e)
	if e.Status != "booked" || e.Value.String() != "12.50" {
		t.Errorf("released at another value %+v", e)
	}
	b.ask("POST", "/api/v1/held/"+ids[2]+"/reject", `{}`).is(http.StatusOK, &e)
	if e.Status != "rejected" || !e.Final {
		t.Errorf("rejected %+v", e)
	}
	stop()
	b.ask("GET", "/api/v1/held", "").is(http.StatusOK, &l)
	if len(l.Rows) != 0 || l.Rows == nil {
		t.Errorf("still held %+v", l)
	}

	var audit listing[store.AuditRow]
	b.ask("GET", "/api/v1/audit", "").is(http.StatusOK, &audit)
	if len(audit.Rows) < 3 || audit.Rows[0].Action != "reject" || audit.Rows[1].Action != "release" || audit.Rows[1].Object != "event/"+ids[1] {
		t.Errorf("audit %+v", audit.Rows)
	}
}

func TestHeldIsRefusedWhatCannotBe(t *testing.T) {
	b := newBench(t)
	f, ids := withHeld(t, b, 1)
	f.call(event.Call{CallID: "plain", Buyer: "acme"})
	booked := f.pays("plain", "5").String()
	f2 := func(path, body string, status int, code string, parts ...string) {
		t.Helper()
		b.ask("POST", "/api/v1/held/"+path, body).fails(status, code, parts...)
	}
	f2("9-9/release", "", http.StatusNotFound, "not_found", "9-9", "GET /api/v1/held")
	f2("nothing/reject", "", http.StatusBadRequest, "bad_request", `"nothing"`, "STREAM-SEQ")
	f2(booked+"/release", "", http.StatusBadRequest, "bad_request", booked+" is booked, not held")
	f2(ids[0]+"/release", `{"value":"-1"}`, http.StatusBadRequest, "bad_request", "-1")
	f2(ids[0]+"/release", `{"value":"much"}`, http.StatusBadRequest, "bad_request", "much")
	f2(ids[0]+"/reject", `{"value":"1"}`, http.StatusBadRequest, "bad_request", "value")
	f2(ids[0]+"/release", `{`, http.StatusBadRequest, "bad_request", "cut short")
	b.ask("GET", "/api/v1/held?status=held", "").fails(http.StatusBadRequest, "bad_request", `"status"`)
	b.ask("GET", "/api/v1/held?after=x", "").fails(http.StatusBadRequest, "bad_request", `"x"`)
	if row, err := b.console.cfg.Books.HeldEvent(t.Context(), mustID(t, ids[0])); err != nil || row.Pending != nil {
		t.Errorf("something was decided: %+v, %v", row, err)
	}
}

func mustID(t *testing.T, text string) event.ID {
	t.Helper()
	id, err := event.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Without a node in this process nobody may carry it out now: the answer says
// what is pending, and does not wait.
func TestRulingWaitsForANode(t *testing.T) {
	b := newBenchWithoutNode(t)
	f, ids := withHeld(t, b, 1)
	var held sink.HeldRow
	b.ask("POST", "/api/v1/held/"+ids[0]+"/release", `{"value":"7"}`).is(http.StatusAccepted, &held)
	if held.Event != ids[0] || held.Pending == nil || held.Pending.Decision != "release" || held.Pending.Value.String() != "7.00" || held.Pending.Actor != "admin@192.0.2.1" {
		t.Errorf("pending %+v", held)
	}
	b.ask("POST", "/api/v1/held/"+ids[0]+"/reject", "").is(http.StatusAccepted, &held) // whoever comes last decides
	var l listing[sink.HeldRow]
	b.ask("GET", "/api/v1/held", "").is(http.StatusOK, &l)
	if len(l.Rows) != 1 || l.Rows[0].Pending.Decision != "reject" {
		t.Errorf("held %+v", l.Rows)
	}
	if err := f.tick(); err != nil {
		t.Fatal(err)
	}
	var e ruled
	b.ask("GET", "/api/v1/events/"+ids[0], "").is(http.StatusOK, &e)
	if e.Status != "rejected" {
		t.Errorf("event %+v", e)
	}
}

// What cannot be booked as it was released is held anew, and that is the answer.
func TestReleasedAndHeldAgain(t *testing.T) {
	b := newBench(t)
	f := newFeed(t, b)
	f.call(event.Call{CallID: "c1", Buyer: "acme"})
	f.pays("c1", "5")
	id := f.record(event.Record{Kind: event.RecordPostback, Source: "acme", Method: "GET", Peer: "192.0.2.9"}, func(e *event.Event) {
		e.Report = event.Report{CallID: "c1", Payout: event.Money{Amount: 6 * event.Unit, Currency: "EUR"}, HasPayout: true}
		e.Policy, e.Mapper = f.policy, "builtin"
		event.Identify(e, "acme", "", nil)
	}).String()
	stop := f.beats()
	var e ruled
	b.ask("POST", "/api/v1/held/"+id+"/release", "").is(http.StatusOK, &e)
	if e.Status != "held" || e.Reason != "currency_differs" || e.Revision != 2 {
		t.Errorf("released as it is %+v", e)
	}
	b.ask("POST", "/api/v1/held/"+id+"/release", `{"value":"6.40"}`).is(http.StatusOK, &e)
	stop()
	if e.Status != "booked" || e.Value.String() != "6.40" || *e.Currency != "USD" {
		t.Errorf("released in the call's currency %+v", e)
	}
}

func TestRulingIsNotWaitedForForEver(t *testing.T) {
	b := newBench(t)
	_, ids := withHeld(t, b, 1)
	id := mustID(t, ids[0])
	if err := b.objects.Rule(t.Context(), "ann", id, true, nil); err != nil {
		t.Fatal(err)
	}
	held, err := b.console.carriedOut(t.Context(), id, time.Millisecond)
	if err != nil || held == nil || held.Pending == nil {
		t.Errorf("held %+v, %v", held, err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.console.carriedOut(gone, id, time.Hour); err == nil {
		t.Error("it waits for a client that has gone")
	}
}
