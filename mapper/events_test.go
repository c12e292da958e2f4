package mapper

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

func TestArraysAreSeveralReports(t *testing.T) {
	f := func(r request, want ...string) {
		t.Helper()
		events := mapAll(t, source.Spec{}, r)
		var got []string
		for i := range events {
			e := &events[i]
			if int(e.ID.N) != i || e.Record != events[0].Record {
				t.Errorf("%s: event %d is %v of %p", r.body, i, e.ID, e.Record)
			}
			got = append(got, fmt.Sprintf("%s %s %s", e.Report.RefID, e.Report.Payout.Amount, e.Report.Invalid))
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s:\n got %q\nwant %q", r.body, got, want)
		}
	}
	f(request{query: "ref_id=q", body: `[{"payout":1},{"payout":2,"ref_id":"b"}, {"payout":3}]`}, "q 1.00 ", "b 2.00 ", "q 3.00 ")
	f(request{query: "ref_id=q", body: `[{"payout":1},7,[{"payout":2}],null,{"payout":"x"},{"payout":4}]`},
		"q 1.00 ", "q 0.00 body_malformed", "q 0.00 body_malformed", "q 0.00 body_malformed", "q 0.00 payout_unreadable", "q 4.00 ")
	f(request{query: "payout=5", body: `[]`}, " 5.00 body_malformed")
	f(request{query: "payout=5", contentType: jsonType, body: `"50"`}, " 5.00 body_malformed")
	f(request{query: "payout=5", body: `[{"payout":1},{"payout":2}`}, " 5.00 body_malformed")

	many := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`{"payout":1},`, n), ",") + "]" }
	if got := mapAll(t, source.Spec{}, request{query: "ref_id=a&x=1", body: many(event.ReportsMax)}); len(got) != event.ReportsMax || got[255].Report.Invalid != "" {
		t.Errorf("%d reports became %d, the last %q", event.ReportsMax, len(got), got[len(got)-1].Report.Invalid)
	}
	e := mapOne(t, source.Spec{}, request{query: "ref_id=a", body: many(event.ReportsMax + 1)})
	if r := e.Report; r.Invalid != event.TooManyReports || r.Detail.Limit != event.ReportsMax || r.RefID != "a" || r.HasPayout {
		t.Errorf("one more: %+v", r)
	}
	// Every report repeats the query's fields, so that a long query allows fewer.
	e = mapOne(t, source.Spec{}, request{query: "x=" + strings.Repeat("y", 8000), body: many(200)})
	if r := e.Report; r.Invalid != event.TooManyReports || r.Detail.Limit != SharedBytesMax/(8002+32+1) {
		t.Errorf("long query: %s %+v", r.Invalid, r.Detail)
	}
}

func TestIdentity(t *testing.T) {
	strong := func(identity string, fields map[string][]string, r request) (event.Digest, event.Reason) {
		e := mapOne(t, source.Spec{Identity: identity, Fields: fields}, r)
		return e.Strong, e.Report.Invalid
	}
	txn := map[string][]string{"transaction_id": {"txn"}}
	a, why := strong("transaction_id", txn, request{query: "payout=1&txn=t1"})
	if a.IsZero() || why != "" {
		t.Fatalf("by slot: %x, %q", a, why)
	}
	f := func(identity string, fields map[string][]string, r request, same bool, want event.Reason) {
		t.Helper()
		d, why := strong(identity, fields, r)
		if (d == a) != same || why != want || (want == event.IdentityMissing && !d.IsZero()) {
			t.Errorf("%s of %+v: same identity %v, %q; want %v, %q", identity, r, d == a, why, same, want)
		}
	}
	f("transaction_id", txn, request{body: `{"payout":2,"txn":" t1 "}`}, true, "") // another price
	f("transaction_id", nil, request{query: "payout=1&transaction_id=t1"}, true, "")
	f("Token", nil, request{query: "payout=1&tOKEN=t1"}, true, "")
	f("token", nil, request{query: "payout=1&token=q", body: "token=t1"}, true, "")
	f("data.id", nil, request{body: `{"payout":1,"data":{"id":"t1"}}`}, true, "")
	f("token", nil, request{query: "payout=1&token=t2"}, false, "")
	f("token", nil, request{query: "payout=1&token=t1&token=t2"}, true, event.BodyDuplicateKey)
	f("token", nil, request{query: "payout=1&token="}, false, event.IdentityMissing)
	f("token", nil, request{query: "payout=1&token=" + strings.Repeat("t", 300)}, false, event.BodyMalformed)
	f("transaction_id", txn, request{query: "payout=1"}, false, event.IdentityMissing)

	e := mapOne(t, source.Spec{Identity: "transaction_id", Constants: map[string]string{"transaction_id": "same for all"}}, request{query: "payout=1"})
	if !e.Strong.IsZero() || e.Report.Invalid != event.IdentityMissing || e.Report.TransactionID != "same for all" {
		t.Errorf("a constant became an identity: %+v", e.Report)
	}
	e = mapOne(t, source.Spec{Identity: "token", Transforms: source.Transforms{NegativeReverses: true}}, request{query: "payout=-50&token=t1"})
	if e.Report.Kind != event.Reversal || e.Report.Payout.Amount != 50*event.Unit || e.Reverses != a || e.Strong == a || e.Report.Invalid != "" {
		t.Errorf("a negative amount of a source whose negatives reverse: %+v", e.Report)
	}
}

func TestConstantsAndTransforms(t *testing.T) {
	spec := source.Spec{
		Constants:  map[string]string{"payout": "12.50", "currency": "EUR", "status": "sold", "duration": "95"},
		Transforms: source.Transforms{Cents: true, Duration: "ms", TimeZone: "America/New_York"},
		Match:      source.Match{DefaultRegion: "GB"},
	}
	r := mapOne(t, spec, request{query: "caller=020+7183+8750&started_at=2026-07-01+12:00:00"}).Report
	if r.Payout != (event.Money{Amount: 12_500_000, Currency: "EUR"}) || r.Status != "sold" || r.Duration.N != 95 ||
		r.Caller != "+442071838750" || r.StartedAt != 1782921600000000 || r.Invalid != "" {
		t.Errorf("constants: %+v", r)
	}
	r = mapOne(t, spec, request{query: "payout=5000&duration=90000&currency=gbp&status="}).Report
	if r.Payout != (event.Money{Amount: 50 * event.Unit, Currency: "GBP"}) || r.Duration.N != 90 || r.Status != "sold" {
		t.Errorf("sent values go before constants: %+v", r)
	}
}

func TestBodies(t *testing.T) {
	f := func(contentType, body string, want event.Reason, field string) {
		t.Helper()
		r := mapOne(t, source.Spec{}, request{query: "ref_id=q&payout=1", contentType: contentType, body: body}).Report
		if r.Invalid != want || r.Detail.Field != field || r.RefID != "q" {
			t.Errorf("%q %.40q: %s %+v, want %s %s; ref %q", contentType, body, r.Invalid, r.Detail, want, field, r.RefID)
		}
	}
	f("", "", "", "")
	f("text/xml", "", "", "")
	f("text/xml", "<payout>1</payout>", event.ContentTypeOdd, "content-type")
	f("multipart/form-data; boundary=x", "--x", event.ContentTypeOdd, "content-type")
	f("text/plain", `{"a":1}`, "", "")
	f("text/plain", `{"a":1`, event.BodyMalformed, "JSON")
	f(jsonType, "payout=2", event.BodyMalformed, "JSON")
	f(formType, "{a}=1", "", "")
	f(formType, "a="+strings.Repeat("x", BodyBytesMax), event.BodyMalformed, "size")
	f(jsonType, `{"a":"`+strings.Repeat("x", BodyBytesMax)+`"}`, event.BodyMalformed, "size")
	f(jsonType, `{"`+strings.Repeat("k", NameBytesMax+1)+`":1}`, event.BodyMalformed, "JSON")
	f(formType, strings.Repeat("x&", FieldsMax-2), "", "")
	f(formType, strings.Repeat("x&", FieldsMax-1), event.BodyTooManyKeys, "")
	f(jsonType, `{"a":1,"A":2}`, event.BodyDuplicateKey, "A")
	f(jsonType, `{"data":{"amount":1},"data.amount":2}`, "", "") // nobody asks for them
	spec := source.Spec{Fields: map[string][]string{"payout": {"data.amount"}}}
	if r := mapOne(t, spec, request{body: `{"data":{"amount":1},"data.amount":2}`}).Report; r.Invalid != event.BodyDuplicateKey {
		t.Errorf("one dotted name, two values: %+v", r)
	}
}

func TestUnknownSource(t *testing.T) {
	b := batchOf(t, request{source: "gone", query: "payout=50&ref_id=a"})
	if err := NewBuiltin(liveOf()).Map(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	e := &b.Events[0]
	if e.Report.Invalid != event.SourceUnknown || e.Report.Detail.Got != "gone" || e.Policy == nil || e.Policy.ParkFor != event.DefaultParkFor || e.Report.RefID != "a" {
		t.Errorf("%+v with %+v", e.Report, e.Policy)
	}
}

func TestSourcesAreLookedUpPerBatch(t *testing.T) {
	live := liveOf(compile(t, source.Spec{}))
	m := NewBuiltin(live)
	read := func() string {
		b := batchOf(t, request{query: "payout=1&net=2"})
		if err := m.Map(context.Background(), b); err != nil {
			t.Fatal(err)
		}
		return b.Events[0].Report.Payout.Amount.String()
	}
	before := read()
	changed := compile(t, source.Spec{Fields: map[string][]string{"payout": {"net"}}})
	live.Swap(source.NewDirectory([]*source.Source{changed}, 2))
	if after := read(); before != "1.00" || after != "2.00" {
		t.Errorf("%s, then %s; want 1.00, then 2.00", before, after)
	}
}

func TestCallsRecords(t *testing.T) {
	calls := func(n int) (body []byte) {
		for i := range n {
			body = event.AppendCall(body, &event.Call{CallID: fmt.Sprint("c", i), NetworkIDs: []event.Pair{{Name: "ringba", Value: "r"}}})
		}
		return body
	}
	f := func(body []byte, good int, failed bool) {
		t.Helper()
		events := mapAll(t, source.Spec{}, request{kind: event.RecordCalls, body: string(body)})
		want := good
		if failed {
			want++
		}
		if len(events) != want {
			t.Fatalf("%d events, want %d", len(events), want)
		}
		for i := range events {
			e := &events[i]
			if int(e.ID.N) != i || e.Policy == nil || e.Mapper != BuiltinName {
				t.Errorf("event %d: %+v", i, e)
			}
			if i < good && (!e.IsCall || e.Call.CallID != fmt.Sprint("c", i) || len(e.Call.NetworkIDs) != 1 || e.Report.Failed) {
				t.Errorf("call %d: %+v", i, e.Call)
			}
			if i == good && (e.IsCall || !e.Report.Failed || e.Report.Invalid != event.MapperPanicked || e.Call.CallID != "") {
				t.Errorf("damage: %+v", e)
			}
		}
	}
	f(calls(1), 1, false)
	f(calls(event.ReportsMax), event.ReportsMax, false)
	f(calls(event.ReportsMax+1), event.ReportsMax, true)
	f(nil, 0, true)
	f(append(calls(2), 0xFF), 2, true)
	f(calls(2)[:len(calls(2))-1], 1, true)
}

// A panic spoils its own record and no other.
func TestPanicIsContained(t *testing.T) {
	m := NewBuiltin(liveOf(compile(t, source.Spec{Match: source.Match{DefaultRegion: "GB"}})))
	m.numbers = nil // any caller makes it break
	b := batchOf(t,
		request{query: "payout=1&ref_id=a"},
		request{body: `[{"payout":1},{"payout":1,"caller":"020 7183 8750"}]`},
		request{query: "payout=1&ref_id=c"})
	if err := m.Map(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	if len(b.Events) != 3 || b.Events[0].Report.RefID != "a" || b.Events[2].Report.RefID != "c" || b.Events[2].Report.Failed {
		t.Fatalf("%d events", len(b.Events))
	}
	if e := &b.Events[1]; !e.Report.Failed || e.Report.Invalid != event.MapperPanicked || e.Report.Detail.Got == "" ||
		e.ID != (event.ID{Stream: 1, Seq: 2}) || e.Policy.Source != "s" || e.Report.HasPayout {
		t.Errorf("%+v", e)
	}
}

func TestMapReturnsOnlyContextErrors(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := batchOf(t, request{query: "payout=1"})
	if err := NewBuiltin(liveOf()).Map(ctx, b); !errors.Is(err, context.Canceled) || len(b.Events) != 0 {
		t.Errorf("%v with %d events", err, len(b.Events))
	}
}

func TestConcurrentMaps(t *testing.T) {
	m := NewBuiltin(liveOf(compile(t, source.Spec{Match: source.Match{DefaultRegion: "GB"}})))
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			var b event.Batch
			for range 20 {
				b.Reset()
				fillBatch(t, &b, []request{
					{query: fmt.Sprintf("payout=%d&caller=020+7183+87%02d&x=%%41", g, g)},
					{body: fmt.Sprintf(`{"payout":%d,"caller":"020 7183 87%02d"}`, g, g)},
				})
				if err := m.Map(context.Background(), &b); err != nil {
					t.Error(err)
				}
				for i := range b.Events {
					r := &b.Events[i].Report
					if r.Payout.Amount != event.Amount(g)*event.Unit || r.Caller != fmt.Sprintf("+4420718387%02d", g) {
						t.Errorf("lane %d: %+v", g, r)
					}
				}
			}
		})
	}
	wg.Wait()
}
