package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

// TestInputsOfSystems pins what each system signs of the same request, as its
// documentation has it.
func TestInputsOfSystems(t *testing.T) {
	body := string(sample("github").Body)
	want := map[string]string{
		"pubscale":                  "KEY.u1.100.t-1",
		"tapjoy":                    "i1:s1:9:KEY",
		"ironsource":                "1790000000e1u25KEY",
		"cpx":                       "tr1-KEY",
		"offertoro":                 "o1-u1-KEY",
		"subid-transid":             "subtr27KEY",
		"digital-turbine":           "KEYu13.5tr3a bc",
		"pollfish":                  "30:d1:eligible::1790000000:x1",    // empty request_uuid left out, empty term_reason kept
		"dineropay":                 "3a0962b88b5db54473e637fa1242a8c9", // md5 of ORD13.59ELIGIBLEKEY; sha1 follows
		"bitlabs":                   "https://in.example.com/p/abc?",
		"adgem":                     "https://in.example.com/p/abc?",
		"admob":                     "uid=u1&",
		"ayet":                      "_trans_id_=tr3&amount=3.5&cpa=30&currency=9&device_id=d1&eventId=e1&id=i1&note=a+b%26c%7E%C3%A9%2A&oid=o1&order=ord1&pub0=a+b&pub2=c&request_uuid=&reward=7&rewards=5&snuid=s1&status=eligible&subId=sub&term_reason=&timestamp=1790000000&token=t-1&transId=tr2&trans_id=tr1&transaction_id=tid-1&tx_id=x1&uid=u1&userId=u2&user_id=u1&value=100.1234",
		"shopify-query":             "_trans_id_=tr3&",
		"callrail":                  body,
		"adgem-post":                body,
		"outpost":                   body,
		"github":                    body,
		"standard-webhooks":         "msg_1.1790000000." + body,
		"standard-webhooks-ed25519": "msg_1.1790000000." + body,
		"stripe-like":               "1790000000." + body,
		"slack":                     "v0:1790000000:" + body,
		"discord":                   "1790000000" + body,
		"justcall":                  "KEY|https%3A%2F%2Fin.example.com%2Fp%2Fabc|call.done|1790000000",
		"twilio":                    "https://in.example.com/p/abc?foo=1Digits1+2EmptyFrom+1234To+18005551212",
	}
	for _, name := range systems(t) {
		s := system(t, name)
		if s.Algorithm == "secret" {
			continue
		}
		v := compiled(t, s)
		sc := &v.schemes[0]
		u := v.runs.get(sample(name), &Secrets{Current: []byte("KEY")}, testNow)
		u.timestamp, u.id = "1790000000", "msg_1"
		p, why := u.build(sc, []byte("KEY"), false)
		got := string(p)
		switch name {
		case "bitlabs", "adgem", "admob", "shopify-query": // a long one: its beginning will do
			got = got[:min(len(got), len(want[name]))]
		}
		if why != "" || want[name] == "" || got != want[name] {
			t.Errorf("%s: %q %s, want %q", name, got, why, want[name])
		}
		v.runs.put(u)
	}
}

// TestAyetEncodings: each of the ways in which the sender's samples encode is taken.
func TestAyetEncodings(t *testing.T) {
	v := compiled(t, system(t, "ayet"))
	f := func(query, signedText string, want int) {
		t.Helper()
		mac := hmac.New(sha256.New, []byte("api-key"))
		mac.Write([]byte(signedText))
		r := request("/p?"+query, "", map[string]string{"X-Ayetstudios-Security-Hash": hex.EncodeToString(mac.Sum(nil))})
		got := v.Verify(r, &Secrets{Current: []byte("api-key")}, testNow)
		if !got.OK || got.Alternative != want {
			t.Errorf("%s as %s: %+v, want alternative %d", query, signedText, got, want)
		}
	}
	const id = "transaction_id=r-1"
	f("offer_name=A%20B%2BC&"+id, "offer_name=A+B%2BC&"+id, 0)
	f("offer_name=A+B&"+id, "offer_name=A%2BB&"+id, 1)
	f("offer_name=%C3%A9&"+id, "offer_name=%25C3%25A9&"+id, 1)
	f("offer_name=a*b&"+id, "offer_name=a*b&"+id, 2)
	f("offer_name=a~b&"+id, "offer_name=a~b&"+id, 3)
	f("offer_name=a%7Eb&payout_usd=-0.36&"+id, "offer_name=a%7Eb&payout_usd=-0.36&"+id, 0)
}
