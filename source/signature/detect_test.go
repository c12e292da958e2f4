package signature

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// TestDetectFindsEverySystem hides each system's scheme and finds one that
// verifies the same request.
func TestDetectFindsEverySystem(t *testing.T) {
	// More fields than are tried in every order, keys that nobody is given, and
	// an object's own secret are out of Detect's reach unless the scheme is known.
	beyond := []string{"digital-turbine", "pollfish", "admob", "standard-webhooks-ed25519", "discord", "retreaver", "justcall"}
	for _, name := range systems(t) {
		s := system(t, name)
		v, r, secrets, _, _ := signedSample(t, name, &s)
		if path, query, ok := strings.Cut(r.URL, "?"); ok && len(r.Body) == 0 {
			r = request(path+"?country=US&offer=77"+own(&s, query), "", nil)
		} else {
			r = sample(name)
		}
		place, value, err := v.Sign(r, secrets, testNow)
		if err != nil {
			t.Fatal(err)
		}
		r = signed(t, r, place, value)
		if header, ok := strings.CutPrefix(place, "header:"); ok {
			r.HeaderNames = []string{header}
		}
		start := time.Now()
		found := Detect(r, secrets.Current)
		t.Logf("%s: %d schemes in %s", name, len(found), time.Since(start).Round(time.Millisecond))
		if len(found) == 0 && !slices.Contains(beyond, name) {
			t.Errorf("%s: nothing found", name)
			continue
		}
		if known := Detect(r, secrets.Current, s); name != "retreaver" && secrets.Signer == nil && (len(known) == 0 || known[0].Input != s.Input) {
			t.Errorf("%s: not found among the known", name)
		}
		for _, spec := range found {
			v := compiled(t, spec)
			if got := v.Verify(r, secrets, testNow); !got.OK {
				t.Errorf("%s: %+v was found and does not verify: %+v", name, spec, got)
			}
		}
	}
}

func TestDetectOnPublishedVectors(t *testing.T) {
	f := func(system, algorithm, input string) {
		t.Helper()
		for _, c := range vectors(t) {
			if c.system != system {
				continue
			}
			found := Detect(c.request, []byte(c.secret))
			if !slices.ContainsFunc(found, func(s Spec) bool { return s.Algorithm == algorithm && s.Input == input }) {
				t.Errorf("%s: %+v, want %s of %s", c.name, found, algorithm, input)
			}
		}
	}
	f("pubscale", "md5", "{@secret}.{user_id}.{value|int}.{token}")
	f("bitlabs", "hmac-sha1", "url")
	f("ayet", "hmac-sha256", "sorted")
	f("standard-webhooks", "hmac-sha256", "{@id}.{@timestamp}.{@body}")
	f("slack", "hmac-sha256", "v0:{@timestamp}:{@body}")
	f("github", "hmac-sha256", "body")
	f("shopify-query", "hmac-sha256", "sorted")
	f("twilio", "hmac-sha1", "{@url}{@sorted}")
}

func TestDetectIsBounded(t *testing.T) {
	// Eight values that look like digests and many fields, none of which fit.
	var q strings.Builder
	q.WriteString("/p?")
	for i := range 12 {
		q.WriteString("&sig" + string(rune('a'+i)) + "=" + strings.Repeat("0123456789abcdef", 2) + "&token" + string(rune('a'+i)) + "=1." + string(rune('a'+i)))
	}
	r := request(q.String(), "", nil)
	start := time.Now()
	if found := Detect(r, []byte("k")); len(found) > 0 {
		t.Errorf("%+v", found)
	}
	t.Logf("took %s", time.Since(start))
	if Detect(r, nil) != nil || Detect(r, make([]byte, SecretBytesMax+1)) != nil {
		t.Error("found something without a secret")
	}
}

// own keeps the parameters that a scheme speaks of.
func own(s *Spec, query string) (out string) {
	words := s.Input + s.Signature.In
	if s.Sorted != nil {
		for _, name := range s.Sorted.Placeholders {
			words += " " + name
		}
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if s.Signature.In == "query:"+name {
			continue
		}
		if strings.Contains(words, name) || s.ID != nil && s.ID.In == "query:"+name {
			out += "&" + pair
		}
	}
	return out
}
