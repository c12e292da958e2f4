package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	crand "crypto/rand"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// FuzzTemplate: a template is refused or compiles; nothing panics; what
// compiles names the fields that it signs, and builds the same input twice.
func FuzzTemplate(f *testing.F) {
	for _, name := range systems(f) {
		f.Add(system(f, name).Input, "a=1&b=2")
	}
	f.Add("{{{a|int}}}{path:-1}{json:a.b|fixed:2|optional}", "a=-0.5&A=-0.5")
	f.Fuzz(func(t *testing.T, input, query string) {
		s := hmacOf(input)
		s.Timestamp = &Timestamp{Place: Place{In: "header:webhook-timestamp"}, ToleranceSeconds: -1, AheadSeconds: -1}
		s.ID = &Place{In: "header:webhook-id"}
		v, err := Compile(s)
		if err != nil {
			if !strings.Contains(err.Error(), "input") && !strings.Contains(err.Error(), "{") {
				t.Fatalf("%q: an error that does not say where: %v", input, err)
			}
			return
		}
		v.SignedFields()
		r := request("/p/x?"+query, query, map[string]string{"webhook-timestamp": "1", "webhook-id": "2"})
		if one, two := inputOf(t, s, r), inputOf(t, s, r); one != two {
			t.Fatalf("%q: %q, then %q", input, one, two)
		}
	})
}

// FuzzVerify: whatever is sent, no system's verifier panics or lets it in, and
// Explain tells the same and shows no secret.
func FuzzVerify(f *testing.F) {
	secret := "q9-zero-knowledge-of-this"
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	strangers := map[string]PublicKey{"k1": stranger.Public(), "k2": ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public()}
	type entry struct {
		spec Spec
		v    *Verifier
	}
	var all []entry
	for _, name := range systems(f) {
		s := system(f, name)
		all = append(all, entry{s, compiled(f, s)})
		_, r, _, _, value := signedSample(f, name, &s)
		f.Add(r.URL, string(r.Body), value, r.ContentType)
	}
	f.Add("/p?signature=%zz&signature=%", `[{"a":[{}]}]`, "t=1,v1=,v1=00 v1,AA==", "application/json")
	f.Fuzz(func(t *testing.T, url, body, header, contentType string) {
		if strings.Contains(url+body+header, secret) {
			return
		}
		r := &Request{Method: "POST", URL: url, Body: []byte(body), Host: "h", ContentType: contentType,
			Header: func(string) (string, bool) { return header, true }}
		for _, e := range all {
			s := secretsOf(&e.spec)
			s.Current, s.Keys = []byte(secret), strangers
			got := e.v.Verify(r, s, testNow)
			if got.OK && e.spec.Object == "" {
				t.Fatalf("%+v let it in: %+v", e.spec, got)
			}
			if got.OK == (got.Reason != "") {
				t.Fatalf("%+v", got)
			}
			steps := e.v.Explain(r, s, testNow)
			if last := steps[len(steps)-1]; last.OK != got.OK {
				t.Fatalf("%+v, explained as %+v", got, last)
			}
			for _, step := range steps {
				if strings.Contains(step.Text, secret) {
					t.Fatalf("%q shows the secret", step.Text)
				}
			}
		}
	})
}

// FuzzSignThenVerify: what Sign makes for a random scheme and request verifies,
// and does not with another secret or another field.
func FuzzSignThenVerify(f *testing.F) {
	for i := range 40 {
		f.Add(uint64(i), "secret", "value é%+&", "body=1&x=y")
	}
	f.Fuzz(func(t *testing.T, seed uint64, secret, value, body string) {
		if secret == "" || len(secret) > 200 || len(value) > 500 || len(body) > 2000 {
			return
		}
		rnd := rand.New(rand.NewPCG(seed, 7))
		s := randomSpec(rnd)
		v, err := Compile(s)
		if err != nil {
			t.Fatalf("%+v: %v", s, err)
		}
		query := "a=" + string(appendEscape(nil, []byte(value), &escapes[rnd.IntN(len(escapes))])) + "&b=12.75&c=&d=x+y"
		r := request("/p/one?"+query, body, map[string]string{"Content-Type": formType, "X-Id": "id-1", "X-Time": "1790000000"})
		secrets := &Secrets{Current: []byte(secret)}
		place, sig, err := v.Sign(r, secrets, testNow)
		if err != nil {
			return // the scheme refuses this request: it has no body, say
		}
		sent := signed(t, r, place, sig)
		if got := v.Verify(sent, secrets, testNow); !got.OK || got.Secret != WhichCurrent {
			j, _ := json.Marshal(s)
			t.Fatalf("%s\nof %s by %s in %s: %+v\n%+v", j, sent.URL, sig, place, got, v.Explain(sent, secrets, testNow))
		}
		if got := v.Verify(sent, &Secrets{Current: []byte(secret + "x")}, testNow); got.OK && s.Algorithm != "secret" {
			t.Fatalf("%+v verifies with another secret", s)
		}
		if v.Covers("query:a") == CoverFull {
			other := *sent
			other.URL = strings.Replace(sent.URL, "?a=", "?a=0", 1)
			if got := v.Verify(&other, secrets, testNow); got.OK {
				t.Fatalf("%+v: another a verifies", s)
			}
		}
	})
}

func pick(rnd *rand.Rand, of ...string) string { return of[rnd.IntN(len(of))] }

func randomSpec(rnd *rand.Rand) Spec {
	s := Spec{
		Algorithm: pick(rnd, "md5", "sha1", "sha256", "sha512", "hmac-md5", "hmac-sha1", "hmac-sha256", "hmac-sha512"),
		Inner:     pick(rnd, "", "", "upper|md5", "sha256", "base64"),
		Signature: Place{In: pick(rnd, "query:sig", "header:X-Sig", "sig"), Encoding: pick(rnd, "", "hex", "base64", "base64url"),
			Prefix: pick(rnd, "", "sha256=", "v0="), Each: pick(rnd, "", "v1,", "s:")},
		Timestamp: &Timestamp{Place: Place{In: "header:X-Time"}},
		ID:        &Place{In: "header:X-Id"},
	}
	s.Signature.List = pick(rnd, "", " ", ";")
	if s.Signature.In == "query:sig" && rnd.IntN(2) == 0 {
		s.URL = &URL{Cut: pick(rnd, "before", "out"), Decode: pick(rnd, "", "percent", "form")}
	}
	var parts []string
	for range 1 + rnd.IntN(4) {
		parts = append(parts, pick(rnd, "{a}", "{a|urlencode}", "{query:a|optional}", "{b|int}", "{b|fixed:1}", "{c}", "{@timestamp}", "{@id}", "{@body}",
			"{@sorted}", "{@path}", "{path:-1}", "{header:X-Id}", "literal", "{{", "{d|trim|md5}", "{nope|optional}"))
	}
	if s.URL != nil {
		parts = append(parts, pick(rnd, "{@url}", "{@query}"))
	}
	parts = append(parts, "{b}") // something of the request, whatever else
	if !strings.HasPrefix(s.Algorithm, "hmac") || rnd.IntN(4) == 0 {
		parts = append(parts[:rnd.IntN(len(parts))], append([]string{"{@secret}"}, parts[rnd.IntN(len(parts)):]...)...)
	}
	s.Input = strings.Join(append(parts, "{b}"), pick(rnd, "", ".", "|", "&"))
	if strings.Contains(s.Input, "{@sorted}") {
		join := pick(rnd, "", "&", ":")
		s.Sorted = &Sorted{From: pick(rnd, "", "query", "form", "params"), By: pick(rnd, "", "key", "sent"), Pair: pick(rnd, "", "{value}", "{key}{value}"),
			Join: &join, Values: pick(rnd, "", "urlencode", "skip_empty|rawurlencode"), Raw: rnd.IntN(3) == 0}
	}
	s.UnsignedBody = true
	return s
}

// FuzzJSON: what encoding/json takes for an object of plain values is read to
// the same values here.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":"x\u00e9\ud83d\ude00","b":-1.50e3,"c":true,"d":null}`)
	f.Add(`{"a":"\/\b\f\n\r\t\"\\"}`)
	f.Add(`[{"a":1}]`)
	f.Fuzz(func(t *testing.T, doc string) {
		body := trimBlanks([]byte(doc))
		if len(body) == 0 || body[0] != '{' {
			return
		}
		var want map[string]any
		d := json.NewDecoder(strings.NewReader(doc))
		d.UseNumber()
		if d.Decode(&want) != nil || d.More() {
			return
		}
		var p params
		why := p.json(body)
		if why != "" {
			return // stricter than encoding/json, which the mapper's gate is too
		}
		for name, value := range want {
			var text string
			switch v := value.(type) {
			case string:
				text = v
			case json.Number:
				text = v.String()
			default:
				continue
			}
			g, why := p.find(ref{origin: fromJSON, name: name})
			if why == FieldRepeated {
				continue
			}
			if g == nil || string(p.value(g)) != text {
				t.Fatalf("%q in %q: %v, want %q", name, doc, g, text)
			}
		}
	})
}

// FuzzDetect: nothing panics, and it ends.
func FuzzDetect(f *testing.F) {
	f.Add("/p?a=1&sig=0123456789abcdef0123456789abcdef", "", "v1=0123456789abcdef0123456789abcdef", "k")
	f.Fuzz(func(t *testing.T, url, body, header, secret string) {
		r := &Request{Method: "POST", URL: url, Body: []byte(body), Header: func(n string) (string, bool) { return header, n == "X-Signature" }}
		start := time.Now()
		for _, s := range Detect(r, []byte(secret)) {
			if _, err := Compile(s); err != nil {
				t.Fatalf("%+v: %v", s, err)
			}
		}
		if time.Since(start) > time.Minute {
			t.Fatalf("took %s", time.Since(start))
		}
	})
}
