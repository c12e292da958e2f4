package signature

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"
)

var testECDSA = func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
}()

const (
	swBody = `{"test": 2432232314}`
	swID   = "msg_p5jXN8AQM9LWM0D4loKWxJek"

	admobKey = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE+nzvoGqvDeB9+SzE6igTl7TyK4JB\nbglwir9oTcQta8NuG26ZpZFxt+F2NDk7asTE6/2Yc8i1ATcGIqtuS5hv0Q==\n-----END PUBLIC KEY-----"

	slackBody = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)

// vector is a signature that a sender published, or that a sender's own
// software made.
type vector struct {
	name, system string
	request      *Request
	secret       string
	keys         map[string]PublicKey
	now          int64
	id           string
	alternative  int
}

func vectors(t testing.TB) []vector {
	key, err := ParsePublicKey(admobKey)
	if err != nil {
		t.Fatal(err)
	}
	admob := map[string]PublicKey{"3335741209": key}
	form := map[string]string{"Content-Type": "application/x-www-form-urlencoded"}
	with := func(m map[string]string, more ...string) map[string]string {
		out := map[string]string{}
		for k, v := range m {
			out[k] = v
		}
		for i := 0; i < len(more); i += 2 {
			out[more[i]] = more[i+1]
		}
		return out
	}
	bitlabs := request("/complete?uid=8cc877ee-af19-488d-b28d-216fb866b996&val=500&hash=dbcd6bb8ca677344592842a52b4fca9bec36cd4b", "", nil)
	bitlabs.PublicBase = "https://publisher.com"
	twilio := request("/myapp.php?foo=1&bar=2", "To=%2B18005551212&CallSid=CA1234567890ABCDE&Digits=1234&From=%2B12349013030&Caller=%2B12349013030",
		with(form, "X-Twilio-Signature", "0/KCTR6DLpKmkAf8muzZqo1nDgQ="))
	twilio.Host = "mycompany.com"
	return []vector{
		{name: "BitLabs' documentation", system: "bitlabs", request: bitlabs, secret: "JLOIAUNMHFli7ZJOQVEzm98rzqnm9"},
		{name: "PubScale's documentation", system: "pubscale", secret: "fa072672-d432-11c4-885a-EB1CdEc4Bb13", id: "525a5B8e-512b-441A-a10B-72d218c370e5",
			request: request("/p?user_id=30356439-8d15-4f47-B133-010a37C19eBD&value=100.1234&token=525a5B8e-512b-441A-a10B-72d218c370e5&signature=918809ac0e5fcc1960c8875d9e9c8e80", "", nil)},
		{name: "ayeT's documentation, unsorted and with %20", system: "ayet", secret: "9f2228fea0d8e7ce10b2ac36053db14c", id: "8ee08f32ae611231b0a49d1bd66e9bf193132561",
			request: request("/postback/?user_id=testuser123456&transaction_id=8ee08f32ae611231b0a49d1bd66e9bf193132561&offer_name=TEST%20OFFER&payout=1.50&amount=0.10&click_id=1234abcd5678021", "",
				map[string]string{"X-Ayetstudios-Security-Hash": "62a32725866780ada1dec3d62232645f2801e05a91df7b0202e9b780f804f04b"})},
		{name: "Standard Webhooks' own test", system: "standard-webhooks", secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", now: 1614265330, id: swID,
			request: request("/p", swBody, map[string]string{"webhook-id": swID, "webhook-timestamp": "1614265330", "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="})},
		{name: "Standard Webhooks among others", system: "standard-webhooks", secret: "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", now: 1614265330, id: swID,
			request: request("/p", swBody, map[string]string{"webhook-id": swID, "webhook-timestamp": "1614265330",
				"webhook-signature": "v1,Ceo5qEr07ixe2NLpvHk3FH9bwy/WavXrAFQ/9tdO6mc= v2,xyz v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="})},
		{name: "Standard Webhooks with Ed25519", system: "standard-webhooks-ed25519", keys: map[string]PublicKey{"whpk": testKey().Public()}, now: 1614265330, id: swID,
			request: request("/p", swBody, map[string]string{"webhook-id": swID, "webhook-timestamp": "1614265330",
				"webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= v1a,Ykcu7AtGZGmZxFEH1Gaa2Nd7feY/CTuruoL4fqgnKwfbHU4DhemoVHZdvGfIvKvn4BIgwktLGGPGIr/i9nK7AA=="})},
		{name: "GitHub's documentation", system: "github", secret: "It's a Secret to Everybody", id: "72d3162e",
			request: request("/p", "Hello, World!", map[string]string{"Content-Type": "text/plain", "X-GitHub-Delivery": "72d3162e",
				"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"})},
		{name: "Slack's documentation", system: "slack", secret: "8f742231b10e8888abcd99yyyzzz85a5", now: 1531420618,
			request: request("/p", slackBody, with(form, "X-Slack-Request-Timestamp", "1531420618", "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"))},
		{name: "Shopify's documentation", system: "shopify-query", secret: "hush",
			request: request("/cb?code=0907a61c0c8d55e99db179b68161bc00&hmac=4712bf92ffc2917d15a2f5a273e39f0116667419aa4b6ac0b3baaf26fa3c4d20&shop=some-shop.myshopify.com&timestamp=1337178173", "", nil)},
		{name: "Twilio's documentation", system: "twilio", secret: "12345", request: twilio},
		{name: "AdMob's console, plain", system: "admob", keys: admob, id: "123456789",
			request: request("/ssv?ad_network=5450213213286189855&ad_unit=1234567890&reward_amount=1&reward_item=point&timestamp=1785663807975&transaction_id=123456789&signature=MEUCIACK-i0PJdKzFvdmoWcRjYT3hMo2HTwas8P8smpGHi1rAiEA_XVh_LtOrIKwX1EW_Bk3HqlnoDTmve0veVKZVEZu-JM&key_id=3335741209", "", nil)},
		{name: "AdMob's console, with escapes", system: "admob", keys: admob, id: "123456789",
			request: request("/ssv?ad_network=5450213213286189855&ad_unit=1234567890&reward_amount=1&reward_item=Odblokowanie%20pu%C5%82apki&timestamp=1790368140021&transaction_id=123456789&signature=MEQCIBYBhBjuiTygD-Ut7pLNhlwO7nGVjhNUwGgDxjnSVM8zAiACnmc0o7rWmbCISEv5w6D9LQceSZezNFAQD18qqIuipA&key_id=3335741209", "", nil)},
		{name: "AdMob's console, with a plus", system: "admob", keys: admob, id: "123456789", alternative: 1,
			request: request("/ssv?ad_network=5450213213286189855&ad_unit=1234567890&reward_amount=10&reward_item=Premium+minutes&timestamp=1790870038860&transaction_id=123456789&signature=MEUCIQCNXBYPjfoYmRhoxzYYcZEmNhOwCQzCJoByoVT6TZldQQIgNm9mS7LoeoS3zoezgZ7LVLfqT6VvuJVXATvA_mytu3I&key_id=3335741209", "", nil)},
	}
}

func TestPublishedVectors(t *testing.T) {
	for _, c := range vectors(t) {
		v := compiled(t, system(t, c.system))
		s := &Secrets{Current: []byte(c.secret), Keys: c.keys}
		now := time.Unix(c.now, 0)
		got := v.Verify(c.request, s, now)
		if !got.OK || got.ID != c.id || got.Alternative != c.alternative {
			t.Errorf("%s: %+v\n%+v", c.name, got, v.Explain(c.request, s, now))
		}
		if c.secret != "" {
			s.Current = []byte(c.secret[:len(c.secret)-1] + "~")
			if got := v.Verify(c.request, s, now); got.OK {
				t.Errorf("%s: verifies with another secret", c.name)
			}
		}
	}
}
