package mapper

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// request is one record as a test writes it.
type request struct {
	source, query, contentType, body string
	kind                             event.RecordKind
	callID                           string // that the path names
	flags                            event.Flags
}

const jsonType, formType = "application/json", "application/x-www-form-urlencoded"

func compile(t testing.TB, s source.Spec) *source.Source {
	t.Helper()
	if s.ID == "" {
		s.ID = "s"
	}
	src, err := source.Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func liveOf(sources ...*source.Source) *source.Live {
	return source.NewLive(source.NewDirectory(sources, 1))
}

func batchOf(t testing.TB, requests ...request) *event.Batch {
	t.Helper()
	b := new(event.Batch)
	fillBatch(t, b, requests)
	return b
}

func fillBatch(t testing.TB, b *event.Batch, requests []request) {
	for i, r := range requests {
		rec := event.Record{Kind: max(r.kind, event.RecordPostback), Source: r.source, Method: "POST",
			Flags: r.flags, Query: r.query, ContentType: r.contentType, Body: []byte(r.body)}
		if r.callID != "" {
			rec.Headers = []event.Pair{{Name: "accept", Value: "*/*"}, {Name: event.HeaderCallID, Value: r.callID}}
		}
		if rec.Source == "" {
			rec.Source = "s"
		}
		if r.kind == event.RecordCalls {
			rec.Kind = event.RecordCalls
		}
		if err := b.Add(event.ID{Stream: 1, Seq: uint64(i + 1)}, int64(1000+i), event.AppendRecord(nil, &rec)); err != nil {
			t.Fatal(err)
		}
	}
}

// mapAll maps requests that one source sent.
func mapAll(t testing.TB, s source.Spec, requests ...request) []event.Event {
	t.Helper()
	b := batchOf(t, requests...)
	if err := NewBuiltin(liveOf(compile(t, s))).Map(context.Background(), b); err != nil {
		t.Fatal(err)
	}
	return b.Events
}

// mapOne maps one request that must give one report.
func mapOne(t testing.TB, s source.Spec, r request) *event.Event {
	t.Helper()
	events := mapAll(t, s, r)
	if len(events) != 1 {
		t.Fatalf("%+v: %d events, want one", r, len(events))
	}
	return &events[0]
}

func TestEveryAliasInEveryShape(t *testing.T) {
	src := compile(t, source.Spec{})
	samples := [source.SlotCount]struct {
		sent string
		read func(*event.Report) string
		want string
	}{
		source.SlotRefID:         {"abc123", func(r *event.Report) string { return r.RefID }, "abc123"},
		source.SlotCallID:        {"c-1", func(r *event.Report) string { return r.CallID }, "c-1"},
		source.SlotNetworkCallID: {"n-1", func(r *event.Report) string { return r.NetworkCallID }, "n-1"},
		source.SlotCaller:        {"+13055551234", func(r *event.Report) string { return r.Caller }, "+13055551234"},
		source.SlotDuration:      {"90", func(r *event.Report) string { return fmt.Sprint(r.Duration) }, "{90 true}"},
		source.SlotPayout:        {"50", func(r *event.Report) string { return fmt.Sprint(r.HasPayout, r.Payout.Amount) }, "true 50.00"},
		source.SlotCurrency:      {"eur", func(r *event.Report) string { return r.Payout.Currency }, "EUR"},
		source.SlotStartedAt:     {"2026-01-02T03:04:05Z", func(r *event.Report) string { return fmt.Sprint(r.StartedAt) }, "1767323045000000"},
		source.SlotOccurredAt:    {"1767323045", func(r *event.Report) string { return fmt.Sprint(r.OccurredAt) }, "1767323045000000"},
		source.SlotStatus:        {"sold", func(r *event.Report) string { return r.Status }, "sold"},
	}
	seen := 0
	for slot, names := range src.Names {
		s := samples[slot]
		for _, name := range names {
			for _, spelt := range []string{name, strings.ToUpper(name)} {
				escaped := strings.ReplaceAll(s.sent, "+", "%2B")
				for shape, r := range map[string]request{
					"query": {query: spelt + "=" + escaped},
					"form":  {contentType: formType, body: spelt + "=" + escaped},
					"json":  {contentType: jsonType, body: fmt.Sprintf(`{%q:%q}`, spelt, s.sent)},
				} {
					e := mapOne(t, source.Spec{}, r)
					if got := s.read(&e.Report); got != s.want {
						t.Errorf("%s in %s: %q, want %q", spelt, shape, got, s.want)
					}
					if len(e.Report.Extra) != 0 {
						t.Errorf("%s in %s: kept in extra too: %v", spelt, shape, e.Report.Extra)
					}
					seen++
				}
			}
		}
	}
	if want := 6 * (8 + 5 + 9 + 7 + 9); seen < want {
		t.Errorf("%d cases, want at least the %d of the recognised names", seen, want)
	}
}

func TestThreeShapesAreOneReport(t *testing.T) {
	events := mapAll(t, source.Spec{},
		request{query: "caller_id=%2B13055551234&duration=90&payout=50&ref_id=abc123&pub=7"},
		request{contentType: formType, body: "caller_id=%2B13055551234&duration=90&payout=50&ref_id=abc123&pub=7"},
		request{contentType: jsonType, body: `{"caller_id":"+13055551234","duration":90,"payout":50,"ref_id":"abc123","pub":7}`},
		request{body: ` {"caller_id":"+13055551234","duration":90,"payout":50,"ref_id":"abc123","pub":7}`},
		request{contentType: formType, body: `{"caller_id":"+13055551234","duration":90,"payout":50,"ref_id":"abc123","pub":7}`},
		request{contentType: "application/vnd.x+json; charset=utf-8", query: "caller_id=%2B13055551234&duration=90", body: `{"payout":50,"ref_id":"abc123","pub":7}`},
	)
	for i := range events {
		e := &events[i]
		r := e.Report
		if r.Invalid != "" || r.Caller != "+13055551234" || r.Duration != (event.Seconds{N: 90, OK: true}) ||
			r.Payout != (event.Money{Amount: 50 * event.Unit, Currency: "USD"}) || r.RefID != "abc123" ||
			!slices.Equal(r.Extra, []event.Pair{{Name: "pub", Value: "7"}}) {
			t.Errorf("request %d: %+v", i, r)
		}
		if e.Weak != events[0].Weak || e.Money != events[0].Money || !e.Strong.IsZero() || e.Weak.IsZero() {
			t.Errorf("request %d has another identity", i)
		}
		if e.Mapper != BuiltinName || e.Policy.Source != "s" || e.ID != (event.ID{Stream: 1, Seq: uint64(i + 1)}) {
			t.Errorf("request %d: mapper %q, policy of %q, id %v", i, e.Mapper, e.Policy.Source, e.ID)
		}
	}
}

func TestPrecedence(t *testing.T) {
	spec := source.Spec{Fields: map[string][]string{"payout": {"data.amount", "Net"}}}
	f := func(r request, want string) {
		t.Helper()
		if e := mapOne(t, spec, r); e.Report.Payout.Amount.String() != want || e.Report.Invalid != "" {
			t.Errorf("%+v: payout %s (%s), want %s", r, e.Report.Payout.Amount, e.Report.Invalid, want)
		}
	}
	f(request{query: "payout=1", body: "payout=2"}, "2.00")                                          // the body before the query
	f(request{query: "payout=1", body: "revenue=2"}, "2.00")                                         // under whatever alias
	f(request{query: "payout=1", body: "payout="}, "1.00")                                           // empty is absent
	f(request{query: "payout=1", body: "payout=%20"}, "1.00")                                        // blank as well
	f(request{query: "earnings=3&amount=2&payout_or_blank="}, "2.00")                                // aliases in their order
	f(request{query: "payout=1&net=2"}, "2.00")                                                      // configured names first
	f(request{query: "net=2", body: "payout=1"}, "2.00")                                             // wherever they stand
	f(request{query: "net=2", body: `{"data":{"amount":3}}`}, "3.00")                                // dotted
	f(request{body: `{"Data":{"AMOUNT":3},"net":1}`}, "3.00")                                        // in any case
	f(request{body: `{"data":{"amount":null},"net":1}`}, "1.00")                                     // null is absent
	f(request{body: `{"data":{"payout":50},"payout":"7"}`}, "7.00")                                  // aliases match the top only
	f(request{contentType: jsonType, query: "payout=4", body: `{"other":true}`}, "4.00")             // a mix
	f(request{query: "%70ayout=5"}, "5.00")                                                          // escaped names
	f(request{query: "payout=6&payout=6"}, "6.00")                                                   // the same twice
	f(request{query: "&&payout=6&", contentType: jsonType, body: " \r\n"}, "6.00")                   // no body to speak of
	f(request{contentType: jsonType, body: `{"pay\u006fut":12.345678}`}, "12.345678")                // exact text of numbers
	f(request{contentType: jsonType, body: `{"payout":999999999999.999999}`}, "999999999999.999999") // beyond a float

	items := source.Spec{Fields: map[string][]string{"payout": {"items.1.price"}}}
	if e := mapOne(t, items, request{body: `{"items":[{"price":1},{"price":2}]}`}); e.Report.Payout.Amount != 2*event.Unit {
		t.Errorf("items.1.price: %v", e.Report.Payout)
	}
}

func TestExtraKeepsWhatNobodyAskedFor(t *testing.T) {
	f := func(r request, want ...event.Pair) {
		t.Helper()
		e := mapOne(t, source.Spec{}, r)
		if !slices.Equal(e.Report.Extra, want) {
			t.Errorf("%+v: extra %q, want %q", r, e.Report.Extra, want)
		}
	}
	f(request{query: "payout=1&Zip=33101&a=&b=%2B"}, event.Pair{Name: "Zip", Value: "33101"}, event.Pair{Name: "a"}, event.Pair{Name: "b", Value: "+"})
	f(request{query: "payout=1&revenue=2&amount="}, event.Pair{Name: "revenue", Value: "2"})
	f(request{query: "payout=1", body: "payout=2"}, event.Pair{Name: "payout", Value: "1"})
	f(request{query: "payout=1&Foo=1&foo=2"}, event.Pair{Name: "Foo", Value: "1"}, event.Pair{Name: "Foo", Value: "2"})
	f(request{body: `{"payout":1,"data":{"payout":50,"ok":true,"none":null,"empty":{},"list":["x",{"y":1e3}]}}`},
		event.Pair{Name: "data.payout", Value: "50"}, event.Pair{Name: "data.ok", Value: "true"},
		event.Pair{Name: "data.list.0", Value: "x"}, event.Pair{Name: "data.list.1.y", Value: "1e3"})
	f(request{query: "payout=1&note=a%00b%0Ac"}, event.Pair{Name: "note", Value: "a\ufffdb\nc"})
	f(request{query: "payout=1&Secret=x&sig=x&HASH=x&access_token=x&x-webhook-secret=x&client_secret=x&monkey=x&hashtag=x"},
		event.Pair{Name: "Secret", Value: "***"}, event.Pair{Name: "sig", Value: "***"}, event.Pair{Name: "HASH", Value: "***"},
		event.Pair{Name: "access_token", Value: "***"}, event.Pair{Name: "x-webhook-secret", Value: "***"},
		event.Pair{Name: "client_secret", Value: "***"}, event.Pair{Name: "monkey", Value: "x"}, event.Pair{Name: "hashtag", Value: "x"})
	f(request{body: `{"payout":1,"auth":{"api_key":"x"},"signature":["x"]}`}, event.Pair{Name: "auth.api_key", Value: "***"}, event.Pair{Name: "signature.0", Value: "***"})
}

func TestSlots(t *testing.T) {
	spec := source.Spec{Fields: map[string][]string{"kind": {"kind"}, "transaction_id": {"txn"}, "network_call_id": {"ncid"}}}
	f := func(query string, want event.Report) {
		t.Helper()
		r := mapOne(t, spec, request{query: query}).Report
		want.Extra, want.CallerRaw = r.Extra, r.CallerRaw
		if want.Payout.Currency == "" && want.Invalid != event.CurrencyBad {
			want.Payout.Currency = "USD"
		}
		if fmt.Sprintf("%+v", r) != fmt.Sprintf("%+v", want) {
			t.Errorf("%s:\n got %+v\nwant %+v", query, r, want)
		}
	}
	paid := event.Report{HasPayout: true, Payout: event.Money{Amount: event.Unit}}
	with := func(change func(*event.Report)) event.Report {
		r := paid
		change(&r)
		return r
	}
	invalid := func(reason event.Reason, field, got string) event.Report {
		return with(func(r *event.Report) { r.Invalid, r.Detail = reason, event.Detail{Field: field, Got: got} })
	}
	long := strings.Repeat("x", IDBytesMax+1)

	f("payout=1&txn=+t1+&ncid=n1", with(func(r *event.Report) { r.TransactionID, r.NetworkCallID = "t1", "n1" }))
	f("payout=1&ref_id="+long[1:], with(func(r *event.Report) { r.RefID = long[1:] }))
	f("payout=1&ref_id="+long, invalid(event.BodyMalformed, "ref_id", long[:GotBytesMax]))
	f("payout=1&call_id=a%00b", invalid(event.BodyMalformed, "call_id", "a\ufffdb"))
	f("payout=1&kind=Adjustment", with(func(r *event.Report) { r.Kind = event.Adjustment }))
	f("kind=REVERSAL", event.Report{Kind: event.Reversal})
	f("payout=1&kind=refund", invalid(event.KindUnknown, "kind", "refund"))
	f("kind=adjustment", event.Report{Kind: event.Adjustment, Invalid: event.PayoutMissing})
	f("ref_id=x", event.Report{RefID: "x", Invalid: event.PayoutMissing})
	f("payout=0", event.Report{HasPayout: true})
	f("Payout=%2450", event.Report{Invalid: event.PayoutUnreadable, Detail: event.Detail{Field: "Payout", Got: "$50"}})
	f("payout=-1", negative(invalid(event.PayoutNegative, "payout", "-1")))
	f("payout=1&currency=usdt", with(func(r *event.Report) { r.Payout.Currency = "USDT" }))
	f("payout=1&currency=U%24", invalid(event.CurrencyBad, "currency", "U$"))
	f("payout=1&currency=ABCDEFGHIJKLM", invalid(event.CurrencyBad, "currency", "ABCDEFGHIJKLM"))
	f("payout=1&duration=x&started_at=y", invalid(event.DurationBad, "duration", "x")) // the first fault
	f("payout=1&started_at=yesterday", invalid(event.TimeBad, "started_at", "yesterday"))
	f("payout=1&Event_Time=1", invalid(event.TimeBad, "Event_Time", "1"))
	f("payout=1&status=+Sold+", with(func(r *event.Report) { r.Status = "Sold" }))
	f("payout=1&payout=2", invalid(event.BodyDuplicateKey, "payout", "payout"))
	f("payout=1&PAYOUT=2", invalid(event.BodyDuplicateKey, "PAYOUT", "PAYOUT"))
	f("payout=1&x=1&x=2", paid)
	f("payout=1&ref_id=%ff", invalid(event.BodyNotUTF8, "ref_id", "\ufffd"))
	f("payout=1&%C3%28=x", invalid(event.BodyNotUTF8, "\ufffd(", "x"))
	f("payout=1&status=100%", with(func(r *event.Report) { r.Status = "100%" }))
}

// negative is a report whose amount is below zero and kept for people to see.
func negative(r event.Report) event.Report {
	r.Payout.Amount = -r.Payout.Amount
	return r
}
