package console

import (
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/sink"
)

// feed posts calls and postbacks to a bench's ledger as a node would, one
// record a batch, each a second after the one before.
type feed struct {
	t      *testing.T
	ledger *sink.Ledger
	policy *event.Policy
	id     event.ID
	at     time.Time
}

func newFeed(t *testing.T, b *bench) *feed {
	t.Helper()
	f := &feed{t: t, at: day0.Add(-time.Hour), policy: &event.Policy{Source: "acme", Currency: "USD", Window: event.DefaultWindow,
		DurationTolerance: event.DefaultDurationTolerance, DedupeWindow: event.DefaultDedupeWindow, ParkFor: event.DefaultParkFor, AmountMax: event.DefaultAmountMax}}
	stream, err := b.db.NewStream(t.Context(), "n1", f.at)
	if err != nil {
		t.Fatal(err)
	}
	f.id = event.ID{Stream: stream}
	f.ledger, err = sink.OpenLedger(sink.LedgerConfig{SQLite: b.db.Write, Decide: match.Decide, Policy: func(string) *event.Policy { return f.policy }, Now: func() time.Time { return f.at }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.ledger.Close() })
	return f
}

// record posts one record; fill makes its event.
func (f *feed) record(rec event.Record, fill func(e *event.Event)) event.ID {
	f.t.Helper()
	f.id.Seq++
	f.at = f.at.Add(time.Second)
	b := new(event.Batch)
	if err := b.Add(f.id, f.at.UnixMicro(), event.AppendRecord(nil, &rec)); err != nil {
		f.t.Fatal(err)
	}
	e := b.NewEvent(&b.Records[0], 0)
	fill(e)
	b.Watermark = f.at.UnixMicro()
	if _, err := f.ledger.Post(f.t.Context(), b); err != nil {
		f.t.Fatal(err)
	}
	return f.id
}

func (f *feed) call(c event.Call) {
	f.t.Helper()
	f.record(event.Record{Kind: event.RecordCalls, Source: "calls", Body: event.AppendCall(nil, &c)}, func(e *event.Event) { e.IsCall, e.Call = true, c })
}

// pays posts a postback with a payout for a call.
func (f *feed) pays(callID, amount string) event.ID {
	f.t.Helper()
	v, err := event.ParseAmount(amount)
	if err != nil {
		f.t.Fatal(err)
	}
	rec := event.Record{Kind: event.RecordPostback, Source: "acme", Method: "GET", Query: "call_id=" + callID + "&payout=" + amount, Peer: "192.0.2.9",
		Headers: []event.Pair{{Name: "User-Agent", Value: "acme/1"}}}
	return f.record(rec, func(e *event.Event) {
		e.Report = event.Report{CallID: callID, Payout: event.Money{Amount: v, Currency: "USD"}, HasPayout: true, Extra: []event.Pair{{Name: "note", Value: "hello"}}}
		e.Policy, e.Mapper = f.policy, "builtin"
		event.Identify(e, "acme", "", nil)
	})
}

// fed is a bench with a network, two calls and four postbacks.
func fed(t *testing.T) *bench {
	t.Helper()
	b := newBench(t)
	b.ask("POST", "/api/v1/apply", networkYAML, "Content-Type", "application/yaml").is(200, nil)
	f := newFeed(t, b)
	for _, id := range []string{"c1", "c/2 ü"} {
		f.call(event.Call{CallID: id, Caller: "+12125550123", StartedAt: f.at.UnixMicro(), Duration: event.Seconds{N: 90, OK: true},
			Campaign: "roofing", Publisher: "pub-7", Buyer: "acme", NetworkIDs: []event.Pair{{Name: "ringba", Value: "RGB1"}}})
	}
	f.pays("c1", "50.00")
	f.pays("c1", "60")
	f.pays("c/2 ü", "0")
	f.pays("stranger", "7.125")
	return b
}
