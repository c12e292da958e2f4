package learn

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

func gets(queries ...string) (list []Request) {
	for _, q := range queries {
		list = append(list, get(q))
	}
	return list
}

// TestWordsBeforeMoney: words that nobody knows are named with what follows,
// and beside a known reversal they halt the proposal until a person has said
// what they mean.
func TestWordsBeforeMoney(t *testing.T) {
	f := func(spec source.Spec, said map[string][]string, state State, example, statuses, halt string, why []string, words ...string) {
		t.Helper()
		var requests []Request
		for i, w := range words {
			requests = append(requests, get(fmt.Sprintf("ref_id=r%d&payout=5&status=%s", i, w)))
		}
		p := propose(t, Input{Spec: spec, Requests: requests, Statuses: said})
		s := p.finding(t, "statuses")
		if s.State != state || s.Example != example {
			t.Errorf("%v: %+v", words, s)
		}
		for _, part := range why {
			if !strings.Contains(s.Why, part) {
				t.Errorf("%v: %q is not in %s", words, part, s.Why)
			}
		}
		if got := fmt.Sprint(p.Spec.Statuses); got != statuses {
			t.Errorf("%v: statuses %s, want %s", words, got, statuses)
		}
		if halt == "" && p.Halt != "" || !strings.Contains(p.Halt, halt) {
			t.Errorf("%v: halt %q, want %q in it", words, p.Halt, halt)
		}
	}
	plain, none := source.Spec{ID: "acme"}, "map[]"
	f(plain, nil, Proposed, "SOLD", "map[conversion:[sold] reversal:[void]]", "", []string{"refused from then on"}, "SOLD", "VOID")
	f(plain, nil, Proposed, "Charged-Back", "map[reversal:[charged-back]]", "", nil, "Charged-Back")
	f(plain, nil, Open, "MAYBE", none, "--status reversal=MAYBE", []string{"until statuses says otherwise, MAYBE and VOID count as sales"}, "SOLD", "VOID", "MAYBE")
	f(plain, nil, Open, "Gruen", none, "", []string{"until statuses says otherwise, Gruen counts as a sale"}, "approved", "Gruen")
	f(plain, nil, Open, "w1", none, "void there does not pay", []string{"and 2 more"}, "void", "w1", "w2", "w3", "w4", "w5", "w6", "w7", "w8", "w9")
	f(plain, map[string][]string{"reversal": {"MAYBE"}}, Proposed, "SOLD", "map[conversion:[sold] reversal:[maybe void]]", "", []string{"as you say"}, "SOLD", "VOID", "MAYBE")
	f(plain, map[string][]string{"conversion": {"void"}, "ignore": {"later"}}, Proposed, "SOLD", "map[conversion:[sold void] ignore:[later]]", "", nil, "SOLD", "VOID")
	known := source.Spec{ID: "acme", Statuses: map[string][]string{"conversion": {"SOLD"}, "reversal": {"VOID"}}}
	f(known, nil, Open, "MAYBE", "map[conversion:[SOLD] reversal:[VOID]]", "", []string{"invalid"}, "SOLD", "MAYBE")
	f(known, map[string][]string{"conversion": {"void"}, "ignore": {"MAYBE"}}, Proposed, "SOLD", "map[conversion:[SOLD void] ignore:[maybe]]", "", nil, "SOLD", "MAYBE")

	p := propose(t, Input{Spec: plain, Requests: gets("ref_id=a&payout=5&grund=gut", "ref_id=b&payout=5&grund=schlecht"), Statuses: map[string][]string{"reversal": {"schlecht"}, "conversion": {"gut"}}})
	if p.finding(t, "statuses").State != Proposed || !slices.Equal(p.Spec.Fields["status"], []string{"grund"}) {
		t.Errorf("%+v", p.Spec)
	}
	g := func(said map[string][]string, part string) {
		t.Helper()
		if _, err := Propose(Input{Spec: plain, Requests: gets("ref_id=a&payout=5&x=gut&y=gut"), Statuses: said}); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v: %v, want %q", said, err, part)
		}
	}
	g(map[string][]string{"sale": {"gut"}}, "conversion, reversal, adjustment or ignore")
	g(map[string][]string{"conversion": {"gut"}, "reversal": {"GUT"}}, "already")
	g(map[string][]string{"conversion": {"gut"}}, "2 fields hold")
	g(map[string][]string{"conversion": {"fern"}}, "fields.status")
}

// TestOnlyWhatCanBeCheckedCounts: a request whose signature header is not kept
// is none of those that a scheme is checked on, and our own header is none that
// a sender signs in.
func TestOnlyWhatCanBeCheckedCounts(t *testing.T) {
	const secret = "ayetApiKey0123456789"
	var requests []Request
	for i := range 4 {
		r := signed(t, "ayet-studios", fmt.Sprintf("transaction_id=t%d&payout_usd=0.36&currency_amount=360&external_identifier=u&is_chargeback=0", i), secret)
		if i%2 == 0 {
			r.Headers, r.HeadersCut = nil, true
		}
		requests = append(requests, r)
	}
	p := propose(t, Input{Spec: source.Spec{ID: "wall", Preset: "ayet-studios"}, Requests: requests, Secrets: []Secret{{Text: []byte(secret), Live: true}}})
	if s := p.finding(t, "signature"); s.State != AsIs || s.Seen != 2 || s.Of != 2 || !strings.Contains(s.Why, "on 2 of 2") {
		t.Errorf("%+v", s)
	}
	own := get("ref_id=a&payout=5")
	own.Headers = []event.Pair{{Name: "x-webhook-secret", Value: "***"}}
	p = propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: []Request{own}})
	if slices.ContainsFunc(p.Findings, func(f Finding) bool { return f.What == "signature" }) {
		t.Errorf("%+v", p.finding(t, "signature"))
	}
}

func TestFieldsThatNothingTakes(t *testing.T) {
	p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: gets(
		"caller=%2B13055551234&duration=9&payout=5&agent=bob&deal.no=D1&mail=jane.doe@example.com&backup=%2B13055551299",
		"caller=%2B13055551234&duration=9&payout=5&agent=bob&deal.no=D2&mail=jane.doe@example.com")}, "3055551299", "jane.doe")
	var got []string
	for _, f := range p.Findings {
		if f.What == "field" {
			got = append(got, fmt.Sprintf("%s %s %d/%d %s", f.State, f.Proposed, f.Seen, f.Of, f.Example))
		}
	}
	want := []string{"open deal.no 2/2 D1", "note agent 2/2 bob", "note mail 2/2 ***@example.com", "note backup 1/2 +*******1299"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if f := p.finding(t, "field"); !strings.Contains(f.Why, "identity or fields.ref_id") {
		t.Errorf("%+v", f)
	}
	var many strings.Builder
	for i := range 3 * unusedMax {
		fmt.Fprintf(&many, "&f%d=x", i)
	}
	p = propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: gets("ref_id=a&payout=5" + many.String())})
	if last := p.Findings[len(p.Findings)-2]; !strings.Contains(last.Why, fmt.Sprintf("and %d more", 2*unusedMax)) {
		t.Errorf("%+v", last)
	}
}

// TestStrangersTeachNothing: what only requests say that were refused before
// they showed whose they are is never proposed, but where a secret verifies them.
func TestStrangersTeachNothing(t *testing.T) {
	junk := get("ref_id=r&payout=-5,50&cli=%2B13055551234&status=void&txn=x1")
	for _, reason := range []string{"ip", "signature", "secret", "certificate", "call_key"} {
		requests := []Request{junk}
		requests[0].Refused, requests[0].Reason = true, reason
		var clean []Request
		for i := range 16 {
			clean = append(clean, get(fmt.Sprintf("ref_id=r%d&payout=5", i)))
		}
		p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: append(requests, clean...)}, "305555")
		if p.Diff != "" || p.Halt != "" || p.Requests != 17 || p.Reports != 17 {
			t.Errorf("%s: %d requests, halt %q\n%s", reason, p.Requests, p.Halt, p.Diff)
		}
		for _, name := range []string{"cli", "status", "txn"} {
			if !slices.ContainsFunc(p.Findings, func(f Finding) bool {
				return f.What == "field" && f.State == Open && f.Proposed == name && f.Of == 1 && strings.Contains(f.Why, "refused")
			}) {
				t.Errorf("%s: nothing open is said of %s: %+v", reason, name, p.Findings)
			}
		}
		alone := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: requests})
		if alone.Diff != "" || alone.finding(t, "caller").State != Open || alone.finding(t, "caller").Proposed != "cli" {
			t.Errorf("%s alone: %+v\n%s", reason, alone.Findings, alone.Diff)
		}
	}
	// One that was refused for its content came from the sender.
	late := get("ref_id=r&commission=5")
	late.Refused, late.Reason = true, "bad_request"
	p := propose(t, Input{Spec: source.Spec{ID: "acme"}, Requests: []Request{late}})
	p.says(t, "payout", Proposed, "commission")
	// A source that asks for an address may have refused it before that.
	p = propose(t, Input{Spec: source.Spec{ID: "acme", AllowIPs: []string{"198.51.100.0/24"}}, Requests: []Request{late}})
	p.says(t, "payout", Open, "commission")
}

func TestVerifiedStrangersTeach(t *testing.T) {
	const secret = "shared-by-both-0123456789"
	spec := signature.Spec{Algorithm: "hmac-sha256", Input: "query", Signature: signature.Place{In: "header:X-Signature"}}
	v, err := signature.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	good, foul := get("cli=%2B13055551234&talk_secs=9&commission=5"), get("cli=%2B13055551234&talk_secs=9&commission=5&outcome=void")
	_, value, err := v.Sign(&signature.Request{Method: "GET", URL: good.Target}, &signature.Secrets{Current: []byte(secret)}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*Request{&good, &foul} {
		r.Refused, r.Reason, r.Headers = true, "signature", []event.Pair{{Name: "X-Signature", Value: value}}
	}
	in := Input{Spec: source.Spec{ID: "acme", Signature: &spec}, Requests: []Request{foul, good}, Secrets: []Secret{{Text: []byte(secret)}}}
	p := propose(t, in, "305555")
	p.says(t, "caller", Proposed, "cli")
	if strings.Contains(p.Diff, "outcome") || len(p.Spec.Statuses) > 0 {
		t.Errorf("what was not signed was learnt:\n%s", p.Diff)
	}
	in.Secrets = nil
	if p := propose(t, in, "305555"); p.Diff != "" {
		t.Errorf("learnt without the secret:\n%s", p.Diff)
	}
}
