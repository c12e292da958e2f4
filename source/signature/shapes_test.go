package signature

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
	"time"
)

// signedSample is a request that a system's sender would send.
func signedSample(t testing.TB, name string, s *Spec) (v *Verifier, r *Request, secrets *Secrets, place, value string) {
	t.Helper()
	v, r, secrets = compiled(t, *s), sample(name), secretsOf(s)
	if s.Algorithm == "secret" && s.Object == "" && s.Signature.In == "basic" {
		secrets.Current = []byte("user:" + testSecret)
	}
	place, value, err := v.Sign(r, secrets, testNow)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v, signed(t, r, place, value), secrets, place, value
}

// TestEverySystem shows of each scheme what it must take and refuse.
func TestEverySystem(t *testing.T) {
	for _, name := range systems(t) {
		s := system(t, name)
		v, r, secrets, place, value := signedSample(t, name, &s)
		unsigned := sample(name)
		f := func(what string, r *Request, secrets *Secrets, now time.Time, want ...Reason) {
			t.Helper()
			got := v.Verify(r, secrets, now)
			for _, w := range want {
				if got.Reason == w && got.OK == (w == "") {
					return
				}
			}
			t.Errorf("%s, %s: %+v, want %v", name, what, got, want)
		}
		f("good", r, secrets, testNow, "")
		if name != "keitaro" { // there the signature is a part of the path
			f("unsigned", unsigned, secrets, testNow, SignatureMissing)
		}
		f("oversized", signed(t, unsigned, place, value+strings.Repeat("a", SignatureBytesMax)), secrets, testNow, TooLong)
		if s.Algorithm == "secret" {
			f("wrong", signed(t, unsigned, place, flip(value)), secrets, testNow, SignatureWrong, SignatureMissing)
			f("truncated", signed(t, unsigned, place, value[:len(value)-4]), secrets, testNow, SignatureWrong, SignatureMissing)
		} else {
			f("wrong", signed(t, unsigned, place, flip(value)), secrets, testNow, SignatureWrong)
			f("truncated", signed(t, unsigned, place, value[:len(value)-4]), secrets, testNow, SignatureMalformed, SignatureWrong)
			f("reversed", signed(t, unsigned, place, reencoded(value)), secrets, testNow, SignatureMalformed)
		}
		if s.Object != "" {
			other := *r
			other.URL = strings.Replace(r.URL, "c-77", "c-78", 1)
			f("another object", &other, secrets, testNow, ObjectUnknown)
			f("no look-up", r, &Secrets{}, testNow, SecretMissing)
			continue
		}
		if secrets.Signer != nil {
			f("no keys", r, &Secrets{}, testNow, KeyUnknown)
			continue
		}
		f("no secret", r, &Secrets{}, testNow, SecretMissing)
		rotated := &Secrets{Current: []byte("whsec_bmV3IHNlY3JldA=="), Previous: secrets.Current, PreviousUntil: testNow.Add(time.Hour)}
		f("rotated", r, rotated, testNow, "")
		if got := v.Verify(r, rotated, testNow); got.Secret != WhichPrevious {
			t.Errorf("%s: by %s, want previous", name, got.Secret)
		}
		rotated.PreviousUntil = testNow
		f("rotation over", r, rotated, testNow, SignatureWrong)
		if s.Timestamp != nil {
			f("replayed late", r, secrets, testNow.Add(301*time.Second), TimestampOld)
			f("from the future", r, secrets, testNow.Add(-400*time.Second), TimestampAhead)
		}
	}
}

// flip changes the last letter or digit of the first signature in value.
func flip(value string) string {
	b := []byte(strings.TrimRight(value, "="))
	i := len(b) - 3
	if b[i] == 'a' {
		b[i] = 'b'
	} else {
		b[i] = 'a'
	}
	return string(b) + value[len(b):]
}

// reencoded writes the same digest in an encoding that the scheme does not have.
func reencoded(value string) string {
	at := strings.LastIndexAny(value, ",=")
	for at > 0 && strings.HasSuffix(value[:at+1], "=") && strings.Trim(value[at:], "=") == "" {
		at = strings.LastIndexAny(value[:at], ",=")
	}
	if sig, err := hex.DecodeString(value[at+1:]); err == nil {
		return value[:at+1] + base64.StdEncoding.EncodeToString(sig)
	}
	sig, ok := appendDecoded(nil, encodingBase64, value[at+1:])
	if !ok {
		sig, _ = appendDecoded(nil, encodingBase64URL, value[at+1:])
	}
	return value[:at+1] + hex.EncodeToString(sig)
}

// TestSignedFieldsCannotChange changes each field in turn: where Covers says
// it is signed, the request must be refused, wherever the new value stands.
func TestSignedFieldsCannotChange(t *testing.T) {
	for _, name := range systems(t) {
		s := system(t, name)
		if s.Algorithm == "secret" {
			continue
		}
		v, r, secrets, _, _ := signedSample(t, name, &s)
		path, query, _ := strings.Cut(r.URL, "?")
		pairs := strings.Split(query, "&")
		for i, pair := range pairs {
			field, old, ok := strings.Cut(pair, "=")
			if !ok || field == strings.TrimPrefix(s.Signature.In, "query:") {
				continue
			}
			cover := v.Covers("query:" + field)
			try := func(what string, changed *Request) {
				t.Helper()
				got := v.Verify(changed, secrets, testNow)
				if got.OK && cover == CoverFull {
					t.Errorf("%s, %s of %s: accepted, though it is signed", name, what, field)
				}
				if !got.OK && cover == CoverNone && s.KeyID == nil && what == "change" && !strings.HasPrefix(s.Input, "{@secret}|") {
					t.Errorf("%s, %s of %s: %+v, though it is not signed", name, what, field, got)
				}
			}
			changed := *r
			changed.URL = path + "?" + strings.Join(append(append(append([]string{}, pairs[:i]...), field+"=9"+old), pairs[i+1:]...), "&")
			try("change", &changed)
			for _, again := range []string{field, strings.ToUpper(field), strings.Replace(field, field[:1], "%"+hex.EncodeToString([]byte(field[:1])), 1)} {
				twice := *r
				twice.URL = path + "?" + again + "=9" + old + "&" + query
				try("prefixing "+again, &twice)
				twice.URL = r.URL + "&" + again + "=9" + old
				try("appending "+again, &twice)
			}
			if len(r.Body) == 0 {
				form := *r
				form.Method, form.Body, form.ContentType = "POST", []byte(field+"=9"+old), "application/x-www-form-urlencoded"
				try("form beside", &form)
				form.Body, form.ContentType = []byte(`{"`+field+`":"9`+old+`"}`), "application/json"
				try("JSON beside", &form)
				form.Body = []byte(`[{"` + field + `":"9` + old + `"}]`)
				try("JSON reports beside", &form)
			}
		}
		if len(r.Body) > 0 && v.Covers("json:amount") == CoverFull {
			changed := *r
			changed.Body = append([]byte{}, r.Body...)
			changed.Body[len(changed.Body)-2] ^= 1
			if got := v.Verify(&changed, secrets, testNow); got.OK {
				t.Errorf("%s: another body is accepted", name)
			}
			changed.Body = append(append([]byte{}, r.Body...), '\n')
			if got := v.Verify(&changed, secrets, testNow); got.OK {
				t.Errorf("%s: a longer body is accepted", name)
			}
		}
	}
}

func TestEncodingsOfSignatures(t *testing.T) {
	f := func(encoding, value string, want Reason) {
		t.Helper()
		v := compiled(t, Spec{Algorithm: "hmac-sha256", Input: "body", Signature: Place{In: "header:X-Sig", Encoding: encoding}})
		got := v.Verify(request("/p", "hello", map[string]string{"X-Sig": value}), &Secrets{Current: []byte("k")}, testNow)
		if got.Reason != want {
			t.Errorf("%s %q: %+v, want %q", encoding, value, got, want)
		}
	}
	var h hasher
	sum := h.digest(algorithms[6], []byte("k"), []byte("hello"))
	low := hex.EncodeToString(sum)
	std := base64.StdEncoding.EncodeToString(sum)
	url := base64.URLEncoding.EncodeToString(sum)
	f("", low, "")
	f("hex", strings.ToUpper(low), "")
	f("hex", low[:32]+strings.ToUpper(low[32:]), "")
	f("hex", low+" ", SignatureMalformed)
	f("hex", low+"00", SignatureMalformed)
	f("hex", low[:63]+"g", SignatureMalformed)
	f("hex", "0x"+low, SignatureMalformed)
	f("base64", std, "")
	f("base64", strings.TrimRight(std, "="), "")
	f("base64", std[:len(std)-2]+string(std[len(std)-2]+1)+"=", SignatureMalformed) // same bytes, other text
	f("base64url", url, "")
	f("base64url", strings.TrimRight(url, "="), "")
	if std == url {
		t.Fatalf("%s has no character that tells the alphabets apart", std)
	}
	f("base64url", std, SignatureMalformed)
	f("base64", url, SignatureMalformed)
	f("base64", std[:4]+"\n"+std[4:], SignatureMalformed)
	f("base64", low, SignatureMalformed)
}

func TestOpenEnds(t *testing.T) {
	bitlabs, admob := compiled(t, system(t, "bitlabs")), compiled(t, system(t, "admob"))
	for _, c := range vectors(t) {
		v := map[string]*Verifier{"bitlabs": bitlabs, "admob": admob}[c.system]
		if v == nil {
			continue
		}
		f := func(what, url, body string, want Reason) {
			t.Helper()
			r := *c.request
			r.URL = url
			if body != "" {
				r.Method, r.Body, r.ContentType = "POST", []byte(body), "application/x-www-form-urlencoded"
			}
			got := v.Verify(&r, &Secrets{Current: []byte(c.secret), Keys: c.keys}, time.Unix(c.now, 0))
			if got.Reason != want {
				t.Errorf("%s, %s: %+v, want %q", c.name, what, got, want)
			}
		}
		url := c.request.URL
		f("as sent", url, "", "")
		f("a parameter after the signature", url+"&val=5000", "", TailUnsigned)
		f("an escaped one", url+"&%76al=5000", "", TailUnsigned)
		f("nothing after an ampersand", url+"&", "", "")
		f("a second signature", url+"&"+url[strings.Index(url, c.sigName()):], "", SignatureMalformed)
		f("a body", url, "val=5000", BodyUnsigned)
	}
}

func (c *vector) sigName() string {
	if c.system == "bitlabs" {
		return "hash="
	}
	return "signature="
}

func TestPublicBase(t *testing.T) {
	v := compiled(t, system(t, "bitlabs"))
	c := vectors(t)[0]
	f := func(scheme, host, base string, want Reason) {
		t.Helper()
		r := *c.request
		r.Scheme, r.Host, r.PublicBase = scheme, host, base
		if got := v.Verify(&r, &Secrets{Current: []byte(c.secret)}, testNow); got.Reason != want {
			t.Errorf("%s %s %s: %+v, want %q", scheme, host, base, got, want)
		}
	}
	f("https", "publisher.com", "", "")
	f("", "publisher.com", "", "")
	f("http", "publisher.com", "", SignatureWrong)
	f("http", "10.0.0.7:8080", "", SignatureWrong)
	f("http", "10.0.0.7:8080", "https://publisher.com", "")
	f("http", "10.0.0.7:8080", "https://publisher.com/", "")
	r := *c.request
	r.PublicBase = ""
	s := system(t, "bitlabs")
	s.URL = &URL{Base: "https://publisher.com"}
	if got := compiled(t, s).Verify(&r, &Secrets{Current: []byte(c.secret)}, testNow); !got.OK {
		t.Errorf("the scheme's own base: %+v", got)
	}
	r.URL, r.Query = "/complete", []byte(strings.TrimPrefix(c.request.URL, "/complete?"))
	if got := compiled(t, s).Verify(&r, &Secrets{Current: []byte(c.secret)}, testNow); !got.OK {
		t.Errorf("path and query apart: %+v", got)
	}
}

func TestUndoneEscapesAddNothing(t *testing.T) {
	v := compiled(t, system(t, "admob"))
	secrets := &Secrets{Signer: testECDSA, Keys: map[string]PublicKey{"k1": testECDSA.Public()}}
	r := request("/p?custom_data=x%26reward_amount=99&reward_amount=1&transaction_id=t&key_id=k1", "", nil)
	place, value, err := v.Sign(r, secrets, testNow)
	if err != nil {
		t.Fatal(err)
	}
	sent := signed(t, r, place, value)
	if got := v.Verify(sent, secrets, testNow); !got.OK {
		t.Fatalf("%+v", got)
	}
	sent.URL = strings.Replace(sent.URL, "%26", "&", 1)
	if got := v.Verify(sent, secrets, testNow); got.Reason != FieldRepeated || got.Field != "reward_amount" {
		t.Errorf("an amount out of custom_data: %+v", got)
	}
}
