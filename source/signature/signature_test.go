package signature

import (
	"crypto/ed25519"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// system reads one scheme of testdata/systems.
func system(t testing.TB, name string) Spec {
	t.Helper()
	p, err := os.ReadFile(filepath.Join("testdata/systems", name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var s Spec
	if err := yaml.UnmarshalStrict(p, &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

func systems(t testing.TB) []string {
	files, err := filepath.Glob("testdata/systems/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d systems: %v", len(files), err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".yaml")
	}
	return files
}

func compiled(t testing.TB, s Spec) *Verifier {
	t.Helper()
	v, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// request makes a request of a header map; a body makes it a POST.
func request(url, body string, header map[string]string) *Request {
	h := http.Header{}
	for k, v := range header {
		h.Set(k, v)
	}
	r := &Request{Method: "GET", Scheme: "https", Host: "in.example.com", URL: url, ContentType: h.Get("Content-Type"), Header: headerOf(h)}
	if body != "" {
		r.Method, r.Body = "POST", []byte(body)
	}
	return r
}

func headerOf(h http.Header) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v := h.Values(name)
		return strings.Join(v, ", "), len(v) > 0
	}
}

// signed puts a signature where Sign says it belongs.
func signed(t testing.TB, r *Request, place, value string) *Request {
	t.Helper()
	q := *r
	origin, name, _ := strings.Cut(place, ":")
	switch origin {
	case "query":
		pair := name + "=" + string(appendEscape(nil, []byte(value), &escapes[1]))
		path, query, has := strings.Cut(q.URL, "?")
		at := strings.Index("&"+query, "&key_id=")
		switch {
		case !has || query == "":
			q.URL = path + "?" + pair
		case at >= 0:
			q.URL = path + "?" + strings.TrimSuffix(query[:max(at-1, 0)]+"&", "&") + "&" + pair + "&" + query[at:]
		default:
			q.URL += "&" + pair
		}
	case "header":
		old := r.Header
		q.Header = func(n string) (string, bool) {
			if strings.EqualFold(n, name) {
				return value, true
			}
			if old == nil {
				return "", false
			}
			return old(n)
		}
	case "path":
		q.URL = strings.Replace(q.URL, "KEY", value, 1)
	default:
		t.Fatalf("no place %s in a test's request", place)
	}
	return &q
}

// sample is a request that holds everything some system signs.
func sample(name string) *Request {
	const json = `{"id":"evt_1","type":"call.done","resource_id":"CAL1","amount":12.5,"note":"naïve ✓"}`
	head := map[string]string{"Content-Type": "application/json", "webhook-id": "msg_1", "webhook-timestamp": "1790000000",
		"x-justcall-request-timestamp": "1790000000", "X-Slack-Request-Timestamp": "1790000000", "X-Signature-Timestamp": "1790000000",
		"X-Outpost-Event-Id": "evt_1", "X-GitHub-Delivery": "d-1"}
	switch name {
	case "callrail", "adgem-post", "standard-webhooks", "standard-webhooks-ed25519", "stripe-like", "outpost", "justcall", "github", "slack", "discord":
		return request("/p/abc", json, head)
	case "twilio":
		return request("/p/abc?foo=1", "To=%2B18005551212&From=%2B1234&Digits=1%2B2&Empty=", map[string]string{"Content-Type": "application/x-www-form-urlencoded"})
	case "keitaro":
		return request("/KEY/postback?subid=1", "", nil)
	case "retreaver":
		return request("/calls/c-77/set_value?revenue=12.50", "", nil)
	}
	return request("/p/abc?uid=u1&user_id=u1&value=100.1234&token=t-1&id=i1&snuid=s1&currency=9&timestamp=1790000000&eventId=e1&userId=u2&rewards=5"+
		"&trans_id=tr1&oid=o1&subId=sub&transId=tr2&reward=7&amount=3.5&_trans_id_=tr3&pub0=a%20b&pub2=c&cpa=30&device_id=d1&request_uuid=&status=eligible"+
		"&term_reason=&tx_id=x1&order=ord1&transaction_id=tid-1&note=a+b%26c~%C3%A9*"+map[string]string{"admob": "&key_id=k1"}[name], "", nil)
}

var testNow = time.Unix(1790000030, 0)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func testKey() ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat("\x01", ed25519.SeedSize)))
}

// secretsOf gives secrets of every kind, so that each system finds its own.
func secretsOf(s *Spec) *Secrets {
	secrets := &Secrets{Current: []byte(testSecret), Lookup: func(object string) ([]byte, bool) {
		return []byte("key-of-" + object), object == "c-77"
	}}
	switch s.Algorithm {
	case "ed25519":
		secrets.Signer = testKey()
	case "ecdsa-p256":
		secrets.Signer = testECDSA
	}
	if secrets.Signer != nil {
		secrets.Keys = map[string]PublicKey{"k1": secrets.Signer.Public()}
	}
	return secrets
}

// sortedKeys gives a map's keys in order, so that tests run alike each time.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
