package sink_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/store"
	"github.com/tallyhook/tallyhook/store/storetest"
)

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// poster is what the ledger's suites need of a backend.
type poster interface {
	Post(ctx context.Context, b *event.Batch) (sink.Result, error)
}

// harness feeds a ledger with batches made by hand, without journal or mapper.
type harness struct {
	t       testing.TB
	db      *store.DB
	ledger  poster
	stream  uint32
	seq     uint64
	now     int64 // received_at of the next record, microseconds
	policy  map[string]*event.Policy
	indexed int64 // Batch.IndexedThrough: 0 confirms everything in the store
}

// day0 is when every test begins.
var day0 = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC).UnixMicro()

const (
	second = int64(1_000_000)
	minute = 60 * second
	hour   = 60 * minute
)

// ledgers opens an empty ledger of each backend.
var ledgers = map[string]func(t testing.TB) *harness{
	"sqlite":   func(t testing.TB) *harness { return openLedger(t, storetest.SQLite(t)) },
	"postgres": func(t testing.TB) *harness { return openLedger(t, postgresAsApp(t)) },
}

// postgresAsApp gives the URL of a new store for the role that nodes shall
// have: one that cannot change what is booked.
func postgresAsApp(t testing.TB) string {
	return storetest.Postgres(t)
}

func openLedger(t testing.TB, url string) *harness {
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	h := &harness{t: t, db: db, now: day0, policy: map[string]*event.Policy{"s": testPolicy("s")}}
	h.ledger = h.another()
	h.newStream()
	return h
}

// close gives back what the store's server has of it before the test ends.
func (h *harness) close() {
	h.ledger.(*sink.Ledger).Close()
	h.db.Close()
}

// another opens one more ledger on the store, as another process would.
func (h *harness) another() *sink.Ledger {
	cfg := sink.LedgerConfig{Postgres: h.db.Pool, Decide: match.Decide, Policy: func(id string) *event.Policy { return h.policy[id] }, Now: time.Now}
	if !h.db.Postgres() {
		cfg.SQLite = h.db.Write
	}
	l, err := sink.OpenLedger(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	return l
}

func testPolicy(id string) *event.Policy {
	return &event.Policy{Source: id, Currency: "USD", Window: event.DefaultWindow, DurationTolerance: event.DefaultDurationTolerance,
		DedupeWindow: event.DefaultDedupeWindow, ParkFor: event.DefaultParkFor, AmountMax: event.DefaultAmountMax}
}

// wipe goes on in a new journal folder; the one before is gone, and with it
// whatever its node could still have said.
func (h *harness) wipe() {
	h.exec(`UPDATE stream SET seen_at = 0`)
	h.newStream()
}

// newStream goes on in a new journal folder.
func (h *harness) newStream() {
	n, err := h.db.NewStream(h.t.Context(), "node", time.UnixMicro(h.now))
	if err != nil {
		h.t.Fatal(err)
	}
	h.stream, h.seq = n, 1
}

// told is one record: a call, or the reports of one postback.
type told struct {
	call    *event.Call
	source  string
	id      string // strong identity, "" for none
	test    bool
	reports []event.Report
}

func callOf(c event.Call) told { return told{call: &c} }

// pays is a postback of source "s" that reports an amount.
func pays(amount string, r event.Report) told {
	v, err := event.ParseAmount(amount)
	if err != nil {
		panic(err)
	}
	r.Payout, r.HasPayout = event.Money{Amount: v, Currency: "USD"}, true
	return told{source: "s", reports: []event.Report{r}}
}

func (p told) strong(id string) told { p.id = id; return p }

// batch builds a batch of the next records, all received now.
func (h *harness) batch(list ...told) *event.Batch {
	b := new(event.Batch)
	for _, p := range list {
		rec := event.Record{Kind: event.RecordPostback, Source: p.source, Method: "GET"}
		if p.call != nil {
			rec.Kind, rec.Body = event.RecordCalls, event.AppendCall(nil, p.call)
		}
		if p.test {
			rec.Flags |= event.FlagTest
		}
		if err := b.Add(event.ID{Stream: h.stream, Seq: h.seq}, h.now, event.AppendRecord(nil, &rec)); err != nil {
			h.t.Fatal(err)
		}
		h.seq++
	}
	for i, p := range list {
		if p.call != nil {
			e := b.NewEvent(&b.Records[i], 0)
			e.IsCall, e.Call = true, *p.call
			continue
		}
		for n := range p.reports {
			e := b.NewEvent(&b.Records[i], n)
			e.Report, e.Policy, e.Mapper = p.reports[n], h.policy[p.source], "test"
			event.Identify(e, p.source, p.id, nil)
		}
	}
	b.Watermark, b.IndexedThrough = h.now, h.indexed
	return b
}

// post posts list as one batch and returns the verdicts of its reports.
func (h *harness) post(list ...told) []event.Verdict {
	h.t.Helper()
	b := h.batch(list...)
	if _, err := h.ledger.Post(h.t.Context(), b); err != nil {
		h.t.Fatal(err)
	}
	var vs []event.Verdict
	for i := range b.Events {
		if !b.Events[i].IsCall {
			vs = append(vs, b.Events[i].Verdict)
		}
	}
	return vs
}

// tick lets the parked events that are due end.
func (h *harness) tick() {
	h.t.Helper()
	if _, err := h.ledger.Post(h.t.Context(), &event.Batch{Stream: h.stream, Watermark: h.now}); err != nil {
		h.t.Fatal(err)
	}
}

// value reads what is booked on a call: value, publisher's share and status.
func (h *harness) value(call string) (value, share, status string) {
	h.t.Helper()
	var v, s event.Amount
	err := h.db.Read.QueryRow(`SELECT s.value, s.share, s.status FROM call c JOIN call_state s ON s.no = c.no WHERE c.call_id = $1`, call).Scan((*int64)(&v), (*int64)(&s), &status)
	if err != nil {
		return "", "", ""
	}
	return v.String(), s.String(), status
}

// verify fails the test when an invariant of the ledger is broken.
func (h *harness) verify() {
	h.t.Helper()
	f, err := sink.Verify(h.t.Context(), h.db.Read, func(string, int64, int64) {})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, c := range f.Checks {
		if !c.OK {
			h.t.Errorf("%s %s: %s", c.ID, c.Title, c.Fault)
		}
	}
}

// assign sets a payout rule.
func (h *harness) assign(campaign, publisher, payout string) {
	h.t.Helper()
	if _, err := h.db.Write.Exec(`INSERT INTO rule (campaign, publisher, payout, created_at) VALUES ($1, $2, $3, 1)`, campaign, publisher, payout); err != nil {
		h.t.Fatal(err)
	}
}
