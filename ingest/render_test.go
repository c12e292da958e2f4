package ingest

import (
	stdjson "encoding/json"
	"fmt"
	"html"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// The answers that senders are known to need.
func TestRepliesOfSenders(t *testing.T) {
	f := func(class string, a source.Answer, c call, wantStatus int, want string, verdicts ...event.Verdict) {
		t.Helper()
		spec := source.Spec{ID: "buyer", Reply: source.ReplySpec{Mode: source.ReplyVerdict, Classes: map[string]source.Answer{class: a}}}
		if class == "accepted" {
			spec.Reply.Mode = source.ReplyAccepted
		}
		n := committed(t, spec, verdicts...)
		if got := n.send(t, c); got.status != wantStatus || got.body != want {
			t.Errorf("%s %q: got %d %q, want %d %q", class, a.Body, got.status, got.body, wantStatus, want)
		}
	}
	const text = "text/plain"
	get := func(query string) call { return call{"GET", "/v1/postbacks/buyer?" + query, "", nil} }
	dup := event.Verdict{Status: event.Duplicate, Reason: event.SameEvent}
	f("ok", source.Answer{Body: "1", ContentType: text}, get(""), 200, "1", booked)
	f("ok", source.Answer{Body: "OK", ContentType: text}, get(""), 200, "OK", booked)
	f("duplicate", source.Answer{Body: "DUP", ContentType: text}, get(""), 200, "DUP", dup)
	f("ok", source.Answer{Body: "success=true;", ContentType: text}, get(""), 200, "success=true;", booked)
	f("invalid", source.Answer{Status: 200, Body: "success=false; err_msg={reason};", ContentType: text}, get(""), 200, "success=false; err_msg=body_not_utf8;",
		event.Verdict{Status: event.Invalid, Reason: event.BodyNotUTF8})
	f("ok", source.Answer{Body: "{field:eventId}:OK", ContentType: text}, get("a=1&EVENTID=e%2F1+x"), 200, "e/1 x:OK", booked)
	f("accepted", source.Answer{Status: 202, Body: "{field:eventId}:OK", ContentType: text}, get("eventId=1&eventId=2"), 202, "1:OK")

	field := source.Answer{Body: "{field:id}", ContentType: text}
	f("ok", field, call{"POST", "/v1/postbacks/buyer?id=query", "id=form", []string{formType}}, 200, "query", booked)
	f("ok", field, call{"POST", "/v1/postbacks/buyer", "x=1&Id=form", []string{formType}}, 200, "form", booked)
	f("ok", field, call{"POST", "/v1/postbacks/buyer", "id=form", nil}, 200, "form", booked)
	f("ok", field, call{"POST", "/v1/postbacks/buyer", gzipped("id=form"), []string{formType, gz}}, 200, "form", booked)
	f("ok", field, call{"POST", "/v1/postbacks/buyer", ` {"x":{"id":"deep"},"\u0049D":"top\u00e9"}`, []string{jsonType}}, 200, "topé", booked)
	f("ok", field, call{"POST", "/v1/postbacks/buyer", `{"id":12.50}`, nil}, 200, "12.50", booked)
	f("ok", field, call{"POST", "/v1/postbacks/buyer", `{"id":true}`, nil}, 200, "true", booked)
	for _, body := range []string{`{"id":null}`, `{"id":{}}`, `{"id":[1]}`, `[{"id":1}]`, `{"id":1`, `7`, ``} {
		f("ok", field, call{"POST", "/v1/postbacks/buyer", body, []string{jsonType}}, 200, "", booked)
	}
	f("ok", field, get("id="+strings.Repeat("%C3%BC", 200)), 200, strings.Repeat("ü", 128), booked)
	f("ok", field, get("id=x"+strings.Repeat("%C3%BC", 200)), 200, "x"+strings.Repeat("ü", 127), booked)

	// What a sender sends cannot become a header, a script or another field.
	hostile := get(`id=%0d%0aSet-Cookie:%20a=b%00%3Cscript%3E%22%27%60%26%5C%FF`)
	f("ok", field, hostile, 200, "Set-Cookie: a=b<script>\"'`&\\", booked)
	f("ok", source.Answer{Body: `{"id":"{field:id}"}`}, hostile, 200, `{"id":"Set-Cookie: a=b\u003cscript\u003e\"\u0027`+"`"+`\u0026\\"}`, booked)
	for _, kind := range []string{"text/html; charset=utf-8", "image/svg+xml", "application/octet-stream"} {
		f("ok", source.Answer{Body: `<b title="{field:id}">`, ContentType: kind}, hostile, 200, `<b title="Set-Cookie: a=b&lt;script&gt;&#34;&#39;&#96;&amp;\">`, booked)
	}
}

// Those who are not let in are answered as their source wants, and a limit
// always says how long to wait.
func TestRepliesToTheRefused(t *testing.T) {
	classes := map[string]source.Answer{
		"unauthorized": {Status: 403, Body: "ERROR {reason}{call_id}{event}{field:id}", ContentType: "text/plain"},
		"limited":      {Status: 503, Body: "later", ContentType: "text/plain"},
	}
	src := testSource(t, source.Spec{ID: "buyer", Limits: source.Limits{Profile: "strict"}, Reply: source.ReplySpec{Classes: classes}}, "right")
	n := startNode(t, func(c *Config) { c.Limiter = NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: 1}) }, src)
	f := func(status int, body string, waits bool, header ...string) {
		t.Helper()
		a := n.do(t, "GET", "/v1/postbacks/buyer?id=7", "", header...)
		if a.status != status || a.body != body || (a.header.Get("Retry-After") != "") != waits || a.header.Get("Content-Type") != "text/plain" {
			t.Errorf("got %d %q, Retry-After %q; want %d %q", a.status, a.body, a.header.Get("Retry-After"), status, body)
		}
	}
	f(403, "ERROR 7", false)
	f(503, "later", true)
	for range 50 {
		if a := n.do(t, "GET", "/v1/postbacks/buyer", "", "X-Webhook-Secret: right"); a.status != 200 {
			t.Fatalf("a good one: %d", a.status)
		}
	}
	f(503, "later", true, "X-Webhook-Secret: right")
	if src.Seen.Refused.Load() != 1 || src.Seen.Limited.Load() != 2 {
		t.Errorf("refused %d, limited %d", src.Seen.Refused.Load(), src.Seen.Limited.Load())
	}
	if a := n.do(t, "HEAD", "/v1/postbacks/buyer", ""); a.status != 503 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
}

// FuzzReply: whatever a sender sends, a reply that repeats it is what its
// operator wrote with a text in it.
func FuzzReply(f *testing.F) {
	for _, s := range []string{"", "a", `"`, "\x00\r\n", "<script>", `\u0022`, "\xff\xfe", "%zz", "é\u2028", strings.Repeat("ü", 300)} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, query, body string) {
		for _, value := range []string{jsonField([]byte(body), "id"), first(formField([]byte(query), "id")), query} {
			value = cutUTF8(value, source.ReplyFieldBytesMax)
			if len(value) > source.ReplyFieldBytesMax {
				t.Fatalf("%d bytes", len(value))
			}
			plain := string(appendValue(nil, plainNotation, value))
			if !utf8.ValidString(plain) || strings.ContainsFunc(plain, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
				t.Errorf("plain %q", plain)
			}
			var object map[string]string
			js := fmt.Sprintf(`{"id":"%s","end":"1"}`, appendValue(nil, jsonNotation, value))
			if err := stdjson.Unmarshal([]byte(js), &object); err != nil || len(object) != 2 || object["id"] != plain || strings.ContainsAny(js, "<>") {
				t.Errorf("JSON %s: %v", js, err)
			}
			page := string(appendValue(nil, htmlNotation, value))
			if strings.ContainsAny(page, "<>\"'`") || html.UnescapeString(page) != plain {
				t.Errorf("HTML %q of %q", page, plain)
			}
		}
	})
}

func first(s string, _ bool) string { return s }
