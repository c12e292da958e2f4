package signature

import (
	"strings"
	"testing"
)

func TestExplain(t *testing.T) {
	for _, name := range systems(t) {
		s := system(t, name)
		v, r, secrets, place, value := signedSample(t, name, &s)
		secrets.Previous = []byte("whsec_cHJldmlvdXMgc2VjcmV0")
		secrets.Mask = []string{"/p/abc"}
		check := func(what string, r *Request, good bool) {
			t.Helper()
			steps := v.Explain(r, secrets, testNow)
			last := steps[len(steps)-1]
			if last.Name != "result" || last.OK != good {
				t.Errorf("%s, %s: ends with %+v", name, what, last)
			}
			var all strings.Builder
			for _, step := range steps {
				all.WriteString(step.Text + "\n")
			}
			for _, secret := range []string{string(secrets.Current), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", string(secrets.Previous), "cHJldmlvdXMgc2VjcmV0", "key-of-c-77", "/p/abc", "previous secret"} {
				if strings.Contains(all.String(), secret) {
					t.Errorf("%s, %s: %q is shown in\n%s", name, what, secret, all.String())
				}
			}
			if sig := strings.TrimRight(value, "="); len(sig) > 40 && s.Algorithm != "secret" && strings.Contains(all.String(), sig[len(sig)-20:]) {
				t.Errorf("%s, %s: the signature is shown in\n%s", name, what, all.String())
			}
		}
		check("good", r, true)
		check("wrong", signed(t, sample(name), place, flip(value)), false)
		check("malformed", signed(t, sample(name), place, "xyz"), false)
	}
}

func TestExplainSaysWhatWasSigned(t *testing.T) {
	s := system(t, "pubscale")
	s.ID = nil
	v := compiled(t, s)
	r := request("/p?user_id=u1&value=7.5&token=S3CRET-"+strings.Repeat("x", 3*textShownBytesMax)+"&signature="+strings.Repeat("ab", 16), "", nil)
	steps := v.Explain(r, &Secrets{Current: []byte("S3CRET")}, testNow)
	var all strings.Builder
	for _, s := range steps {
		if len(s.Text) > textShownBytesMax+8 {
			t.Errorf("a step of %d bytes", len(s.Text))
		}
		all.WriteString(s.Name + ": " + s.Text[:min(len(s.Text), 120)] + "\n")
	}
	for _, want := range []string{"signature: found 1 in query:signature, of 16 bytes", "input: signed is ***.u1.7.***-xxx", "digest: md5 with the secret named current gives ", "sent was abababab…", "result: signature_wrong"} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%q is missing in\n%s", want, all.String())
		}
	}
	if s := v.Explain(&Request{Body: make([]byte, RequestBytesMax+1)}, &Secrets{}, testNow); len(s) != 1 || s[0].OK {
		t.Errorf("%+v", s)
	}
}
