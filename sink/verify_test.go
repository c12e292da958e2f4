package sink_test

import (
	"database/sql"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/sink"
)

func findings(t *testing.T, f *fixture) *sink.Findings {
	t.Helper()
	found, err := sink.Verify(t.Context(), f.db.Read, nil)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestVerifyHolds(t *testing.T) {
	onEveryStore(t, func(t *testing.T, f *fixture) {
		if bad := findings(t, f).First(); bad != nil {
			t.Errorf("an empty ledger: %s: %s", bad.ID, bad.Fault)
		}
		f.ledger()
		found := findings(t, f)
		var ids []string
		for _, c := range found.Checks {
			ids = append(ids, c.ID)
			if !c.OK || c.Fault != "" || c.Title == "" || c.Checked == 0 {
				t.Errorf("%+v", c)
			}
		}
		if got := strings.Join(ids, " "); got != "I1 I2 I3 I4 I5 I6 I7 I9" {
			t.Errorf("checks are %s", got)
		}
	})
}

// TestVerifyFinds breaks one promise at a time: the check of that name must
// be the first to fail, and name the row.
func TestVerifyFinds(t *testing.T) {
	onEveryStore(t, func(t *testing.T, fx *fixture) {
		fx.unlock()
		verifyFinds(t, fx)
	})
}

func verifyFinds(t *testing.T, fx *fixture) {
	f := func(name, id, fault string, breaks ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			fx.clear()
			fx.ledger()
			for _, b := range breaks {
				fx.exec(b)
			}
			bad := findings(t, fx).First()
			if bad == nil {
				t.Fatalf("nothing found, want %s: %s", id, fault)
			}
			if bad.ID != id || !strings.Contains(bad.Fault, fault) {
				t.Errorf("found %s: %s\nwant  %s: …%s…", bad.ID, bad.Fault, id, fault)
			}
		})
	}
	f("amount of a line", "I1", "posting 2: its lines move 11.00 of value, its delta is 10.00", `UPDATE transfer SET amount = 11000000 WHERE posting = 2 AND line = 1`)
	f("share line missing", "I1", "posting 1: its lines move 0.00 of share", `DELETE FROM transfer WHERE posting = 1 AND line = 2`)
	f("no lines", "I1", "posting 5: it has no lines", `DELETE FROM transfer WHERE posting = 5`)
	f("sides swapped", "I1", "posting 4: its lines move -30.00", `UPDATE transfer SET debit_account = 2, credit_account = 1 WHERE posting = 4`)
	f("wrong pair", "I1", "posting 4: line 1 goes from buyer_receivable to publisher_pending", `UPDATE transfer SET credit_account = 4 WHERE posting = 4`)
	f("currency of a line", "I1", "posting 4: line 1 is in EUR", `UPDATE transfer SET currency = 'EUR' WHERE posting = 4`)
	f("currency of an account", "I1", "posting 3: line 1", `UPDATE account SET currency = 'EUR' WHERE id = 5`, `UPDATE transfer SET debit_account = 5 WHERE posting = 3`)
	f("orphan line", "I1", "transfer 9/1: there is no posting 9", `INSERT INTO transfer VALUES (9, 1, 1, 2, 5, 'USD')`)
	f("other buyer's account", "I1", "posting 2: of call 1's 60.00", `UPDATE transfer SET debit_account = 5 WHERE posting = 2 AND line = 1`)
	f("state names another account", "I1", "call 2: 20.00 stands on account 5", `UPDATE call_state SET buyer_account = 1 WHERE no = 2`)
	f("too many lines", "I1", "posting 4: it has 5 lines", `UPDATE transfer SET amount = 26000000 WHERE posting = 4`,
		`INSERT INTO transfer SELECT 4, line + 1, 1, 2, 1000000, 'USD' FROM transfer WHERE posting IN (1, 2) AND line < 3 GROUP BY line UNION SELECT 4, 4, 1, 2, 1000000, 'USD' UNION SELECT 4, 5, 1, 2, 1000000, 'USD'`)
	f("beyond 64 bits", "I1", "beyond 64 bits", `UPDATE transfer SET amount = 9223372036854775807 WHERE posting IN (1, 2) AND line = 1`, `UPDATE posting SET delta = 9223372036854775807 WHERE no IN (1, 2)`)

	f("one counter", "I2", "currency USD: debits less credits of all balances is 1.00", `UPDATE balance SET debits = debits + 1000000 WHERE account = 1`)
	f("sums beyond 64 bits", "I2", "9223372036854775807000", `UPDATE balance SET debits = 9223372036854775807`,
		`WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1094) INSERT INTO account SELECT i, 'x', i, 'USD' FROM n`,
		`INSERT INTO balance SELECT id, 9223372036854775807, 0, 0 FROM account WHERE id >= 100`, `UPDATE balance SET credits = 0`)
	f("balance of no account", "I2", "balance 99: there is no such account", `INSERT INTO balance VALUES (99, 0, 0, 0)`)
	f("two counters", "I3", "balance 1: debits are 111.00, its transfers say 110.00", `UPDATE balance SET debits = debits + 1000000, credits = credits + 1000000 WHERE account = 1`)
	f("balance missing", "I3", "account 3: it has transfers and no balance", `DELETE FROM balance WHERE account IN (3, 4)`)
	f("balance behind", "I3", "balance 5: last_posting is 5, posting 6 touched it", `UPDATE balance SET last_posting = 5 WHERE account = 5`)

	f("value of a posting", "I4", "posting 2: value is 61.00, 50.00 before it and its delta 10.00 make 60.00", `UPDATE posting SET value = 61000000 WHERE no = 2`)
	f("share of a posting", "I4", "posting 2: share is 47.00", `UPDATE posting SET share = 47000000 WHERE no = 2`)
	f("value of a call", "I4", "call_state 1: value is 61.00, its last posting 2 says 60.00", `UPDATE call_state SET value = 61000000 WHERE no = 1`)
	f("share of a call", "I4", "call_state 1: share is 47.00", `UPDATE call_state SET share = 47000000 WHERE no = 1`)
	f("last posting", "I4", "call_state 1: last_posting is 1", `UPDATE call_state SET last_posting = 1 WHERE no = 1`)
	f("state missing", "I4", "posting 5: its call 3 has no state", `DELETE FROM call_state WHERE no = 3`)
	f("value from nothing", "I4", "call_state 4: it has a value", `UPDATE call_state SET value = 5 WHERE no = 4`)
	f("last posting unknown", "I4", "call_state 4: there is no posting 99", `UPDATE call_state SET last_posting = 99 WHERE no = 4`)
	f("currency changes", "I4", "call_state 2: currency is EUR", `UPDATE call_state SET currency = 'EUR' WHERE no = 2`)
	f("event at rank said otherwise", "I4", "call_state 1: value is 60.00, event 1-4, which booked it, said 59.00", `UPDATE verdict SET value = 59000000 WHERE change_seq = 3`)
	f("event at rank did not book", "I4", "event 1-5, which booked it, ended duplicate", `UPDATE call_state SET rank_seq = 5 WHERE no = 1`)
	f("no event at rank", "I4", `event "1-17", which booked it, has no final verdict`, `UPDATE call_state SET rank_seq = 17 WHERE no = 1`)

	f("rule says otherwise", "I5", "call_state 1: share is 48.00, rule 1 makes 42.00 of 60.00", `UPDATE rule SET payout = 'percent 70'`)
	f("share of an unqualified call", "I5", "call_state 1: share is 48.00, rule 1 makes 0.00", `UPDATE call SET qualified = 0 WHERE no = 1`)
	f("no such rule", "I5", "call_state 1: there is no rule 1", `DELETE FROM rule`)
	f("share before the last", "I5", "posting 1: share is 40.00 and there is no rule 7", `UPDATE posting SET rule = 7 WHERE no = 1`)
	f("rule unreadable", "I5", "rule 2: ", `INSERT INTO rule VALUES (2, 'k', 'p2', 'half of it', 1)`)

	f("revision missing", "I6", "event 1-3: revision 2 follows 0", `UPDATE verdict SET final = 1, stream = 9 WHERE change_seq = 2`)
	f("two final ones", "I6", "event 1-6: revision 1 is parked and has final = true", `UPDATE verdict SET final = 1 WHERE change_seq = 5`)
	f("final one not last", "I6", "event 1-5: revision 2 follows the final one", `INSERT INTO verdict SELECT 10, stream, seq, n, 2, final, status, reason, detail, weak, weak_until, source, received_at, decided_at, kind, strategy, candidates, considered,
call, call_id, call_caller, caller, duration, payout, currency, value, delta, share_delta, mapper, peer, us_queue, us_map, us_match, us_total, report, raw, fuel FROM verdict WHERE change_seq = 4`)
	f("never final", "I6", "event 1-5: revision 1 is duplicate and has final = false", `UPDATE verdict SET final = 0 WHERE change_seq = 4`)
	f("status unknown", "I6", "event 1-5: status \"dup\"", `UPDATE verdict SET status = 'dup' WHERE change_seq = 4`)
	f("posting without event", "I6", "posting 5: event 1-9.0, its cause, has no final verdict", `UPDATE call_state SET rank_stream = 1, rank_seq = 12, rank_at = 0 WHERE no = 3`,
		`UPDATE verdict SET seq = 12, delta = 0, received_at = 0 WHERE change_seq = 8`)
	f("posting of a duplicate", "I6", "posting 1: event 1-2.0, its cause, ended duplicate", `UPDATE verdict SET status = 'duplicate' WHERE change_seq = 1`)
	f("delta of another size", "I6", "posting 1: event 1-2.0, its cause, ended booked with deltas 49", `UPDATE verdict SET delta = 49000000 WHERE change_seq = 1`)
	f("verdict without posting", "I6", "verdict 9: event 1-11.0 changed a call by 5", `UPDATE verdict SET delta = 5 WHERE change_seq = 9`)

	f("gap of changes", "I7", "verdict 11 follows 8: there is a gap", `UPDATE verdict SET change_seq = 11 WHERE change_seq = 9`)
	f("gap of postings", "I7", "posting 7 follows 5: there is a gap", `UPDATE posting SET no = 7 WHERE no = 6`, `UPDATE transfer SET posting = 7 WHERE posting = 6`,
		`UPDATE call_state SET last_posting = 7 WHERE no = 2`, `UPDATE balance SET last_posting = 7`)
	f("beyond the checkpoint", "I7", "verdict 9: event 1-11 is not below its stream's checkpoint 11", `UPDATE stream SET next_seq = 11`)
	f("stream unknown", "I7", "is of a stream that this store never gave", `DELETE FROM stream`)
	f("verdicts out of order", "I7", "verdict 5: event 1-5 comes after event 1-6", `UPDATE verdict SET seq = 17 WHERE seq = 5`, `UPDATE verdict SET seq = 5 WHERE seq = 6`,
		`UPDATE verdict SET seq = 6 WHERE seq = 17`, `UPDATE parked SET seq = 5`, `UPDATE parked_key SET seq = 5`)
	f("postings out of order", "I7", "posting 4: event 1-4 comes after event 1-8", `UPDATE posting SET no = 17 WHERE no = 2`, `UPDATE posting SET no = 2 WHERE no = 4`, `UPDATE posting SET no = 4 WHERE no = 17`,
		`UPDATE transfer SET posting = 17 WHERE posting = 2`, `UPDATE transfer SET posting = 2 WHERE posting = 4`, `UPDATE transfer SET posting = 4 WHERE posting = 17`,
		`UPDATE call_state SET last_posting = 4 WHERE no = 1`, `UPDATE balance SET last_posting = 6`)

	f("parked and settled", "I9", "parked 1-3: its newest verdict is booked", `INSERT INTO parked SELECT 1, 3, 0, 1772453000000000, identity FROM parked`)
	f("parked and nowhere", "I9", "verdict 5: event 1-6.0 is parked and does not wait", `DELETE FROM parked`, `DELETE FROM parked_key`)
	f("name without event", "I9", "parked_key 78: event 1-9.0 is not parked", `INSERT INTO parked_key VALUES (78, 1, 9, 0)`)
	f("overdue", "I9", "parked 1-6: its journal has gone on for 5m1s beyond its deadline", `UPDATE stream SET received_at = received_at - 19000000 + 901000000`)
	f("overdue elsewhere", "I9", "parked 1-6: other journals have gone on for", `INSERT INTO stream (stream, node, created_at, next_seq, received_at) SELECT 2, 'b', 1, 5, received_at + 90000000000 FROM stream`)
}

// TestVerifyTakesItsTime: the limit that the pool sets to a statement is not for
// a walk through everything.
func TestVerifyTakesItsTime(t *testing.T) {
	f := newPostgresFixture(t)
	f.ledger()
	u, err := url.Parse(f.url)
	if err != nil {
		t.Fatal(err)
	}
	limits := u.Query()
	limits.Set("statement_timeout", "500")
	u.RawQuery = limits.Encode()
	hurried, err := sql.Open("pgx", u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer hurried.Close()
	if _, err := hurried.Exec(`SELECT pg_sleep(10)`); err == nil {
		t.Fatal("the pool sets no limit")
	}
	tx, err := f.db.Write.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`LOCK TABLE verdict`); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := sink.Verify(t.Context(), hurried, nil)
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(time.Second):
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestVerifyTellsProgress(t *testing.T) {
	onEveryStore(t, func(t *testing.T, f *fixture) {
		f.ledger()
		var steps []string
		_, err := sink.Verify(t.Context(), f.db.Read, func(step string, done, total int64) {
			steps = append(steps, step)
			if done > total {
				t.Errorf("%s: %d of %d", step, done, total)
			}
		})
		if err != nil || strings.Join(steps, " ") != "I1 I2 I3 I4 I5 I6 I7 I9" {
			t.Errorf("steps %v, %v", steps, err)
		}
	})
}
