package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
)

// Everything told arrives once, the newest revision of each event in activity,
// all of them in activity_revisions.
func TestShips(t *testing.T) {
	t.Parallel()
	for name, openWorld := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			s := open(t, services.ClickHouse(t))
			w.tell(
				verdict{seq: 1, status: "parked", reason: "no_such_ref", interim: true, detail: `{"field":"ref_id","got":"r1"}`, report: `{"kind":"conversion","ref_id":"r1","extra":{"click":"7"}}`},
				verdict{seq: 2, n: 3, status: "unmatched", reason: "no_caller", payout: int64(12_500_000), currency: "USD"},
			)
			sh, _ := run(t, s, w.config())
			w.shipped(sh)
			w.tell(verdict{seq: 1, revision: 2, after: time.Minute, callID: "c1", strategy: "ref_id", payout: int64(50_000_000), value: int64(50_000_000), delta: 50_000_000, shareDelta: 40_000_000, currency: "USD",
				report: `{"kind":"conversion","ref_id":"r1","extra":{"click":"7"}}`})
			w.shipped(sh)
			f := func(query, want string) {
				t.Helper()
				if got := table(t, s, query); got != want {
					t.Errorf("%s\ngave\n%s\nwant\n%s", query, got, want)
				}
			}
			f(`SELECT event, status, revision, final, matched, payout, value, delta, share_delta, us_total, ref_id, extra['click'], source FROM activity ORDER BY event`,
				"1-1 | booked | 2 | 1 | 1 | 50 | 50 | 50 | 40 | 60000000 | r1 | 7 | acme\n1-2.3 | unmatched | 1 | 1 | 0 | 12.5 | <nil> | 0 | 0 | 2000 |  |  | acme")
			f(`SELECT event, revision, status, final FROM activity_revisions ORDER BY change_seq`, "1-1 | 1 | parked | 0\n1-2.3 | 1 | unmatched | 1\n1-1 | 2 | booked | 1")
			st := sh.Status()
			if !st.Holding || st.Through != 3 || st.Head != 3 || st.LagRows != 0 || st.Lag != 0 || st.LastError != "" || st.Rows != 3 {
				t.Errorf("status %+v", st)
			}
		})
	}
}

// A backlog goes out in ranges, each day of it on its own, and the calls of
// verdicts come along.
func TestShipsBacklogOverDays(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.exec(`INSERT INTO call (no, call_id, caller, started_at, duration, campaign, publisher, buyer, ranks, change_seq) VALUES (7, 'c7', '+13055550107', $1, 90, 'solar', 'pat', 'acme-b', x'00', 1)`, day0.UnixMicro())
	const total = 25_000
	list := make([]verdict, total)
	for i := range list {
		list[i] = verdict{at: day0.Add(time.Duration(i) * 10 * time.Second), call: 7, callID: "c7", caller: fmt.Sprintf("+1305555%04d", i%10_000)}
	}
	w.tell(list...)
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	if got := table(t, s, `SELECT count(), uniqExact(event), uniqExact(toDate(received_at)), uniqExact(batch), any(buyer), any(publisher), any(campaign), any(call_duration), any(call_ended_at) FROM activity`); got !=
		"25000 | 25000 | 4 | 3 | acme-b | pat | solar | 90 | 2026-03-02T12:01:30.000000Z" {
		t.Error(got)
	}
	if st := sh.Status(); st.Ranges != 3 || st.Rows != total {
		t.Errorf("status %+v", st)
	}
}
