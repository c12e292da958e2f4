package signature

import (
	"fmt"
	"strings"
	"testing"
)

// common are the shapes that most requests have.
var common = []string{"shared-secret-header", "bearer", "pubscale", "tapjoy", "digital-turbine", "pollfish", "ayet", "bitlabs", "callrail", "outpost", "standard-webhooks", "stripe-like", "dineropay", "twilio"}

// TestNoAllocations: checking costs no memory beyond the copy of an id.
func TestNoAllocations(t *testing.T) {
	for _, name := range common {
		s := system(t, name)
		s.ID = nil
		if strings.Contains(s.Input, "{@id}") {
			s.ID = &Place{In: "header:webhook-id"}
		}
		v, r, secrets, _, _ := signedSample(t, name, &s)
		r.Header = flat(r)
		want := 0.0
		if s.ID != nil {
			want = 1
		}
		got := testing.AllocsPerRun(200, func() {
			if out := v.Verify(r, secrets, testNow); !out.OK {
				t.Fatal(out)
			}
		})
		if !raceEnabled && got > want {
			t.Errorf("%s: %v allocations, want %v", name, got, want)
		}
	}
}

// flat looks a request's headers up once, so that what a test measures is not
// the header map.
func flat(r *Request) func(string) (string, bool) {
	type field struct{ name, value string }
	var list []field
	for _, n := range []string{"X-Webhook-Secret", "Authorization", "X-Ayetstudios-Security-Hash", "Signature", "X-Outpost-Signature", "X-Outpost-Event-Id",
		"webhook-id", "webhook-timestamp", "webhook-signature", "Stripe-Signature", "X-Twilio-Signature"} {
		if v, ok := r.Header(n); ok {
			list = append(list, field{n, v})
		}
	}
	return func(name string) (string, bool) {
		for i := range list {
			if strings.EqualFold(list[i].name, name) {
				return list[i].value, true
			}
		}
		return "", false
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, name := range append([]string{"standard-webhooks-ed25519", "admob"}, common...) {
		s := system(b, name)
		v, r, secrets, _, _ := signedSample(b, name, &s)
		r.Header = flat(r)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if out := v.Verify(r, secrets, testNow); !out.OK {
					b.Fatal(out)
				}
			}
		})
	}
	hostile := map[string]*Request{
		"ayet":     request("/p?"+strings.Repeat("A&a&", FieldsMax/2)[:FieldsMax*2-4]+"&"+strings.Repeat("x", 60_000), "", map[string]string{"X-Ayetstudios-Security-Hash": strings.Repeat("0", 64)}),
		"pollfish": request("/p?"+strings.Repeat("%54x_id&", FieldsMax-1)+"signature="+strings.Repeat("A", 27)+"%3D", "", nil),
		"callrail": request("/p", strings.Repeat("[", 60_000), map[string]string{"Signature": strings.Repeat("A", 27) + "="}),
	}
	for _, name := range sortedKeys(hostile) {
		v, secrets := compiled(b, system(b, name)), &Secrets{Current: []byte(testSecret), Previous: []byte("x")}
		b.Run("hostile-"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if out := v.Verify(hostile[name], secrets, testNow); out.OK {
					b.Fatal(out)
				}
			}
		})
	}
	var distinct strings.Builder
	for i := range SortedFieldsMax {
		fmt.Fprintf(&distinct, "%09d=x&", i)
	}
	for i := range FieldsMax - SortedFieldsMax - 1 {
		fmt.Fprintf(&distinct, "%09d=x&", i%SortedFieldsMax)
	}
	hostileSorted := request("/p?"+distinct.String(), "", map[string]string{"X-Ayetstudios-Security-Hash": strings.Repeat("0", 64)})
	b.Run("hostile-names", func(b *testing.B) {
		v := compiled(b, system(b, "ayet"))
		for b.Loop() {
			if out := v.Verify(hostileSorted, &Secrets{Current: []byte("x"), Previous: []byte("y")}, testNow); out.OK {
				b.Fatal(out)
			}
		}
	})
	b.Run("forged", func(b *testing.B) {
		s := system(b, "standard-webhooks")
		v, r, _, _, _ := signedSample(b, "standard-webhooks", &s)
		r.Header = flat(r)
		other := &Secrets{Current: []byte("whsec_AAAA"), Previous: []byte("whsec_BBBB")}
		b.ReportAllocs()
		for b.Loop() {
			if out := v.Verify(r, other, testNow); out.Reason != SignatureWrong {
				b.Fatal(out)
			}
		}
	})
}
