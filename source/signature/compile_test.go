package signature

import (
	"strings"
	"testing"
)

var goodPlace = Place{In: "header:X-Sig"}

// badSetting changes one setting of a good scheme, and wants an error that
// says what and how to mend it.
func badSetting(t *testing.T) func(change func(s *Spec), want ...string) {
	good := Spec{Algorithm: "hmac-sha256", Input: "body", Signature: goodPlace}
	if _, err := Compile(good); err != nil {
		t.Fatal(err)
	}
	return func(change func(s *Spec), want ...string) {
		t.Helper()
		s := good
		change(&s)
		_, err := Compile(s)
		if err == nil {
			t.Errorf("%+v compiles, want an error of %q", s, want)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q does not say %q", err, w)
			}
		}
	}
}

func TestBadSettingsAreNamed(t *testing.T) {
	f, place := badSetting(t), goodPlace
	f(func(s *Spec) { s.Algorithm = "hmac-sha3" }, "hmac-sha3", "hmac-sha256")
	f(func(s *Spec) { s.Algorithm = "" }, `algorithm ""`, "want one of")
	f(func(s *Spec) { s.Algorithm = "md5" }, "anybody", "{@secret}", "hmac-md5")
	f(func(s *Spec) { s.Algorithm, s.Input = "ed25519", "{@secret}{@body}" }, "ed25519", "take {@secret} out")
	f(func(s *Spec) { s.Algorithm = "secret" }, "signs nothing", "leave input")
	f(func(s *Spec) { s.Input = "" }, "input is empty", "sorted")
	f(func(s *Spec) { s.Input = "user" }, `"user"`, "nothing of the request")
	f(func(s *Spec) { s.Input = "{@secret}" }, "nothing of the request")
	f(func(s *Spec) { s.Input = "{a" }, "{a", "byte 0", "{{")
	f(func(s *Spec) { s.Input = "a}b" }, "byte 1")
	f(func(s *Spec) { s.Input = "{}" }, `field ""`)
	f(func(s *Spec) { s.Input = "{@nonce}" }, "{@nonce}", "{@timestamp}")
	f(func(s *Spec) { s.Input = "{cookie:x}" }, "cookie:x", "header:")
	f(func(s *Spec) { s.Input = "{query:}" }, "query:", "name is missing")
	f(func(s *Spec) { s.Input = "{path:0}" }, "path:0", "path:-1")
	f(func(s *Spec) { s.Input = "{a|rot13}" }, "rot13", "urlencode")
	f(func(s *Spec) { s.Input = "{a|fixed:99}" }, "fixed:99")
	f(func(s *Spec) { s.Input = "{a|required|optional}" }, "contradicts")
	f(func(s *Spec) { s.Input = "{@body|optional}" }, "optional")
	f(func(s *Spec) { s.Input = "{a" + strings.Repeat("|upper", 9) + "}" }, "9 of them", "at most 8")
	f(func(s *Spec) { s.Input = strings.Repeat("{a}", 65) }, "64 parts")
	f(func(s *Spec) { s.Input = strings.Repeat("x", 2049) }, "2049 bytes", "2048")
	f(func(s *Spec) { s.Input = "{@timestamp}.{@body}" }, "{@timestamp}", "say in timestamp")
	f(func(s *Spec) { s.Input = "{@id}.{@body}" }, "{@id}", "say in id")
	f(func(s *Spec) { s.Inner = "optional" }, "inner", "optional")
	f(func(s *Spec) { s.SecretEncoding = "rot13" }, "secret_encoding", "rot13", "whsec")
	f(func(s *Spec) { s.ECDSA = "asn1" }, "asn1", "der or raw")
	f(func(s *Spec) { s.Signature.In = "" }, "signature: in is missing")
	f(func(s *Spec) { s.Signature.In = "cookie:x" }, "cookie:x")
	f(func(s *Spec) { s.Signature.Encoding = "base58" }, "base58", "base64url")
	f(func(s *Spec) { s.Signature.Encoding = "raw" }, "raw", "want hex")
	f(func(s *Spec) { s.Signature.Each = strings.Repeat("x", 300) }, "300 bytes", "256")
	f(func(s *Spec) { s.Timestamp = &Timestamp{} }, "timestamp: in is missing")
	f(func(s *Spec) { s.Timestamp = &Timestamp{Place: place, Unit: "min"} }, "min", "rfc3339")
	f(func(s *Spec) { s.Timestamp = &Timestamp{Place: place, ToleranceSeconds: 10_000_000} }, "tolerance_seconds 10000000", "604800")
	f(func(s *Spec) { s.Timestamp = &Timestamp{Place: place, AheadSeconds: -2} }, "ahead_seconds -2")
	f(func(s *Spec) { s.ID = &Place{In: "header:x", Encoding: "hex"} }, "id", "leave encoding out")
	f(func(s *Spec) { s.KeyID = &place }, "key_id", "hmac-sha256", "object")
	f(func(s *Spec) { s.Algorithm, s.Object = "ed25519", "path:1" }, "object", "key_id")
	f(func(s *Spec) { s.Object = "path:x" }, "object", "path:x")
	f(func(s *Spec) { s.URL = &URL{Cut: "after"} }, "after", "before")
	f(func(s *Spec) { s.URL = &URL{Cut: "out"} }, "needs the signature in the query")
	f(func(s *Spec) { s.URL = &URL{Decode: "twice"} }, "twice", "percent")
	f(func(s *Spec) { s.URL = &URL{Base: "example.com"} }, "example.com", "https://")
	f(func(s *Spec) { s.URL = &URL{Tail: make([]string, 65)} }, "65 names")
	f(func(s *Spec) { s.Sorted = &Sorted{} }, "no {@sorted}")
	f(func(s *Spec) { s.Alternatives = make([]Spec, 5) }, "alternatives", "at most 4")
	f(func(s *Spec) { s.Alternatives = []Spec{{Input: "x"}} }, "alternative 1", `"x"`)
	f(func(s *Spec) { s.Alternatives = []Spec{{Alternatives: make([]Spec, 1)}} }, "alternative 1", "list them all in one")
}

func TestBadOrdersAreNamed(t *testing.T) {
	f := badSetting(t)
	comma := ","
	sorted := func(o Sorted) func(*Spec) {
		return func(s *Spec) { s.Input, s.Sorted = "sorted", &o }
	}
	f(sorted(Sorted{From: "body"}), `from "body"`, "params")
	f(sorted(Sorted{By: "value"}), `by "value"`, "listed")
	f(sorted(Sorted{By: "listed"}), "needs only")
	f(sorted(Sorted{By: "placeholder"}), "needs placeholders")
	f(sorted(Sorted{By: "key", Placeholders: map[string]string{"a": "b"}}), "ignores the placeholders")
	f(sorted(Sorted{By: "sent", Only: []string{"a"}}), "by sent")
	f(sorted(Sorted{Only: []string{"a"}, Except: []string{"b"}}), "contradicts")
	f(sorted(Sorted{Only: []string{""}}), `field ""`)
	f(sorted(Sorted{Only: make([]string, 65)}), "64 names")
	f(sorted(Sorted{Raw: true, Only: []string{"a"}}), "raw")
	f(sorted(Sorted{Raw: true, From: "json"}), "JSON")
	f(sorted(Sorted{Pair: "{key}"}), `pair "{key}"`, "{value}")
	f(sorted(Sorted{Pair: "{key}={value}{x}"}), "{x}")
	f(sorted(Sorted{Keys: "optional"}), "keys", "optional")
	f(sorted(Sorted{Values: "x"}), "values")
	f(sorted(Sorted{Fields: map[string]string{"a": "x"}, Join: &comma}), "field a")
	long := strings.Repeat("-", 300)
	f(sorted(Sorted{Join: &long}), "join of 300 bytes", "256")
}

func TestWeakSchemesSaySo(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		if got := compiled(t, system(t, name)).Weak(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	f("pubscale", "md5, and only user_id, value (int), token are signed, and the secret stands first, so that the last field may be lengthened")
	f("tapjoy", "md5, and only id, snuid, currency are signed")
	f("cpx", "md5, and only trans_id are signed")
	f("ironsource", "md5, and only timestamp, eventId, userId, rewards are signed, and nothing parts timestamp from eventId, so that characters may move from one to the other")
	f("bitlabs", "hmac-sha1")
	f("callrail", "hmac-sha1")
	f("ayet", "")
	f("adgem", "")
	f("standard-webhooks", "")
	f("standard-webhooks-ed25519", "")
	f("stripe-like", "")
	f("admob", "escapes are undone before signing, so that a value may be split at an &")
	f("shared-secret-header", "the secret itself is sent, and nothing is signed")
	s := system(t, "outpost")
	s.Timestamp = &Timestamp{Place: Place{In: "header:X-Time"}}
	if got := compiled(t, s).Weak(); got != "the timestamp is not signed" {
		t.Errorf("%q", got)
	}
}

func TestCovers(t *testing.T) {
	f := func(name, field string, want Cover) {
		t.Helper()
		if got := compiled(t, system(t, name)).Covers(field); got != want {
			t.Errorf("%s of %s: %s, want %s", field, name, got, want)
		}
	}
	f("pubscale", "user_id", CoverFull)
	f("pubscale", "query:value", CoverPart)
	f("pubscale", "form:value", CoverPart) // for it must be that of the query
	f("pubscale", "payout_usd", CoverNone)
	f("pubscale", "query:payout_usd", CoverNone)
	f("pubscale", "header:token", CoverNone)
	f("ayet", "query:payout_usd", CoverFull)
	f("ayet", "payout_usd", CoverFull)
	f("ayet", "form:payout_usd", CoverNone)
	f("bitlabs", "query:val", CoverFull)
	f("bitlabs", "query:hash", CoverNone)
	f("bitlabs", "json:val", CoverNone)
	f("admob", "query:reward_amount", CoverFull)
	f("admob", "query:key_id", CoverNone)
	f("standard-webhooks", "json:data.amount", CoverFull)
	f("standard-webhooks", "query:amount", CoverNone)
	f("standard-webhooks", "amount", CoverNone) // it may stand in the query
	f("standard-webhooks", "header:webhook-id", CoverFull)
	f("pollfish", "query:cpa", CoverFull)
	f("pollfish", "query:debug", CoverNone)
	f("dineropay", "amount", CoverPart)
	f("bearer", "amount", CoverNone)
	f("twilio", "form:To", CoverFull)
	f("twilio", "query:foo", CoverFull)
	f("pubscale", "", CoverNone)
}

func TestSignedFields(t *testing.T) {
	f := func(name, want string) {
		t.Helper()
		if got := strings.Join(compiled(t, system(t, name)).SignedFields(), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	f("pubscale", "user_id value (int) token")
	f("bitlabs", "url")
	f("ayet", "query:*")
	f("twilio", "url form:*")
	f("standard-webhooks", "header:webhook-id header:webhook-timestamp body")
	f("admob", "query:*")
	f("bearer", "")
	f("justcall", "url json:type header:x-justcall-request-timestamp")
}

func TestPublicKeys(t *testing.T) {
	f := func(text string, ok bool) {
		t.Helper()
		if _, err := ParsePublicKey(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	f(admobKey, true)
	f("MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+nzvoGqvDeB9+SzE6igTl7TyK4JBbglwir9oTcQta8NuG26ZpZFxt+F2NDk7asTE6/2Yc8i1ATcGIqtuS5hv0Q==", true)
	f("whpk_iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=", true)
	f("8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c", true)
	f("", false)
	f("whpk_iojj", false)
	f("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", false)
	f(strings.Repeat("A", publicKeyBytesMax+1), false)
}

func TestCheckSecret(t *testing.T) {
	f := func(form, secret, want string) {
		t.Helper()
		v := compiled(t, Spec{Algorithm: "hmac-sha256", Input: "body", SecretEncoding: form, Signature: Place{In: "header:s"}})
		err := v.CheckSecret([]byte(secret))
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret) && secret != "") {
			t.Errorf("%s %q: %v, want %q", form, secret, err, want)
		}
	}
	f("", "anything", "")
	f("raw", "", "0 bytes")
	f("", strings.Repeat("x", SecretBytesMax+1), "1025 bytes")
	f("hex", "c0ffee", "")
	f("hex", "coffee", "not hex")
	f("base64", "aGVsbG8=", "")
	f("base64", "_-8", "")
	f("base64", "%%%", "not base64")
	f("whsec", testSecret, "")
	f("whsec", "whsec_", "not whsec")
}
