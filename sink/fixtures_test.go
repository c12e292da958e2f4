package sink_test

import (
	"path/filepath"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/store"
)

// fixture is a store filled by hand, without the ledger that usually writes it.
type fixture struct {
	t  testing.TB
	db *store.DB
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "fixture.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	f := &fixture{t, db}
	f.exec(`PRAGMA synchronous = 0`) // a fixture need not survive a power cut
	return f
}

func (f *fixture) exec(statement string, args ...any) {
	f.t.Helper()
	if _, err := f.db.Write.Exec(statement, args...); err != nil {
		f.t.Fatalf("%s: %v", statement, err)
	}
}

// logRow is one revision of a verdict as any backend of activity is given it.
// Zero texts and pointers are absent.
type logRow struct {
	change             int64
	id                 event.ID
	revision           int // 0 is 1
	status             event.Status
	reason             event.Reason
	detail             string
	source             string // "" is s1
	receivedAt         int64  // 0 is day0 and one second for each sequence number
	decidedAt          int64  // 0 is a millisecond after that
	strategy           string
	candidates         int
	considered         string
	call               int64
	callID, callCaller string
	caller             string
	duration           any
	payout             any
	currency           string
	value              any
	delta, shareDelta  event.Amount
	total              int64 // latency, 0 is 1000
	report             string
	raw                []byte
}

func (r *logRow) fill() {
	r.revision = max(r.revision, 1)
	if r.source == "" {
		r.source = "s1"
	}
	if r.receivedAt == 0 {
		r.receivedAt = day0 + int64(r.id.Seq)*second
	}
	if r.decidedAt == 0 {
		r.decidedAt = r.receivedAt + 1000
	}
	if r.total == 0 {
		r.total = 1000
	}
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (f *fixture) verdicts(rows ...logRow) {
	f.t.Helper()
	for _, r := range rows {
		r.fill()
		var call any
		if r.call != 0 {
			call = r.call
		}
		f.exec(`INSERT INTO verdict (change_seq, stream, seq, n, revision, final, status, reason, detail, source, received_at, decided_at, kind, strategy, candidates, considered,
call, call_id, call_caller, caller, duration, payout, currency, value, delta, share_delta, mapper, peer, us_queue, us_map, us_match, us_total, report, raw)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,'conversion',?,?,?,?,?,?,?,?,?,?,?,?,?,'builtin','203.0.113.9',10,20,30,?,?,?)`,
			r.change, int64(r.id.Stream), int64(r.id.Seq), int64(r.id.N), r.revision, r.status.Final(), r.status.String(), string(r.reason), orNull(r.detail), r.source, r.receivedAt, r.decidedAt,
			r.strategy, r.candidates, orNull(r.considered), call, orNull(r.callID), orNull(r.callCaller), orNull(r.caller), r.duration, r.payout, orNull(r.currency), r.value,
			int64(r.delta), int64(r.shareDelta), r.total, orNull(r.report), r.raw)
	}
}

const usd = int64(event.Unit)

// ledger fills the store with a small consistent ledger:
//
//	c1  50.00, then 60.00; 80 % of it are publisher p1's
//	c2  20.00 by an event that was parked first; then its buyer changes
//	c3  30.00, then taken back
//	c4  unqualified at once
//
// and with a repeat and an event that still waits.
func (f *fixture) ledger() {
	f.t.Helper()
	f.exec(`INSERT INTO stream (stream, node, created_at, next_seq, received_at) VALUES (1, 'a', 1, 20, ?)`, day0+19*second)
	f.exec(`INSERT INTO rule (id, campaign, publisher, payout, created_at) VALUES (1, 'k', 'p1', 'percent 80', 1)`)
	for _, c := range [][]any{
		{1, "c1", "r1", "secret-key", `{"ringba":"RG1"}`, "+15550000001", day0 - minute, day0, 125, "k", "p1", "acme", nil},
		{2, "c2", nil, nil, nil, "+15550000002", nil, nil, nil, nil, nil, "beta", 1},
		{3, "c3", nil, nil, nil, nil, nil, nil, nil, nil, nil, "acme", 1},
		{4, "c4", nil, nil, nil, nil, nil, nil, nil, "k", "p1", "acme", 1},
		{5, "c5", nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil},
	} {
		f.exec(`INSERT INTO call (no, call_id, ref_id, key, network_ids, caller, started_at, ended_at, duration, campaign, publisher, buyer, qualified, ranks, change_seq)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,x'',1)`, c...)
	}
	for i, a := range [][2]string{{"buyer_receivable", "acme"}, {"network_revenue", ""}, {"network_publisher_cost", ""}, {"publisher_pending", "p1"}, {"buyer_receivable", "beta"}} {
		f.exec(`INSERT INTO account (id, kind, owner, currency) VALUES (?, ?, ?, 'USD')`, i+1, a[0], a[1])
	}
	id := func(seq uint64) event.ID { return event.ID{Stream: 1, Seq: seq} }
	booked := func(change int64, seq uint64, call int64, status event.Status, value, delta, share int64) logRow {
		return logRow{change: change, id: id(seq), status: status, strategy: "ref_id", candidates: 1, call: call, callID: "c" + string(rune('0'+call)), callCaller: "+1555000000" + string(rune('0'+call)),
			caller: "+15550000001", duration: 125, payout: value * usd, currency: "USD", value: value * usd, delta: event.Amount(delta * usd), shareDelta: event.Amount(share * usd),
			report: `{"kind":"conversion","ref_id":"r1","payout":"50.00"}`}
	}
	first, settled := booked(1, 2, 1, event.Booked, 50, 50, 40), booked(6, 3, 2, event.Booked, 20, 20, 0)
	first.raw = newRaw(f.t).Append(nil, &event.Record{Method: "GET", Query: "ref_id=r1&key=abc", Peer: "203.0.113.9"})
	settled.revision, settled.decidedAt = 2, day0+5*second
	f.verdicts(first,
		logRow{change: 2, id: id(3), status: event.Parked, reason: event.NoSuchRef, detail: `{"field":"ref_id","got":"r2"}`},
		booked(3, 4, 1, event.Booked, 60, 10, 8),
		logRow{change: 4, id: id(5), status: event.Duplicate, reason: event.SameEvent, detail: `{"of":"1-4"}`, call: 1, callID: "c1"},
		logRow{change: 5, id: id(6), status: event.Parked, reason: event.NoSuchRef, considered: `[{"call_id":"c5","fits":false,"why":"no_duration","missed_by":0}]`},
		settled,
		booked(7, 8, 3, event.Booked, 30, 30, 0), booked(8, 9, 3, event.Reversed, 0, -30, 0), booked(9, 11, 4, event.Unqualified, 0, 0, 0))
	for _, p := range [][]any{
		{1, 2, 1, "conversion", 50, 40, 50, 40, 1}, {2, 4, 1, "conversion", 60, 48, 10, 8, 1}, {3, 3, 2, "conversion", 20, 0, 20, 0, 0},
		{4, 8, 3, "conversion", 30, 0, 30, 0, 0}, {5, 9, 3, "reversal", 0, 0, -30, 0, 0}, {6, 10, 2, "call", 20, 0, 0, 0, 0},
	} {
		f.exec(`INSERT INTO posting (no, stream, seq, n, call, cause, source, received_at, currency, value, share, delta, share_delta, rule)
VALUES (?1, 1, ?2, 0, ?3, ?4, 's1', ?10 + ?2 * 1000000, 'USD', ?5 * 1000000, ?6 * 1000000, ?7 * 1000000, ?8 * 1000000, ?9)`, append(p, day0)...)
	}
	for _, t := range [][]any{{1, 1, 1, 2, 50}, {1, 2, 3, 4, 40}, {2, 1, 1, 2, 10}, {2, 2, 3, 4, 8}, {3, 1, 1, 2, 20}, {4, 1, 1, 2, 30}, {5, 1, 2, 1, 30}, {6, 1, 2, 1, 20}, {6, 2, 5, 2, 20}} {
		f.exec(`INSERT INTO transfer (posting, line, debit_account, credit_account, amount, currency) VALUES (?, ?, ?, ?, ? * 1000000, 'USD')`, t...)
	}
	f.exec(`INSERT INTO balance SELECT account, sum(d), sum(c), max(posting) FROM (SELECT debit_account AS account, amount AS d, 0 AS c, posting FROM transfer
UNION ALL SELECT credit_account, 0, amount, posting FROM transfer) GROUP BY account`)
	for _, s := range [][]any{{1, 60, 48, "booked", 1, 1, 4, 4, 2}, {2, 20, 0, "booked", 0, 5, 0, 3, 6}, {3, 0, 0, "reversed", 0, 1, 0, 9, 5}, {4, 0, 0, "unqualified", 1, 0, 0, 11, 0}} {
		f.exec(`INSERT INTO call_state (no, currency, value, share, status, rule, buyer_account, publisher_account, priced_by, rank_at, rank_stream, rank_seq, rank_n, last_posting)
VALUES (?1, 'USD', ?2 * 1000000, ?3 * 1000000, ?4, ?5, ?6, ?7, 0, ?10 + ?8 * 1000000, 1, ?8, 0, ?9)`, append(s, day0)...)
	}
	f.exec(`INSERT INTO parked (stream, seq, n, deadline, identity) VALUES (1, 6, 0, ?, x'02')`, day0+10*minute)
	f.exec(`INSERT INTO parked_key (hash, stream, seq, n) VALUES (77, 1, 6, 0)`)
}

// unlock lets a test break what the schema forbids.
func (f *fixture) unlock() {
	f.exec(`PRAGMA foreign_keys = 0`)
	f.exec(`PRAGMA ignore_check_constraints = 1`)
	for _, trigger := range []string{"posting_no_update", "posting_no_delete", "transfer_no_update", "transfer_no_delete"} {
		f.exec(`DROP TRIGGER ` + trigger)
	}
}
