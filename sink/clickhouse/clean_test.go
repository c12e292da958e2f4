package clickhouse_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
)

// Whatever stands in the log, it is shipped: nothing is refused, everything
// counts once, and what comes out is text that others can read.
func TestHostileValues(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	const broken = "a\xff\xfe\x00b"
	long := strings.Repeat("ü", 40_000)
	times := []time.Time{time.UnixMicro(1), time.UnixMicro(-1), time.UnixMicro(math.MinInt64), time.UnixMicro(math.MaxInt64), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
		time.Date(2149, 6, 7, 0, 0, 0, 0, time.UTC), time.Date(2106, 2, 8, 0, 0, 0, 0, time.UTC), time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0)}
	for _, at := range times {
		w.tell(verdict{at: at})
	}
	for _, text := range []string{broken, long, "'; DROP TABLE activity_log; --", "\\", "\u2028\u202e", "\xed\xa0\x80"} {
		w.tell(verdict{status: "booked", reason: text, source: text, kind: text, strategy: text, callID: text, callCaller: text, caller: text, currency: text, mapper: text, peer: text, report: text, detail: text},
			verdict{interim: true, status: "parked", report: `{"extra":{"` + strings.ToValidUTF8(text[:min(len(text), 10)], "") + `":1}}`})
	}
	for _, n := range []int64{math.MinInt64, math.MaxInt64, -1, 0, 1 << 32, 1 << 31} {
		v := verdict{candidates: n, duration: n, payout: n, value: n, delta: n, shareDelta: n, usQueue: n, usMap: n, usMatch: n, currency: "USD"}
		w.tell(v)
		v.revision = n
		v.seq, v.n, v.stream = 1+w.change, n, 7
		w.tell(v)
	}
	w.tell(verdict{report: `{"extra":{"big":"` + strings.Repeat("x", 2<<20) + `"}}`})
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	if got, want := table(t, s, `SELECT count() FROM activity_revisions`), fmt.Sprint(w.change); got != want {
		t.Errorf("%s rows of %s", got, want)
	}
	if got := table(t, s, `SELECT min(received_at), max(received_at), max(length(report)) <= 1048576 FROM activity`); got != "1970-01-01T00:00:00.000000Z | 2099-12-31T23:59:59.999999Z | 1" {
		t.Error(got)
	}
	for _, view := range []string{"activity", "activity_revisions"} {
		all, err := ask(t, s, `SELECT * FROM `+view, 10_000)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range all.Rows {
			for i, v := range row {
				if text, ok := v.(string); ok && (!utf8.ValidString(text) || strings.ContainsRune(text, 0)) {
					t.Errorf("%s.%s is %.80q", view, all.Columns[i], text)
				}
			}
		}
	}
	for _, view := range []string{"activity_per_minute", "money_per_hour", "latency_per_minute", "mapper_versions"} {
		table(t, s, `SELECT * FROM `+view)
	}
}

// A range is cut by what its rows weigh, not by their number alone.
func TestRangeBytes(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	report := `{"extra":{"big":"` + strings.Repeat("x", 900<<10) + `"}}`
	for range 50 {
		w.tell(verdict{report: report})
	}
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	if st := sh.Status(); st.Ranges < 2 {
		t.Errorf("%d bytes in %d range", len(report)*50, st.Ranges)
	}
	w.converged(s)
}

// No caller's number reaches ClickHouse when callers are hidden, wherever it
// stood, and equal callers stay equal.
func TestCallersHidden(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.exec(`INSERT INTO call (no, call_id, caller, campaign, publisher, buyer, ranks, change_seq) VALUES (7, 'c7', '+13055559876', 'p13055559876', 'pat', 'acme', x'00', 1)`)
	const national, digits = "(305) 555-9876", "3055559876"
	w.tell(
		verdict{call: 7, callID: "call-13055559876-x", callCaller: "+13055559876", caller: "+13055559876", report: `{"kind":"conversion","caller":"+13055559876","caller_raw":"` + national + `","ref_id":"13055559876","transaction_id":"t-305.555.9876","extra":{"ani":"3055559876","note":"rang +1 305 555 9876 twice","n` + digits + `":"1","click_id":"777"}}`},
		verdict{status: "unmatched", reason: "no_call_from_caller", caller: "+13055559876", detail: `{"got":"+13055559876"}`, report: `{"caller":"+13055559876"}`},
		verdict{status: "unmatched", reason: "caller_unreadable", caller: "555-9876", detail: `{"got":"555-9876"}`, report: `{"caller_raw":"555-9876","extra":{"tel":"+13055559876"}}`},
		verdict{status: "invalid", reason: "body_malformed", detail: `{"field":"body","got":"+13055559876"}`, report: `{"extra":{"phone":"+1 (305) 555-9876","x":"305-555-9876"}}`},
		verdict{status: "invalid", caller: "+13055559876", report: `{"caller":"+13055559876"`},
	)
	cfg := w.config()
	cfg.Callers = func(e164 string) string { return fmt.Sprintf("hidden%x", len(e164)) }
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, cfg)
	w.shipped(sh)
	all, err := ask(t, s, `SELECT * FROM activity_revisions ORDER BY change_seq`, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range all.Rows {
		for i, v := range row {
			text := fmt.Sprint(v)
			if clickhouse.HoldsDigits(text, digits) || clickhouse.HoldsDigits(text, "5559876") {
				t.Errorf("%s holds the number: %s", all.Columns[i], text)
			}
		}
	}
	if got := table(t, s, `SELECT uniqExact(caller), min(caller), countIf(caller = call_caller) FROM activity WHERE reason IN ('', 'no_call_from_caller') AND status != 'invalid'`); got != "1 | hiddenc | 1" {
		t.Error(got)
	}
	if got := table(t, s, `SELECT extra['click_id'], ref_id FROM activity ORDER BY change_seq LIMIT 1`); got != "777 | hiddenc" {
		t.Error(got)
	}
}

// FuzzHideCallers: no digits of a known caller survive, whatever the report.
func FuzzHideCallers(f *testing.F) {
	f.Add(`{"caller":"+13055559876","extra":{"a":"13055559876"}}`, `{"got":"305 555 9876"}`, "305-555-9876")
	f.Add(`[1,{"x":3055559876}]`, `"3055559876"`, "x3055559876y+1(305)5559876")
	f.Add(`{"a":3.055559876e9}`, ``, "")
	f.Fuzz(func(t *testing.T, report, detail, callID string) {
		for _, text := range clickhouse.Hide("+13055559876", report, detail, callID, func(string) string { return "hidden" }) {
			if clickhouse.HoldsDigits(text, "3055559876") {
				t.Errorf("%q", text)
			}
		}
	})
}
