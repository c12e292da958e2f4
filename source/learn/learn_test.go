package learn

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

var noon = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

const token = "tokenInThePath42"

// get is a captured GET.
func get(query string) Request {
	return Request{At: noon, Method: "GET", Target: "/v1/postbacks/" + token + "?" + query, Host: "in.example.com", Peer: "203.0.113.9"}
}

func post(contentType, body string, headers ...string) Request {
	r := get("")
	r.Method, r.ContentType, r.Body = "POST", contentType, []byte(body)
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, event.Pair{Name: headers[i], Value: headers[i+1]})
	}
	return r
}

// propose learns from requests and checks what holds of every proposal: it
// compiles, is the same each time, and tells no secret, token or number.
func propose(t *testing.T, in Input, hidden ...string) *Proposal {
	t.Helper()
	in.Mask = append(in.Mask, token)
	before, _ := json.Marshal(in.Spec)
	p, err := Propose(in)
	if err != nil {
		t.Fatal(err)
	}
	if after, _ := json.Marshal(in.Spec); string(after) != string(before) {
		t.Errorf("the input was changed from\n%s to\n%s", before, after)
	}
	if _, err := source.Compile(clone(p.Spec)); err != nil {
		t.Errorf("the proposal does not compile: %v", err)
	}
	var read source.Spec
	if err := source.DecodeYAML([]byte(p.YAML), &read); err != nil {
		t.Errorf("its YAML does not decode: %v\n%s", err, p.YAML)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Propose(in)
	if err != nil {
		t.Fatal(err)
	}
	if twice, _ := json.Marshal(again); string(twice) != string(text) {
		t.Errorf("another time it says\n%s\nnot\n%s", twice, text)
	}
	for _, s := range in.Secrets {
		hidden = append(hidden, string(s.Text), url.QueryEscape(string(s.Text)))
	}
	for _, h := range append(hidden, token) {
		if h != "" && strings.Contains(string(text), h) {
			t.Errorf("the proposal tells %q:\n%s", h, text)
		}
	}
	return p
}

func (p *Proposal) finding(t *testing.T, what string) Finding {
	t.Helper()
	i := slices.IndexFunc(p.Findings, func(f Finding) bool { return f.What == what })
	if i < 0 {
		t.Fatalf("nothing is said of %s: %+v", what, p.Findings)
	}
	return p.Findings[i]
}

// says demands state and proposal of one finding.
func (p *Proposal) says(t *testing.T, what string, state State, proposed string) {
	t.Helper()
	if f := p.finding(t, what); f.State != state || f.Proposed != proposed {
		t.Errorf("%s: %s %q, want %s %q: %s", what, f.State, f.Proposed, state, proposed, f.Why)
	}
}

// TestOddNames is a buyer whose names nobody has heard of.
func TestOddNames(t *testing.T) {
	f := func(requests []Request, want map[string]string, state State) {
		t.Helper()
		p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: requests}, "3055551234")
		for what, proposed := range want {
			p.says(t, what, state, proposed)
		}
		if got, _ := source.Compile(clone(p.Spec)); state == Proposed {
			for what, proposed := range want {
				if slot := slotOf(what); slot >= 0 && got.Names[slot][0] != strings.ToLower(proposed) {
					t.Errorf("%s is read from %v, want %s first", what, got.Names[slot], proposed)
				}
			}
			if !strings.Contains(p.Diff, "+fields:") && !strings.Contains(p.Diff, "+transforms:") {
				t.Errorf("diff\n%s", p.Diff)
			}
		}
	}
	list := func(r ...Request) []Request { return r }
	f(list(get("cli=%2B13055551234&talk_secs=90&commission=50.00"), get("cli=%2B13055551234&talk_secs=12&commission=0")),
		map[string]string{"caller": "cli", "duration": "talk_secs", "payout": "commission"}, Proposed)
	f(list(post("application/json", `{"data":{"lead":{"telephoneNumber":"(305) 555-1234"},"billsec":"90","buyerPrice":12.5,"isoCur":"EUR"}}`)),
		map[string]string{"caller": "data.lead.telephoneNumber", "duration": "data.billsec", "payout": "data.buyerPrice", "currency": "data.isoCur"}, Proposed)
	f(list(post("application/x-www-form-urlencoded", "CallerId=13055551234&callDuration=1:30&PayOut=$1,234.50"), post("", "CallerId=13055551234&callDuration=10:30&PayOut=$5.00")),
		map[string]string{"transforms.duration": "mm:ss", "transforms.currency_sign": "true", "transforms.thousands": "true"}, Proposed)
	f(list(get("ani=13055551234&dur_ms=93000&rev=12,34"), get("ani=13055551234&dur_ms=61000&rev=7,50")),
		map[string]string{"transforms.duration": "ms", "transforms.decimal_comma": "true"}, Proposed)
	f(list(get("ani=13055551234&duration=90&revCents=1250")), map[string]string{"transforms.cents": "true"}, Proposed)
	f(list(get("ani=13055551234&duration=90&price=-5.00"), get("ani=13055551234&duration=90&price=5.00")), map[string]string{"transforms.negative_reverses": "true"}, Proposed)
	f(list(get("caller=%2B13055551234&duration=90&payout=50")), map[string]string{"caller": "caller", "payout": "payout", "duration": "duration"}, AsIs)
}

// TestNothingIsInvented: what more than one field may be stays open, with what
// would do and numbers cut.
func TestNothingIsInvented(t *testing.T) {
	p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: []Request{get("phoneA=%2B13055551234&phoneB=%2B13055559876&sum_a=10&sum_b=12&dur=60")}}, "305555")
	for what, names := range map[string][]string{"caller": {"phoneA", "phoneB"}, "payout": {"sum_a", "sum_b"}} {
		f := p.finding(t, what)
		if f.State != Open || f.Proposed != "" || len(f.Candidates) != 2 || f.Candidates[0].Name != names[0] || f.Candidates[1].Name != names[1] {
			t.Errorf("%s: %+v", what, f)
		}
	}
	if f := p.finding(t, "caller"); f.Candidates[0].Example != "+*******1234" {
		t.Errorf("example %q", f.Candidates[0].Example)
	}
	if strings.Contains(p.Diff, "phone") || strings.Contains(p.Diff, "sum_") {
		t.Errorf("diff\n%s", p.Diff)
	}
	none := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: []Request{get("a=hello&b=world")}})
	if none.Diff != "" || none.finding(t, "payout").State != Open || none.finding(t, "call").State != Open {
		t.Errorf("%+v", none)
	}
	for _, c := range []struct{ what, query string }{
		{"transforms.thousands", "ref_id=r1&payout=1,234"},
		{"transforms.decimal_comma", "ref_id=r1&payout=1,50&x=1"},
		{"transforms.cents", "ref_id=r1&payout=5000"},
		{"transforms.duration", "ref_id=r1&payout=5&duration=93000"},
		{"transforms.time_zone", "ref_id=r1&payout=5&started_at=2026-11-20T08:00:00"},
	} {
		requests := []Request{get(c.query)}
		if c.what == "transforms.decimal_comma" { // and a point elsewhere
			requests = append(requests, get("ref_id=r2&payout=7.25"))
		}
		p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: requests})
		if f := p.finding(t, c.what); f.State != Open || p.Diff != "" {
			t.Errorf("%s of %s: %+v\n%s", c.what, c.query, f, p.Diff)
		}
	}
}

func TestIdentity(t *testing.T) {
	f := func(state State, proposed, prefix string, queries ...string) {
		t.Helper()
		var requests []Request
		for _, q := range queries {
			requests = append(requests, get(q))
		}
		p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: requests})
		if state != "" {
			p.says(t, "identity", state, proposed)
		} else if i := slices.IndexFunc(p.Findings, func(f Finding) bool { return f.What == "identity" }); i >= 0 {
			t.Errorf("identity: %+v", p.Findings[i])
		}
		if p.Spec.ReversalPrefix != prefix {
			t.Errorf("reversal_prefix %q, want %q", p.Spec.ReversalPrefix, prefix)
		}
	}
	f(Proposed, "order_id", "", "order_id=A1&click=c1&amount=5", "order_id=A2&click=c2&amount=5")
	f(Proposed, "txn", "", "txn=A1&click=c1&amount=5", "txn=A1&click=c1&amount=5", "txn=A2&click=c1&amount=5")
	f(Proposed, "txn", "r-", "txn=381f99333613b41392b1&click=c1&amount=5", "txn=r-381f99333613b41392b1&click=c1&amount=-5")
	// One value with two prices identifies nothing: it is a click that is priced again.
	f("", "", "", "order_id=A1&click=c1&amount=5", "order_id=A1&click=c1&amount=7")
	// A click differs in each as well, and no name says that it is a transaction.
	f("", "", "", "click_id=11111111-2222-3333-4444-555555555555&amount=5", "click_id=11111111-2222-3333-4444-555555555556&amount=5")
	f(Open, "", "", "guid=11111111-2222-3333-4444-555555555555&click_id=a&amount=5", "guid=11111111-2222-3333-4444-555555555556&click_id=a&amount=5")
}

func TestKinds(t *testing.T) {
	f := func(want map[string][]string, state State, queries ...string) {
		t.Helper()
		var requests []Request
		for _, q := range queries {
			requests = append(requests, get(q))
		}
		p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: requests})
		if got := fmt.Sprint(p.Spec.Statuses); got != fmt.Sprint(want) {
			t.Errorf("statuses %s, want %v", got, want)
		}
		if state != "" && p.finding(t, "statuses").State != state {
			t.Errorf("%+v", p.finding(t, "statuses"))
		}
	}
	f(map[string][]string{"conversion": {"approved"}, "reversal": {"rejected"}, "ignore": {"pending"}}, Proposed,
		"ref_id=a&payout=5&status=approved", "ref_id=b&payout=5&status=Rejected", "ref_id=c&payout=5&status=pending")
	f(map[string][]string{"conversion": {"0"}, "reversal": {"1"}}, Proposed, "ref_id=a&payout=5&is_refund=0")
	f(map[string][]string{"conversion": {"sale"}, "reversal": {"chargeback"}}, Proposed, "ref_id=a&payout=5&outcome=sale", "ref_id=b&payout=5&outcome=chargeback")
	f(nil, Open, "ref_id=a&payout=5&status=approved", "ref_id=b&payout=5&status=gruen") // one word that nobody knows
	f(nil, "", "ref_id=a&payout=5&status=approved")                                     // all pay: nothing to be told apart
}

// signed makes a preset's request as its sender does.
func signed(t *testing.T, preset, query, secret string) Request {
	t.Helper()
	p, err := source.PresetOf(preset)
	if err != nil {
		t.Fatal(err)
	}
	v, err := signature.Compile(*p.Source.Signature)
	if err != nil {
		t.Fatal(err)
	}
	r := get(query)
	place, value, err := v.Sign(&signature.Request{Method: "GET", URL: r.Target, Host: r.Host}, &signature.Secrets{Current: []byte(secret)}, noon)
	if err != nil {
		t.Fatal(err)
	}
	origin, name, _ := strings.Cut(place, ":")
	if origin == "header" {
		r.Headers = append(r.Headers, event.Pair{Name: name, Value: value})
	} else {
		r.Target += "&" + name + "=" + url.QueryEscape(value)
	}
	return r
}

// TestDocumentedSenders: a source that was made without a preset learns which
// sender it has, with the secret and without.
func TestDocumentedSenders(t *testing.T) {
	f := func(preset, secret string, queries ...string) {
		t.Helper()
		var requests []Request
		for _, q := range queries {
			requests = append(requests, signed(t, preset, q, secret))
		}
		p := propose(t, Input{Spec: source.Spec{ID: "wall"}, Requests: requests, Secrets: []Secret{{Text: []byte(secret)}}})
		p.says(t, "preset", Proposed, preset)
		if s := p.finding(t, "signature"); s.State != AsIs || s.Seen != len(queries) || s.Of != len(queries) || !strings.Contains(s.Why, "the given secret") {
			t.Errorf("%s: signature %+v", preset, s)
		}
		if p.finding(t, "secret").State != Open || p.Secret != 0 {
			t.Errorf("%s: nothing is said of the secret that is not stored yet", preset)
		}
		live := propose(t, Input{Spec: source.Spec{ID: "wall", Preset: preset}, Requests: requests, Secrets: []Secret{{Text: []byte(secret), Live: true}}})
		live.says(t, "preset", AsIs, preset)
		if live.Diff != "" || live.finding(t, "signature").State != AsIs {
			t.Errorf("%s: %+v\n%s", preset, live.Findings, live.Diff)
		}
		wrong := propose(t, Input{Spec: source.Spec{ID: "wall", Preset: preset}, Requests: requests, Secrets: []Secret{{Text: []byte("not-the-secret"), Live: true}}})
		if s := wrong.finding(t, "signature"); s.State != Open || !strings.Contains(s.Why, "no shape") {
			t.Errorf("%s with a wrong secret: %+v", preset, s)
		}
		without := propose(t, Input{Spec: source.Spec{ID: "wall"}, Requests: requests})
		if s := without.finding(t, "signature"); len(s.Candidates) == 0 || !strings.Contains(s.Candidates[0].Name, "bytes in hex") {
			t.Errorf("%s without a secret: %+v", preset, s)
		}
	}
	f("pubscale", "fa072672-d432-11c4-885a-EB1CdEc4Bb13", "user_id=30356439-8d15-4f47-B133-010a37C19eBD&value=100.1234&token=525a5B8e-512b-441A-a10B-72d218c370e5&payout_usd=0.75",
		"user_id=u2&value=5&token=525a5B8e-512b-441A-a10B-72d218c370e6&payout_usd=0.05")
	f("ayet-studios", "ayetApiKey0123456789", "transaction_id=381f99333613b41392b15183d69a7240308e8461&payout_usd=0.36&currency_amount=360&external_identifier=username&is_chargeback=0&placement_identifier=p1",
		"transaction_id=r-381f99333613b41392b15183d69a7240308e8461&payout_usd=-0.36&currency_amount=-360&external_identifier=username&is_chargeback=1&placement_identifier=p1")
	f("bitlabs", "bitlabsSecretKey", "uid=8cc877ee-af19-488d-b28d-216fb866b996&val=500&tx=t1&raw=0.5&type=complete", "uid=u2&val=10&tx=t2&raw=0.1&type=reconciliation")
}

// TestSignatureOfUnknownSender: no preset knows the sender, so its scheme is
// written into the source, and a weak one is called so.
func TestSignatureOfUnknownSender(t *testing.T) {
	spec := signature.Spec{Algorithm: "md5", Input: "{txn}:{sum}:{@secret}", Signature: signature.Place{In: "query:sig"}}
	v, err := signature.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	var requests []Request
	for _, q := range []string{"txn=A1&sum=5.00&click=c1", "txn=A2&sum=6.00&click=c2", "txn=A3&sum=7.00&click=c3"} {
		r := get(q)
		_, value, err := v.Sign(&signature.Request{URL: r.Target}, &signature.Secrets{Current: []byte("a+b/c=")}, noon)
		if err != nil {
			t.Fatal(err)
		}
		r.Target += "&sig=" + value
		r.Refused, r.Reason = true, "signature"
		requests = append(requests, r)
	}
	p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: requests, Secrets: []Secret{{Text: []byte("a+b/c="), Live: true}}})
	s := p.finding(t, "signature")
	if s.State != Proposed || s.Seen != 3 || s.Of != 3 || !strings.Contains(s.Why, "weak: md5") || !strings.Contains(s.Why, "the source's secret") {
		t.Errorf("%+v", s)
	}
	if p.Spec.Signature == nil || p.Spec.Signature.Input != spec.Input || !strings.Contains(p.Diff, "+  algorithm: md5") {
		t.Errorf("signature %+v\n%s", p.Spec.Signature, p.Diff)
	}
	if strings.Contains(p.Diff, "sig:") || p.Spec.Identity != "txn" {
		t.Errorf("identity %q\n%s", p.Spec.Identity, p.Diff)
	}
}

func TestStandardWebhooks(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	p, err := source.PresetOf("standard-webhooks")
	if err != nil {
		t.Fatal(err)
	}
	v, err := signature.Compile(*p.Source.Signature)
	if err != nil {
		t.Fatal(err)
	}
	r := post("application/json", `{"data":{"call_id":"c1","amount":"5.00","caller":"+13055551234"}}`, "webhook-id", "msg_1", "webhook-timestamp", fmt.Sprint(noon.Unix()))
	_, value, err := v.Sign(&signature.Request{Method: "POST", URL: r.Target, Body: r.Body, ContentType: r.ContentType, Header: func(n string) (string, bool) {
		return map[string]string{"webhook-id": "msg_1", "webhook-timestamp": fmt.Sprint(noon.Unix())}[strings.ToLower(n)], true
	}}, &signature.Secrets{Current: []byte(secret)}, noon)
	if err != nil {
		t.Fatal(err)
	}
	r.Headers = append(r.Headers, event.Pair{Name: "webhook-signature", Value: value})
	got := propose(t, Input{Spec: source.Spec{ID: "hooks"}, Requests: []Request{r}, Secrets: []Secret{{Text: []byte(secret), Live: true}}}, "3055551234", value)
	got.says(t, "preset", Proposed, "standard-webhooks")
	if s := got.finding(t, "signature"); s.State != AsIs || s.Seen != 1 {
		t.Errorf("%+v", s)
	}
}

func TestPeersAreOnlySuggested(t *testing.T) {
	p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: []Request{get("ref_id=a&payout=1"), get("ref_id=b&payout=1")}})
	if f := p.finding(t, "allow_ips"); f.State != Note || len(f.Candidates) != 1 || f.Candidates[0] != (Candidate{Name: "203.0.113.9", Seen: 2}) || p.Spec.AllowIPs != nil {
		t.Errorf("%+v", f)
	}
	p = propose(t, Input{Spec: source.Spec{ID: "acme", AllowIPs: []string{"198.51.100.0/24"}}, Requests: []Request{get("ref_id=a&payout=1")}})
	if f := p.finding(t, "allow_ips"); f.State != Open || f.Candidates[0].Name != "203.0.113.9" {
		t.Errorf("%+v", f)
	}
}

func TestMapperReadsItself(t *testing.T) {
	p := propose(t, Input{Spec: source.Spec{ID: "acme", Mapper: "acme@1"}, Requests: []Request{get("cli=%2B13055551234&sum=5")}})
	if p.finding(t, "mapper").State != Note || p.Diff != "" {
		t.Errorf("%+v\n%s", p.Findings, p.Diff)
	}
	if _, err := Propose(Input{Spec: source.Spec{ID: "acme"}}); err == nil || !strings.Contains(err.Error(), "send one request") {
		t.Errorf("nothing captured: %v", err)
	}
	if _, err := Propose(Input{Spec: source.Spec{ID: "acme", Preset: "nonsense"}, Requests: []Request{get("a=1")}}); err == nil {
		t.Error("a source that does not compile was learnt for")
	}
}

// TestBounds: the largest input is looked at in part, and nothing breaks.
func TestBounds(t *testing.T) {
	var q strings.Builder
	for i := range 3 * FieldsMax {
		fmt.Fprintf(&q, "&f%d=%d", i, i)
	}
	var requests []Request
	for range 2 * RequestsMax {
		requests = append(requests, get(q.String()))
	}
	requests[1] = post("application/json", "["+strings.Repeat(`{"payout":1},`, 3*ReportsMax)+`{"payout":1}]`)
	requests[2] = post("application/json", strings.Repeat(`{"a":`, 5000)+"1"+strings.Repeat("}", 5000))
	requests[3] = post("application/json", `{"broken`)
	requests[4] = get("%zz=%ff&=&&a=%00%1b[31m")
	p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: requests})
	if p.Requests != RequestsMax || p.Reports > ReportsMax || len(p.Diff) > 64<<10 {
		t.Errorf("%d requests, %d reports, %d bytes of diff", p.Requests, p.Reports, len(p.Diff))
	}
}

func FuzzPropose(f *testing.F) {
	f.Add("cli=%2B13055551234&secs=90&rev=5", "", "")
	f.Add("", "application/json", `{"a":{"b":[1,"x",null]},"price":"1.234,56"}`)
	f.Add("txn=r-1&sum=-1&status=ok&sig=0123456789abcdef0123456789abcdef", "application/x-www-form-urlencoded", "a=b&c=%zz")
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		r := get(query)
		r.ContentType, r.Body = contentType, []byte(body)
		p, err := Propose(Input{Spec: source.Spec{ID: "fuzz"}, Requests: []Request{r, r}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Compile(clone(p.Spec)); err != nil {
			t.Fatalf("%v\n%s", err, p.YAML)
		}
		var read source.Spec
		if err := source.DecodeYAML([]byte(p.YAML), &read); err != nil {
			t.Fatalf("%v\n%s", err, p.YAML)
		}
	})
}
