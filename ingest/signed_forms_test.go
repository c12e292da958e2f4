package ingest

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// What was signed is what came: the same text in other bytes is another text
// where bytes are signed, and the same fields where fields are.
func TestReencodedRequests(t *testing.T) {
	f := func(system string, status int, old, new string) {
		t.Helper()
		src := signedSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, system)}, sharedSecret())
		n := startNode(t, nil, src)
		c, _, _ := n.signed(t, src, asked(system), testStart)
		changed := c
		changed.target, changed.body = strings.Replace(c.target, old, new, 1), strings.Replace(c.body, old, new, 1)
		if changed.target == c.target && changed.body == c.body {
			t.Fatalf("%s: nothing to change in %+v", system, c)
		}
		if a := n.send(t, changed); a.status != status {
			t.Errorf("%s with %s for %s: %d, want %d", system, new, old, a.status, status)
		}
	}
	f("bitlabs", 401, "note=a+b", "note=a%20b")
	f("adgem", 401, "~", "%7E")
	f("callrail", 401, `{"id":`, `{ "id":`)
	f("standard-webhooks", 401, "ï", `\u00ef`)
	f("pubscale", 200, "user_id=u1", "user%5Fid=%751")
	f("pubscale", 200, "value=100.1234", "value=100.9") // only the whole part is signed
	f("pubscale", 401, "value=100.1234", "value=101.1234")
	f("pubscale", 401, "value=100.1234", "value=100.1234&value=900")
	f("ayet", 200, "note=a+b", "note=a%20b")
	f("ayet", 401, "amount=3.5", "amount=9.5")
}

// The base of signed URLs is what the operator says, else what the request
// shows, with a trusted proxy's word for the scheme.
func TestSignedBase(t *testing.T) {
	f := func(base, proxy string, header []string, want int, signedBase string) {
		t.Helper()
		src := signedSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, "bitlabs")}, sharedSecret())
		n := startNode(t, func(c *Config) {
			c.SignedBase = base
			if proxy != "" {
				var err error
				if c.TrustedProxies, err = ParseTrustedProxies([]string{proxy}); err != nil {
					t.Fatal(err)
				}
			}
		}, src)
		if signedBase == "" {
			signedBase = "http://" + n.addr
		}
		signer := &node{Server: New(n.cfg), addr: n.addr}
		signer.cfg.SignedBase = strings.ReplaceAll(signedBase, "ADDR", n.addr)
		c, _, _ := signer.signed(t, src, call{"GET", "/v1/postbacks/buyer?a=1", "", nil}, testStart)
		if a := n.send(t, c.with(header...)); a.status != want {
			t.Errorf("base %q, proxy %q, %v: %d, want %d", base, proxy, header, a.status, want)
		}
	}
	f("", "", nil, 200, "")
	f("https://in.example.com", "", nil, 200, "https://in.example.com")
	f("https://in.example.com", "", nil, 401, "")
	f("", "127.0.0.1", []string{"X-Forwarded-Proto: https"}, 200, "https://ADDR")
	f("", "", []string{"X-Forwarded-Proto: https"}, 401, "https://ADDR")
}

// A packed body: the signature may be over it as it was sent or as it was
// meant, and fields are signed only as they are read.
func TestSignedGzip(t *testing.T) {
	const body = `{"resource_id":"1","amount":5}`
	packed := gzipped(body)
	f := func(system string, signedBody string, c call, want int) {
		t.Helper()
		src := signedSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, system)}, sharedSecret())
		n := startNode(t, nil, src)
		send := c.body
		c.body = signedBody
		signed, _, _ := n.signed(t, src, c, testStart)
		signed.body = send
		if a := n.send(t, signed); a.status != want {
			t.Errorf("%s: %d %s, want %d; %+v", system, a.status, a.body, want, n.Refused("buyer"))
		}
		if want == 200 && string(n.journal.last(t).Body) != body {
			t.Errorf("%s: the record holds %q", system, n.journal.last(t).Body)
		}
	}
	post := call{"POST", "/v1/postbacks/buyer", packed, []string{jsonType, gz}}
	f("adgem-post", packed, post, 200)
	f("adgem-post", body, post, 200)
	f("adgem-post", "{}", post, 401)
	broken := post
	broken.body = packed[:20]
	f("adgem-post", packed[:20], broken, 400)
	// Fields of the URL are signed, and a packed body brings in one of them.
	smuggled := asked("pubscale").with(formType, gz)
	smuggled.method, smuggled.body = "POST", gzipped("value=999999")
	f("pubscale", "", smuggled, 401)
}

// Two secrets are good during a rotation, and no longer than said.
func TestTwoSigningSecrets(t *testing.T) {
	secrets := &signature.Secrets{Current: []byte("new-secret"), Previous: []byte("old-secret"), PreviousUntil: testStart.Add(time.Hour)}
	src := signedSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, "pubscale")}, secrets)
	clock := &stillClock{at: testStart}
	n := startNode(t, func(c *Config) { c.Now = clock.now }, src)
	f := func(secret string, want int) {
		t.Helper()
		one := &source.Source{Verifier: src.Verifier, Signing: &signature.Secrets{Current: []byte(secret)}}
		c, _, _ := n.signed(t, one, asked("pubscale"), testStart)
		if a := n.send(t, c); a.status != want {
			t.Errorf("%s: %d, want %d", secret, a.status, want)
		}
	}
	f("new-secret", 200)
	f("old-secret", 200)
	f("other", 401)
	clock.move(time.Hour)
	f("old-secret", 401)
	f("new-secret", 200)
}

// Without a secret nothing can be checked: everything is refused, or, where the
// signature is optional, let through until there is one.
func TestNoSigningSecret(t *testing.T) {
	scheme := systemScheme(t, "pubscale")
	gone := &signature.Secrets{Previous: []byte("x"), PreviousUntil: testStart.Add(-time.Second)}
	for name, secrets := range map[string]*signature.Secrets{"none": nil, "empty": {}, "ended": gone} {
		must := signedSource(t, source.Spec{ID: "must", Signature: scheme}, secrets)
		may := signedSource(t, source.Spec{ID: "may", Signature: scheme, SignatureOptional: true}, secrets)
		n := startNode(t, nil, must, may)
		if a := n.do(t, "GET", "/v1/postbacks/must?user_id=1", ""); a.status != 401 || n.Refused("must")[0].Detail != "secret_missing" || !strings.Contains(n.Refused("must")[0].Advice, "has no secret yet") {
			t.Errorf("%s: %d, %+v", name, a.status, n.Refused("must"))
		}
		if a := n.do(t, "GET", "/v1/postbacks/may?user_id=1", ""); a.status != 200 {
			t.Errorf("%s, optional: %d", name, a.status)
		}
	}
	may := signedSource(t, source.Spec{ID: "may", Signature: scheme, SignatureOptional: true}, sharedSecret())
	n := startNode(t, nil, may)
	if a := n.do(t, "GET", "/v1/postbacks/may?user_id=1", ""); a.status != 401 {
		t.Errorf("optional with a secret: %d", a.status)
	}
}

// The record keeps the headers of id and time that a scheme names, and none
// that holds a signature.
func TestSignedHeadersKept(t *testing.T) {
	f := func(system string, want ...event.Pair) {
		t.Helper()
		src := signedSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, system)}, sharedSecret())
		n := startNode(t, nil, src)
		c, _, value := n.signed(t, src, asked(system), testStart)
		if a := n.send(t, c); a.status != 200 {
			t.Fatalf("%s: %d", system, a.status)
		}
		got := n.journal.last(t).Headers
		for _, p := range want {
			if !contains(got, p.Name, p.Value) {
				t.Errorf("%s: kept %v, want %v", system, got, p)
			}
		}
		if strings.Contains(fmt.Sprint(got), value) {
			t.Errorf("%s: the signature is kept: %v", system, got)
		}
	}
	at := strconv.FormatInt(testStart.Unix(), 10)
	f("standard-webhooks", event.Pair{Name: "webhook-id", Value: "msg_1"}, event.Pair{Name: "webhook-timestamp", Value: at})
	f("slack", event.Pair{Name: "x-slack-request-timestamp", Value: at})
	f("github", event.Pair{Name: "x-github-delivery", Value: "d-1"})
	f("stripe-like")
}

// Hex in either case is the same digest.
func TestSignatureInCapitals(t *testing.T) {
	src := signedSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, "pubscale")}, sharedSecret())
	n := startNode(t, nil, src)
	_, place, value := n.signed(t, src, asked("pubscale"), testStart)
	raw, err := hex.DecodeString(value)
	if err != nil {
		t.Fatal(err)
	}
	if a := n.send(t, asked("pubscale").put(place, strings.ToUpper(hex.EncodeToString(raw)))); a.status != 200 {
		t.Errorf("capitals: %d", a.status)
	}
}
