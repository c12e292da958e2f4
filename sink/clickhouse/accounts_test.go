package clickhouse_test

import (
	"testing"

	"github.com/tallyhook/tallyhook/bench/services"
)

// The views name the account that an event settles on; what it is credited is
// in a currency of its own and no share of the value.
func TestAccountsInViews(t *testing.T) {
	t.Parallel()
	w := sqliteWorld(t)
	w.tell(
		verdict{source: "wall", strategy: "account", payout: 360_000, currency: "USD", value: 360_000, delta: 360_000, shareDelta: 360_000_000,
			report: `{"kind":"conversion","account":"user:alice","reward":"360.00","reward_currency":"COINS","transaction_id":"t1"}`},
		verdict{source: "wall", strategy: "account", shareDelta: 333, report: `{"kind":"conversion","account":"user:bob","reward":"0.000333","reward_currency":"COINS"}`},
		verdict{source: "wall", status: "reversed", kind: "reversal", strategy: "reversal", currency: "USD", value: 0, delta: -360_000, shareDelta: -360_000_000,
			report: `{"kind":"reversal","account":"user:alice","transaction_id":"r-t1"}`},
		verdict{source: "acme", callID: "c1", payout: 50_000_000, currency: "USD", value: 50_000_000, delta: 50_000_000, shareDelta: 40_000_000,
			report: `{"kind":"conversion","extra":{"account":"x"}}`})
	s := open(t, services.ClickHouse(t))
	sh, _ := run(t, s, w.config())
	w.shipped(sh)
	f := func(query, want string) {
		t.Helper()
		if got := table(t, s, query); got != want {
			t.Errorf("%s\n%s\nwant\n%s", query, got, want)
		}
	}
	const rows = "user:alice | 360 | 360000000 | COINS\nuser:bob | 0.000333 | 333 | COINS\nuser:alice | <nil> | <nil> | \n | <nil> | <nil> | "
	f(`SELECT account, reward, reward_micros, reward_currency FROM activity ORDER BY change_seq`, rows)
	f(`SELECT account, reward, reward_micros, reward_currency FROM activity_revisions ORDER BY change_seq`, rows)
	f(`SELECT source, currency, events, calls, value, share, margin FROM money_per_hour ORDER BY source, currency`,
		"acme | USD | 1 | 1 | 50 | 40 | 10\nwall |  | 1 | 0 | 0 | 0 | 0\nwall | USD | 2 | 0 | 0 | 0 | 0")
}
