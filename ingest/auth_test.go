package ingest

import (
	"testing"

	"github.com/tallyhook/tallyhook/source"
)

// Which check refuses, when several would: the first of the order that the
// package promises.
func TestOrderOfChecks(t *testing.T) {
	spec := source.Spec{ID: "buyer", AllowIPs: []string{"127.0.0.1"}, ClientName: "client.example", Methods: []string{"GET"},
		Signature: systemScheme(t, "pubscale"), Limits: source.Limits{Profile: "strict"}}
	good := asked("pubscale")
	f := func(change func(*source.Spec), c call, sign bool, status int, reason string) {
		t.Helper()
		s := spec
		change(&s)
		src := signedSource(t, s, sharedSecret())
		n := startNode(t, nil, src)
		if sign {
			c, _, _ = n.signed(t, src, c, testStart)
		}
		a := n.send(t, c)
		got := ""
		if list := n.Refused("buyer"); len(list) > 0 {
			got = list[0].Reason
			if list[0].Advice == "" {
				t.Errorf("%s: nobody is told what to do", got)
			}
		}
		if a.status != status || got != reason {
			t.Errorf("%s %v: %d %s, refused for %q; want %d, %q", c.method, c.header, a.status, a.body, got, status, reason)
		}
	}
	xml := call{"POST", good.target, "<x/>", []string{"Content-Type: text/xml"}}
	f(func(s *source.Spec) { s.AllowIPs = []string{"192.0.2.1", "::1"} }, xml, false, 401, "ip")
	f(func(s *source.Spec) {}, xml, false, 401, "certificate")
	f(func(s *source.Spec) { s.ClientName = "" }, xml, false, 405, "method_not_allowed")
	f(func(s *source.Spec) { s.ClientName, s.Methods = "", nil }, xml, false, 401, "signature")
	unsigned := func(s *source.Spec) { s.ClientName, s.Methods, s.Unsigned = "", nil, true }
	f(unsigned, xml, false, 415, "unsupported_content_type")
	f(func(s *source.Spec) { s.ClientName = "" }, good, true, 200, "")
	f(func(s *source.Spec) { s.AllowIPs, s.ClientName = []string{"127.0.0.0/8", "2001:db8::/32"}, "" }, good, true, 200, "")

	// What does not show who it is costs the source's quota nothing.
	s := spec
	s.ClientName = ""
	src := signedSource(t, s, sharedSecret())
	n := startNode(t, func(c *Config) { c.Limiter = NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: 60}) }, src)
	for range 60 {
		if a := n.send(t, good); a.status != 401 {
			t.Fatalf("unsigned: %d", a.status)
		}
	}
	if a := n.send(t, good); a.status != 429 || a.header.Get("Retry-After") == "" {
		t.Errorf("after 60 failures: %d", a.status)
	}
	signed, _, _ := n.signed(t, src, good, testStart)
	for i := range 50 {
		if a := n.send(t, signed); a.status != 200 {
			t.Fatalf("good request %d: %d", i+1, a.status)
		}
	}
	if a := n.send(t, signed); a.status != 429 || n.Refused("buyer")[0].Reason != codeLimited {
		t.Errorf("request 51: %d %+v", a.status, n.Refused("buyer")[0])
	}
	counted := map[string]int64{}
	n.Stats().EachRefused(func(word string, count int64) { counted[word] = count })
	if counted["signature_missing"] != 61 || counted[codeLimited] != 1 || counted["other"] != 0 {
		t.Errorf("counted %v", counted)
	}
}

// The list is held against who sent, behind proxies and in either family.
func TestAddressesBehindProxies(t *testing.T) {
	f := func(allow, forwarded string, status int) {
		t.Helper()
		n := startNode(t, func(c *Config) {
			var err error
			if c.TrustedProxies, err = ParseTrustedProxies([]string{"127.0.0.1", "10.0.0.0/8"}); err != nil {
				t.Fatal(err)
			}
		}, testSource(t, source.Spec{ID: "buyer", AllowIPs: []string{allow}}))
		c := call{"GET", "/v1/postbacks/buyer?payout=1", "", nil}
		if forwarded != "" {
			c = c.with("X-Forwarded-For: " + forwarded)
		}
		if a := n.send(t, c); a.status != status {
			t.Errorf("%s from %q: %d, want %d", allow, forwarded, a.status, status)
		}
	}
	f("34.100.236.68", "34.100.236.68", 200)
	f("34.100.236.68", "34.100.236.68, 10.1.2.3", 200)
	f("34.100.236.68", "34.100.236.68, 198.51.100.9", 401) // the left one is what a stranger claims
	f("34.100.236.68", "::ffff:34.100.236.68", 200)
	f("34.100.236.0/24", "34.100.236.1:4711", 200)
	f("34.100.236.68", "", 401)
	f("2001:db8:7::/48", "2001:db8:7:1::9", 200)
	f("2001:db8:7::/48", "[2001:db8:7:1::9]:443", 200)
	f("2001:db8:7::/48", "2001:db8:8::1", 401)
	f("2001:db8:7::9", "2001:db8:7::9%eth0", 200)
	f("any", "203.0.113.1", 200)
}
