package console

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

const (
	signedByHMAC = `"signature":{"algorithm":"hmac-sha256","input":"body","signature":{"in":"header:x-signature"}}`
	givenSecret  = "given-canary-of-the-sender"
	edKey        = "MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="
)

func TestGivenSecret(t *testing.T) {
	b := newBench(t)
	a := b.ask("POST", "/api/v1/sources", `{"id":"acme","secret":"`+givenSecret+`",`+signedByHMAC+`}`)
	var v sourceView
	a.is(http.StatusCreated, &v)
	if !v.Secret || v.AwaitsSecret || v.SecretValue != "" || fmt.Sprint(v.SignedFields) != "[body]" {
		t.Errorf("answer %s", a.Body)
	}
	if s := b.live().ByID("acme").Signing; s == nil || string(s.Current) != givenSecret {
		t.Fatal("it is not what signatures are checked with")
	}
	told := a.Body.String()
	a = b.ask("POST", "/api/v1/sources/acme/secrets", `{"secret":"second-canary","keep":"2h"}`)
	a.is(http.StatusOK, &v)
	told += a.Body.String()
	if s := b.live().ByID("acme").Signing; string(s.Current) != "second-canary" || string(s.Previous) != givenSecret || !v.SecretsUntil.Equal(day0.Add(2*time.Hour)) {
		t.Errorf("secrets until %v", v.SecretsUntil)
	}
	b.ask("POST", "/api/v1/sources/acme/secrets", `{"keep":"0s"}`).is(http.StatusOK, &v)
	if s := b.live().ByID("acme").Signing; v.SecretValue == "" || string(s.Current) != v.SecretValue || s.Previous != nil {
		t.Error("the secret told is not the live one, or not the only one")
	}
	for _, path := range []string{"/api/v1/sources", "/api/v1/sources/acme", "/api/v1/audit", "/metrics"} {
		told += b.ask("GET", path, "").Body.String()
	}
	for _, secret := range []string{givenSecret, "second-canary", v.SecretValue} {
		if strings.Contains(told, secret) {
			t.Errorf("%q is told", secret)
		}
	}
	var none sourceView
	b.ask("DELETE", "/api/v1/sources/acme/secrets", "").is(http.StatusOK, &none)
	if none.Secret || !none.AwaitsSecret {
		t.Errorf("secret %t, awaits %t", none.Secret, none.AwaitsSecret)
	}
}

func TestGivenSecretRefused(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x"}`)
	f := func(method, path, body string, status int, code string, parts ...string) {
		t.Helper()
		a := b.ask(method, path, body)
		a.fails(status, code, parts...)
		if strings.Contains(a.Body.String(), "canary") {
			t.Errorf("%s is told: %s", body, a.Body)
		}
	}
	bad := func(method, path, body string, parts ...string) {
		t.Helper()
		f(method, path, body, http.StatusBadRequest, "bad_request", parts...)
	}
	bad("POST", "/api/v1/sources", `{"id":"y","secret":17}`, "secret", "true")
	bad("POST", "/api/v1/sources", `{"id":"y","secret":""}`, "secret", "true")
	bad("POST", "/api/v1/sources", `{"id":"y","secret":["canary"]}`, "secret", "true")
	bad("POST", "/api/v1/sources", `{"id":"y","secret":"canary no hex","signature":{"algorithm":"hmac-sha256","input":"body","secret_encoding":"hex","signature":{"in":"header:s"}}}`, "hex")
	bad("POST", "/api/v1/sources/x/secrets", `{"secret":""}`, "0 bytes")
	bad("POST", "/api/v1/sources/x/secrets", `{"secret":" canary"}`, "blank")
	bad("POST", "/api/v1/sources/x/secrets", `{"secret":"canary","keep":"999h"}`, "keep")
	bad("POST", "/api/v1/sources/x/secrets", `{"sekret":"canary"}`, `"sekret"`, `did you mean "secret"?`)
	bad("POST", "/api/v1/sources/x/keys", `{"id":"k","key":"`+edKey+`"}`, "ed25519", "algorithm")
	bad("POST", "/api/v1/sources/x/keys", `{"id":"k","key":"canary"}`, "PEM", `"k"`)
	f("DELETE", "/api/v1/sources/x/keys/k", "", http.StatusNotFound, "not_found", `"k"`)
	f("POST", "/api/v1/sources/none/secrets", `{"secret":"canary"}`, http.StatusNotFound, "not_found", `"none"`)

	b.refuses = errWorld
	b.ask("POST", "/api/v1/sources/x/secrets", `{}`).fails(http.StatusServiceUnavailable, "not_in_force", "was not told", "rotate")
}

func TestPublicKeysOverHTTP(t *testing.T) {
	b := newBench(t)
	v := b.create(`{"id":"x","signature":{"algorithm":"ed25519","input":"{@timestamp}.{@body}","signature":{"in":"header:s"},"timestamp":{"in":"header:t"}}}`)
	if !v.AwaitsSecret {
		t.Error("it takes unsigned requests")
	}
	v = sourceView{}
	b.ask("POST", "/api/v1/sources/x/keys", `{"id":"first key/1","key":"`+edKey+`"}`).is(http.StatusOK, &v)
	if fmt.Sprint(v.PublicKeys) != "[first key/1]" || v.AwaitsSecret || len(b.live().ByID("x").Signing.Keys) != 1 {
		t.Errorf("keys %q", v.PublicKeys)
	}
	b.ask("POST", "/api/v1/sources/x/keys", `{"id":"first key/1","key":"`+edKey+`"}`).fails(http.StatusConflict, "exists", "first key/1")
	var none sourceView
	b.ask("DELETE", "/api/v1/sources/x/keys/first%20key%2F1", "").is(http.StatusOK, &none)
	if none.PublicKeys != nil || !none.AwaitsSecret {
		t.Errorf("keys %q", none.PublicKeys)
	}
}

// TestCare: what nobody vouches for is said in words.
func TestCare(t *testing.T) {
	b, n := newBench(t), 0
	f := func(spec string, want ...string) {
		t.Helper()
		n++
		v := b.create(fmt.Sprintf(`{"id":"s%d"%s}`, n, spec))
		if len(v.Weak) != len(want) {
			t.Errorf("%s: %q, want %d", spec, v.Weak, len(want))
			return
		}
		for i := range want {
			if !strings.Contains(v.Weak[i], want[i]) {
				t.Errorf("%s: %q, want %q", spec, v.Weak[i], want[i])
			}
		}
	}
	const some = `,"signature":{"algorithm":"hmac-sha256","input":"{user}|{value|int}","signature":{"in":"query:s"}}`
	f(``, "the URL is the secret")
	f(`,"secret":true`, "the secret itself is sent")
	f(`,"allow_ips":["203.0.113.0/24"]`)
	f(`,"client_name":"acme.example"`)
	f(`,` + signedByHMAC + `,"secret":true`)
	f(some, "weak: only user, value (int) are signed", "does not cover the payout")
	f(some+`,"allow_ips":["203.0.113.7"]`, "only user")
	const account = `,"settle":"account","account":"user:{user}","identity":"token","reward":{"currency":"COINS"},"fields":{"reward":["value"]}`
	f(strings.Replace(some, "{user}", "{user}|{token}", 1)+account, "only user", "does not cover the payout", "whole part of the reward")
	f(some+account, "only user", "does not cover the payout", "does not cover the reward, or the identity", "whole part of the reward")
	f(some+`,"settle":"account","account":"user:{user}","identity":"token","reward":{"currency":"COINS"},"fields":{"reward":["coins"]}`,
		"only user", "does not cover the payout", "does not cover the reward")
	f(some+`,"signature_optional":true`, "the URL is the secret", "until the source has a secret", "only user", "does not cover the payout")
	f(`,"signature":{"algorithm":"md5","input":"{@body}{@secret}","signature":{"in":"header:s"}}`, "md5")
}

func TestPaste(t *testing.T) {
	f := func(p source.Preset, want string, fill ...string) {
		t.Helper()
		if got, words := pasted("https://in/x", &p); got != want || fmt.Sprint(words) != fmt.Sprint(fill) {
			t.Errorf("%+v: %q to be filled in at %q, want %q at %q", p, got, words, want, fill)
		}
	}
	f(source.Preset{}, "")
	f(source.Preset{Query: "a={a}&b=[b:C]"}, "https://in/x?a={a}&b=[b:C]")
	f(source.Preset{Path: "/calls/[id]/set_value", Query: "key=[key]"}, "https://in/x/calls/[id]/set_value?key=[key]")
	f(source.Preset{Path: "/test"}, "https://in/x/test")
	f(source.Preset{Query: "key=SECRET&a={A}&sale=yes&id=YOUR_ID&last=X1"}, "https://in/x?key=SECRET&a={A}&sale=yes&id=YOUR_ID&last=X1", "SECRET", "YOUR_ID", "X1")
}

func TestPresetsOverHTTP(t *testing.T) {
	b := newBench(t)
	var l listing[source.Preset]
	b.ask("GET", "/api/v1/presets", "").is(http.StatusOK, &l)
	if len(l.Rows) != len(source.Presets()) {
		t.Errorf("%d presets of %d", len(l.Rows), len(source.Presets()))
	}
	for _, p := range l.Rows {
		var one source.Preset
		b.ask("GET", "/api/v1/presets/"+p.Name, "").is(http.StatusOK, &one)
		if one.Title != p.Title {
			t.Errorf("%s: %q", p.Name, one.Title)
		}
		v := b.create(`{"id":"of-` + p.Name + `","preset":"` + p.Name + `"}`)
		if v.Verified != p.Verified || len(v.Guesses) != len(p.Guesses) || (v.PasteURL == "") != (p.Query+p.Path == "") {
			t.Errorf("%s: verified %t, %d guesses, to be pasted %q", p.Name, v.Verified, len(v.Guesses), v.PasteURL)
		}
		// What was shown may be sent back.
		b.ask("PATCH", "/api/v1/sources/"+v.ID, string(mustMarshal(v))).is(http.StatusOK, nil)
	}
	b.ask("GET", "/api/v1/presets/arroio", "").fails(http.StatusNotFound, "not_found", `did you mean "arroyo"?`)
}

// explained asks for an explanation.
func (b *bench) explained(id, query, capture string) (ok bool, text string) {
	b.t.Helper()
	var out struct {
		OK    bool
		Steps []signature.Step
	}
	b.ask("POST", "/api/v1/sources/"+id+"/verify-request"+query, capture, "Content-Type", "text/plain").is(http.StatusOK, &out)
	for _, s := range out.Steps {
		text += fmt.Sprintf("%s %t: %s\n", s.Name, s.OK, s.Text)
	}
	return out.OK, text
}

func hmacOf(secret, text string) string {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(text))
	return hex.EncodeToString(m.Sum(nil))
}

func TestVerifyRequest(t *testing.T) {
	b := newBench(t)
	made := b.create(`{"id":"body","secret":"` + givenSecret + `",` + signedByHMAC + `}`)
	token := tokenOf(made.URL)
	b.create(`{"id":"url","secret":"` + givenSecret + `","methods":["GET"],"signature":{"algorithm":"hmac-sha256","input":"url","signature":{"in":"query:sig"}}}`)
	urlToken := tokenOf(b.create(`{"id":"timed","secret":"` + givenSecret + `","signature":{"algorithm":"hmac-sha256","input":"{@timestamp}.{a}","signature":{"in":"query:sig"},"timestamp":{"in":"query:t"}}}`).URL)
	f := func(id, query, capture string, want bool, parts ...string) {
		t.Helper()
		ok, text := b.explained(id, query, capture)
		if ok != want {
			t.Errorf("%s, %q: %t\n%s", id, capture, ok, text)
		}
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s, %q lacks %q:\n%s", id, capture, part, text)
			}
		}
		for _, secret := range []string{givenSecret, token, urlToken} {
			if strings.Contains(text, secret) {
				t.Errorf("%s, %q tells %q:\n%s", id, capture, secret, text)
			}
		}
	}
	sig := "X-Signature: " + hmacOf(givenSecret, `{"a":1}`)
	head := "POST /v1/postbacks/" + token + " HTTP/1.1\r\nHost: in.example\r\n" + sig
	f("body", "", head+"\r\n\r\n{\"a\":1}", true, "named current")
	f("body", "", strings.ReplaceAll(head, "\r\n", "\n")+"\n\n{\"a\":1}\n", true, "the last line end is taken to be the file's")
	f("body", "", head+"\r\nContent-Length: 7\r\n\r\n{\"a\":1}\n", true)
	f("body", "", head+"\r\n\r\n{\"a\":2}", false, "signature_wrong")
	f("body", "", head[:len(head)-1]+"\r\n\r\n{\"a\":1}", false, "signature_malformed")
	f("body", "", "?a=1", false, "signature_missing")

	// The URL is what the sender called, however much of it was copied.
	urlPath := "/v1/postbacks/" + tokenOf(b.sourceURL("url"))
	for _, scheme := range []string{"https", "http"} {
		s := hmacOf(givenSecret, scheme+"://in.example"+urlPath+"?a=1")
		f("url", "", "GET "+urlPath+"?a=1&sig="+s+" HTTP/1.1\nHost: in.example\n", true)
		f("url", "", "?a=1&sig="+s+"\nHost: in.example\n", true)
		f("url", "", "GET /v1/postbacks/***?a=1&sig="+s+"\nHost: in.example", true)
		f("url", "", scheme+"://in.example"+urlPath+"?a=1&sig="+s, true)
		f("url", "", "?a=1&sig="+s+"\nHost: other.example\n", false, "signature_wrong")
		f("url", "", "POST ?a=1&sig="+s+"\nHost: in.example\n", false, "POST is not taken", "GET")
	}

	t0 := day0.Add(-2 * time.Hour).Unix()
	timed := fmt.Sprintf("?a=1&t=%d&sig=%s", t0, hmacOf(givenSecret, fmt.Sprintf("%d.1", t0)))
	f("timed", "", timed, false, "timestamp_old")
	f("timed", "?at=2h", timed, true)

	b.ask("POST", "/api/v1/sources/body/secrets", `{"secret":"second-canary","keep":"1h"}`).is(http.StatusOK, nil)
	f("body", "", head+"\r\n\r\n{\"a\":1}", true, "named previous")
	b.now = day0.Add(time.Hour)
	f("body", "", head+"\r\n\r\n{\"a\":1}", false, "signature_wrong")
}

func (b *bench) sourceURL(id string) string {
	b.t.Helper()
	var v sourceView
	b.ask("GET", "/api/v1/sources/"+id, "").is(http.StatusOK, &v)
	return v.URL
}

func TestVerifyRequestWithoutSignature(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"open"}`)
	secret := b.create(`{"id":"shown","secret":true}`).SecretValue
	b.create(`{"id":"optional","signature_optional":true,` + signedByHMAC + `}`)
	f := func(id, capture string, want bool, part string) {
		t.Helper()
		if ok, text := b.explained(id, "", capture); ok != want || !strings.Contains(text, part) || strings.Contains(text, secret) {
			t.Errorf("%s: %t, %s", id, ok, text)
		}
	}
	f("open", "?a=1", true, "whoever knows its URL")
	f("shown", "?a=1", false, "there is none")
	f("shown", "?a=1\nx-webhook-secret: wrong", false, "no live one")
	f("shown", "?a=1\nX-Webhook-Secret: "+secret, true, "good")
	f("optional", "?a=1", true, "no secret is set")
}

func TestVerifyRequestRefused(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"x"}`)
	f := func(capture string, parts ...string) {
		t.Helper()
		a := b.ask("POST", "/api/v1/sources/x/verify-request", capture, "Content-Type", "text/plain")
		a.fails(http.StatusBadRequest, "bad_request", parts...)
		if strings.Contains(a.Body.String(), "canary") {
			t.Errorf("%q: %s", capture, a.Body)
		}
	}
	f("", "METHOD TARGET")
	f("POST", "METHOD TARGET")
	f("a canary of many words", "5 words")
	f("?a=1\ncanary without a colon", "header 1", "empty line")
	f("POST ?a=1\nTransfer-Encoding: chunked\n\n1\nx\n", "Transfer-Encoding")
	f("POST ?a=1\nContent-Length: 9\n\nshort", `"9"`, "5 bytes")
	f("POST ?a=1\n"+strings.Repeat("h: v\n", captureHeadersMax+1), "200 headers")
	b.ask("POST", "/api/v1/sources/x/verify-request?at=soon", "?a=1", "Content-Type", "text/plain").fails(http.StatusBadRequest, "bad_request", `"soon"`)
	b.ask("POST", "/api/v1/sources/none/verify-request", "?a=1", "Content-Type", "text/plain").fails(http.StatusNotFound, "not_found", `"none"`)
}

// FuzzCapture reads what anybody pasted: it takes it or says why not, and what
// it takes can be explained.
func FuzzCapture(f *testing.F) {
	for _, seed := range []string{"?a=1", "GET /x HTTP/1.1\nHost: h\n\nbody\n", "POST https://h/x?sig=00\r\nContent-Length: 2\r\n\r\nok", "\n\n", "h", ":\n:"} {
		f.Add([]byte(seed))
	}
	v, err := signature.Compile(signature.Spec{Algorithm: "hmac-sha256", Input: "url", Signature: signature.Place{In: "query:sig"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := parseCapture(text)
		if err != nil {
			return
		}
		got.aim("token-canary")
		steps := got.explain(v, &signature.Secrets{Current: []byte("secret-canary"), Mask: []string{"token-canary"}}, "", day0)
		if len(steps) == 0 || steps[len(steps)-1].Name != "result" {
			t.Fatalf("steps %+v", steps)
		}
	})
}
