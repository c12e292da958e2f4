package ingest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

const senderSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// systemScheme reads the scheme of a system that the verifier's own tests know.
func systemScheme(t testing.TB, name string) *signature.Spec {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../source/signature/testdata/systems", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := new(signature.Spec)
	if err := yaml.UnmarshalStrict(text, s); err != nil {
		t.Fatal(err)
	}
	return s
}

// signedSource is a source whose sender signs; it is the sender, too.
func signedSource(t testing.TB, spec source.Spec, secrets *signature.Secrets) *source.Source {
	t.Helper()
	src := testSource(t, spec)
	src.Signing = secrets
	return src
}

func sharedSecret() *signature.Secrets { return &signature.Secrets{Current: []byte(senderSecret)} }

// call is a request that is not sent yet.
type call struct {
	method, target, body string
	header               []string
}

func (c call) with(header ...string) call {
	c.header = append(append([]string{}, c.header...), header...)
	return c
}

func (n *node) send(t testing.TB, c call) answer {
	t.Helper()
	return n.do(t, c.method, c.target, c.body, c.header...)
}

// signed signs c as the sender of src does, and gives the signature alone, too.
func (n *node) signed(t testing.TB, src *source.Source, c call, at time.Time) (whole call, place, value string) {
	t.Helper()
	head := func(name string) (string, bool) {
		for _, h := range c.header {
			if k, v, _ := strings.Cut(h, ": "); strings.EqualFold(k, name) {
				return v, true
			}
		}
		return "", false
	}
	kind, _ := head("Content-Type")
	r := &signature.Request{Method: c.method, URL: c.target, Scheme: "http", Host: n.addr, PublicBase: n.cfg.SignedBase, ContentType: kind, Header: head, Body: []byte(c.body)}
	place, value, err := src.Verifier.Sign(r, src.Signing, at)
	if err != nil {
		t.Fatal(err)
	}
	return c.put(place, value), place, value
}

// put puts a signature where it belongs.
func (c call) put(place, value string) call {
	where, name, _ := strings.Cut(place, ":")
	if where == "header" {
		return c.with(name + ": " + value)
	}
	before, tail, has := strings.Cut(c.target, "&key_id=")
	c.target = before + "&" + name + "=" + url.QueryEscape(value)
	if has {
		c.target += "&key_id=" + tail
	}
	return c
}

// asked is a request that holds whatever some system signs.
func asked(system string) call {
	at := strconv.FormatInt(testStart.Unix(), 10)
	switch system {
	case "callrail", "adgem-post", "standard-webhooks", "standard-webhooks-ed25519", "stripe-like", "outpost", "justcall", "github", "slack", "discord":
		return call{"POST", "/v1/postbacks/buyer", `{"id":"evt_1","type":"call.done","resource_id":"CAL1","amount":12.5,"note":"naïve ✓"}`, []string{jsonType,
			"webhook-id: msg_1", "webhook-timestamp: " + at, "x-justcall-request-timestamp: " + at, "X-Slack-Request-Timestamp: " + at,
			"X-Signature-Timestamp: " + at, "X-Outpost-Event-Id: evt_1", "X-GitHub-Delivery: d-1"}}
	case "twilio":
		return call{"POST", "/v1/postbacks/buyer?foo=1", "To=%2B18005551212&From=%2B1234&Digits=1%2B2&Empty=", []string{formType}}
	}
	c := call{"GET", "/v1/postbacks/buyer?uid=u1&user_id=u1&value=100.1234&token=t-1&id=i1&snuid=s1&currency=9&timestamp=1790000000&eventId=e1&userId=u2&rewards=5" +
		"&trans_id=tr1&oid=o1&subId=sub&transId=tr2&reward=7&amount=3.5&_trans_id_=tr3&pub0=a%20b&pub2=c&cpa=30&device_id=d1&request_uuid=&status=eligible" +
		"&term_reason=&tx_id=x1&order=ord1&transaction_id=tid-1&note=a+b%26c~%C3%A9*", "", nil}
	if system == "admob" {
		c.target += "&key_id=k1"
	}
	return c
}

// Every system's requests go through when they are signed, and for no other
// reason; the sender learns nothing of why not, the operator does, and no
// secret is told to anybody.
func TestSignedRequests(t *testing.T) {
	files, err := filepath.Glob("../source/signature/testdata/systems/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d systems: %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if name == "keitaro" || name == "retreaver" {
			continue // the one's secret stands where our path has the token, the other's are the calls' own keys
		}
		t.Run(name, func(t *testing.T) { signedSystem(t, name) })
	}
}

func signedSystem(t *testing.T, name string) {
	scheme := systemScheme(t, name)
	secrets := sharedSecret()
	if scheme.Signature.In == "basic" {
		secrets.Current = []byte("sender:" + senderSecret)
	}
	switch scheme.Algorithm {
	case "ed25519":
		secrets.Signer = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, ed25519.SeedSize))
	case "ecdsa-p256":
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		secrets.Signer = key
	}
	if secrets.Signer != nil {
		secrets.Keys = map[string]crypto.PublicKey{"k1": secrets.Signer.Public()}
	}
	src := signedSource(t, source.Spec{ID: "buyer", Signature: scheme}, secrets)
	clock := &stillClock{at: testStart}
	var log bytes.Buffer
	n := startNode(t, func(c *Config) {
		c.Now, c.Log = clock.now, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Limiter = NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: -1})
	}, src)

	whole, place, value := n.signed(t, src, asked(name), testStart)
	if a := n.send(t, whole); a.status != 200 || n.journal.len() != 1 {
		t.Fatalf("a good one got %d %s: %+v", a.status, a.body, n.Refused("buyer"))
	}
	refused := func(what string, c call, details ...string) {
		t.Helper()
		a := n.send(t, c)
		if a.status != 401 || a.body != `{"ok":false,"error":"unauthorized","message":"Unauthorized."}` || n.journal.len() != 1 {
			t.Errorf("%s got %d %s", what, a.status, a.body)
		}
		got := n.Refused("buyer")[0]
		word, _, _ := strings.Cut(got.Detail, ":")
		if got.Reason != "signature" || got.Advice == "" || !strings.Contains(" "+strings.Join(details, " ")+" ", " "+word+" ") {
			t.Errorf("%s is remembered as %+v, want one of %v", what, got, details)
		}
	}
	bare := asked(name)
	refused("an unsigned one", bare, "signature_missing")
	refused("a truncated one", bare.put(place, value[:len(value)-6]), "signature_malformed", "signature_wrong", "signature_missing")
	refused("an oversized one", bare.put(place, value+strings.Repeat("a", 3000)), "too_long", "signature_malformed", "signature_wrong")
	wrong := *secrets
	wrong.Current, wrong.Lookup = []byte("whsec_"+strings.Repeat("A", 32)), func(string) ([]byte, bool) { return []byte("another"), true }
	if scheme.Signature.In == "basic" {
		wrong.Current = []byte("sender:another")
	}
	if wrong.Signer != nil && scheme.Algorithm == "ed25519" {
		wrong.Signer = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{2}, ed25519.SeedSize))
	} else if wrong.Signer != nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		wrong.Signer = key
	}
	forged, _, _ := n.signed(t, &source.Source{Verifier: src.Verifier, Signing: &wrong}, asked(name), testStart)
	refused("one signed with another secret", forged, "signature_wrong")
	if scheme.Timestamp != nil {
		clock.move(301 * time.Second)
		refused("a replay", whole, "timestamp_old")
		clock.move(-602 * time.Second)
		refused("one of the future", whole, "timestamp_ahead")
	}

	shown := fmt.Sprint(n.Refused("buyer"), log.String())
	for _, rec := range n.journal.recs {
		if scheme.Algorithm != "secret" {
			shown += string(rec)
		}
	}
	for _, secret := range []string{senderSecret, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "key-of-c-77"} {
		if strings.Contains(shown, secret) {
			t.Errorf("the secret is told: %s", shown)
		}
	}
	if a := n.Stats().AuthFailures.Load(); a < 4 {
		t.Errorf("counted %d failures", a)
	}
}
