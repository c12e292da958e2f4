package vectors

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

func TestDifferences(t *testing.T) {
	f := func(reports string, got []event.Report, want ...string) {
		t.Helper()
		c := parseFile(t, "-- source --\ncurrency: EUR\nconstants: {status: sold, duration: \"060\"}\n-- request --\nGET\n-- reports --\n"+reports+"\n")
		events := make([]event.Event, len(got))
		for i := range got {
			events[i].Report = got[i]
		}
		if diff := c.Differences(events); !reflect.DeepEqual(diff, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", reports, diff, want)
		}
	}
	report := func(change func(*event.Report)) []event.Report {
		r := event.Report{CallID: "c1", Payout: event.Money{Amount: 12_500_000, Currency: "EUR"}, HasPayout: true, Duration: event.Seconds{N: 60, OK: true}, Status: "sold"}
		change(&r)
		return []event.Report{r}
	}
	same := report(func(*event.Report) {})
	f(`{"call_id":"c1","payout":12.5}`, same)
	f(`{"call_id":"c1","payout":"12.500","duration":60,"currency":"EUR","status":"sold","kind":"conversion"}`, same)
	f(`{"call_id":"c1","payout":"12.50"}`, report(func(r *event.Report) { r.Payout.Amount *= 100 }), "report 1: payout: want 12.50, got 1250.00")
	f(`{"call_id":"c1","payout":"12.50"}`, report(func(r *event.Report) { r.HasPayout = false }), "report 1: payout: want 12.50, got nothing")
	f(`{"call_id":"c1"}`, same, "report 1: payout: want nothing, got 12.50")
	f(`{"call_id":"c1","payout":0}`, report(func(r *event.Report) { r.Payout.Amount = 0 }))
	f(`{"call_id":"c 2","payout":12.5,"currency":""}`, same, `report 1: call_id: want "c 2", got c1`, "report 1: currency: want nothing, got EUR")
	f(`{"call_id":"c1","payout":12.5}`, report(func(r *event.Report) {
		r.Payout.Currency, r.Kind, r.Duration.N, r.Status = "USD", event.Reversal, 61, "lost"
	}),
		"report 1: kind: want conversion, got reversal", "report 1: duration: want nothing, got 61", "report 1: currency: want nothing, got USD", "report 1: status: want nothing, got lost")
	f(`{"call_id":"c1","payout":12.5,"started_at":"2026-07-01T14:00:00.250+02:00"}`, report(func(r *event.Report) { r.StartedAt = 1782907200250000 }))
	f(`{"call_id":"c1","payout":12.5,"started_at":"2026-07-01T14:00:00Z"}`, report(func(r *event.Report) { r.StartedAt = 1782907200250000 }),
		"report 1: started_at: want 2026-07-01T14:00:00Z, got 2026-07-01T12:00:00.25Z")
	f(`{"call_id":"c1","payout":12.5,"caller_raw":"x","caller":"+1"}`, report(func(r *event.Report) { r.Caller, r.CallerRaw, r.Network = "+1", "1", "ringba" }))
	f(`{"call_id":"c1","payout":12.5,"network":"ringba"}`, same, "report 1: network: want ringba, got nothing")

	extra := report(func(r *event.Report) { r.Extra = []event.Pair{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}} })
	f(`{"call_id":"c1","payout":12.5,"extra":{"b":2,"a":"1"}}`, extra)
	f(`{"call_id":"c1","payout":12.5,"extra":{"b":"3","c":""}}`, extra, "report 1: extra.a: want nothing, got 1", "report 1: extra.b: want 3, got 2")
	f(`{"call_id":"c1","payout":12.5}`, extra, "report 1: extra.a: want nothing, got 1", "report 1: extra.b: want nothing, got 2")

	f("{\"call_id\":\"c1\",\"payout\":12.5}\n{\"call_id\":\"c2\"}", same, `report 2: want {"call_id":"c2"}, got nothing`)
	f(`{"call_id":"c1","payout":12.5}`, append(same, event.Report{RefID: "r"}), `report 2: want nothing, got {"ref_id":"r"}`)
	f(`{"ref_id":"r"}`, nil, `report 1: want {"ref_id":"r"}, got nothing`)

	dropped := []event.Report{{Dropped: true, Invalid: event.MapperDropped}}
	f(`{"ignored":true}`, dropped)
	f(`{"ignored":true}`, nil)
	f(`{"ignored":true}`, same, "report 1: want it ignored, got "+`{"call_id":"c1","duration":"60","payout":"12.50","currency":"EUR","status":"sold"}`)
	f(`{}`, dropped, "report 1: want a report, got it ignored")

	invalid := report(func(r *event.Report) {
		r.Invalid, r.Detail = event.PayoutUnreadable, event.Detail{Field: "payout", Got: "$ 1", Limit: 7}
	})
	f(`{"invalid":"payout_unreadable"}`, invalid)
	f(`{"invalid":"payout_unreadable","field":"payout","got":"$ 1","limit":7,"call_id":"c1"}`, invalid)
	f(`{"invalid":"payout_unreadable","field":"amount","call_id":"c2"}`, invalid, "report 1: field: want amount, got payout", "report 1: call_id: want c2, got c1")
	f(`{"invalid":"payout_missing"}`, invalid, `report 1: want invalid: payout_missing, got invalid: payout_unreadable, field payout, "$ 1", 7`)
	f(`{"call_id":"c1"}`, invalid, `report 1: want a report, got invalid: payout_unreadable, field payout, "$ 1", 7`)
	f(`{"invalid":"payout_missing"}`, same, `report 1: want invalid: payout_missing, got {"call_id":"c1","duration":"60","payout":"12.50","currency":"EUR","status":"sold"}`)
	f(`{"invalid":"mapper_trapped"}`, []event.Report{{Failed: true, Invalid: event.MapperTrapped, Detail: event.Detail{Got: "unreachable"}}},
		"report 1: want invalid: mapper_trapped, got the mapper broken: mapper_trapped, unreachable")
}

func TestDifferencesAreBounded(t *testing.T) {
	c := parseFile(t, "-- request --\nGET\n-- reports --\n"+strings.Repeat("{\"ref_id\":\"r\"}\n", 100))
	long := make([]event.Event, 100)
	for i := range long {
		long[i].Report.RefID = strings.Repeat("x", 100_000)
	}
	diff := c.Differences(long)
	if len(diff) != DifferencesMax+1 || diff[DifferencesMax] != "and 80 more" || len(fmt.Sprint(diff)) > 8000 {
		t.Errorf("%d lines, %d bytes, the last %q", len(diff), len(fmt.Sprint(diff)), diff[len(diff)-1])
	}
}

// A report that came out, kept as what has to come out, has no differences.
func TestWantOf(t *testing.T) {
	f := func(r event.Report) {
		t.Helper()
		w := WantOf(&r)
		c := parseFile(t, "-- request --\nGET\n-- reports --\n"+w.String()+"\n")
		if diff := c.Differences([]event.Event{{Report: r}}); diff != nil {
			t.Errorf("%s: %q", w.String(), diff)
		}
		if recorded, err := ParseWant(event.AppendReportJSON(nil, &r)); !r.Dropped && r.Invalid == "" && (err != nil || !reflect.DeepEqual(recorded, w)) {
			t.Errorf("recorded: %+v, %v; want %+v", recorded, err, w)
		}
	}
	f(event.Report{})
	f(event.Report{Dropped: true, Invalid: event.MapperDropped})
	f(event.Report{RefID: "r", Invalid: event.MapperRefused, Detail: event.Detail{Field: "f", Got: "g\n", Limit: 1001}})
	f(event.Report{RefID: "1", CallID: "2", NetworkCallID: "3", Network: "4", Caller: "+12025550101", CallerRaw: "202 555 0101", Duration: event.Seconds{N: 0, OK: true},
		StartedAt: 1782907200250001, Payout: event.Money{Amount: -1, Currency: "USD"}, HasPayout: true, Status: "<\"é\u2028>", TransactionID: "t", Kind: event.Adjustment,
		OccurredAt: 1, Extra: []event.Pair{{Name: "a.b", Value: "1"}, {Name: "", Value: "x"}}})
}
