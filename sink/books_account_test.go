package sink_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// earns is a postback of source wall that credits an account.
func earns(account, id, amount, currency string) told {
	a, err := event.ParseAmount(amount)
	if err != nil {
		panic(err)
	}
	return told{source: "wall", id: id, reports: []event.Report{{Account: account, TransactionID: id, Reward: event.Money{Amount: a, Currency: currency}, HasReward: true}}}
}

// loses takes back what id credited.
func loses(account, id string) told {
	return told{source: "wall", id: id, reports: []event.Report{{Kind: event.Reversal, Account: account, TransactionID: "r-" + id}}}
}

func withWall(h *harness) *sink.Books {
	h.policy["wall"] = testPolicy("wall")
	h.policy["wall"].ToAccount = true
	return &sink.Books{DB: h.db.Read}
}

func TestAccounts(t *testing.T) {
	onEveryLedger(t, func(t *testing.T, h *harness) {
		books := withWall(h)
		h.post(earns("user:bob", "1", "5", "COINS"), earns("user:Ann", "2", "7", "COINS"), earns("user:ann", "3", "1", "GEMS"), earns("user:ann", "4", "2", "COINS"),
			earns("user:é", "5", "3", "COINS"), earns("usera", "6", "4", "COINS"), loses("user:bob", "1"))
		f := func(prefix, currency string, limit int, want string) {
			t.Helper()
			var got []string
			after := ""
			for range 10 {
				rows, next, err := books.Accounts(t.Context(), prefix, currency, after, limit)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range rows {
					got = append(got, fmt.Sprintf("%s=%s-%s=%s%s", r.Account, r.Credits, r.Debits, r.Balance, r.Currency[:1]))
				}
				if after = next; next == "" {
					break
				}
				got = append(got, "|")
			}
			if text := strings.Join(got, " "); text != want {
				t.Errorf("%q %s by %d:\n%s, want\n%s", prefix, currency, limit, text, want)
			}
		}
		const upper, coins, gems, bob = "user:Ann=7.00-0.00=7.00C", "user:ann=2.00-0.00=2.00C", "user:ann=1.00-0.00=1.00G", "user:bob=5.00-5.00=0.00C"
		const accent, other = "user:é=3.00-0.00=3.00C", "usera=4.00-0.00=4.00C"
		list := func(rows ...string) string { return strings.Join(rows, " ") }
		f("", "", 0, list(upper, coins, gems, bob, accent, other))
		f("", "", 2, list(upper, coins, "|", gems, bob, "|", accent, other))
		f("user:", "", 3, list(upper, coins, gems, "|", bob, accent))
		f("user:a", "", 1, list(coins, "|", gems))
		f("", "GEMS", 0, gems)
		f("user:é", "COINS", 0, accent)
		f("user:%", "", 0, "")
		f("\U0010ffff", "", 0, "")
		if _, _, err := books.Accounts(t.Context(), "", "", "YWNjb3VudHMgOTk5OTk", 0); !errors.Is(err, sink.ErrInvalid) {
			t.Errorf("a cursor of no account: %v", err)
		}
	})
}

func TestStatement(t *testing.T) {
	onEveryLedger(t, func(t *testing.T, h *harness) {
		books := withWall(h)
		paid := earns("user:ann", "t1", "100", "COINS")
		paid.reports[0].Payout, paid.reports[0].HasPayout = event.Money{Amount: event.Unit / 4, Currency: "USD"}, true
		h.post(paid, earns("user:bob", "t2", "9", "COINS"), earns("user:ann", "t3", "2.5", "GEMS"), earns("user:ann", "t4", "30", "COINS"), paid)
		h.now += minute
		h.post(loses("user:ann", "t1"), loses("user:ann", "t9"), earns("user:ann", "t9", "50", "COINS"))
		f := func(limit int, want ...string) {
			t.Helper()
			var got []string
			after := ""
			for range 10 {
				s, err := books.Statement(t.Context(), "user:ann", after, limit)
				if err != nil {
					t.Fatal(err)
				}
				if len(s.Balances) != 2 || s.Balances[0].Balance != 30*event.Unit || s.Balances[1].Balance != 5*event.Unit/2 {
					t.Fatalf("balances %+v", s.Balances)
				}
				for _, r := range s.Rows {
					if r.Source != "wall" || !strings.HasPrefix(r.Event, fmt.Sprint(h.stream)) {
						t.Errorf("row %+v", r)
					}
					got = append(got, fmt.Sprintf("%s %s %s %s → %s", *r.TransactionID, r.Cause, r.Amount, r.Currency, r.Balance))
				}
				if after = s.Next; after == "" {
					break
				}
				got = append(got, "|")
			}
			if text := strings.Join(got, "\n"); text != strings.Join(want, "\n") {
				t.Errorf("by %d:\n%s\nwant\n%s", limit, text, strings.Join(want, "\n"))
			}
		}
		const back, more, gems, first = "r-t1 reversal -100.00 COINS → 30.00", "t4 conversion 30.00 COINS → 130.00", "t3 conversion 2.50 GEMS → 2.50", "t1 conversion 100.00 COINS → 100.00"
		f(0, back, more, gems, first)
		f(1, back, "|", more, "|", gems, "|", first)
		f(3, back, more, gems, "|", first)

		for _, name := range []string{"user:nobody", "account:user:ann", ""} {
			if _, err := books.Statement(t.Context(), name, "", 0); !errors.Is(err, sink.ErrNotFound) {
				t.Errorf("account %q: %v", name, err)
			}
		}
		if _, err := books.Statement(t.Context(), "user:\xff", "", 0); !errors.Is(err, sink.ErrInvalid) {
			t.Errorf("a name that is no text: %v", err)
		}
	})
}

// What stands for an account's transaction is no call, whoever asks for it.
func TestAccountsAreNoCalls(t *testing.T) {
	onEveryLedger(t, func(t *testing.T, h *harness) {
		books := withWall(h)
		h.post(earns("user:ann", "t1", "100", "COINS"))
		var internal string
		if err := h.db.Read.QueryRow(`SELECT call_id FROM call WHERE target = 'user:ann'`).Scan(&internal); err != nil {
			t.Fatal(err)
		}
		if _, err := books.Call(t.Context(), internal); !errors.Is(err, sink.ErrNotFound) {
			t.Errorf("shown as a call: %v", err)
		}
		if _, _, err := books.Transfers(t.Context(), internal, "", 0); !errors.Is(err, sink.ErrNotFound) {
			t.Errorf("its transfers: %v", err)
		}
		rows, _, err := books.Transfers(t.Context(), "", "", 0)
		if err != nil || len(rows) != 1 {
			t.Fatalf("transfers %+v, %v", rows, err)
		}
		if r := rows[0]; r.CallID != "" || r.Debit != "network:rewards" || r.Credit != "account:user:ann" || r.Currency != "COINS" || r.Amount != 100*event.Unit {
			t.Errorf("transfer %+v", r)
		}
		list, _, err := books.Balances(t.Context(), sink.BalanceFilter{Account: "account:user:ann"}, "", 0)
		if err != nil || len(list) != 1 || list[0].Normal != "credit" || list[0].Balance != 100*event.Unit {
			t.Errorf("balances %+v, %v", list, err)
		}
		var account, code string
		var micros int64
		if err := h.db.Read.QueryRow(`SELECT account, reward_micros, reward_currency FROM activity`).Scan(&account, &micros, &code); err != nil || account != "user:ann" || micros != 100*usd || code != "COINS" {
			t.Errorf("activity names %q, %d %s, %v", account, micros, code, err)
		}
	})
}

// The view reads amounts as exactly as they were written.
func TestActivityReadsRewards(t *testing.T) {
	onEveryStore(t, func(t *testing.T, f *fixture) {
		rewards := map[string]int64{"12.50": 12_500_000, "-0.07": -70_000, "0.333333": 333_333, "9000000000000.12345": 9_000_000_000_000_123_450, "1.005": 1_005_000, "7.0001": 7_000_100}
		change := int64(0)
		for text := range rewards {
			change++
			f.verdicts(logRow{change: change, id: event.ID{Stream: 1, Seq: uint64(change)}, status: event.Booked, report: `{"kind":"conversion","account":"a\"b","reward":"` + text + `","reward_currency":"COINS"}`})
		}
		f.verdicts(logRow{change: change + 1, id: event.ID{Stream: 1, Seq: uint64(change + 1)}, status: event.Booked, report: `{"kind":"conversion","extra":{"account":"x","reward":"many"}}`},
			logRow{change: change + 2, id: event.ID{Stream: 1, Seq: uint64(change + 2)}, status: event.Failed})
		seen := 0
		rows, err := f.db.Read.Query(`SELECT account, reward_micros, reward_currency, report FROM activity ORDER BY change_seq`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var account, code, report *string
			var micros *int64
			if err := rows.Scan(&account, &micros, &code, &report); err != nil {
				t.Fatal(err)
			}
			seen++
			if account == nil {
				if micros != nil || code != nil || seen <= len(rewards) {
					t.Errorf("row %d has %v %v", seen, micros, code)
				}
				continue
			}
			text := strings.Split(strings.Split(*report, `"reward":"`)[1], `"`)[0]
			if *account != `a"b` || *code != "COINS" || *micros != rewards[text] {
				t.Errorf("%s is read as %d of %q", text, *micros, *account)
			}
		}
		if err := rows.Err(); err != nil || seen != len(rewards)+2 {
			t.Errorf("%d rows, %v", seen, err)
		}
	})
}
