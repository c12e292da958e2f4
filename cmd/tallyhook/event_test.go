package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

var goldenAnew = flag.Bool("rewrite", false, "write testdata/golden anew")

// golden compares what a person reads with a file.
func golden(t *testing.T, name string, have []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *goldenAnew {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, have, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		t.Errorf("%s differs; see what changed with go test -run %s -rewrite\n%s", path, t.Name(), have)
	}
}

func TestEventForAPerson(t *testing.T) {
	const parkedThenBooked = `{"event":"3-42","received_at":"2026-11-20T08:00:00.000000Z","decided_at":"2026-11-20T08:04:00.250000Z","source":"acme","status":"booked",
"reason":"several_candidates","reason_text":"Matched c2; 1 more fitted. Have the buyer echo ref_id to make it certain.","kind":"conversion","strategy":"caller","candidates":[
{"call_id":"c1","fits":false,"why":"duration_outside_tolerance","missed_by":75},{"call_id":"c2","fits":true}],
"call_id":"c2","call_caller":"+13055551234","campaign":"hvac","publisher":"pub-7","buyer":"acme","caller":"+13055551234","duration":90,"payout":"50.00","currency":"USD",
"value":"50.00","delta":"50.00","share_delta":"33.333333","mapper":"builtin","peer":"192.0.2.7","latency_us":{"queue":120,"map":15,"match":30,"total":240250000},
"revision":2,"final":true,"change_seq":77,"parked_until":null,
"request":{"method":"POST","query":"key=***","content_type":"application/json","headers":{"Content-Type":"application/json","X-Note":"a\u001b[31mb"},"peer":"192.0.2.7","body":"{\n\t\"payout\": 50\n}\n\u001b[2J"},
"report":{"kind":"conversion","caller":"+13055551234","duration":90,"payout":"50.00","currency":"USD","extra":{"campaign":"x"}},
"revisions":[{"revision":1,"final":false,"decided_at":"2026-11-20T08:00:00.001500Z","status":"parked","reason_text":"No call. Waiting for the call.","call_id":null,"value":null,"delta":"0.00","share_delta":"0.00"},
{"revision":2,"final":true,"decided_at":"2026-11-20T08:04:00.250000Z","status":"booked","reason_text":"","call_id":"c2","value":"50.00","delta":"50.00","share_delta":"33.333333"}],
"postings":[{"no":9,"cause":"conversion","currency":"USD","value":"50.00","share":"33.333333","delta":"50.00","share_delta":"33.333333","transfers":[
{"line":1,"debit":"buyer:acme:receivable","credit":"network:revenue","amount":"50.00","currency":"USD"},
{"line":2,"debit":"network:publisher_cost","credit":"publisher:pub-7:pending","amount":"33.333333","currency":"USD"}]}]}`
	var tl timeline
	if err := json.Unmarshal([]byte(parkedThenBooked), &tl); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tl.print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "event-booked.txt", out.Bytes())
}

func TestEventThatCouldNotBeRead(t *testing.T) {
	const unread = `{"event":"3-43.2","received_at":"2026-11-20T08:00:00.000000Z","decided_at":"2026-11-20T08:00:00.000900Z","source":"acme","status":"invalid",
"reason":"body_malformed","reason_text":"The body is not valid JSON: \"x\".","peer":"192.0.2.7","mapper":"builtin","latency_us":{"total":900},"revision":1,"final":true,"candidates":[],
"delta":"0.00","share_delta":"0.00","request":{"method":"POST","headers":{},"body_base64":"/w==","body_cut":true},"report":null,"revisions":[],"postings":[]}`
	var tl timeline
	if err := json.Unmarshal([]byte(unread), &tl); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := tl.print(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "event-invalid.txt", out.Bytes())
}

func TestDemoView(t *testing.T) {
	v := &demoView{elapsed: 6 * time.Second, sent: sendProgress{sent: 6000, postbacks: 2400, decided: 2388, steps: 9957, p50: 2100 * time.Microsecond, p99: 18 * time.Millisecond},
		summary: sink.Summary{
			Statuses: []sink.StatusCount{{Status: "booked", Events: 1800, Matched: 1800}, {Status: "duplicate", Reason: "same_event", Events: 300, Matched: 290},
				{Status: "unmatched", Reason: "no_call_from_caller", Events: 20}, {Status: "unmatched", Reason: "no_key", Events: 1}},
			Money: []sink.CurrencySum{{Currency: "EUR", Value: event.Unit}, {Currency: "USD", Value: 123456*event.Unit + 789_500, Share: 100000 * event.Unit}},
		},
		sentences: map[reasonKey]string{{"duplicate", "same_event"}: "The same postback was received before, as 1-40.",
			{"unmatched", "no_call_from_caller"}: "No call from \"+12015550071\" is known within the window. Check that the calls are uploaded, and that the buyer reports the same number."}}
	var out bytes.Buffer
	show := func() {
		for _, line := range v.lines(80, 1000) {
			out.WriteString(line + "\n")
		}
		out.WriteString(v.line(1000) + "\n\n")
	}
	show()
	v.settling, v.settled = true, true
	show()
	golden(t, "demo-view.txt", out.Bytes())
}

func TestBar(t *testing.T) {
	f := func(n, most int64, width int, want string) {
		t.Helper()
		if have := bar(n, most, width); have != want {
			t.Errorf("bar(%d, %d, %d) = %q, want %q", n, most, width, have, want)
		}
	}
	f(0, 10, 10, "")
	f(10, 10, 4, "████")
	f(5, 10, 5, "██▌")
	f(1, 1_000_000, 10, "▏") // something is never nothing
	f(1, 0, 10, "")
}
