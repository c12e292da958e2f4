package event

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestReportJSON(t *testing.T) {
	f := func(r Report, want string) {
		t.Helper()
		p := AppendReportJSON([]byte{}, &r)
		if string(p) != want {
			t.Errorf("\n got %s\nwant %s", p, want)
		}
		read, err := ParseReportJSON(p)
		if r.Extra = nil; err != nil || !reflect.DeepEqual(*read, r) {
			t.Errorf("%s reads as %+v, %v; want %+v", p, read, err, r)
		}
	}
	f(Report{}, `{"kind":"conversion"}`)
	start := time.Date(2026, 3, 2, 12, 0, 0, 1000, time.UTC).UnixMicro()
	f(Report{RefID: "r", CallID: "c", NetworkCallID: "n", Network: "ringba", Caller: "+1", CallerRaw: "1", Duration: Seconds{OK: true}, StartedAt: start,
		Payout: Money{0, "USD"}, HasPayout: true, Status: "paid", TransactionID: "t", Kind: Reversal, OccurredAt: -1, Extra: []Pair{{"b", "1"}, {"a", ""}}},
		`{"kind":"reversal","ref_id":"r","call_id":"c","network_call_id":"n","network":"ringba","caller":"+1","caller_raw":"1","duration":0,`+
			`"started_at":"2026-03-02T12:00:00.000001Z","payout":"0.00","currency":"USD","status":"paid","transaction_id":"t",`+
			`"occurred_at":"1969-12-31T23:59:59.999999Z","extra":{"b":"1","a":""}}`)
	for _, text := range []string{"", "{}", `{"kind":"refund"}`, `{"kind":"conversion","payout":5}`, `[]`} {
		if r, err := ParseReportJSON([]byte(text)); err == nil {
			t.Errorf("%q reads as %+v, want an error", text, r)
		}
	}
}

func FuzzJSONString(f *testing.F) {
	for _, s := range []string{"", "a\"b\\", "\x00\x1f\x7f", "é\u2028\u2029", "\xff\xc3", "{,:}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		p := AppendJSONString(nil, s)
		if err := json.Unmarshal(p, &got); err != nil || got != string([]rune(s)) {
			t.Fatalf("%q as %s reads as %q, %v", s, p, got, err)
		}
	})
}
