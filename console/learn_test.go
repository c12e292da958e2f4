package console

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source/learn"
)

// capture has the bench's console know requests of a source that intake has whole.
func (b *bench) capture(list ...learn.Request) {
	b.console.cfg.Captured = func(string) []learn.Request { return list }
}

func captured(b *bench, query string) learn.Request {
	return learn.Request{At: b.now, Method: "GET", Target: "/v1/postbacks/x?" + query, Host: "in.example.com", Peer: "203.0.113.9"}
}

func TestLearnAndApply(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"acme"}`)
	b.ask("POST", "/api/v1/sources/acme/learn", `{}`).fails(http.StatusNotFound, "not_found", `"acme"`, "send one request")
	b.ask("POST", "/api/v1/sources/acm/learn", `{}`).fails(http.StatusNotFound, "not_found", `did you mean "acme"`)
	b.capture(captured(b, "cli=%2B13055551234&talk_secs=90&commission=50.00"))
	var p learned
	b.ask("POST", "/api/v1/sources/acme/learn", `{}`).is(http.StatusOK, &p)
	if p.Applied || !strings.Contains(p.Diff, "+  - cli") {
		t.Fatalf("%+v", p)
	}
	if names := b.live().ByID("acme").Names; names[3][0] == "cli" {
		t.Error("the source was changed by being looked at")
	}
	a := b.ask("POST", "/api/v1/sources/acme/learn", `{"apply":true}`).is(http.StatusOK, &p)
	if strings.Contains(a.Body.String(), "3055551234") {
		t.Errorf("a caller's number is in %s", a.Body)
	}
	if !p.Applied || b.live().ByID("acme").Names[3][0] != "cli" {
		t.Errorf("not applied: %+v", p)
	}
	audit := b.ask("GET", "/api/v1/audit?limit=1", "").Body.String()
	if !strings.Contains(audit, "update") || !strings.Contains(audit, "commission") {
		t.Errorf("audit %s", audit)
	}
	changes := b.changes
	b.ask("POST", "/api/v1/sources/acme/learn", `{"apply":true}`).is(http.StatusOK, &p)
	if p.Applied || p.Diff != "" || b.changes != changes {
		t.Errorf("learnt twice: %+v", p)
	}
}

// TestLearnStoresTheSecret: a secret by which requests verify becomes the
// source's with the change, and no answer, log or audit holds it.
func TestLearnStoresTheSecret(t *testing.T) {
	const secret = "fa072672-d432-11c4-885a-EB1CdEc4Bb13"
	b := newBench(t)
	b.create(`{"id":"wall"}`)
	refused := captured(b, "user_id=30356439-8d15-4f47-B133-010a37C19eBD&value=100.1234&token=525a5B8e-512b-441A-a10B-72d218c370e5&signature=918809ac0e5fcc1960c8875d9e9c8e80")
	refused.Refused, refused.Reason = true, "signature"
	b.capture(refused)
	said := b.ask("POST", "/api/v1/sources/wall/learn", `{"secret":"not-it","apply":false}`).is(http.StatusOK, nil).Body.String()
	var p learned
	said += b.ask("POST", "/api/v1/sources/wall/learn", `{"secret":"`+secret+`","apply":true}`).is(http.StatusOK, &p).Body.String()
	if !p.Applied || !p.SecretStored || p.Preset != "pubscale" {
		t.Fatalf("%+v", p)
	}
	src := b.live().ByID("wall")
	if src.Verifier == nil || src.Signing == nil || string(src.Signing.Current) != secret {
		t.Errorf("the source has no verifier or not the secret")
	}
	// Next time its own secret is tried.
	a := b.ask("POST", "/api/v1/sources/wall/learn", `{}`).is(http.StatusOK, &p)
	if p.Diff != "" || !strings.Contains(a.Body.String(), "verifies with the source's secret on 1 of 1") {
		t.Errorf("%s", a.Body)
	}
	said += a.Body.String() + b.ask("GET", "/api/v1/audit", "").Body.String() + b.log.String()
	for _, hidden := range []string{secret, "not-it", "918809ac0e5fcc"} {
		if strings.Contains(said, hidden) {
			t.Errorf("%q is in\n%s", hidden, said)
		}
	}
	b.ask("POST", "/api/v1/sources/wall/learn", `{"secret":"`+strings.Repeat("x", 1025)+`"}`).fails(http.StatusBadRequest, "bad_request", "1025 bytes")
	b.ask("POST", "/api/v1/sources/wall/learn", `{"secrets":"x"}`).fails(http.StatusBadRequest, "bad_request", `"secret"`)
}

// TestLearnFromTheVerdictLog: what was taken is learnt from as well, once.
func TestLearnFromTheVerdictLog(t *testing.T) {
	b := fed(t)
	var p learned
	b.ask("POST", "/api/v1/sources/acme/learn", `{}`).is(http.StatusOK, &p)
	if p.Requests != 4 || p.Reports != 4 {
		t.Fatalf("%d requests, %d reports, want 4", p.Requests, p.Reports)
	}
	b.capture(learn.Request{At: b.now.Add(-time.Minute), Method: "GET", Target: "/v1/postbacks/x?call_id=c1&payout=60", Peer: "192.0.2.9"})
	b.ask("POST", "/api/v1/sources/acme/learn", `{}`).is(http.StatusOK, &p)
	if p.Requests != 4 {
		t.Errorf("%d requests: one that the node has whole counts twice", p.Requests)
	}
	// Of what only the log has, not every header is kept, and learning is told so.
	info := b.info("acme")
	list, err := b.console.captured(t.Context(), &info)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d requests, %v", len(list), err)
	}
	for _, r := range list {
		if whole := r.Target == "/v1/postbacks/x?call_id=c1&payout=60"; r.HeadersCut == whole {
			t.Errorf("%s: headers cut: %t", r.Target, r.HeadersCut)
		}
	}
	// A trial is none of the sender's.
	f := newFeed(t, b)
	rec := event.Record{Kind: event.RecordPostback, Flags: event.FlagTest, Source: "acme", Method: "GET", Query: "call_id=c1&payout=1"}
	f.record(rec, func(e *event.Event) {
		e.Report = event.Report{CallID: "c1", HasPayout: true}
		e.Policy, e.Mapper = f.policy, "builtin"
		event.Identify(e, "acme", "", nil)
	})
	b.ask("POST", "/api/v1/sources/acme/learn", `{}`).is(http.StatusOK, &p)
	if p.Requests != 4 {
		t.Errorf("%d requests: a trial is learnt from", p.Requests)
	}
}

// TestApplyHaltsBeforeMoney: as long as one word beside a known reversal has no
// meaning, nothing is applied, and the answer says how to give it one.
func TestApplyHaltsBeforeMoney(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"acme"}`)
	b.capture(captured(b, "cli=%2B13055551234&talk_secs=90&commission=50.00&outcome=SOLD"), captured(b, "cli=%2B13055551235&talk_secs=90&commission=50.00&outcome=VOID"),
		captured(b, "cli=%2B13055551236&talk_secs=90&commission=50.00&outcome=MAYBE"))
	changes := b.changes
	b.ask("POST", "/api/v1/sources/acme/learn", `{"apply":true}`).fails(http.StatusConflict, "conflict", "MAYBE", "VOID there does not pay", "--status reversal=MAYBE")
	if names := b.live().ByID("acme").Names; names[3][0] == "cli" || b.changes != changes {
		t.Error("the source was changed though a word has no meaning")
	}
	b.ask("POST", "/api/v1/sources/acme/learn", `{}`).is(http.StatusOK, nil)
	// Once each word has a meaning, it is applied.
	var p learned
	b.ask("POST", "/api/v1/sources/acme/learn", `{"apply":true,"statuses":{"ignore":["MAYBE"]}}`).is(http.StatusOK, &p)
	if m, ok := b.live().ByID("acme").MeaningOf("VOID"); !p.Applied || !ok || m.Kind != event.Reversal {
		t.Errorf("%+v: VOID means %v", p, m)
	}
	b.ask("POST", "/api/v1/sources/acme/learn", `{"statuses":{"sale":["MAYBE"]}}`).fails(http.StatusBadRequest, "bad_request", "conversion, reversal, adjustment or ignore")
}

// TestLearnAfterRefusals: a request that was refused before it showed whose it
// is changes nothing.
func TestLearnAfterRefusals(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"acme"}`)
	foul := captured(b, "cli=%2B13055551234&talk_secs=90&commission=50.00")
	foul.Refused, foul.Reason = true, "ip"
	b.capture(foul)
	var p learned
	b.ask("POST", "/api/v1/sources/acme/learn", `{"apply":true}`).is(http.StatusOK, &p)
	if p.Applied || p.Diff != "" {
		t.Errorf("%+v", p)
	}
}
