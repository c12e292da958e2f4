package mapper

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

var digestOfHush = event.CallKeyDigest("hush")

func TestCallOfThePath(t *testing.T) {
	f := func(r request, callID, extra string, invalid event.Reason) {
		t.Helper()
		got := mapOne(t, source.Spec{SetValue: true, PayoutOptional: true}, r).Report
		if got.CallID != callID || fmt.Sprint(got.Extra) != extra || got.Invalid != invalid {
			t.Errorf("%+v: %q, extra %v, %s; want %q, %s, %s", r, got.CallID, got.Extra, got.Invalid, callID, extra, invalid)
		}
	}
	f(request{callID: "c1", query: "revenue=10"}, "c1", "[]", "")
	f(request{callID: " c1 ", query: "call_id=c1"}, "c1", "[]", "")
	f(request{callID: "c1", query: "call_id=c2"}, "c1", "[{call_id c2}]", "")
	f(request{callID: "c1", query: "callid=c2&call_id=c1"}, "c1", "[{callid c2}]", "")
	f(request{callID: "c1", body: `{"call_id":"c2","revenue":1}`}, "c1", "[{call_id c2}]", "")
	f(request{query: "call_id=c2"}, "c2", "[]", "")
	f(request{callID: " ", query: "call_id=c2"}, "c2", "[]", "")
	f(request{callID: strings.Repeat("c", IDBytesMax+1)}, "", "[]", event.BodyMalformed)
	f(request{callID: "c\x00"}, "", "[]", event.BodyMalformed)
}

func TestCallKey(t *testing.T) {
	f := func(s source.Spec, r request, want string) {
		t.Helper()
		s.PayoutOptional, s.Triggers = true, true
		e := mapOne(t, s, r)
		if e.Report.Key != want {
			t.Errorf("%+v of %+v: %q, want %q", r, s, e.Report.Key, want)
		}
		if text := fmt.Sprintf("%+v", e.Report); strings.Contains(text, "hush") {
			t.Errorf("%+v: the key is in %s", r, text)
		}
	}
	keys, setValue := source.Spec{CallKeys: true}, source.Spec{SetValue: true}
	named := source.Spec{CallKeys: true, Fields: map[string][]string{"key": {"ck_key", "data.ck_key"}}}
	f(keys, request{query: "key=hush"}, digestOfHush)
	f(keys, request{query: "KEY=%68ush"}, digestOfHush)
	f(keys, request{callID: "c1", query: "call_id=c2&key=hush"}, digestOfHush)
	f(keys, request{contentType: formType, body: "key=hush"}, digestOfHush)
	f(keys, request{body: `{"key":"hush"}`}, digestOfHush)
	f(keys, request{query: "key=x"}, event.CallKeyDigest("x"))
	f(keys, request{query: "key="}, "")
	f(keys, request{query: "key=***"}, "") // of a request that was kept
	f(keys, request{query: "ref_id=a"}, "")
	f(setValue, request{query: "key=hush"}, digestOfHush)
	f(setValue, request{callID: "c1", query: "key=hush", flags: event.FlagKeyed}, event.KeyIssued)
	f(keys, request{callID: "c1", query: "key=hush", flags: event.FlagKeyed}, event.KeyIssued)
	f(source.Spec{}, request{query: "key=hush"}, "")
	f(source.Spec{CallKeys: true, Constants: map[string]string{"key": "hush"}}, request{query: "ref_id=a"}, "") // nobody showed it

	// Wherever it stands, and whatever it is called.
	f(named, request{query: "ck_key=hush"}, digestOfHush)
	f(named, request{query: "key=hush"}, "")
	f(named, request{body: `{"data":{"ck_key":"hush"}}`}, digestOfHush)
	f(named, request{query: "ck_key=hush", body: "ck_key=hush2"}, event.CallKeyDigest("hush2"))
	f(named, request{query: "ck_key=hush&CK_KEY=hush2&%63k_key=hush3"}, digestOfHush) // and refused
	f(named, request{query: "ck_key=hush%ff"}, "")
	f(keys, request{query: "key=hush%ff"}, "")
	f(named, request{callID: "c1", contentType: formType, body: "ck_key=hush&sale=true"}, digestOfHush)
	f(source.Spec{CallKeys: true, Identity: "key"}, request{query: "key=hush%00"}, event.CallKeyDigest("hush\x00"))

	account := settling("user:{ck_key}")
	account.CallKeys, account.Fields = true, map[string][]string{"key": {"ck_key"}, "reward": {"coins"}}
	f(account, request{query: "tid=1&coins=1&ck_key=hush"}, digestOfHush)
}

func TestTriggerQuery(t *testing.T) {
	f := func(r request, want string) {
		t.Helper()
		if got := mapOne(t, source.Spec{Triggers: true, CallKeys: true, PayoutOptional: true}, r).Report.Query; got != want {
			t.Errorf("%+v: %q, want %q", r, got, want)
		}
	}
	f(request{}, "")
	f(request{query: "sale=true"}, "sale=true")
	f(request{query: "a=%20+b&c&=d&e=é"}, "a=%20+b&c&=d&e=é") // raw
	f(request{query: "key=hush&sale=true"}, "key=***&sale=true")
	f(request{query: "sale=true&api_key=hush&%6bey=hush&signature=hush"}, "sale=true&api_key=***&%6bey=***&signature=***")
	f(request{query: "url=https%3A%2F%2Fx%2F%3Ftoken_secret%3Dhush"}, "url=https%3A%2F%2Fx%2F%3Ftoken_secret***")
	f(request{query: "a=\x01\xff"}, "a=\ufffd\ufffd")

	f(request{callID: "c1", query: "key=hush", contentType: formType, body: "sale=true&secret=hush"}, "key=***&sale=true&secret=***")
	f(request{callID: "c1", contentType: formType, body: "sale=true"}, "sale=true")
	f(request{callID: "c1", query: "a=1", contentType: jsonType, body: `{"sale":true}`}, "a=1")
	f(request{query: "a=1", contentType: formType, body: "sale=true"}, "a=1") // no set_value

	x := strings.Repeat("x", 1000)
	f(request{query: "a=" + x + "&b=" + x + "&sale=true"}, "a="+x+"&b="+x+"&sale=true")
	f(request{query: "a=" + x + "&b=" + x + "&c=" + x + "&d=1"}, "a="+x+"&b="+x)
	f(request{callID: "c1", query: "a=" + x + "&b=" + x, contentType: formType, body: "c=" + x}, "a="+x+"&b="+x)
	f(request{query: "a=" + x + x + x}, "")
	exact := "a=" + strings.Repeat("x", QueryBytesMax-2)
	f(request{query: exact}, exact)
	f(request{query: exact + "&b"}, exact)
	f(request{query: "q=1&" + exact}, "q=1")

	if r := mapOne(t, source.Spec{}, request{query: "payout=1&sale=true"}).Report; r.Query != "" {
		t.Errorf("a source without triggers: %q", r.Query)
	}
	src := compile(t, source.Spec{Triggers: true})
	src.BodyOnly = true
	b := batchOf(t, request{callID: "c1", query: "sale=true", contentType: formType, body: "payout=1"})
	if err := NewBuiltin(liveOf(src)).Map(t.Context(), b); err != nil || b.Events[0].Report.Query != "payout=1" {
		t.Errorf("%v, %q", err, b.Events[0].Report.Query)
	}
}

// Every report of an array tells of the same request.
func TestArrayOfACall(t *testing.T) {
	events := mapAll(t, source.Spec{Triggers: true, CallKeys: true}, request{callID: "c1", query: "key=hush&sale=1", body: `[{"payout":1},{"payout":2,"key":"other"}]`})
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	for i, key := range []string{digestOfHush, event.CallKeyDigest("other")} {
		if r := events[i].Report; r.CallID != "c1" || r.Query != "key=***&sale=1" || r.Key != key {
			t.Errorf("report %d: %+v", i, r)
		}
	}
}
