package mapper

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

func TestNormalise(t *testing.T) {
	n, b := newNumbers(), new(event.Batch)
	f := func(region, raw, want string) {
		t.Helper()
		for _, time := range []string{"first", "cached"} {
			if got := n.normalise(b, region, raw); got != want {
				t.Errorf("%q in %s, %s time: %q, want %q", raw, region, time, got, want)
			}
		}
	}
	for _, raw := range []string{"(305) 555-1234", "1-305-555-1234", "+13055551234", "13055551234", "3055551234", "305.555.1234", "tel:+13055551234",
		"tel:+1-305-555-1234", " 13055551234", "  305 555 1234 ", "sip:+13055551234@host", "SIP:13055551234@10.0.0.1:5060;user=phone",
		"sips:3055551234@host", `"Joe" <sip:+13055551234@voice.example.com:5060;user=phone>;tag=as58f4`, "+1 (305) 555-1234", "+1 305 555 1234 ext. 7",
		"+1 (305) 555 - 1234                                              "} {
		f("US", raw, "+13055551234")
	}
	f("GB", "+13055551234", "+13055551234")
	f("GB", " 13055551234", "+13055551234")
	f("GB", "020 7183 8750", "+442071838750")
	f("US", "+442071838750", "+442071838750")
	f("US", " 442071838750", "+442071838750") // from an unescaped plus
	f("US", "011 44 20 7183 8750", "+442071838750")
	f("DE", "0301234567", "+49301234567")
	f("IT", "06 1234567", "+39061234567")
	f("US", "1-800-FLOWERS", "+18003569377")
	for _, raw := range []string{"", "  ", "anonymous", "Restricted", "+", "0", "911", "5551234", "00442071838750", "{caller_id}",
		"+1305", "13055551234567", "sip:", "sip:anonymous@anonymous.invalid", "tel:", strings.Repeat("1", 300), "+999123456789", "\xff\xfe", "305555123\x00"} {
		f("US", raw, "")
	}
}

// A table of fixed size: what it forgets is parsed again, never wrong.
func TestNumbersStayBoundedAndRight(t *testing.T) {
	n := newNumbers()
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Go(func() {
			var b event.Batch
			for i := range 3000 {
				b.Reset()
				last := fmt.Sprintf("%04d", (i*7+g)%2000)
				if got := n.normalise(&b, "GB", "020 7183 "+last); got != "+44207183"+last {
					t.Errorf("%q for %s", got, last)
					return
				}
			}
		})
	}
	wg.Wait()

	// One set takes numberWays entries; the one used longest ago goes.
	var out [e164BytesMax]byte
	const h = 12345
	for i := range numberWays + 1 {
		n.store(h, "US", fmt.Sprint("raw", i), []byte{'0' + byte(i)})
		if i > 0 {
			n.lookup(h, "US", "raw1", &out)
		}
	}
	for i := range numberWays + 1 {
		size, found := n.lookup(h, "US", fmt.Sprint("raw", i), &out)
		if found != (i != 0) || found && (size != 1 || out[0] != '0'+byte(i)) {
			t.Errorf("entry %d: found %v, %q", i, found, out[:size])
		}
	}
	if _, found := n.lookup(h, "GB", "raw1", &out); found {
		t.Error("found in another region")
	}
}

// The short way for North American numbers says what the library says, however
// the digits are set out.
func TestNorthAmericanAgreesWithTheLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	taken := 0
	for range 20_000 {
		var text []byte
		if r.IntN(3) == 0 {
			text = append(text, '+')
		}
		for range 9 + r.IntN(4) {
			for r.IntN(4) == 0 {
				text = append(text, " -.()"[r.IntN(5)])
			}
			text = append(text, "1203456789"[r.IntN(1+r.IntN(10))])
		}
		region := [...]string{"US", "CA", "GB"}[r.IntN(3)]
		raw := dialled(string(text))
		var out [e164BytesMax]byte
		if !northAmerican(&out, region, raw) {
			continue
		}
		taken++
		if want := parseNumber(region, raw); string(out[:12]) != want {
			t.Fatalf("%q in %s: %q, the library has %q", raw, region, out[:12], want)
		}
	}
	if taken < 1000 {
		t.Errorf("only %d of the numbers took the short way", taken)
	}
}

// The short way and the cache agree with the library, and nothing else comes out than E.164.
func FuzzNumber(f *testing.F) {
	for _, s := range []string{"(305) 555-1234", "+13055551234", "1 305 555 1234", "tel:+13055551234", " 13055551234", "sip:1305@x", "+1 (205) ) 555-1234", "2 2 2 2 2 2 2 2 2 2"} {
		for region := range uint8(4) {
			f.Add(s, region)
		}
	}
	n := newNumbers()
	f.Fuzz(func(t *testing.T, raw string, r uint8) {
		region := [...]string{"US", "CA", "GB", "DE"}[r%4]
		var b event.Batch
		first := n.normalise(&b, region, raw)
		if again := n.normalise(&b, region, raw); again != first {
			t.Fatalf("%q in %s: %q, then %q", raw, region, first, again)
		}
		text := dialled(raw)
		var out [e164BytesMax]byte
		if northAmerican(&out, region, text) {
			if want := parseNumber(region, text); string(out[:12]) != want || first != want {
				t.Fatalf("%q in %s: %q, the library has %q", raw, region, out[:12], want)
			}
		}
		if first != "" && (first[0] != '+' || !digits(first[1:]) || len(first) > e164BytesMax) {
			t.Fatalf("%q in %s: %q is no E.164", raw, region, first)
		}
	})
}
