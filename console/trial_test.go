package console

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/store"
)

// tryer posts what it is given to a bench's ledger as a report on a call.
type tryer struct {
	*feed
	records []*event.Record
}

func (y *tryer) Try(_ context.Context, rec *event.Record) (event.ID, event.Detail, error) {
	y.records = append(y.records, rec)
	id := y.record(*rec, func(e *event.Event) {
		e.Report = event.Report{CallID: "c1", HasPayout: true, Payout: event.Money{Amount: 5 * event.Unit, Currency: "USD"}}
		e.Policy, e.Mapper = y.policy, "builtin"
		event.Identify(e, "acme", "", nil)
	})
	return id, event.Detail{Would: "booked", Value: "5.00"}, nil
}

func (b *bench) info(id string) store.SourceInfo {
	b.t.Helper()
	info, err := b.objects.GetSource(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return info
}

// trials is a bench whose node runs trials.
func trials(t *testing.T) (*bench, *tryer) {
	t.Helper()
	b := fed(t)
	y := &tryer{feed: newFeed(t, b)}
	b.console.cfg.Tryer = y
	return b, y
}

func TestTrialOfEverySender(t *testing.T) {
	b, y := trials(t)
	f := func(id, spec, secret, body string, ok bool, parts ...string) (query url.Values, rec *event.Record) {
		t.Helper()
		b.create(`{"id":"` + id + `"` + spec + `}`)
		if secret != "" {
			b.ask("POST", "/api/v1/sources/"+id+"/secrets", `{"secret":"`+secret+`"}`).is(http.StatusOK, nil)
		}
		had := len(y.records)
		var a trialAnswer
		text := b.ask("POST", "/api/v1/sources/"+id+"/trial", body).is(http.StatusOK, &a).Body.String()
		for _, part := range parts {
			if !strings.Contains(text, part) {
				t.Errorf("%s: %q is not in %s", id, part, text)
			}
		}
		token := tokenOf(b.console.view(b.info(id)).URL)
		if a.OK != ok || (len(y.records) > had) != ok || secret != "" && strings.Contains(text, secret) || strings.Contains(text, token) {
			t.Errorf("%s: ok %t, %d records: %s", id, a.OK, len(y.records)-had, text)
		}
		if !ok || len(y.records) == had {
			return nil, nil
		}
		rec = y.records[len(y.records)-1]
		if rec.Flags&event.FlagTest == 0 || rec.Peer != "" || a.Event == "" || a.Verdict == nil {
			t.Errorf("%s: %+v, %+v", id, rec, a)
		}
		query, err := url.ParseQuery(rec.Query)
		if err != nil {
			t.Fatal(err)
		}
		return query, rec
	}
	// PubScale's own example: the digest that its document gives.
	q, _ := f("pub", `,"preset":"pubscale"`, "fa072672-d432-11c4-885a-EB1CdEc4Bb13",
		`{"set":{"user_id":"30356439-8d15-4f47-B133-010a37C19eBD","value":"100.1234","token":"525a5B8e-512b-441A-a10B-72d218c370e5"}}`, true,
		"one address or prefix", "your own address is not on the list", "the signature is good", "signature=***")
	if q.Get("signature") != "918809ac0e5fcc1960c8875d9e9c8e80" || q.Get("value") != "100.1234" || q.Has("country") {
		t.Errorf("query %v", q)
	}
	q, _ = f("pub2", `,"preset":"pubscale"`, "pubscale-key-1", `{}`, true) // samples stand in
	if q.Get("user_id") != sampleUser || q.Get("value") != "100.00" || !strings.HasPrefix(q.Get("token"), sampleIDPrefix) {
		t.Errorf("query %v", q)
	}
	f("pub3", `,"preset":"pubscale"`, "", `{}`, false, "would be refused", "secret_missing")
	q, _ = f("ayet", `,"preset":"ayet-studios"`, "", `{"set":{"external_identifier":"alice"}}`, true, "takes unsigned requests")
	if q.Get("external_identifier") != "alice" || q.Get("is_chargeback") != "0" {
		t.Errorf("query %v", q)
	}
	_, rec := f("ayet2", `,"preset":"ayet-studios"`, "apikey", `{"set":{"is_chargeback":"1","transaction_id":"r-1"}}`, true, "X-Ayetstudios-Security-Hash: ***")
	if !strings.Contains(rec.Query, "transaction_id=r-1") {
		t.Errorf("query %s", rec.Query)
	}
	q, _ = f("bit", `,"preset":"bitlabs"`, "bitlabs-key-1", `{"set":{"uid":"u 1","val":"5"}}`, true)
	if q.Get("uid") != "u 1" || q.Get("hash") == "" {
		t.Errorf("query %v", q)
	}
	_, rec = f("hooks", `,"preset":"standard-webhooks"`, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", `{"set":{"caller":"+12125550123","payout":"7"}}`, true, "webhook-signature: ***")
	if rec.Method != "POST" || rec.ContentType != "application/json" || !strings.Contains(string(rec.Body), `"payout":"7"`) || rec.Query != "" {
		t.Errorf("%+v %s", rec, rec.Body)
	}
	q, _ = f("odd", `,"fields":{"caller":["cli"],"payout":["data.sum"]}`, "", `{"set":{"cli":"+12125550123","payout":"9"}}`, true)
	if q.Get("cli") != "+12125550123" || q.Get("data.sum") != "9" || q.Has("payout") {
		t.Errorf("query %v", q)
	}
	_, rec = f("form", ``, "", `{"set":{"call_id":"c1"},"method":"post"}`, true)
	if rec.ContentType != "application/x-www-form-urlencoded" || !strings.Contains(string(rec.Body), "call_id=c1") {
		t.Errorf("%+v", rec)
	}
	q, _ = f("gate", `,"preset":"adgate","fields":{"ref_id":["clickid"]}`, "", `{"set":{"s1":"u77"}}`, true)
	if q.Get("clickid") != "u77" || q.Has("ref_id") || q.Get("state") != "approved" {
		t.Errorf("query %v", q)
	}
	_, rec = f("ret", `,"preset":"retreaver"`, "", `{"set":{"call_uuid":"c/1","revenue":"5"}}`, true, "/calls/c%2F1/set_value", "issued here")
	if rec.Flags&event.FlagKeyed == 0 || len(rec.Headers) != 1 || rec.Headers[0] != (event.Pair{Name: event.HeaderCallID, Value: "c/1"}) || rec.Query != "revenue=5" {
		t.Errorf("%+v", rec)
	}
}

func TestTrialRefusesWhatCannotBeMeant(t *testing.T) {
	b, y := trials(t)
	b.create(`{"id":"pub","preset":"pubscale"}`)
	f := func(body string, parts ...string) {
		t.Helper()
		b.ask("POST", "/api/v1/sources/pub/trial", body).fails(http.StatusBadRequest, "bad_request", parts...)
	}
	f(`{"set":{"nonsense":"1","deal.no":"2"}}`, `"deal.no", "nonsense"`, "user_id, value, token", "payout_usd", "name it in the source's fields")
	f(`{"set":{"user_idd":"1"}}`, `did you mean "user_id"`)
	f(`{"set":{"user_id":"`+strings.Repeat("x", 1025)+`"}}`, "1025 bytes")
	f(`{"method":"POST"}`, "POST", "takes GET")
	f(`{"sets":{}}`, `"set"`)
	if len(y.records) > 0 {
		t.Errorf("%d records", len(y.records))
	}
	b.ask("POST", "/api/v1/sources/pubb/trial", `{}`).fails(http.StatusNotFound, "not_found", `"pub"`)
	b.console.cfg.Tryer = nil
	b.ask("POST", "/api/v1/sources/pub/trial", `{}`).fails(http.StatusServiceUnavailable, "node_not_running", "tallyhook serve")
}

// late is a node that does not come to it.
type late struct{}

func (late) Try(context.Context, *event.Record) (event.ID, event.Detail, error) {
	return event.ID{Stream: 3, Seq: 7}, event.Detail{}, context.DeadlineExceeded
}

func TestTrialThatIsLate(t *testing.T) {
	b := newBench(t)
	b.create(`{"id":"acme"}`)
	b.console.cfg.Tryer = late{}
	b.ask("POST", "/api/v1/sources/acme/trial", `{}`).fails(http.StatusServiceUnavailable, "timed_out", "event 3-7")
}

// TestTrialOfUnreadNames: where no template says what a sender can send, any
// name goes as it is, as a path into JSON where the sender posts.
func TestTrialOfUnreadNames(t *testing.T) {
	b, y := trials(t)
	b.create(`{"id":"any"}`)
	var a trialAnswer
	b.ask("POST", "/api/v1/sources/any/trial", `{"set":{"Deal.No":"A-7","calller":"x","payout":"5"}}`).is(http.StatusOK, &a)
	rec := y.records[len(y.records)-1]
	if q, _ := url.ParseQuery(rec.Query); q.Get("Deal.No") != "A-7" || q.Get("calller") != "x" || q.Get("payout") == "" && !strings.Contains(rec.Query, "=5") {
		t.Errorf("query %s", rec.Query)
	}
	var said strings.Builder
	for _, s := range a.Signature {
		said.WriteString(s.Text + "\n")
	}
	for _, part := range []string{`"Deal.No" is sent as it is, and the source reads nothing from it`, `did you mean "caller`} {
		if !strings.Contains(said.String(), part) {
			t.Errorf("%q is not in %s", part, said.String())
		}
	}
	b.ask("POST", "/api/v1/sources/any/trial", `{"set":{"deal.no":"A-7","deal.kind":"x"},"method":"POST"}`).is(http.StatusOK, &a)
	rec = y.records[len(y.records)-1]
	if rec.ContentType != "application/json" || !strings.Contains(string(rec.Body), `"deal":{"kind":"x","no":"A-7"}`) {
		t.Errorf("%s %s", rec.ContentType, rec.Body)
	}
	b.ask("POST", "/api/v1/sources/any/trial", `{"set":{"a b":"1","{x}":"2"}}`).fails(http.StatusBadRequest, "bad_request", `"a b", "{x}"`)
}

// TestTrialSaysOnceWhatIsMalformed: a value that cannot be signed is named in
// words, in the check and nowhere else.
func TestTrialSaysOnceWhatIsMalformed(t *testing.T) {
	b, _ := trials(t)
	b.create(`{"id":"pub","preset":"pubscale"}`)
	b.ask("POST", "/api/v1/sources/pub/secrets", `{"secret":"pubscale-key-1"}`).is(http.StatusOK, nil)
	var a trialAnswer
	text := b.ask("POST", "/api/v1/sources/pub/trial", `{"set":{"value":"abc"}}`).is(http.StatusOK, &a).Body.String()
	if a.OK || strings.Contains(text, "field_malformed") || strings.Count(text, "such as a number") != 1 || !strings.Contains(a.Sentence, `the check "sign"`) {
		t.Errorf("%s", text)
	}
}
