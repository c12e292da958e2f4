package ingest

import (
	stdjson "encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// testCallKey is a key that shows whose it is.
func testCallKey(callID string) string { return fmt.Sprintf("%032x", "k"+callID)[:32] }

func keyedNode(t testing.TB, sources ...*source.Source) *node {
	t.Helper()
	return startNode(t, func(c *Config) { c.CallKey, c.PublicURL = testCallKey, "https://in.example.com" }, sources...)
}

func TestSetValue(t *testing.T) {
	buyer := testSource(t, source.Spec{ID: "buyer"})
	n := keyedNode(t, testSource(t, source.Spec{ID: "b-retreaver", SetValue: true}), testSource(t, source.Spec{ID: "a-retreaver", SetValue: true}), buyer)
	key := testCallKey("c 1/é")
	f := func(method, target, body string, header []string, want event.Record) {
		t.Helper()
		if a := n.do(t, method, target, body, header...); a.status != 200 {
			t.Fatalf("%s %s: %d %s", method, target, a.status, a.body)
		}
		got := n.journal.last(t)
		if got.Source != want.Source || got.Flags != want.Flags || got.Query != want.Query || string(got.Body) != string(want.Body) || !contains(got.Headers, event.HeaderCallID, "c 1/é") {
			t.Errorf("%s: got %+v", target, got)
		}
		if want.Flags&event.FlagKeyed != 0 && strings.Contains(fmt.Sprintf("%+v %s", got, got.Body), key) {
			t.Errorf("%s: the key is in the record %+v %s", target, got, got.Body)
		}
	}
	const path = "/calls/c%201%2F%C3%A9/set_value"
	keyed := event.Record{Source: "a-retreaver", Flags: event.FlagKeyed}
	with := func(query, body string, flags event.Flags) event.Record {
		r := keyed
		r.Query, r.Body, r.Flags = query, []byte(body), r.Flags|flags
		return r
	}
	f("GET", path+"?key="+key+"&revenue=10.00", "", nil, with("key=***&revenue=10.00", "", 0))
	f("GET", path+"?sale=&KEY="+key, "", nil, with("sale=&KEY=***", "", 0))
	f("GET", path+"?k%65y=%"+fmt.Sprintf("%02x", key[0])+key[1:]+"&sale=true", "", nil, with("k%65y=***&sale=true", "", 0))
	f("GET", path+"/test?key="+key+"&revenue=1", "", nil, with("key=***&revenue=1", "", event.FlagTest))
	f("POST", path, "revenue=5&key="+key, []string{formType}, with("", "revenue=5&key=***", 0))
	f("POST", path, gzipped("key="+key+"&revenue=5"), []string{formType, gz}, with("", "key=***&revenue=5", 0))
	f("POST", path+"?key="+key, `{"key":"`+key+`","revenue":5}`, []string{jsonType}, with("key=***", `{"key":"***","revenue":5}`, 0))
	f("GET", path+"?key="+key+"&note="+key, "", nil, with("key=***&note=***", "", 0))

	// Under a source's own URL the key is somebody else's: the ledger looks at it.
	f("GET", "/v1/postbacks/buyer"+path+"?key=foreign&revenue=1", "", nil, event.Record{Source: "buyer", Query: "key=foreign&revenue=1"})
	f("POST", "/v1/postbacks/buyer"+path+"/test", "key=foreign", []string{formType}, event.Record{Source: "buyer", Flags: event.FlagTest, Body: []byte("key=foreign")})
}

func TestSetValueRefuses(t *testing.T) {
	keep := testSource(t, source.Spec{ID: "retreaver", SetValue: true, AllowIPs: []string{"127.0.0.1"}})
	n := keyedNode(t, keep, testSource(t, source.Spec{ID: "buyer"}), testSource(t, source.Spec{ID: "locked"}, "right"))
	f := func(method, target, body string, status int, code, reason, detail string) {
		t.Helper()
		a := n.do(t, method, target, body, formType)
		if a.status != status || method != "HEAD" && !strings.Contains(a.body, code) {
			t.Errorf("%s %s: %d %s, want %d %s", method, target, a.status, a.body, status, code)
		}
		if reason != "" {
			if r := n.Refused("retreaver")[0]; r.Reason != reason || r.Detail != detail || r.Advice == "" || strings.Contains(fmt.Sprint(r), "deadbeef") {
				t.Errorf("%s: remembered as %+v", target, r)
			}
		}
	}
	good := "key=" + testCallKey("c1")
	f("GET", "/calls/c1/set_value?revenue=1", "", 401, "unauthorized", "call_key", "key_missing")
	f("GET", "/calls/c1/set_value?key=", "", 401, "unauthorized", "call_key", "key_wrong")
	f("GET", "/calls/c1/set_value?key=deadbeef", "", 401, "unauthorized", "call_key", "key_wrong")
	f("GET", "/calls/c2/set_value?"+good, "", 401, "unauthorized", "call_key", "key_wrong")
	f("GET", "/calls/c1/set_value?key="+strings.ToUpper(testCallKey("c1"))+"0", "", 401, "unauthorized", "call_key", "key_wrong")
	f("GET", "/calls/c1/set_value?"+good+"&key=deadbeef", "", 401, "unauthorized", "call_key", "key_wrong")
	f("POST", "/calls/c1/set_value?"+good, "key=deadbeef", 401, "unauthorized", "call_key", "key_wrong")
	f("GET", "/calls/c%0a1/set_value?key=deadbeef", "", 400, "bad_call_id", "bad_call_id", "")
	if got, _ := n.raw(t, "GET /calls/c%zz/set_value?"+good+" HTTP/1.1\r\nHost: x\r\n\r\n", 1); len(got) != 1 || got[0] != 400 {
		t.Errorf("a broken escape: %v", got)
	}
	f("GET", "/calls/%ff/set_value?"+good, "", 400, "bad_call_id", "bad_call_id", "")
	f("GET", "/calls/"+strings.Repeat("x", 257)+"/set_value?"+good, "", 400, "bad_call_id", "bad_call_id", "")
	f("GET", "/v1/postbacks/buyer/calls/"+strings.Repeat("%41", 257)+"/set_value?"+good, "", 400, "bad_call_id", "", "")
	f("GET", "/v1/postbacks/locked/calls/c1/set_value?"+good, "", 401, "unauthorized", "", "")
	f("HEAD", "/calls/c1/set_value?"+good, "", 405, "", "", "")
	f("PUT", "/calls/c1/set_value?"+good, "", 405, "method_not_allowed", "", "")
	f("PATCH", "/v1/postbacks/buyer/calls/c1/set_value", "", 405, "method_not_allowed", "", "")
	f("GET", "/calls//set_value?"+good, "", 404, "not_found", "", "")
	f("GET", "/calls/a/b/set_value?"+good, "", 404, "not_found", "", "")
	f("GET", "/calls/c1/set_value/?"+good, "", 404, "not_found", "", "")
	f("GET", "/v1/postbacks//calls/c1/set_value", "", 404, "not_found", "", "")
	f("GET", "/v1/postbacks/stranger/calls/c1/set_value", "", 404, "not_found", "", "")
	f("GET", "/v1/postbacks/buyer/calls/c1", "", 404, "not_found", "", "")
	if n.journal.len() != 0 {
		t.Errorf("%d were journaled", n.journal.len())
	}
	if a := n.do(t, "GET", "/calls/"+strings.Repeat("x", 256)+"/set_value?key="+testCallKey(strings.Repeat("x", 256)), ""); a.status != 200 {
		t.Errorf("an id of 256 bytes: %d", a.status)
	}
	for name, other := range map[string]*node{
		"no source takes them": keyedNode(t, testSource(t, source.Spec{ID: "buyer"})),
		"no keys are issued":   startNode(t, nil, testSource(t, source.Spec{ID: "retreaver", SetValue: true})),
	} {
		if a := other.do(t, "GET", "/calls/c1/set_value?"+good, ""); a.status != 404 || other.journal.len() != 0 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
}

// The answer to calls holds what their network passes on, and what it gives
// opens the door.
func TestCallsPassOn(t *testing.T) {
	type passOn struct {
		CallID string `json:"call_id"`
		Key    string
		URL    string `json:"set_value_url"`
		SIP    []string
	}
	tell := func(n *node, body string) (list []passOn, has bool) {
		t.Helper()
		a := n.do(t, "POST", "/v1/calls", body, "Authorization: Bearer "+goodKey)
		var reply struct{ Calls *[]passOn }
		if err := stdjson.Unmarshal([]byte(a.body), &reply); err != nil || a.status != 200 {
			t.Fatalf("%d %s: %v", a.status, a.body, err)
		}
		if reply.Calls == nil {
			return nil, false
		}
		return *reply.Calls, true
	}
	n := keyedNode(t, testSource(t, source.Spec{ID: "retreaver", SetValue: true}))
	got, _ := tell(n, `[{"call_id":"c 1/\"é"},{"call_id":""},{"call_id":"c2","key":"their-key"}]`)
	issued := testCallKey(`c 1/"é`)
	want := []passOn{
		{`c 1/"é`, issued, "https://in.example.com/calls/c%201%2F%22%C3%A9/set_value?key=" + issued, []string{`X-PH-RetreaverUUID: c 1/"é`, "X-PH-RetreaverKey: " + issued}},
		{"c2", "their-key", "", []string{"X-PH-RetreaverUUID: c2", "X-PH-RetreaverKey: their-key"}},
	}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if a := n.do(t, "GET", strings.TrimPrefix(got[0].URL, "https://in.example.com")+"&revenue=10", ""); a.status != 200 {
		t.Errorf("the URL that was given: %d %s", a.status, a.body)
	}
	if r := n.journal.last(t); r.Flags != event.FlagKeyed || !contains(r.Headers, event.HeaderCallID, `c 1/"é`) {
		t.Errorf("record %+v", r)
	}
	calls := func(count int) string {
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, "{\"call_id\":\"c%d\"}\n", i)
		}
		return b.String()
	}
	if got, _ := tell(n, calls(CallsPassedOnMax)); len(got) != CallsPassedOnMax || got[255].CallID != "c255" {
		t.Errorf("%d calls of %d are listed", len(got), CallsPassedOnMax)
	}
	if _, has := tell(n, calls(CallsPassedOnMax+1)); has {
		t.Error("a large upload is listed")
	}
	if _, has := tell(keyedNode(t), `{"call_id":"c1"}`); has {
		t.Error("keys are told though no source takes them")
	}
}
