package signature

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"go/ast"
	"go/parser"
	"go/token"
	"hash"
	"math/big"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestHMACIsCryptoHMAC holds the hasher against the standard library, with
// keys and texts around the sizes of blocks.
func TestHMACIsCryptoHMAC(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var h hasher
	for id := range hashes {
		for _, keyBytes := range []int{1, 16, 20, 63, 64, 65, 127, 128, 129, 500} {
			for _, size := range []int{0, 1, 55, 64, 129, 5000} {
				key, p := make([]byte, keyBytes), make([]byte, size)
				for i := range key {
					key[i] = byte(rnd.Uint32())
				}
				for i := range p {
					p[i] = byte(rnd.Uint32())
				}
				want := hmac.New(func() hash.Hash { return newHash[id]() }, key)
				want.Write(p)
				if got := h.hmac(id, key, p); !slices.Equal(got, want.Sum(nil)) {
					t.Fatalf("hash %d, key of %d, text of %d bytes: %x", id, keyBytes, size, got)
				}
			}
		}
	}
}

// TestComparisonsAreConstantTime reads the code: what handles digests and
// secrets compares them with crypto/hmac and crypto/subtle only.
func TestComparisonsAreConstantTime(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	seen := 0
	for _, file := range files {
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			names := calls(fn)
			has := func(s string) bool { return slices.Contains(names, s) }
			switch fn.Name.Name {
			case "same":
				if !has("hmac.Equal") {
					t.Error("same does not use hmac.Equal")
				}
			case "sameSecret":
				if !has("subtle.ConstantTimeCompare") {
					t.Error("sameSecret does not use subtle.ConstantTimeCompare")
				}
			}
			if !has("candidate") && !has("digest") && !has("Lookup") {
				continue
			}
			seen++
			for _, bad := range []string{"bytes.Equal", "bytes.Compare", "bytes.HasPrefix", "strings.EqualFold", "strings.HasPrefix", "slices.Equal"} {
				if has(bad) {
					t.Errorf("%s handles digests or secrets and calls %s", fn.Name.Name, bad)
				}
			}
		}
	}
	if seen < 5 {
		t.Errorf("looked at %d functions only", seen)
	}
}

// calls lists what a function calls, bare and with its package.
func calls(fn *ast.FuncDecl) (list []string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			switch f := c.Fun.(type) {
			case *ast.Ident:
				list = append(list, f.Name)
			case *ast.SelectorExpr:
				list = append(list, f.Sel.Name)
				if x, ok := f.X.(*ast.Ident); ok {
					list = append(list, x.Name+"."+f.Sel.Name)
				}
			}
		}
		return true
	})
	return list
}

func TestTimestamps(t *testing.T) {
	f := func(unit string, tolerance, ahead int, value string, want Reason) {
		t.Helper()
		v := compiled(t, Spec{Algorithm: "secret", Signature: Place{In: "header:s"},
			Timestamp: &Timestamp{Place: Place{In: "header:t"}, Unit: unit, ToleranceSeconds: tolerance, AheadSeconds: ahead}})
		got := v.Verify(request("/p", "", map[string]string{"s": "k", "t": value}), &Secrets{Current: []byte("k")}, testNow)
		if got.Reason != want {
			t.Errorf("%s %d %d %q: %+v, want %q", unit, tolerance, ahead, value, got, want)
		}
	}
	f("", 0, 0, "1790000030", "")
	f("", 0, 0, "1789999730", "")
	f("", 0, 0, "1789999729", TimestampOld)
	f("", 0, 0, "1790000330", "")
	f("", 0, 0, "1790000331", TimestampAhead)
	f("s", 10, 0, "1790000041", TimestampAhead)
	f("s", 600, 0, "1790000331", TimestampAhead)
	f("s", 600, 600, "1790000331", "")
	f("s", -1, 0, "1", "")
	f("s", -1, 5, "1790000036", TimestampAhead)
	f("s", 0, -1, "1890000000", "")
	f("ms", 0, 0, "1790000030999", "")
	f("ms", 0, 0, "1790000030", TimestampOld)
	f("s", 0, 0, "1790000030999", TimestampMalformed)
	f("rfc3339", 0, 0, testNow.UTC().Format(time.RFC3339), "")
	f("rfc3339", 0, 0, "1790000030", TimestampMalformed)
	for _, bad := range []string{"-1790000030", "+1790000030", "1790000030.5", " 1790000030", "0x6AB1", "１７９", "179e7", "99999999999999999999"} {
		f("", -1, -1, bad, TimestampMalformed)
	}
	f("", 0, 0, "", TimestampMissing)
}

func TestCandidates(t *testing.T) {
	v := compiled(t, system(t, "outpost"))
	s := &Secrets{Current: []byte("new"), Previous: []byte("old")}
	r := func(sig string) *Request {
		return request("/p", `{"a":1}`, map[string]string{"X-Outpost-Event-Id": "e", "X-Outpost-Signature": sig})
	}
	sig := func(secret string) string {
		_, value, err := v.Sign(r("v0=00"), &Secrets{Current: []byte(secret)}, testNow)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimPrefix(value, "v0=")
	}
	wrong := strings.Repeat("00", 32)
	f := func(value string, want Reason, which Which) {
		t.Helper()
		if got := v.Verify(r(value), s, testNow); got.Reason != want || got.Secret != which {
			t.Errorf("%q: %+v, want %q by %s", value, got, want, which)
		}
	}
	f("v0="+sig("new")+","+sig("old"), "", WhichCurrent)
	f("v0="+sig("old")+","+wrong, "", WhichPrevious)
	f("v0="+wrong+", "+sig("new"), "", WhichCurrent)
	f("v0="+wrong, SignatureWrong, WhichNone)
	f("v0=,"+sig("new"), "", WhichCurrent)
	f("v0=zz,"+sig("new"), "", WhichCurrent)
	f("v0=", SignatureMalformed, WhichNone)
	f("v1="+sig("new"), SignatureMalformed, WhichNone)
	f(sig("new"), SignatureMalformed, WhichNone)
	f("v0="+strings.Repeat(wrong+",", CandidatesMax-1)+sig("new"), "", WhichCurrent)
	f("v0="+strings.Repeat(wrong+",", CandidatesMax)+sig("new"), TooMany, WhichNone)
}

func TestMalformedSecretsNeverVerify(t *testing.T) {
	spec := system(t, "standard-webhooks")
	v := compiled(t, spec)
	c := vectors(t)[3]
	for _, secret := range []string{"", "whsec_", "whsec_%", strings.Repeat("A", SecretBytesMax+4)} {
		got := v.Verify(c.request, &Secrets{Current: []byte(secret)}, time.Unix(c.now, 0))
		if got.OK || got.Reason != SecretMissing && got.Reason != SecretMalformed {
			t.Errorf("%q: %+v", secret, got)
		}
	}
	if got := v.Verify(c.request, &Secrets{Current: []byte("whsec_%"), Previous: []byte(c.secret)}, time.Unix(c.now, 0)); !got.OK || got.Secret != WhichPrevious {
		t.Errorf("a bad secret beside a good one: %+v", got)
	}
}

func TestKeysByID(t *testing.T) {
	v := compiled(t, system(t, "admob"))
	c := vectors(t)[10]
	f := func(url string, keys map[string]PublicKey, want Reason) {
		t.Helper()
		r := *c.request
		r.URL = url
		if got := v.Verify(&r, &Secrets{Keys: keys}, testNow); got.Reason != want || got.OK && got.KeyID != "3335741209" {
			t.Errorf("%s: %+v, want %q", url, got, want)
		}
	}
	url := c.request.URL
	f(url, c.keys, "")
	f(strings.Replace(url, "key_id=3335741209", "key_id=1", 1), c.keys, KeyUnknown)
	f(strings.TrimSuffix(url, "&key_id=3335741209"), c.keys, KeyUnknown)
	f(url, map[string]PublicKey{"3335741209": testECDSA.Public()}, SignatureWrong)
	f(url, map[string]PublicKey{"3335741209": testKey().Public()}, SignatureWrong) // another kind of key
	f(url, map[string]PublicKey{"3335741209": "text"}, SignatureWrong)
	f(url, map[string]PublicKey{"3335741209": (*ecdsa.PublicKey)(nil)}, SignatureWrong)
	many := map[string]PublicKey{}
	for i := range KeysMax + 1 {
		many[big.NewInt(int64(i)).String()] = testKey().Public()
	}
	w := vectors(t)[5]
	if got := compiled(t, system(t, w.system)).Verify(w.request, &Secrets{Keys: many}, time.Unix(w.now, 0)); got.Reason != TooMany {
		t.Errorf("%d keys: %+v", len(many), got)
	}
}

func TestRawECDSA(t *testing.T) {
	s := Spec{Algorithm: "ecdsa-p256", ECDSA: "raw", Input: "body", Signature: Place{In: "header:sig", Encoding: "base64url"}}
	v := compiled(t, s)
	secrets := &Secrets{Signer: testECDSA, Keys: map[string]PublicKey{"": testECDSA.Public()}}
	r := request("/p", "hello", nil)
	place, value, err := v.Sign(r, secrets, testNow)
	if err != nil {
		t.Fatal(err)
	}
	if got := v.Verify(signed(t, r, place, value), secrets, testNow); !got.OK {
		t.Errorf("%+v", got)
	}
	s.ECDSA = "der"
	if got := compiled(t, s).Verify(signed(t, r, place, value), secrets, testNow); got.Reason != SignatureWrong {
		t.Errorf("raw as DER: %+v", got)
	}
}

// TestConcurrentUse lets one verifier check good and bad requests side by side.
func TestConcurrentUse(t *testing.T) {
	s := system(t, "ayet")
	v, good, secrets, _, _ := signedSample(t, "ayet", &s)
	bad := *good
	bad.URL += "&x=1"
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				if got := v.Verify(good, secrets, testNow); !got.OK || got.ID != "tid-1" {
					t.Errorf("%+v", got)
				}
				if got := v.Verify(&bad, secrets, testNow); got.Reason != SignatureWrong {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	wg.Wait()
}

func TestOversizedRequests(t *testing.T) {
	v := compiled(t, system(t, "github"))
	if got := v.Verify(&Request{Body: make([]byte, RequestBytesMax+1)}, &Secrets{}, testNow); got.Reason != TooLong {
		t.Errorf("%+v", got)
	}
	s := system(t, "standard-webhooks")
	r := request("/p", "{}", map[string]string{"webhook-id": strings.Repeat("i", IDBytesMax+1), "webhook-timestamp": "1790000000", "webhook-signature": "v1," + strings.Repeat("A", 43) + "="})
	if got := compiled(t, s).Verify(r, secretsOf(&s), testNow); got.Reason != TooLong {
		t.Errorf("a long id: %+v", got)
	}
	// A template that multiplies a large body must not multiply memory.
	big := hmacOf(strings.Repeat("{@body|rawurlencode|rawurlencode|base64}", 20))
	if got := inputOf(t, big, request("/p", strings.Repeat("\x00", 900_000), nil)); !strings.HasPrefix(got, "!") {
		t.Errorf("%d bytes were signed", len(got))
	}
}

func TestSignPlaces(t *testing.T) {
	f := func(p Place, secret, place, value string) {
		t.Helper()
		v := compiled(t, Spec{Algorithm: "secret", Signature: p})
		r, secrets := request("/p", "", nil), &Secrets{Current: []byte(secret)}
		gotPlace, gotValue, err := v.Sign(r, secrets, testNow)
		if err != nil || gotPlace != place || gotValue != value {
			t.Errorf("%+v: %q %q %v, want %q %q", p, gotPlace, gotValue, err, place, value)
			return
		}
		if got := v.Verify(signed(t, r, gotPlace, gotValue), secrets, testNow); !got.OK {
			t.Errorf("%+v: %+v", p, got)
		}
	}
	f(Place{In: "header:X-Key"}, "s", "header:X-Key", "s")
	f(Place{In: "header:X-Key", Prefix: "Token "}, "s", "header:X-Key", "Token s")
	f(Place{In: "key"}, "s&=%", "query:key", "s&=%")
	f(Place{In: "bearer"}, "s", "header:Authorization", "Bearer s")
	f(Place{In: "basic"}, "u:p:q", "header:Authorization", "Basic dTpwOnE=")
	f(Place{In: "basic-user"}, "u", "header:Authorization", "Basic dTo=")
	f(Place{In: "basic-password"}, "p:q", "header:Authorization", "Basic c2VuZGVyOnA6cQ==")
}

func TestSignSaysWhatIsMissing(t *testing.T) {
	f := func(name string, r *Request, s *Secrets, want string) {
		t.Helper()
		_, _, err := compiled(t, system(t, name)).Sign(r, s, testNow)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	some := &Secrets{Current: []byte("whsec_AAAA")}
	f("standard-webhooks", request("/p", "{}", nil), some, "timestamp_missing: put the time into header:webhook-timestamp")
	f("standard-webhooks", request("/p", "{}", map[string]string{"webhook-timestamp": "1790000000"}), some, "id_missing: put an id into header:webhook-id")
	f("github", request("/p", "", nil), some, "put an id")
	f("callrail", request("/p", `{"resource_id":"1"}`, nil), &Secrets{Previous: []byte("x")}, "secret_missing")
	f("pubscale", request("/p?token=1&user_id=1", "", nil), some, "field_missing value")
	f("pubscale", request("/p?token=1&user_id=1&value=x", "", nil), some, "field_malformed value")
	f("discord", request("/p", "{}", map[string]string{"X-Signature-Timestamp": "1790000000"}), some, "private key")
}

func TestSignMakesTimes(t *testing.T) {
	f := func(unit, want string) {
		t.Helper()
		s := system(t, "stripe-like")
		s.ID, s.Timestamp.Unit = nil, unit
		_, value, err := compiled(t, s).Sign(request("/p", "{}", nil), &Secrets{Current: []byte("k")}, testNow)
		if err != nil || !strings.HasPrefix(value, want+",v1=") {
			t.Errorf("%s: %q %v, want %s", unit, value, err, want)
		}
	}
	f("", "t=1790000030")
	f("ms", "t=1790000030000")
	f("rfc3339", "t="+testNow.UTC().Format(time.RFC3339))
}
