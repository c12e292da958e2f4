package mapper

import (
	"context"
	"fmt"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Requests of the usual size: a caller, a duration, an amount, an id, and two
// fields that nobody asked for.
func usual(shape string, i int, region string) request {
	caller, escaped := fmt.Sprintf("+1305%07d", 5550000+i), fmt.Sprintf("%%2B1305%07d", 5550000+i)
	if region == "GB" {
		caller = fmt.Sprintf("020 718%d %04d", i/10_000%10, i%10_000)
		escaped = fmt.Sprintf("020+718%d+%04d", i/10_000%10, i%10_000)
	}
	form := fmt.Sprintf("caller_id=%s&duration=90&payout=50.25&ref_id=abc%d&campaign=summer+sale&start_time=2026-01-02T03%%3A04%%3A05-05%%3A00", escaped, i)
	switch shape {
	case "query":
		return request{query: form}
	case "form":
		return request{contentType: formType, body: form}
	}
	return request{contentType: jsonType, body: fmt.Sprintf(
		`{"caller_id":%q,"duration":90,"payout":50.25,"ref_id":"abc%d","campaign":"summer sale","start_time":"2026-01-02T03:04:05-05:00"}`, caller, i)}
}

// usualRecords are n encoded records of one shape.
func usualRecords(shape, region string, n int) (recs [][]byte) {
	for i := range n {
		recs = append(recs, encode(usual(shape, i, region)))
	}
	return recs
}

func encode(r request) []byte {
	rec := event.Record{Kind: event.RecordPostback, Source: "s", Query: r.query, ContentType: r.contentType, Body: []byte(r.body)}
	if r.callID != "" {
		rec.Headers = []event.Pair{{Name: event.HeaderCallID, Value: r.callID}}
	}
	return event.AppendRecord(nil, &rec)
}

// refill puts recs into b anew.
func refill(t testing.TB, b *event.Batch, recs [][]byte) {
	b.Reset()
	for i, rec := range recs {
		if err := b.Add(event.ID{Stream: 1, Seq: uint64(i + 1)}, 1, rec); err != nil {
			t.Fatal(err)
		}
	}
}

// Query and form cost no allocation once batch and cache are warm: neither
// for a number that needs no library, nor for one that the cache holds, nor
// for escapes, notations and faults.
func TestNoAllocations(t *testing.T) {
	f := func(name string, s source.Spec, requests ...request) {
		t.Helper()
		m := NewBuiltin(liveOf(compile(t, s)))
		var b event.Batch
		var recs [][]byte
		for _, r := range requests {
			recs = append(recs, encode(r))
		}
		run := func() {
			refill(t, &b, recs)
			if err := m.Map(context.Background(), &b); err != nil || len(b.Events) != len(recs) {
				t.Fatalf("%v, %d events", err, len(b.Events))
			}
		}
		run()
		if n := testing.AllocsPerRun(50, run); n != 0 {
			t.Errorf("%s: %v allocations per batch of %d", name, n, len(recs))
		}
	}
	gb := source.Match{DefaultRegion: "GB"}
	for _, shape := range []string{"query", "form"} {
		f(shape, source.Spec{}, usual(shape, 1, "US"), usual(shape, 2, "US"), usual(shape, 3, "US"))
		f(shape+", cached", source.Spec{Match: gb, Identity: "ref_id"}, usual(shape, 1, "GB"), usual(shape, 2, "GB"), usual(shape, 1, "GB"))
	}
	f("notations", source.Spec{Match: gb, Currency: "EUR", Constants: map[string]string{"status": "sold"},
		Transforms: source.Transforms{DecimalComma: true, CurrencySign: true, Thousands: true, RoundHalfEven: true, Duration: "mm:ss", TimeZone: "Europe/Berlin"}},
		request{query: "payout=1.234,56+%E2%82%AC&duration=1:30&started_at=2026-01-02+03:04:05&currency=eur&caller=anonymous&Foo=1&foo=2&secret=x&note=%00"})
	account := settling("app:{app|site}:{uid}")
	account.ReversalPrefix, account.Triggers, account.Transforms.NegativeReverses = "r-", true, true
	sold, back := "tid=1&coins=360&payout=0.36&site=7&uid=al%69ce&sale=true&api_key=x", "tid=r-1&coins=-360&payout=-0.36&app=7&uid=alice"
	f("account", account, request{query: sold}, request{query: back}, request{query: "tid=1&coins=1"}, request{query: sold, contentType: formType, body: back, callID: "c1"})
	account.Reward = &source.Reward{Currency: "COINS", Rate: "1000"}
	f("account at a rate", account, request{contentType: formType, body: sold}, request{contentType: formType, body: back})
	f("faults", source.Spec{}, request{query: "payout=%2450&ref_id=%01"}, request{query: "payout=1&payout=2&x=%ff"}, request{contentType: "text/xml", body: "<x>"})
}

func BenchmarkMap(b *testing.B) {
	const events = 500
	for _, shape := range []string{"query", "form", "json"} {
		for _, number := range []string{"plain", "cached", "uncached"} {
			b.Run(shape+"/"+number, func(b *testing.B) {
				region := "GB"
				if number == "plain" {
					region = "US"
				}
				m := NewBuiltin(liveOf(compile(b, source.Spec{Match: source.Match{DefaultRegion: region}})))
				recs, batch := usualRecords(shape, region, events), new(event.Batch)
				refill(b, batch, recs)
				if err := m.Map(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					refill(b, batch, recs)
					if number == "uncached" {
						for i := range m.numbers.shards {
							clear(m.numbers.shards[i].sets)
						}
					}
					b.StartTimer()
					if err := m.Map(context.Background(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
			})
		}
	}
}
