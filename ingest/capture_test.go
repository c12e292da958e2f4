package ingest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// What is learnt from is the request as it came, but for what is a secret as
// such.
func TestCaptured(t *testing.T) {
	src := signedSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, "callrail")}, sharedSecret())
	n := startNode(t, nil, src)
	c := call{"POST", "/v1/postbacks/buyer?a=%2B1&key=k1", `{"resource_id":"CAL1"}`, []string{jsonType, "Signature: bm90IGl0IG5vdCBpdCBub3QgaXQ=", "X-Custom: x",
		"Authorization: Bearer s3cret-1", "Cookie: s=s3cret-2", "Proxy-Authorization: Basic s3cret-3", "X-Webhook-Secret: s3cret-4"}}
	if a := n.send(t, c); a.status != 401 {
		t.Fatalf("%d", a.status)
	}
	good, _, value := n.signed(t, src, call{"POST", "/v1/postbacks/buyer", `{"resource_id":"CAL2"}`, []string{jsonType}}, testStart)
	if a := n.send(t, good); a.status != 200 {
		t.Fatalf("%d", a.status)
	}
	list := n.Captured("buyer")
	if len(list) != 2 {
		t.Fatalf("%d captures", len(list))
	}
	bad, let := list[0], list[1]
	if bad.Method != "POST" || bad.Target != c.target || string(bad.Body) != c.body || bad.ContentType != "application/json" || bad.Peer != "127.0.0.1" ||
		!bad.At.Equal(testStart) || bad.Reason != "signature" || bad.Detail != "signature_wrong" || bad.Host != n.addr || bad.Scheme != "http" {
		t.Errorf("refused: %+v", bad)
	}
	for _, want := range []event.Pair{{Name: "Signature", Value: "bm90IGl0IG5vdCBpdCBub3QgaXQ="}, {Name: "X-Custom", Value: "x"}, {Name: "Authorization", Value: "Bearer ***"},
		{Name: "Cookie", Value: "***"}, {Name: "Proxy-Authorization", Value: "***"}, {Name: "X-Webhook-Secret", Value: "***"}} {
		if !slices.Contains(bad.Headers, want) {
			t.Errorf("headers %v lack %v", bad.Headers, want)
		}
	}
	if strings.Contains(fmt.Sprint(list), "s3cret") {
		t.Error("a secret is kept")
	}
	if let.Reason != "" || !slices.Contains(let.Headers, event.Pair{Name: "Signature", Value: value}) {
		t.Errorf("let through: %+v", let)
	}

	// A program can tell from it what verifies.
	head := func(name string) (string, bool) {
		for _, h := range let.Headers {
			if strings.EqualFold(h.Name, name) {
				return h.Value, true
			}
		}
		return "", false
	}
	r := &signature.Request{Method: let.Method, URL: let.Target, Scheme: let.Scheme, Host: let.Host, ContentType: let.ContentType, Header: head, Body: let.Body}
	if out := src.Verifier.Verify(r, src.Signing, testStart); !out.OK {
		t.Errorf("a capture does not verify: %+v", out)
	}
	if got := n.Captured("stranger"); got != nil {
		t.Errorf("of nobody: %v", got)
	}
}

// However much is sent, so much is kept: per request, per source, and of all.
func TestCapturesAreBounded(t *testing.T) {
	clock := &stillClock{at: testStart}
	locked := testSource(t, source.Spec{ID: "locked"}, "right")
	n := startNode(t, func(c *Config) {
		c.Now, c.Limiter = clock.now, NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: -1})
	}, locked)
	headers := []string{formType}
	for i := range 100 {
		headers = append(headers, fmt.Sprintf("X-%d: %s", i, strings.Repeat("h", 40)))
	}
	for i := range 2 * RefusedMax {
		n.do(t, "POST", fmt.Sprintf("/v1/postbacks/locked?n=%d", i), strings.Repeat("x", 64<<10), headers...)
	}
	for i := range 3 * AcceptedMax {
		n.do(t, "GET", fmt.Sprintf("/v1/postbacks/locked?n=%d", i), "", "X-Webhook-Secret: right")
		clock.move(time.Second)
	}
	list := n.Captured("locked")
	if len(list) != RefusedMax+AcceptedMax || list[0].Target != "/v1/postbacks/locked?n=99" || list[RefusedMax-1].Target != "/v1/postbacks/locked?n=50" ||
		list[RefusedMax].Target != "/v1/postbacks/locked?n=14" || list[RefusedMax+AcceptedMax-1].Target != "/v1/postbacks/locked?n=10" {
		t.Errorf("%d captures", len(list))
	}
	for _, c := range list {
		if len(c.Body) > CaptureBodyBytesMax || c.BodyCut != (c.Reason != "") || len(c.Headers) > CaptureHeadersMax {
			t.Errorf("a capture of %d bytes, cut %v, %d headers", len(c.Body), c.BodyCut, len(c.Headers))
		}
	}
	for range 2 * AcceptedMax { // of one second, some are enough
		n.do(t, "GET", "/v1/postbacks/locked?n=busy", "", "X-Webhook-Secret: right")
	}
	if list = n.Captured("locked"); len(list) != RefusedMax+AcceptedMax {
		t.Errorf("%d captures", len(list))
	}
}

func TestCapturesOfAllSourcesAreBounded(t *testing.T) {
	var c captures
	const sources = 100
	var all []*source.Source
	for i := range sources {
		all = append(all, testSource(t, source.Spec{ID: fmt.Sprintf("s%d", i)}))
	}
	body := make([]byte, CaptureBodyBytesMax)
	var wg sync.WaitGroup
	for half := range 2 {
		wg.Go(func() {
			for i := range sources * RefusedMax {
				src := all[(i*2+half)%sources]
				c.refused(src, &Capture{Body: body, Target: fmt.Sprint(i), Reason: "ip"})
				if i%50 == 0 {
					c.list(src)
				}
			}
		})
	}
	wg.Wait()
	bytes, kept := 0, 0
	for _, src := range all {
		for _, one := range c.list(src) {
			bytes += one.bytes()
			kept++
		}
	}
	if bytes != c.bytes || bytes > CapturesBytesMax || bytes < CapturesBytesMax-2*CaptureBodyBytesMax || kept != c.age.Len() {
		t.Errorf("%d bytes of %d are kept in %d captures; %d are counted", bytes, CapturesBytesMax, kept, c.bytes)
	}
	c.refused(all[0], &Capture{Target: "last"})
	if list := c.list(all[0]); len(list) == 0 || list[0].Target != "last" {
		t.Errorf("the newest is gone")
	}
}

// Every reason has its sentence and its place among the metrics.
func TestEveryRefusalIsExplained(t *testing.T) {
	var st Stats
	for _, word := range refusedWords[:len(refusedWords)-1] {
		if advice(word, "") == "" && advice(reasonSignature, word) == "" {
			// these three are explained by their details
			if word != reasonIP && word != reasonCertificate && word != reasonSecret && word != reasonCallKey {
				t.Errorf("%s is not explained", word)
			}
		}
		if reason := word; strings.Contains(word, "_") && advices[word] != "" {
			st.refusedFor(reason, "")
		}
	}
	st.refusedFor(reasonSignature, "field_missing: user_id")
	st.refusedFor("something new", "")
	st.EachRefused(func(word string, n int64) {
		if word == "field_missing" && n != 2 || word == refusedOther && n != 1 {
			t.Errorf("%s counted %d", word, n)
		}
	})
	for key := range advices {
		if s := advices[key]; !strings.HasSuffix(s, ".") {
			t.Errorf("%s: %q is no sentence", key, s)
		}
	}
}
