package ingest

import (
	stdjson "encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

const fullCall = `{"call_id":"c1","ref_id":"r1","key":"k1","network_ids":{"ringba":"RGB1","retreaver":"u-1"},"caller":"(305) 555-1234",` +
	`"started_at":"2026-03-01T12:00:00Z","ended_at":"2026-03-01T14:01:30.5+02:00","duration":90,"campaign":"hvac","publisher":"p1","buyer":"b1","qualified":true}`

func TestDecodeCall(t *testing.T) {
	f := func(line string, want event.Call) {
		t.Helper()
		got, err := DecodeCall([]byte(line), "US")
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot  %+v, %v\nwant %+v", line, got, err, want)
		}
	}
	f(fullCall, event.Call{CallID: "c1", RefID: "r1", Key: "k1", NetworkIDs: []event.Pair{{Name: "ringba", Value: "RGB1"}, {Name: "retreaver", Value: "u-1"}},
		Caller: "+13055551234", StartedAt: testStart.UnixMicro(), EndedAt: testStart.UnixMicro() + 90_500_000, Duration: event.Seconds{N: 90, OK: true},
		Campaign: "hvac", Publisher: "p1", Buyer: "b1", Qualified: event.Yes})
	f(`{"call_id":"c1"}`, event.Call{CallID: "c1"})
	f(" {\n\"duration\" : 0 ,\t\"call_id\":\"c1\", \"qualified\":false }\r\n", event.Call{CallID: "c1", Duration: event.Seconds{OK: true}, Qualified: event.No})
	f(`{"call_id":"c1","ref_id":null,"caller":"","started_at":"","duration":null,"network_ids":{},"qualified":null}`, event.Call{CallID: "c1"})
	f(`{"call_id":"c\u00e9\"1","network_ids":{"a\"b":"","x":null,"a\/b":"1"}}`, event.Call{CallID: "cé\"1", NetworkIDs: []event.Pair{{Name: "a/b", Value: "1"}}})
	f(`{"call_id":"c1","caller":"+442079460000","duration":604800}`, event.Call{CallID: "c1", Caller: "+442079460000", Duration: event.Seconds{N: 604800, OK: true}})
}

func TestDecodeCallRefuses(t *testing.T) {
	f := func(line, code, message string) {
		t.Helper()
		_, err := DecodeCall([]byte(line), "US")
		var e *CallError
		if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, message) {
			t.Errorf("%s: got %#v, want %s with %q", line, err, code, message)
		}
	}
	with := func(member string) string { return `{"call_id":"c1",` + member + `}` }
	f("", "malformed_json", "unexpected end")
	f("{", "malformed_json", "unexpected end")
	f(`{"call_id":"c1"} x`, "malformed_json", "after top-level value")
	f(`{"call_id":"c1"}{"call_id":"c2"}`, "malformed_json", "after top-level value")
	f(strings.Repeat("[", 20_000), "malformed_json", "depth")
	f(`5`, "not_an_object", `"5"`)
	f(`null`, "not_an_object", "null")
	f(`["c1"]`, "not_an_object", "c1")
	f("{\"call_id\":\"\xff\"}", "not_utf8", "UTF-8")
	f(`{}`, "call_id_missing", "call_id")
	f(`{"call_id":""}`, "call_id_missing", "call_id")
	f(`{"call_id":null}`, "call_id_missing", "call_id")
	f(`{"call_id":7}`, "wrong_type", `call_id "7"`)
	f(`{"call_id":"`+strings.Repeat("x", 129)+`"}`, "too_long", "call_id of 129 bytes is too long: at most 128")
	f(with(`"buyer":"`+strings.Repeat("x", 257)+`"`), "too_long", "buyer of 257 bytes")
	f(with(`"buyer":"a\u0000b"`), "control_character", "U+0000")
	f(with(`"buyer":"a\nb"`), "control_character", "U+000A")
	f(with(`"buyer":"a\u009fb"`), "control_character", "U+009F")
	f(with(`"start_at":"x"`), "unknown_field", `"start_at" is not known: did you mean "started_at"?`)
	f(with(`"Buyer":"x"`), "unknown_field", `did you mean "buyer"?`)
	f(with(`"bu\u0079er":"x"`), "unknown_field", "is not known")
	f(with(`"payout_amount_total":1`), "unknown_field", "a call has call_id, ref_id")
	f(with(`"call_id":"c2"`), "duplicate_field", "call_id is there twice")
	f(with(`"network_ids":[]`), "wrong_type", "network_ids")
	f(with(`"network_ids":{"a":1}`), "wrong_type", "network_ids.a")
	f(with(`"network_ids":{"":"x"}`), "network_unnamed", "whose id")
	f(with(`"network_ids":{"a":"1","\u0061":"2"}`), "duplicate_field", `"a" twice`)
	f(with(`"network_ids":{"a":"1","b":"1","c":"1","d":"1","e":"1","f":"1","g":"1","h":"1","i":"1"}`), "too_many_network_ids", "more than 8")
	f(with(`"caller":"anonymous"`), "caller_unreadable", `"anonymous" is not a phone number in region US`)
	f(with(`"caller":"12"`), "caller_unreadable", `"12"`)
	f(with(`"caller":3055551234`), "wrong_type", "put it in quotes")
	f(with(`"started_at":"2026-03-01 12:00:00"`), "time_unreadable", "RFC 3339")
	f(with(`"started_at":"2026-03-01T12:00:00"`), "time_unreadable", "RFC 3339")
	f(with(`"started_at":1700000000`), "wrong_type", "started_at")
	f(with(`"started_at":"1970-01-01T00:00:00Z"`), "time_out_of_range", "2000")
	f(with(`"ended_at":"2100-01-01T00:00:00Z"`), "time_out_of_range", "2100")
	f(with(`"started_at":"2026-03-01T12:00:01Z","ended_at":"2026-03-01T12:00:00Z"`), "ends_before_start", "2026-03-01T12:00:00Z lies before")
	for _, n := range []string{`90.0`, `9e1`, `"90"`, `-1`, `604801`, `99999999999`, `true`, `{}`, `[1]`} {
		f(with(`"duration":`+n), "duration_unreadable", "whole number of seconds")
	}
	f(with(`"qualified":1`), "wrong_type", "neither true nor false")
	f(with(`"qualified":"yes"`), "wrong_type", "neither true nor false")
	if c, err := DecodeCall([]byte(`{"nope":1,"duration":-1,"call_id":"c9"}`), "US"); err == nil || c.CallID != "c9" {
		t.Errorf("a refused call does not keep its call_id: %+v, %v", c, err)
	}
}

// callsOf decodes the calls of every record.
func (n *node) callsOf(t *testing.T) (ids []string) {
	t.Helper()
	for _, raw := range n.journal.recs {
		r := decoded(t, raw)
		if r.Kind != event.RecordCalls || r.Source != "" || r.Method != "POST" || r.Peer != "127.0.0.1" {
			t.Fatalf("record %+v", r)
		}
		if len(r.Body) > CallsRecordBytesMax+8<<10 {
			t.Errorf("a record of %d bytes", len(r.Body))
		}
		count := 0
		for rest := r.Body; len(rest) > 0; count++ {
			var c event.Call
			var err error
			if rest, err = event.DecodeCall(&c, rest); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, strings.Clone(c.CallID))
		}
		if count == 0 || count > event.ReportsMax {
			t.Errorf("a record of %d calls", count)
		}
	}
	return ids
}

func TestCalls(t *testing.T) {
	f := func(body string, status int, want, ids string, header ...string) {
		t.Helper()
		n := startNode(t, nil)
		a := n.do(t, "POST", "/v1/calls", body, append(header, "Authorization: Bearer "+goodKey)...)
		if a.status != status || !strings.HasPrefix(a.body, want) || !stdjson.Valid([]byte(a.body)) {
			t.Errorf("%q: got %d %s, want %d %s", body, a.status, a.body, status, want)
		}
		if got := strings.Join(n.callsOf(t), " "); got != ids {
			t.Errorf("%q: journaled %s, want %s", body, got, ids)
		}
	}
	const ndjson = "Content-Type: application/x-ndjson"
	const all = `{"ok":true,"accepted":2,"rejected":0,"event":"1-1","errors":[]}`
	f(`{"call_id":"a"}`, 200, `{"ok":true,"accepted":1,"rejected":0,"event":"1-1","errors":[]}`, "a")
	f("{\n  \"call_id\": \"a\",\n  \"network_ids\": {\n}}", 200, `{"ok":true,"accepted":1,`, "a")
	f(`[{"call_id":"a"}, {"call_id":"b"} ]`, 200, all, "a b", jsonType)
	f("\xef\xbb\xbf[{\"call_id\":\"a\"},{\"call_id\":\"b\"}]", 200, all, "a b")
	f("{\"call_id\":\"a\"}\n{\"call_id\":\"b\"}", 200, all, "a b")
	f("{\"call_id\":\"a\"}\r\n\r\n{\"call_id\":\"b\"}\r\n", 200, all, "a b", formType)
	f(gzipped("{\"call_id\":\"a\"}\n{\"call_id\":\"b\"}"), 200, all, "a b", ndjson, gz)
	f(`[]`, 200, `{"ok":true,"accepted":0,"rejected":0,"errors":[]}`, "")
	f("{\"call_id\":\"a\"}\n\n{\"call_id\":\"b\",\"nope\":1}\n{\"call_id\":\"c\"}\nnope\n", 200,
		`{"ok":true,"accepted":2,"rejected":2,"event":"1-1","errors":[{"line":3,"call_id":"b","error":"unknown_field","message":"The field \"nope\" is not known: a call has `, "a c", ndjson)
	f("{\"call_id\":\"a\"}\n{\"call_id\":\"b\"\n{\"call_id\":\"c\"}", 200, `{"ok":true,"accepted":2,"rejected":1,"event":"1-1","errors":[{"line":2,"error":"malformed_json"`, "a c")
	f(`[{"call_id":"a"},7,{"call_id":"b","duration":-1}]`, 200, `{"ok":true,"accepted":1,"rejected":2,"event":"1-1","errors":[{"line":2,"error":"not_an_object",`, "a")
	f(`{"call_id":""}`, 400, `{"ok":false,"accepted":0,"rejected":1,"errors":[{"line":1,"error":"call_id_missing",`, "")
	f("{\n\"call_id\": \"a\",\n\"duration\": x\n}", 400, `{"ok":false,"accepted":0,"rejected":1,"errors":[{"line":1,"error":"malformed_json",`, "")
	f(``, 400, `{"ok":false,"error":"body_empty"`, "")
	f(" \n", 400, `{"ok":false,"error":"body_empty"`, "", ndjson)
	f(`[{"call_id":"a"}`, 400, `{"ok":false,"error":"malformed_json"`, "")
	f(`call_id=a`, 400, `{"ok":false,"error":"malformed_json"`, "")
	f(`x`, 415, `{"ok":false,"error":"unsupported_content_encoding"`, "", "Content-Encoding: zstd")
	f(`x`, 400, `{"ok":false,"error":"gzip_broken"`, "", gz)
	f(gzipped(strings.Repeat(" ", 8<<20+1)), 413, `{"ok":false,"error":"body_too_large"`, "", gz)
}

// A large batch is cut into records and appended as one.
func TestCallsLargeBatch(t *testing.T) {
	n := startNode(t, nil)
	appends := 0
	n.journal.set(nil, func() { appends++ })
	var b strings.Builder
	const calls = 3000
	for i := range calls {
		fmt.Fprintf(&b, "{\"call_id\":\"c%d\",\"buyer\":\"%s\"}\n", i, strings.Repeat("x", i%250))
	}
	for range 250 {
		b.WriteString("{}\n")
	}
	a := n.do(t, "POST", "/v1/calls", b.String(), "Authorization: bearer "+goodKey)
	var reply struct {
		Accepted, Rejected int
		Event              string
		Errors             []struct{ Line int }
		ErrorsMore         int `json:"errors_more"`
	}
	if err := stdjson.Unmarshal([]byte(a.body), &reply); err != nil || a.status != 200 {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	if reply.Accepted != calls || reply.Rejected != 250 || reply.Event != "1-1" || len(reply.Errors) != CallErrorsMax || reply.Errors[0].Line != calls+1 || reply.ErrorsMore != 150 {
		t.Errorf("%+v", reply)
	}
	ids := n.callsOf(t)
	if len(ids) != calls || ids[0] != "c0" || ids[calls-1] != "c2999" || appends != 1 {
		t.Errorf("%d calls journaled in %d appends", len(ids), appends)
	}
	if st := n.Stats(); st.CallsAccepted.Load() != calls || st.CallsRejected.Load() != 250 {
		t.Errorf("counted %d and %d", st.CallsAccepted.Load(), st.CallsRejected.Load())
	}
}

// Only a good key opens the route, and only a good key may send much.
func TestCallsKeyAndSize(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Limiter = NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: 6}) }, testSource(t, source.Spec{ID: "buyer"}))
	f := func(body string, status int, header ...string) {
		t.Helper()
		a := n.do(t, "POST", "/v1/calls", body, header...)
		if a.status != status {
			t.Errorf("%d bytes with %q: got %d %.200s", len(body), header, a.status, a.body)
		}
		if status == 401 && (a.header.Get("WWW-Authenticate") != "Bearer" || !strings.Contains(a.body, `"unauthorized"`)) {
			t.Errorf("401 says %s, %v", a.body, a.header)
		}
	}
	const call = `{"call_id":"a"}`
	good := "Authorization: Bearer " + goodKey
	large := strings.Repeat(" ", 8<<20-len(call)) + call
	f(call, 401)
	f(call, 401, "Authorization: Bearer wrong")
	f(call, 401, "Authorization: Basic "+goodKey)
	f(call, 401, "X-Api-Key: "+goodKey)
	f(large, 401)
	f(large, 401, "Authorization: Bearer wrong")
	f(call, 429, "Authorization: Bearer wrong")
	f(call, 200, good)
	f(large, 200, good)
	f(large+" ", 413, good)
	if a := n.do(t, "GET", "/v1/calls", "", good); a.status != 405 || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: %d, Allow %q", a.status, a.header.Get("Allow"))
	}
	if n.Stats().AuthFailures.Load() != 7 {
		t.Errorf("counted %d failed authentications", n.Stats().AuthFailures.Load())
	}
}

// FuzzCalls: no body breaks the decoder, and what it accepts comes out of the
// journal's encoding as it went in.
func FuzzCalls(f *testing.F) {
	for _, body := range []string{fullCall, "[" + fullCall + ",7]", fullCall + "\n{}\n" + fullCall, `{"call_id":"\ud800","network_ids":{"a":"\\\""}}`, `{"call_id":"c","caller":"+1 (800) FLOWERS ext. 9"}`, `[`, `{"call_id":"c","duration":-0}`} {
		f.Add(body, "application/json")
		f.Add(body, "application/x-ndjson")
	}
	f.Fuzz(func(t *testing.T, body, kind string) {
		eachCall([]byte(body), []byte(kind), func(line int, raw []byte) {
			c, err := DecodeCall(raw, "US")
			if err != nil {
				return
			}
			var again event.Call
			rest, err := event.DecodeCall(&again, event.AppendCall(nil, &c))
			if err != nil || len(rest) != 0 {
				t.Fatalf("line %d %q: %v, %d bytes left", line, raw, err, len(rest))
			}
			if c.CallID == "" || len(c.CallID) > CallIDBytesMax || fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", c) {
				t.Errorf("line %d %q: %+v became %+v", line, raw, c, again)
			}
		})
	})
}

func BenchmarkDecodeCall(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(fullCall)))
	for b.Loop() {
		if _, err := DecodeCall([]byte(fullCall), "US"); err != nil {
			b.Fatal(err)
		}
	}
}

func TestOneCallALine(t *testing.T) {
	f := func(body string, want bool) {
		t.Helper()
		if got := oneCallALine([]byte(body)); got != want {
			t.Errorf("%q: %v, want %v", body, got, want)
		}
	}
	f("{\"call_id\":\"a\"}\n{\"call_id\":\"b\"}", true)
	f("{\"call_id\":\"a\",}\n{\"call_id\":\"b\"}\nnonsense\n{\"call_id\":\"c\"}", true) // the broken first line costs itself only
	f("{\"call_id\":\"a\"\n\n{\"call_id\":", true)
	f("{\n  \"call_id\": \"a\",\n}", false) // one call, written over several lines
}
