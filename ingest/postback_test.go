package ingest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		panic("bug: " + err.Error())
	}
	if err := w.Close(); err != nil {
		panic("bug: " + err.Error())
	}
	return b.String()
}

const (
	formType = "Content-Type: application/x-www-form-urlencoded"
	jsonType = "Content-Type: application/json"
	gz       = "Content-Encoding: gzip"
)

// Every way in which a postback is taken or refused, and what is left of it.
func TestPostbackStatus(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "open"}), testSource(t, source.Spec{ID: "locked"}, "old", "new"))
	f := func(method, target, body string, header []string, status int, code string) {
		t.Helper()
		before := n.journal.len()
		a := n.do(t, method, target, body, header...)
		if a.status != status || !strings.Contains(a.body, code) {
			t.Errorf("%s %s %q: got %d %s, want %d with %q", method, target, header, a.status, a.body, status, code)
		}
		if kept := n.journal.len() - before; kept != 0 && status != 200 || kept != 1 && status == 200 {
			t.Errorf("%s %s: answered %d with %d records journaled", method, target, a.status, kept)
		}
		if a.header.Get("Server") != "" {
			t.Errorf("%s %s: the server names itself %q", method, target, a.header.Get("Server"))
		}
	}
	const accepted = `"status":"accepted"`
	for _, m := range []string{"GET", "POST", "PUT", "PATCH"} {
		f(m, "/v1/postbacks/open?payout=50", "", nil, 200, accepted)
		f(m, "/v1/postbacks/open/test?payout=50", "", nil, 200, accepted)
	}
	f("POST", "/v1/postbacks/open", "payout=50", []string{formType}, 200, accepted)
	f("POST", "/v1/postbacks/open", "payout=50", []string{"Content-Type: Application/X-WWW-Form-Urlencoded; charset=utf-8"}, 200, accepted)
	f("POST", "/v1/postbacks/open", `{"payout":50}`, []string{jsonType}, 200, accepted)
	f("POST", "/v1/postbacks/open", `{"payout":50}`, []string{"Content-Type: application/vnd.buyer+json;v=1"}, 200, accepted)
	f("POST", "/v1/postbacks/open", `{"payout":50}`, nil, 200, accepted)
	f("POST", "/v1/postbacks/open", "", []string{"Content-Type: text/html"}, 200, accepted) // nothing to read in it
	f("POST", "/v1/postbacks/open", gzipped("payout=50"), []string{formType, gz}, 200, accepted)
	f("POST", "/v1/postbacks/open", "payout=50", []string{formType, "Content-Encoding: identity"}, 200, accepted)
	f("POST", "/v1/postbacks/open", strings.Repeat("x", 64<<10), []string{formType}, 200, accepted)
	f("POST", "/v1/postbacks/open", gzipped(strings.Repeat("x", 256<<10)), []string{formType, gz}, 200, accepted)

	f("GET", "/", "", nil, 404, "not_found")
	f("GET", "/v1/postbacks/", "", nil, 404, "not_found")
	f("GET", "/v1/postbacks/stranger", "", nil, 404, "not_found")
	f("GET", "/v1/postbacks/open/", "", nil, 404, "not_found")
	f("GET", "/v1/postbacks/open/test/test", "", nil, 404, "not_found")
	f("GET", "/v1/postbacks/"+strings.Repeat("x", 129), "", nil, 404, "not_found")
	f("GET", "/v1/x/../postbacks/open", "", nil, 404, "not_found")
	f("GET", "/v1/postbacks/%6fpen", "", nil, 404, "not_found")
	f("DELETE", "/v1/postbacks/open", "", nil, 405, "method_not_allowed")
	f("OPTIONS", "/v1/postbacks/stranger", "", nil, 405, "method_not_allowed")

	f("GET", "/v1/postbacks/locked", "", nil, 401, "unauthorized")
	f("GET", "/v1/postbacks/locked", "", []string{"X-Webhook-Secret: "}, 401, "unauthorized")
	f("GET", "/v1/postbacks/locked", "", []string{"X-Webhook-Secret: wrong"}, 401, "unauthorized")
	f("GET", "/v1/postbacks/locked", "", []string{"X-Webhook-Secret: old", "X-Webhook-Secret: old"}, 401, "unauthorized")
	f("GET", "/v1/postbacks/locked", "", []string{"X-Webhook-Secret: old"}, 200, accepted)
	f("GET", "/v1/postbacks/locked/test", "", []string{"x-webhook-secret: new"}, 200, accepted)

	f("POST", "/v1/postbacks/open", "<x/>", []string{"Content-Type: text/xml"}, 415, "unsupported_content_type")
	f("POST", "/v1/postbacks/open", "x", []string{"Content-Type: multipart/form-data; boundary=x"}, 415, "unsupported_content_type")
	f("POST", "/v1/postbacks/open", "x", []string{"Content-Type: +json"}, 415, "unsupported_content_type")
	f("POST", "/v1/postbacks/open", "x", []string{formType, "Content-Encoding: br"}, 415, "unsupported_content_encoding")
	f("POST", "/v1/postbacks/open", "x", []string{formType, "Content-Encoding: gzip, gzip"}, 415, "unsupported_content_encoding")
	f("POST", "/v1/postbacks/open", "x", []string{formType, gz, gz}, 415, "unsupported_content_encoding")
	f("POST", "/v1/postbacks/open", "payout=50", []string{formType, gz}, 400, "gzip_broken")
	f("POST", "/v1/postbacks/open", gzipped("payout=50")[:20], []string{formType, gz}, 400, "gzip_broken")
	f("POST", "/v1/postbacks/open", gzipped(strings.Repeat("x", 256<<10+1)), []string{formType, gz}, 413, "body_too_large")
	f("POST", "/v1/postbacks/open", gzipped(strings.Repeat("x", 32<<20)), []string{formType, gz}, 413, "body_too_large")
	f("POST", "/v1/postbacks/open", strings.Repeat("x", 64<<10+1), []string{formType}, 413, "body_too_large")
	f("POST", "/v1/postbacks/open", strings.Repeat("x", 1<<20), []string{formType, "Authorization: Bearer " + goodKey}, 413, "body_too_large")
	f("GET", "/v1/postbacks/open?x="+strings.Repeat("x", 8<<10), "", nil, 431, "header_too_large")
	f("GET", "/v1/postbacks/open", "", []string{"X-Large: " + strings.Repeat("x", 8<<10)}, 431, "header_too_large")

	if a := n.do(t, "DELETE", "/v1/postbacks/open", ""); a.header.Get("Allow") != "GET, POST, PUT, PATCH, HEAD" {
		t.Errorf("Allow: %q", a.header.Get("Allow"))
	}
	var sum int64
	for i := range n.Stats().ByClass {
		sum += n.Stats().ByClass[i].Load()
	}
	if ok := n.Stats().ByClass[2].Load(); ok != int64(n.journal.len()) || sum <= ok {
		t.Errorf("counted %d answers, %d of them 2xx; %d records", sum, ok, n.journal.len())
	}
}

// A 401 and a 404 tell nothing that a stranger could use.
func TestRefusalsRevealNothing(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "locked", Name: "Acme Buyer"}, "right"))
	for want, a := range map[string]answer{
		`{"ok":false,"error":"unauthorized","message":"Unauthorized."}`:       n.do(t, "GET", "/v1/postbacks/locked?x=1", "", "X-Webhook-Secret: wrong"),
		`{"ok":false,"error":"not_found","message":"There is nothing here."}`: n.do(t, "GET", "/v1/postbacks/lockee?x=1", "", "X-Webhook-Secret: right"),
	} {
		if a.body != want {
			t.Errorf("got %s, want %s", a.body, want)
		}
	}
}

// The record holds what came, raw, and no secret.
func TestPostbackRecord(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "buyer"}, "hush-hush"))
	secret := "X-Webhook-Secret: hush-hush"
	f := func(method, target, body string, header []string, want event.Record) {
		t.Helper()
		if a := n.do(t, method, target, body, append(header, secret)...); a.status != 200 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		got := n.journal.last(t)
		want.Kind, want.Source, want.Peer = event.RecordPostback, "buyer", "127.0.0.1"
		if got.Kind != want.Kind || got.Flags != want.Flags || got.Source != want.Source || got.Method != want.Method ||
			got.Query != want.Query || got.ContentType != want.ContentType || got.Peer != want.Peer || string(got.Body) != string(want.Body) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}
	f("GET", "/v1/postbacks/buyer?caller_id=%2B13055551234&payout=50#x", "", nil, event.Record{Method: "GET", Query: "caller_id=%2B13055551234&payout=50"})
	f("POST", "/v1/postbacks/buyer", "payout=50", []string{formType}, event.Record{Method: "POST", ContentType: "application/x-www-form-urlencoded", Body: []byte("payout=50")})
	f("PUT", "/v1/postbacks/buyer/test?a=1", gzipped(`{"payout":50}`), []string{jsonType, gz},
		event.Record{Method: "PUT", Flags: event.FlagTest, Query: "a=1", ContentType: "application/json", Body: []byte(`{"payout":50}`)})

	n.do(t, "GET", "/v1/postbacks/buyer", "", secret, "Authorization: Bearer s3cret", "Cookie: s=s3cret", "X-Api-Key: s3cret", "X-Signature: s3cret",
		"User-Agent: ringba/1", "X-Request-Id: r1", "Webhook-Id: w1", "Webhook-Timestamp: 1700000000", "X-Correlation-Id: "+strings.Repeat("x", 300))
	got := n.journal.last(t)
	if len(got.Headers) != 4 || !contains(got.Headers, "user-agent", "ringba/1") || !contains(got.Headers, "x-request-id", "r1") ||
		!contains(got.Headers, "webhook-id", "w1") || !contains(got.Headers, "webhook-timestamp", "1700000000") {
		t.Errorf("headers kept: %v", got.Headers)
	}
	for _, rec := range n.journal.recs {
		if bytes.Contains(rec, []byte("hush-hush")) || bytes.Contains(rec, []byte("s3cret")) {
			t.Errorf("a secret is in the record %q", rec)
		}
	}
}

// HEAD is a postback like GET; its answer has no body.
func TestHead(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "buyer"}))
	a := n.do(t, "HEAD", "/v1/postbacks/buyer?payout=50", "")
	if a.status != 200 || a.body != "" || a.header.Get("Content-Type") != "application/json" {
		t.Errorf("got %+v", a)
	}
	if r := n.journal.last(t); r.Method != "HEAD" || r.Query != "payout=50" {
		t.Errorf("record %+v", r)
	}
	if a := n.do(t, "HEAD", "/v1/postbacks/stranger", ""); a.status != 404 || a.body != "" {
		t.Errorf("stranger got %+v", a)
	}
}

func TestPausedSource(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "paused", Paused: true, Reply: source.ReplySpec{Mode: source.ReplyVerdict}}))
	a := n.do(t, "GET", "/v1/postbacks/paused?payout=50", "")
	if a.status != 200 || a.body != `{"ok":false,"reason":"endpoint disabled"}` {
		t.Errorf("got %d %s", a.status, a.body)
	}
	if r := n.journal.last(t); r.Flags != event.FlagPaused {
		t.Errorf("flags %b", r.Flags)
	}
	n.do(t, "GET", "/v1/postbacks/paused/test", "")
	if r := n.journal.last(t); r.Flags != event.FlagPaused|event.FlagTest {
		t.Errorf("flags of a test %b", r.Flags)
	}
}

// A journal that does not take a record never lets a 2xx out.
func TestJournalErrors(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "buyer"}), testSource(t, source.Spec{ID: "waits", Reply: source.ReplySpec{Mode: source.ReplyVerdict}}))
	f := func(err error, status int, retry, code string) {
		t.Helper()
		n.journal.set(err, nil)
		for _, id := range []string{"buyer", "waits"} {
			a := n.do(t, "POST", "/v1/postbacks/"+id, "payout=50", formType)
			if a.status != status || a.header.Get("Retry-After") != retry || !strings.Contains(a.body, code) || !strings.Contains(a.body, `"ok":false`) {
				t.Errorf("%v: got %d %s, Retry-After %q", err, a.status, a.body, a.header.Get("Retry-After"))
			}
		}
		a := n.do(t, "POST", "/v1/calls", `{"call_id":"c1"}`, "Authorization: Bearer "+goodKey)
		if a.status != status || a.header.Get("Retry-After") != retry {
			t.Errorf("%v: calls got %d %s", err, a.status, a.body)
		}
	}
	f(errDisk, 503, "30", "journal_unavailable")
	f(fmt.Errorf("append: %w", tooBig), 413, "", "record_too_large")
	f(errors.Join(errDisk, errDisk), 503, "30", "journal_unavailable")
	if got := n.Stats().JournalErrors.Load(); got != 9 {
		t.Errorf("counted %d errors of the journal", got)
	}
}

func TestLimits(t *testing.T) {
	clock := &stillClock{at: testStart}
	strict := testSource(t, source.Spec{ID: "strict", Limits: source.Limits{Profile: "strict"}})
	token := testSource(t, source.Spec{ID: "token", Limits: source.Limits{Profile: "strict", PerIPPerMin: -1}})
	n := startNode(t, func(c *Config) {
		c.Now = clock.now
		c.Limiter = NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: 3})
	}, strict, token, testSource(t, source.Spec{ID: "locked"}, "right"))

	f := func(target string, let int, retry string, header ...string) {
		t.Helper()
		for i := range let {
			if a := n.do(t, "GET", target, "", header...); a.status == 429 {
				t.Fatalf("%s: request %d of %d was limited", target, i+1, let)
			}
		}
		a := n.do(t, "GET", target, "", header...)
		if a.status != 429 || a.header.Get("Retry-After") != retry || !strings.Contains(a.body, `"error":"rate_limited"`) {
			t.Errorf("%s: request %d got %d %s, Retry-After %q", target, let+1, a.status, a.body, a.header.Get("Retry-After"))
		}
	}
	f("/v1/postbacks/strict", 50, "2")
	f("/v1/postbacks/token", 200, "1")
	f("/v1/postbacks/stranger", 3, "20")
	f("/v1/postbacks/locked", 0, "20") // failures of an address count together
	f("/v1/postbacks/locked", 0, "20", "X-Webhook-Secret: wrong")
	if a := n.do(t, "GET", "/v1/postbacks/locked", "", "X-Webhook-Secret: right"); a.status != 200 {
		t.Errorf("a good sender is shut out by its neighbours' failures: %d", a.status)
	}
	clock.move(20 * time.Second)
	f("/v1/postbacks/stranger", 1, "20")
	if strict.Seen.Received.Load() != 50 || strict.Seen.Limited.Load() != 1 || n.journal.len() != 251 {
		t.Errorf("received %d, limited %d, journaled %d", strict.Seen.Received.Load(), strict.Seen.Limited.Load(), n.journal.len())
	}
}

func TestRefused(t *testing.T) {
	src := testSource(t, source.Spec{ID: "buyer"}, "right")
	n := startNode(t, nil, src, testSource(t, source.Spec{ID: "other"}))
	n.do(t, "GET", "/v1/postbacks/buyer?payout=50&Secret=s3cret&api%5Fkey=s3cret&%zz=s3cret&plain", "")
	n.do(t, "POST", "/v1/postbacks/buyer", "x", "X-Webhook-Secret: right", "Content-Type: text/xml")
	n.do(t, "POST", "/v1/postbacks/buyer?q="+strings.Repeat("ü", 600), strings.Repeat("x", 65<<10), formType)
	n.do(t, "PUT", "/v1/postbacks/buyer", "x", "X-Webhook-Secret: right", formType, gz)
	got := n.Refused("buyer")
	for i := range got {
		if got[i].Advice == "" {
			t.Errorf("%+v does not say what to do", got[i])
		}
		got[i].Advice = ""
	}
	want := []Refusal{
		{testStart, "127.0.0.1", "PUT", 400, "gzip_broken", "", "", ""},
		{testStart, "127.0.0.1", "POST", 413, "body_too_large", "q=" + strings.Repeat("ü", 255) + "…", "", ""},
		{testStart, "127.0.0.1", "POST", 415, "unsupported_content_type", "", "", ""},
		{testStart, "127.0.0.1", "GET", 401, "secret", "payout=50&Secret=***&api%5Fkey=***&%zz=***&plain", "secret_missing", ""},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if len(n.Refused("other")) != 0 || src.Seen.Refused.Load() != 4 || n.journal.len() != 0 {
		t.Errorf("other has %v; refused %d; journaled %d", n.Refused("other"), src.Seen.Refused.Load(), n.journal.len())
	}
	for range 2 * RefusedMax {
		n.do(t, "HEAD", "/v1/postbacks/buyer", "")
	}
	if got = n.Refused("buyer"); len(got) != RefusedMax || got[0].Method != "HEAD" || got[RefusedMax-1].Method != "HEAD" {
		t.Errorf("%d are remembered, the oldest %+v", len(got), got[len(got)-1])
	}
}

// A handler that panics costs its own request only.
func TestPanic(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "buyer"}))
	n.journal.set(nil, func() { panic("boom") })
	if a := n.do(t, "GET", "/v1/postbacks/buyer", ""); a.status != 500 || !strings.Contains(a.body, "internal_error") || strings.Contains(a.body, "boom") {
		t.Errorf("got %d %s", a.status, a.body)
	}
	n.journal.set(nil, nil)
	if a := n.do(t, "GET", "/v1/postbacks/buyer", ""); a.status != 200 {
		t.Errorf("the next request got %d %s", a.status, a.body)
	}
	if st := n.Stats(); st.Panics.Load() != 1 || st.ByClass[5].Load() != 1 {
		t.Errorf("counted %d panics, %d answers of 5xx", st.Panics.Load(), st.ByClass[5].Load())
	}
}

// Shutdown lets a request that waits for its sync have its answer.
func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "buyer"}))
	inside, release := make(chan struct{}), make(chan struct{})
	n.journal.set(nil, func() { close(inside); <-release })
	got := make(chan answer, 1)
	go func() { got <- n.do(t, "GET", "/v1/postbacks/buyer", "") }()
	<-inside
	expired, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Shutdown(expired); !errors.Is(err, context.Canceled) {
		t.Errorf("shutdown with a request in flight and no time: %v", err)
	}
	if _, err := http.Get("http://" + n.addr + "/v1/postbacks/buyer"); err == nil {
		t.Error("a new connection was served after Shutdown")
	}
	close(release)
	if a := <-got; a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
}
