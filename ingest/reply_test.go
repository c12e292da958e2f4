package ingest

import (
	stdjson "encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// batchOf makes the batch in which the pipeline would commit one record.
func batchOf(id event.ID, flags event.Flags, verdicts ...event.Verdict) *event.Batch {
	b := new(event.Batch)
	rec := event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback, Flags: flags, Source: "buyer"})
	if err := b.Add(id, 1, rec); err != nil {
		panic("bug: " + err.Error())
	}
	for i, v := range verdicts {
		e := b.NewEvent(&b.Records[0], i)
		e.Verdict = v
	}
	return b
}

// committed makes a node whose journal is followed by a pipeline that decides
// on verdicts at once, before the handler has begun to wait.
func committed(t *testing.T, spec source.Spec, verdicts ...event.Verdict) *node {
	t.Helper()
	n := startNode(t, nil, testSource(t, spec))
	n.journal.then = func(id event.ID, rec []byte) { n.board.Deliver(batchOf(id, decoded(t, rec).Flags, verdicts...)) }
	return n
}

var booked = event.Verdict{Status: event.Booked, CallID: "c1", Value: 50 * event.Unit, Currency: "USD"}

func TestVerdictReplies(t *testing.T) {
	f := func(status int, want string, verdicts ...event.Verdict) {
		t.Helper()
		n := committed(t, source.Spec{ID: "buyer", Reply: source.ReplySpec{Mode: source.ReplyVerdict}}, verdicts...)
		a := n.do(t, "GET", "/v1/postbacks/buyer?payout=50", "")
		if a.status != status || a.body != want || !stdjson.Valid([]byte(a.body)) {
			t.Errorf("got  %d %s\nwant %d %s", a.status, a.body, status, want)
		}
		if n.journal.last(t).Flags != event.FlagReply {
			t.Errorf("flags %b", n.journal.last(t).Flags)
		}
	}
	invalid := event.Verdict{Status: event.Invalid, Reason: event.BodyNotUTF8}
	f(200, `{"ok":true,"event":"1-1","status":"booked","call_id":"c1","value":"50.00","currency":"USD"}`, booked)
	f(200, `{"ok":true,"event":"1-1","status":"unqualified","call_id":"c1","value":"0.00","currency":"USD","reason":"buyer_said_zero",`+
		`"message":"The buyer pays nothing for it: it is unqualified, and nobody has a share of it."}`,
		event.Verdict{Status: event.Unqualified, Reason: event.BuyerSaidZero, CallID: "c1", Currency: "USD"})
	f(200, `{"ok":true,"event":"1-1","status":"unmatched","reason":"no_call_from_caller",`+
		`"message":"No call from \"+13055551234\" is known within the window. Check that the calls are uploaded, and that the buyer reports the same number."}`,
		event.Verdict{Status: event.Unmatched, Reason: event.NoCallFromCaller, Detail: event.Detail{Got: "+13055551234"}})
	f(200, `{"ok":true,"event":"1-1","status":"booked","call_id":"a\"b","value":"0.125","currency":"USD"}`,
		event.Verdict{Status: event.Booked, CallID: `a"b`, Value: event.Unit / 8, Currency: "USD"})
	f(400, `{"ok":false,"event":"1-1","status":"invalid","reason":"body_not_utf8","message":"The body is not valid UTF-8."}`, invalid)
	f(200, `{"ok":true,"event":"1-1","events":[{"ok":true,"event":"1-1","status":"booked","call_id":"c1","value":"50.00","currency":"USD"},`+
		`{"ok":false,"event":"1-1.1","status":"invalid","reason":"body_not_utf8","message":"The body is not valid UTF-8."}]}`, booked, invalid)
	f(400, `{"ok":false,"event":"1-1","events":[{"ok":false,"event":"1-1","status":"invalid","reason":"body_not_utf8","message":"The body is not valid UTF-8."},`+
		`{"ok":false,"event":"1-1.1","status":"invalid","reason":"body_not_utf8","message":"The body is not valid UTF-8."}]}`, invalid, invalid)
}

// A sender is not kept waiting for a verdict that does not come.
func TestVerdictDoesNotCome(t *testing.T) {
	var lag atomic.Bool
	src := testSource(t, source.Spec{ID: "buyer", Reply: source.ReplySpec{Mode: source.ReplyVerdict}})
	n := startNode(t, func(c *Config) { c.Lag = lag.Load }, src)
	f := func(event string, flags event.Flags, waits, timeouts, degraded int64) {
		t.Helper()
		a := n.do(t, "GET", "/v1/postbacks/buyer", "")
		if a.status != 200 || a.body != `{"ok":true,"event":"`+event+`","status":"accepted"}` {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if got := n.journal.last(t).Flags; got != flags {
			t.Errorf("flags %b, want %b", got, flags)
		}
		if st := n.Stats(); st.VerdictWaits.Load() != waits || st.WaitTimeouts.Load() != timeouts || src.Seen.Degraded.Load() != degraded {
			t.Errorf("%d waits, %d timeouts, %d degraded", st.VerdictWaits.Load(), st.WaitTimeouts.Load(), src.Seen.Degraded.Load())
		}
	}
	f("1-1", event.FlagReply, 1, 1, 0)
	lag.Store(true)
	f("1-2", 0, 1, 1, 1)
}

func TestCustomAnswers(t *testing.T) {
	f := func(spec source.Spec, status int, contentType, body string, verdicts ...event.Verdict) {
		t.Helper()
		spec.ID = "buyer"
		n := committed(t, spec, verdicts...)
		a := n.do(t, "GET", "/v1/postbacks/buyer", "")
		if a.status != status || a.body != body || a.header.Get("Content-Type") != contentType {
			t.Errorf("%+v: got %d %s %q, want %d %s %q", spec.Reply, a.status, a.header.Get("Content-Type"), a.body, status, contentType, body)
		}
	}
	reply := func(mode string, classes map[string]source.Answer) source.Spec {
		return source.Spec{Reply: source.ReplySpec{Mode: mode, Classes: classes}}
	}
	const text, js = "text/plain", "application/json"
	all := map[string]source.Answer{
		"ok":        {Body: "OK {status} {call_id} {value} {currency} {event}", ContentType: text},
		"invalid":   {Status: 200, Body: `{"error":"{reason}","x":{"y":"{ nothing}"}}`},
		"unmatched": {Status: 404},
		"parked":    {Body: "1{", ContentType: text, Status: 202},
		"accepted":  {Body: "1", ContentType: text},
		"paused":    {Status: 503, Body: "{reason}", ContentType: text},
	}
	invalid := event.Verdict{Status: event.Invalid, Reason: event.BodyNotUTF8}
	unmatched := event.Verdict{Status: event.Unmatched}
	v := source.ReplyVerdict
	f(reply(source.ReplyAccepted, all), 200, text, "1")
	f(reply(v, all), 200, text, "OK booked c1 50.00 USD 1-1", booked)
	f(reply(v, all), 200, js, `{"error":"body_not_utf8","x":{"y":"{ nothing}"}}`, invalid)
	f(reply(v, all), 404, js, `{"ok":true,"event":"1-1","status":"unmatched"}`, unmatched)
	f(reply(v, all), 202, text, "1{", event.Verdict{Status: event.Parked})
	f(reply(v, all), 200, text, "OK booked c1 50.00 USD 1-1", booked, invalid)
	f(reply(v, all), 404, js, `{"ok":true,"event":"1-1","events":[{"ok":true,"event":"1-1","status":"unmatched"},{"ok":true,"event":"1-1.1","status":"unmatched"}]}`, unmatched, unmatched)
	paused := reply(v, all)
	paused.Paused = true
	f(paused, 503, text, "source_paused")
	f(reply(v, map[string]source.Answer{"accepted": {Body: "1"}}), 200, js, `{"ok":true,"event":"1-1","status":"unmatched"}`, unmatched)
	f(reply(v, map[string]source.Answer{"ok": {Body: `{"id":"{call_id}"}`}}), 200, js, `{"id":"a\"b"}`, event.Verdict{Status: event.Booked, CallID: `a"b`})
	f(reply(v, map[string]source.Answer{"ok": {Body: `{call_id}|{value}`, ContentType: text}}), 200, text, `a"b|`, event.Verdict{Status: event.Booked, CallID: `a"b`})
}

// What a batch said survives it.
func TestOutcomesOutliveTheirBatch(t *testing.T) {
	b := NewBoard(time.Now)
	mem := []byte("call-1USD+13055551234")
	batch := batchOf(event.ID{Stream: 1, Seq: 7}, event.FlagReply, event.Verdict{Status: event.Unmatched, Reason: event.NoCallFromCaller,
		CallID: event.View(mem[:6]), Currency: event.View(mem[6:9]), Detail: event.Detail{Got: event.View(mem[9:])}})
	b.Deliver(batch)
	batch.Reset()
	for i := range mem {
		mem[i] = 'x'
	}
	out, ok := b.Await(event.ID{Stream: 1, Seq: 7}, 0)
	if !ok || len(out) != 1 || out[0].CallID != "call-1" || out[0].Currency != "USD" || !strings.Contains(event.Sentence(out[0].Status, out[0].Reason, out[0].Detail), "+13055551234") {
		t.Errorf("got %+v, %v", out, ok)
	}
}
