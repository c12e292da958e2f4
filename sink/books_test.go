package sink_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/sink"
)

func TestBooks(t *testing.T) {
	promises := map[string]func(*testing.T, *fixture, *sink.Books){
		"balances": testBalances, "balances by page": testBalancesPages, "transfers": testTransfers, "calls": testCall,
	}
	onEveryStore(t, func(t *testing.T, f *fixture) {
		f.unlock()
		for promise, check := range promises {
			t.Run(promise, func(t *testing.T) {
				f.clear()
				f.ledger()
				check(t, f, &sink.Books{DB: f.db.Read})
			})
		}
	})
}

func testBalances(t *testing.T, fx *fixture, books *sink.Books) {
	fx.exec(`INSERT INTO account (id, kind, owner, currency) VALUES (9, 'buyer_receivable', 'acme', 'EUR')`)
	f := func(filter sink.BalanceFilter, want string) {
		t.Helper()
		rows, next, err := books.Balances(t.Context(), filter, "", 0)
		if err != nil || next != "" {
			t.Fatalf("%+v: next %q, %v", filter, next, err)
		}
		var got []string
		for _, r := range rows {
			got = append(got, fmt.Sprintf("%s %s %s-%s=%s %s", r.Account, r.Normal, r.Debits, r.Credits, r.Balance, r.Currency))
		}
		if text := strings.Join(got, "\n"); text != want {
			t.Errorf("%+v:\n%s\nwant\n%s", filter, text, want)
		}
	}
	acme, beta := "buyer:acme:receivable debit 110.00-50.00=60.00 USD", "buyer:beta:receivable debit 20.00-0.00=20.00 USD"
	revenue, cost := "network:revenue credit 50.00-130.00=80.00 USD", "network:publisher_cost debit 48.00-0.00=48.00 USD"
	pending, euro := "publisher:p1:pending credit 0.00-48.00=48.00 USD", "buyer:acme:receivable debit 0.00-0.00=0.00 EUR"
	all := func(rows ...string) string { return strings.Join(rows, "\n") }
	f(sink.BalanceFilter{}, all(acme, revenue, cost, pending, beta, euro))
	f(sink.BalanceFilter{Currency: "EUR"}, euro)
	f(sink.BalanceFilter{Account: "buyer"}, all(acme, beta, euro))
	f(sink.BalanceFilter{Account: "buyer:acme", Currency: "USD"}, acme)
	f(sink.BalanceFilter{Account: "buyer:acme:receivable"}, all(acme, euro))
	f(sink.BalanceFilter{Account: "network:"}, all(revenue, cost))
	f(sink.BalanceFilter{Account: "network:revenue"}, revenue)
	f(sink.BalanceFilter{Account: "buyer:ac"}, "")
	f(sink.BalanceFilter{Account: "%"}, "")
}

func testBalancesPages(t *testing.T, _ *fixture, books *sink.Books) {
	var owners []string
	after := ""
	for range 4 {
		rows, next, err := books.Balances(t.Context(), sink.BalanceFilter{}, after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			owners = append(owners, r.Account)
		}
		if after = next; next == "" {
			break
		}
		owners = append(owners, "|")
	}
	if got := strings.Join(owners, " "); got != "buyer:acme:receivable network:revenue | network:publisher_cost publisher:p1:pending | buyer:beta:receivable" {
		t.Errorf("got %s", got)
	}
}

func testTransfers(t *testing.T, _ *fixture, books *sink.Books) {
	f := func(call string, limit int, want string) {
		t.Helper()
		var pages []string
		after := ""
		for range 10 {
			rows, next, err := books.Transfers(t.Context(), call, after, limit)
			if err != nil {
				t.Fatal(err)
			}
			var page []string
			for _, r := range rows {
				page = append(page, fmt.Sprintf("%d/%d", r.Posting, r.Line))
			}
			pages = append(pages, strings.Join(page, " "))
			if after = next; next == "" {
				break
			}
		}
		if got := strings.Join(pages, " | "); got != want {
			t.Errorf("%q by %d: got %s, want %s", call, limit, got, want)
		}
	}
	f("", 0, "6/1 6/2 5/1 4/1 3/1 2/1 2/2 1/1 1/2")
	f("", 3, "6/1 6/2 5/1 | 4/1 3/1 2/1 | 2/2 1/1 1/2")
	f("c1", 3, "2/1 2/2 1/1 | 1/2")
	f("c2", 3, "6/1 6/2 3/1")
	f("c5", 3, "")

	rows, _, err := books.Transfers(t.Context(), "c1", "", 1)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(rows[0])
	want := `{"posting":2,"line":1,"event":"1-4","call_id":"c1","cause":"conversion","debit":"buyer:acme:receivable","credit":"network:revenue","amount":"10.00","currency":"USD","received_at":"2026-03-02T12:00:04.000000Z","source":"s1"}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, _, err := books.Transfers(t.Context(), "nothing", "", 1); !errors.Is(err, sink.ErrNotFound) || !strings.Contains(err.Error(), `"nothing"`) {
		t.Errorf("unknown call: %v", err)
	}
	if _, _, err := books.Transfers(t.Context(), "", "YmFsYW5jZXMgMQ", 1); !errors.Is(err, sink.ErrInvalid) {
		t.Errorf("cursor of balances: %v", err)
	}
}

func testCall(t *testing.T, _ *fixture, books *sink.Books) {
	f := func(call, want string) {
		t.Helper()
		v, err := books.Call(t.Context(), call)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := json.Marshal(v); string(got) != want {
			t.Errorf("%s: got  %s\nwant %s", call, got, want)
		}
	}
	f("c1", `{"call_id":"c1","ref_id":"r1","network_ids":{"ringba":"RG1"},"caller":"+15550000001","started_at":"2026-03-02T11:59:00.000000Z","ended_at":"2026-03-02T12:00:00.000000Z","duration":125,`+
		`"campaign":"k","publisher":"p1","buyer":"acme","qualified":null,"value":"60.00","currency":"USD","value_from_postback":true,"publisher_share":"48.00","status":"booked","last_event":"1-4","conversion":null}`)
	f("c3", `{"call_id":"c3","ref_id":null,"network_ids":null,"caller":null,"started_at":null,"ended_at":null,"duration":null,`+
		`"campaign":null,"publisher":null,"buyer":"acme","qualified":false,"value":"0.00","currency":"USD","value_from_postback":true,"publisher_share":"0.00","status":"reversed","last_event":"1-9","conversion":null}`)
	f("c5", `{"call_id":"c5","ref_id":null,"network_ids":null,"caller":null,"started_at":null,"ended_at":null,"duration":null,`+
		`"campaign":null,"publisher":null,"buyer":null,"qualified":null,"value":null,"currency":null,"value_from_postback":false,"publisher_share":null,"status":null,"last_event":null,"conversion":null}`)
	if v, err := books.Call(t.Context(), "c2"); err != nil || v.Qualified == nil || !*v.Qualified {
		t.Errorf("c2 is qualified: %+v, %v", v, err)
	}
	if _, err := books.Call(t.Context(), "c1\x00"); !errors.Is(err, sink.ErrInvalid) {
		t.Errorf("a call_id that is no text: %v", err)
	}
	if _, err := books.Call(t.Context(), "C1"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("unknown call: %v", err)
	}
}
