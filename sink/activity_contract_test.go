package sink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// activity is what every backend of the activity promises.
type activity interface {
	List(ctx context.Context, f sink.Filter) (rows []sink.Row, next string, err error)
	Newer(ctx context.Context, f sink.Filter, after int64) (rows []sink.Row, through int64, err error)
	LastChange(ctx context.Context) (int64, error)
	Event(ctx context.Context, id event.ID) (*sink.Timeline, error)
	Summary(ctx context.Context, since time.Time) (*sink.Summary, error)
}

// activityHarness is one empty backend: write adds verdicts of the calls c1 to
// c5 of fixture.ledger.
type activityHarness struct {
	activity
	write func(rows ...logRow)
}

func openActivity(f *fixture) *activityHarness {
	for i := range 5 {
		f.exec(`INSERT INTO call (no, call_id, campaign, publisher, buyer, ranks, change_seq) VALUES ($1, $2, 'k', 'p1', 'acme', $3, 1)`, i+1, fmt.Sprintf("c%d", i+1), []byte{})
	}
	return &activityHarness{activity: &sink.Activity{DB: f.db.Read}, write: f.verdicts}
}

func TestActivity(t *testing.T) {
	promises := map[string]func(*testing.T, *activityHarness){
		"empty":                    activityEmpty,
		"one row per event":        activityNewest,
		"pages":                    activityPages,
		"filters":                  activityFilters,
		"far between":              activityFarBetween,
		"bad values are named":     activityBadValues,
		"followed without a gap":   activityFollowed,
		"read beside a writer":     activityBesideWriter,
		"row on the wire":          activityRow,
		"timeline":                 activityTimeline,
		"summary":                  activitySummary,
		"reports of one record":    activityReports,
		"unreadable rows are told": activityDamaged,
	}
	onEveryStore(t, func(t *testing.T, f *fixture) {
		f.unlock()
		for promise, check := range promises {
			t.Run(promise, func(t *testing.T) {
				f.clear()
				check(t, openActivity(f))
			})
		}
	})
}

func at(seq uint64) event.ID { return event.ID{Stream: 1, Seq: seq} }

// list gives the events of a listing as "1-3 1-2".
func (a *activityHarness) list(t *testing.T, f sink.Filter) (events, next string) {
	t.Helper()
	rows, next, err := a.List(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return eventsOf(rows), next
}

func eventsOf(rows []sink.Row) string {
	var ids []string
	for _, r := range rows {
		ids = append(ids, r.Event)
	}
	return strings.Join(ids, " ")
}

func activityEmpty(t *testing.T, a *activityHarness) {
	if events, next := a.list(t, sink.Filter{Since: time.Now()}); events != "" || next != "" {
		t.Errorf("got %q, next %q", events, next)
	}
	if _, through, err := a.Newer(t.Context(), sink.Filter{}, 7); through != 7 || err != nil {
		t.Errorf("newer: through %d, %v", through, err)
	}
	if _, err := a.Event(t.Context(), at(1)); !errors.Is(err, sink.ErrNotFound) || !strings.Contains(err.Error(), `"1-1"`) {
		t.Errorf("event: %v", err)
	}
	s, err := a.Summary(t.Context(), time.Time{})
	if err != nil || s.Events != 0 || s.Statuses == nil || s.Money == nil {
		t.Errorf("summary: %+v, %v", s, err)
	}
}

func activityNewest(t *testing.T, a *activityHarness) {
	a.write(logRow{change: 1, id: at(1), status: event.Parked}, logRow{change: 2, id: at(2), status: event.Booked},
		logRow{change: 3, id: at(1), revision: 2, status: event.Booked, call: 1, callID: "c1"})
	if events, _ := a.list(t, sink.Filter{}); events != "1-1 1-2" {
		t.Errorf("got %q", events)
	}
	if events, _ := a.list(t, sink.Filter{Status: "parked"}); events != "" {
		t.Errorf("an older revision shows: %q", events)
	}
	rows, _, err := a.List(t.Context(), sink.Filter{CallID: "c1"})
	if err != nil || len(rows) != 1 || rows[0].Revision != 2 || !rows[0].Final {
		t.Errorf("got %+v, %v", rows, err)
	}
}

func activityPages(t *testing.T, a *activityHarness) {
	for i := range uint64(7) {
		a.write(logRow{change: int64(i + 1), id: at(i + 1), status: event.Booked, call: 1, callID: "c1"})
	}
	for _, f := range []sink.Filter{{Limit: 3}, {Limit: 3, CallID: "c1"}} {
		var pages []string
		for {
			events, next := a.list(t, f)
			pages = append(pages, events)
			if f.After = next; next == "" || len(pages) > 3 {
				break
			}
		}
		if got := strings.Join(pages, " | "); got != "1-7 1-6 1-5 | 1-4 1-3 1-2 | 1-1" {
			t.Errorf("%+v: pages %s", f, got)
		}
	}
	if events, next := a.list(t, sink.Filter{Limit: 7}); next != "" || !strings.HasSuffix(events, "1-1") {
		t.Errorf("a page that holds just everything: %q, next %q", events, next)
	}
}

func activityFilters(t *testing.T, a *activityHarness) {
	a.write(
		logRow{change: 1, id: at(1), status: event.Booked, source: "a", caller: "+15551234567", call: 1, callID: "c1"},
		logRow{change: 2, id: at(2), status: event.Unmatched, source: "b", caller: "n/a"},
		logRow{change: 3, id: at(3), status: event.Invalid, source: "a", callCaller: "+15551234567", call: 2, callID: "c2"},
		logRow{change: 4, id: at(4), status: event.Booked, source: "b", caller: "15551234567", call: 1, callID: "c1"})
	when := func(seq int64) time.Time { return time.UnixMicro(day0 + seq*second) }
	f := func(f sink.Filter, want string) {
		t.Helper()
		if got, _ := a.list(t, f); got != want {
			t.Errorf("%+v: got %q, want %q", f, got, want)
		}
	}
	f(sink.Filter{}, "1-4 1-3 1-2 1-1")
	f(sink.Filter{Source: "a"}, "1-3 1-1")
	f(sink.Filter{Source: "nobody"}, "")
	f(sink.Filter{Status: "booked"}, "1-4 1-1")
	f(sink.Filter{Status: "invalid, unmatched"}, "1-3 1-2")
	f(sink.Filter{CallID: "c1"}, "1-4 1-1")
	f(sink.Filter{CallID: "nothing"}, "")
	f(sink.Filter{CallID: "c1", Source: "b"}, "1-4")
	f(sink.Filter{Caller: "+1 (555) 123-4567"}, "1-4 1-3 1-1")
	f(sink.Filter{Caller: " 15551234567"}, "1-4 1-3 1-1")
	f(sink.Filter{Caller: "0015551234567"}, "1-3 1-1")
	f(sink.Filter{Caller: "5551234567"}, "")
	f(sink.Filter{Caller: "n/a"}, "1-2")
	f(sink.Filter{Since: when(3)}, "1-4 1-3")
	f(sink.Filter{Until: when(3)}, "1-2 1-1")
	f(sink.Filter{Since: when(2), Until: when(3)}, "1-2")
	f(sink.Filter{Since: when(5)}, "")
}

// activityFarBetween: a listing walks through any number of changes that do
// not fit, days of them, and a clock that stepped back hides nothing.
func activityFarBetween(t *testing.T, a *activityHarness) {
	day := 24 * hour
	a.write(logRow{change: 1, id: at(1), status: event.Booked, source: "rare", receivedAt: day0},
		logRow{change: 120_000, id: at(2), status: event.Booked, receivedAt: day0 + day},
		logRow{change: 130_000, id: at(3), status: event.Booked, source: "rare", receivedAt: day0 + 5*day, decidedAt: day0 + 5*day - hour},
		logRow{change: 240_000, id: at(4), status: event.Booked, receivedAt: day0 + 9*day})
	if events, next := a.list(t, sink.Filter{Source: "rare", Limit: 2}); events != "1-3 1-1" || next != "" {
		t.Errorf("got %q, next %q", events, next)
	}
	if events, _ := a.list(t, sink.Filter{Since: time.UnixMicro(day0 + 5*day)}); events != "1-4 1-3" {
		t.Errorf("since: got %q", events)
	}
	rows, through, err := a.Newer(t.Context(), sink.Filter{Source: "rare"}, 0)
	if err != nil || eventsOf(rows) != "1-1 1-3" || through != 240_000 {
		t.Errorf("newer: %q, through %d, %v", eventsOf(rows), through, err)
	}
}

func activityBadValues(t *testing.T, a *activityHarness) {
	_, other, err := (&sink.Books{}).Balances(t.Context(), sink.BalanceFilter{}, "", -1)
	if other != "" || !errors.Is(err, sink.ErrInvalid) {
		t.Errorf("balances: %v", err)
	}
	f := func(f sink.Filter, want string) {
		t.Helper()
		_, _, err := a.List(t.Context(), f)
		if !errors.Is(err, sink.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: got %v, want it to name %s", f, err, want)
		}
	}
	f(sink.Filter{Status: "booked,lost"}, `"lost"`)
	f(sink.Filter{Status: ","}, `""`)
	f(sink.Filter{CallID: "c1\x00"}, `call_id "c1\x00"`)
	f(sink.Filter{Caller: "+1\xff"}, `caller "+1\xff"`)
	f(sink.Filter{Source: "\x00"}, "source")
	f(sink.Filter{Limit: -1}, "limit -1")
	f(sink.Filter{Limit: sink.ListRowsMax + 1}, "limit 1001")
	f(sink.Filter{After: "nonsense!"}, `"nonsense!"`)
	f(sink.Filter{After: "dHJhbnNmZXJzIDEgMQ"}, "cursor") // of another listing
	f(sink.Filter{Since: time.Unix(2, 0), Until: time.Unix(1, 0)}, "1970-01-01T00:00:02Z")
}

func activityFollowed(t *testing.T, a *activityHarness) {
	a.write(logRow{change: 1, id: at(1), status: event.Parked}, logRow{change: 2, id: at(2), status: event.Booked})
	from, err := a.LastChange(t.Context())
	if err != nil || from != 2 {
		t.Fatalf("last change %d, %v", from, err)
	}
	var seen []string
	follow := func(f sink.Filter) {
		t.Helper()
		rows, through, err := a.Newer(t.Context(), f, from)
		if err != nil {
			t.Fatal(err)
		}
		from = through
		seen = append(seen, eventsOf(rows))
	}
	follow(sink.Filter{})
	a.write(logRow{change: 3, id: at(3), status: event.Booked}, logRow{change: 4, id: at(1), revision: 2, status: event.Booked}, logRow{change: 5, id: at(5), status: event.Invalid})
	follow(sink.Filter{Limit: 2})
	follow(sink.Filter{Status: "booked"})
	if from != 5 {
		t.Errorf("nothing fitted, and reading goes on from %d", from)
	}
	if rows, through, err := a.Newer(t.Context(), sink.Filter{}, math.MaxInt64); len(rows) > 0 || through != math.MaxInt64 || err != nil {
		t.Errorf("newer than everything: %v, through %d, %v", eventsOf(rows), through, err)
	}
	a.write(logRow{change: 6, id: at(6), status: event.Booked})
	follow(sink.Filter{Status: "booked"})
	if got := strings.Join(seen, "|"); got != "|1-3 1-1||1-6" {
		t.Errorf("followed %q", got)
	}
}

func activityRow(t *testing.T, a *activityHarness) {
	a.write(logRow{change: 1, id: at(1), status: event.Unmatched, reason: event.NoCallFromCaller, detail: `{"got":"+1555"}`},
		logRow{change: 2, id: at(2), status: event.Booked, reason: event.SeveralCandidates, detail: `{"call":"c1","others":2}`, strategy: "caller", candidates: 3, call: 1, callID: "c1",
			callCaller: "+15550000001", caller: "+15550000001", duration: 125, payout: 50*usd + 125000, currency: "USD", value: 50*usd + 125000, delta: event.Amount(-usd), shareDelta: 2,
			report: `{"kind":"conversion","ref_id":"r1","call_id":"x","network_call_id":"n","status":"paid","transaction_id":"t","started_at":"2026-03-02T12:00:00.000000Z","extra":{"a":"b"}}`})
	rows, _, err := a.List(t.Context(), sink.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"event":"1-2","received_at":"2026-03-02T12:00:02.000000Z","decided_at":"2026-03-02T12:00:02.001000Z","source":"s1","status":"booked","reason":"several_candidates",` +
		`"reason_text":"Matched c1; 2 more fitted. Have the buyer echo ref_id to make it certain.","kind":"conversion","strategy":"caller","candidates":3,"call_id":"c1","call_caller":"+15550000001",` +
		`"campaign":"k","publisher":"p1","buyer":"acme","caller":"+15550000001","duration":125,"payout":"50.125","currency":"USD","value":"50.125","delta":"-1.00","share_delta":"0.000002",` +
		`"ref_id":"r1","reported_call_id":"x","network_call_id":"n","reported_status":"paid","reported_currency":null,"transaction_id":"t","started_at":"2026-03-02T12:00:00.000000Z",` +
		`"mapper":"builtin","fuel":0,"peer":"203.0.113.9","latency_us":{"queue":10,"map":20,"match":30,"total":1000},"revision":1,"final":true,"change_seq":2},` +
		`{"event":"1-1","received_at":"2026-03-02T12:00:01.000000Z","decided_at":"2026-03-02T12:00:01.001000Z","source":"s1","status":"unmatched","reason":"no_call_from_caller",` +
		`"reason_text":"No call from \"+1555\" is known within the window. Check that the calls are uploaded, and that the buyer reports the same number.","kind":"conversion","strategy":"","candidates":0,` +
		`"call_id":null,"call_caller":null,"campaign":null,"publisher":null,"buyer":null,"caller":null,"duration":null,"payout":null,"currency":null,"value":null,"delta":"0.00","share_delta":"0.00",` +
		`"ref_id":null,"reported_call_id":null,"network_call_id":null,"reported_status":null,"reported_currency":null,"transaction_id":null,"started_at":null,` +
		`"mapper":"builtin","fuel":0,"peer":"203.0.113.9","latency_us":{"queue":10,"map":20,"match":30,"total":1000},"revision":1,"final":true,"change_seq":1}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func activityTimeline(t *testing.T, a *activityHarness) {
	raw := newRaw(t).Append(nil, &event.Record{Method: "GET", Query: "key=abc&a=1", Peer: "::1"})
	a.write(logRow{change: 1, id: at(1), status: event.Parked, reason: event.NoDuration, detail: `{"call":"c5"}`, considered: `[{"call_id":"c5","fits":false,"why":"no_duration","missed_by":0}]`, raw: raw, report: `{"kind":"conversion","extra":{"b":"2","a":"1"}}`})
	tl, err := a.Event(t.Context(), at(1))
	if err != nil {
		t.Fatal(err)
	}
	if string(tl.Considered) != `[{"call_id":"c5","fits":false,"why":"no_duration","missed_by":0}]` || tl.Final || string(tl.Report) != `{"kind":"conversion","extra":{"b":"2","a":"1"}}` {
		t.Errorf("parked: %+v", tl)
	}
	a.write(logRow{change: 2, id: at(1), revision: 2, status: event.Booked, strategy: "ref_id", candidates: 1, call: 1, callID: "c1", currency: "USD", value: usd, report: `{"kind":"conversion"}`, decidedAt: day0 + minute})
	if tl, err = a.Event(t.Context(), at(1)); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tl)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"event":"1-1"`, `"status":"booked"`, `"request":{"method":"GET","query":"key=***\u0026a=1","content_type":"","headers":{},"peer":"::1","body":""}`, `"report":{"kind":"conversion"}`,
		`"candidates":[{"call_id":"c1","fits":true}]`, `"postings":[]`, `"parked_until":null`,
		`"revisions":[{"revision":1,"final":false,"decided_at":"2026-03-02T12:00:01.001000Z","status":"parked","reason":"no_duration","reason_text":"Call c5 has the same caller, but the postback has no duration to compare. Waiting for the call.",`,
		`{"revision":2,"final":true,"decided_at":"2026-03-02T12:01:00.000000Z","status":"booked"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s\nhas no %s", text, want)
		}
	}
	if strings.Count(string(text), `"candidates":[`) != 1 {
		t.Errorf("candidates are there twice: %s", text)
	}
}

func activitySummary(t *testing.T, a *activityHarness) {
	for i := range uint64(100) {
		r := logRow{change: int64(i + 1), id: at(i + 1), status: event.Booked, call: 1, callID: "c1", currency: "USD", delta: event.AmountMax, shareDelta: -event.Amount(usd) / 2, total: int64(i+1) * 1001}
		if i >= 8 {
			r.status, r.reason, r.call, r.callID, r.delta, r.shareDelta = event.Unmatched, event.NoKey, 0, "", 0, 0
		}
		a.write(r)
	}
	a.write(logRow{change: 101, id: at(100), revision: 2, status: event.Reversed, call: 1, callID: "c1", currency: "EUR", delta: -3, total: 1 << 40})
	s, err := a.Summary(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if s.Events != 100 || s.Matched != 9 || s.Latency.P50 != 50_000 || s.Latency.P99 != 99_000 {
		t.Errorf("got %+v", s)
	}
	want := []sink.StatusCount{{Status: "unmatched", Reason: "no_key", Events: 91}, {Status: "booked", Events: 8, Matched: 8}, {Status: "reversed", Events: 1, Matched: 1}}
	if !slices.Equal(s.Statuses, want) {
		t.Errorf("statuses %+v", s.Statuses)
	}
	if !slices.Equal(s.Money, []sink.CurrencySum{{Currency: "EUR", Value: -3}, {Currency: "USD", Value: 8 * event.AmountMax, Share: -4 * event.Amount(usd)}}) {
		t.Errorf("money %+v", s.Money)
	}
	later, err := a.Summary(t.Context(), time.UnixMicro(day0+100*second))
	if err != nil || later.Events != 1 {
		t.Errorf("since the last: %+v, %v", later, err)
	}
	for i := range uint64(2) {
		a.write(logRow{change: int64(i + 102), id: at(i + 101), status: event.Booked, currency: "USD", delta: event.AmountMax})
	}
	if _, err := a.Summary(t.Context(), time.Time{}); err == nil || !strings.Contains(err.Error(), "beyond 64 bits") {
		t.Errorf("a sum of ten times the largest amount: %v", err)
	}
}

func activityReports(t *testing.T, a *activityHarness) {
	second := event.ID{Stream: 1, Seq: 1, N: 2}
	a.write(logRow{change: 1, id: at(1), status: event.Booked, raw: newRaw(t).Append(nil, &event.Record{Method: "PUT"})}, logRow{change: 2, id: second, status: event.Invalid})
	if events, _ := a.list(t, sink.Filter{}); events != "1-1.2 1-1" {
		t.Errorf("got %q", events)
	}
	tl, err := a.Event(t.Context(), second)
	if err != nil || tl.Event != "1-1.2" || tl.Status != "invalid" || tl.Request == nil || tl.Request.Method != "PUT" {
		t.Errorf("got %+v, %v", tl, err)
	}
}

func activityDamaged(t *testing.T, a *activityHarness) {
	a.write(logRow{change: 1, id: at(1), status: event.Booked, report: `{"ref_id":`}, logRow{change: 2, id: at(2), status: event.Booked, considered: `[`}, logRow{change: 3, id: at(3), status: event.Booked, raw: []byte{9, 0}})
	for seq, want := range []string{1: "report of event 1-1", 2: "considered", 3: "raw request version 9"} {
		if want == "" {
			continue
		}
		if _, err := a.Event(t.Context(), at(uint64(seq))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("event 1-%d: %v", seq, err)
		}
	}
}
