package console

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// earns posts a postback that credits an account.
func (f *feed) earns(account, id string, amount event.Amount, kind event.Kind) event.ID {
	f.t.Helper()
	return f.record(event.Record{Kind: event.RecordPostback, Source: "wall", Method: "GET", Peer: "192.0.2.9"}, func(e *event.Event) {
		e.Report = event.Report{Kind: kind, Account: account, TransactionID: id, Reward: event.Money{Amount: amount, Currency: "COINS"}, HasReward: kind == event.Conversion}
		p := *f.policy
		p.Source, p.ToAccount = "wall", true
		e.Policy, e.Mapper = &p, "builtin"
		event.Identify(e, "wall", id, nil)
	})
}

func TestAccountsAndStatement(t *testing.T) {
	b := newBench(t)
	f := newFeed(t, b)
	f.earns("user:alice", "t1", 100*event.Unit, event.Conversion)
	f.earns("user:bob & co/1", "t2", 7*event.Unit, event.Conversion)
	f.earns("user:alice", "t1", 0, event.Reversal)

	var l listing[sink.AccountRow]
	b.ask("GET", "/api/v1/accounts", "").is(http.StatusOK, &l)
	if len(l.Rows) != 2 || l.Rows[0].Account != "user:alice" || l.Rows[0].Balance != 0 || l.Rows[0].Credits != 100*event.Unit || l.Rows[1].Balance != 7*event.Unit {
		t.Fatalf("accounts %+v", l.Rows)
	}
	b.ask("GET", "/api/v1/accounts?prefix=user:b&currency=COINS&limit=1", "").is(http.StatusOK, &l)
	if len(l.Rows) != 1 || l.Rows[0].Account != "user:bob & co/1" || l.Next != "" {
		t.Errorf("accounts of b %+v", l)
	}
	b.ask("GET", "/api/v1/accounts?currency=GEMS", "").is(http.StatusOK, &l)
	if len(l.Rows) != 0 || l.Rows == nil {
		t.Errorf("accounts in gems %+v", l)
	}

	var s sink.Statement
	b.ask("GET", "/api/v1/accounts/statement?account=user:alice&limit=1", "").is(http.StatusOK, &s)
	if len(s.Balances) != 1 || s.Balances[0].Balance != 0 || len(s.Rows) != 1 || s.Rows[0].Amount != -100*event.Unit || s.Rows[0].Balance != 0 || s.Rows[0].Cause != "reversal" || s.Next == "" {
		t.Fatalf("statement %+v", s)
	}
	b.ask("GET", "/api/v1/accounts/statement?account=user:alice&after="+s.Next, "").is(http.StatusOK, &s)
	if len(s.Rows) != 1 || s.Rows[0].Amount != 100*event.Unit || s.Rows[0].Balance != 100*event.Unit || *s.Rows[0].TransactionID != "t1" || s.Next != "" {
		t.Errorf("the next page %+v", s)
	}
	b.ask("GET", "/api/v1/accounts/statement?account="+url.QueryEscape("user:bob & co/1"), "").is(http.StatusOK, &s)
	if len(s.Rows) != 1 || s.Account != "user:bob & co/1" {
		t.Errorf("statement %+v", s)
	}
	b.ask("GET", "/api/v1/accounts/statement", "").fails(http.StatusBadRequest, "bad_request", "account is missing")
	b.ask("GET", "/api/v1/accounts/statement?account=user:carol", "").fails(http.StatusNotFound, "not_found", `"user:carol"`, "GET /api/v1/accounts")
	b.ask("GET", "/api/v1/accounts/statement?account=user:alice&after=x", "").fails(http.StatusBadRequest, "bad_request", `"x"`)

	var balances listing[sink.BalanceRow]
	b.ask("GET", "/api/v1/ledger/balances?account=account", "").is(http.StatusOK, &balances)
	if len(balances.Rows) != 2 || balances.Rows[0].Account != "account:user:alice" || balances.Rows[0].Currency != "COINS" {
		t.Errorf("balances %+v", balances.Rows)
	}
	var transfers listing[sink.TransferRow]
	b.ask("GET", "/api/v1/ledger/transfers", "").is(http.StatusOK, &transfers)
	if len(transfers.Rows) != 3 || transfers.Rows[0].Debit != "account:user:alice" || transfers.Rows[0].Credit != "network:rewards" || transfers.Rows[0].CallID != "" {
		t.Errorf("transfers %+v", transfers.Rows)
	}
	// What stands for a transaction is no call.
	var internal string
	if err := b.db.Read.QueryRow(`SELECT call_id FROM call WHERE target = 'user:alice'`).Scan(&internal); err != nil {
		t.Fatal(err)
	}
	b.ask("GET", "/api/v1/calls/"+url.PathEscape(internal), "").fails(http.StatusNotFound, "not_found")
	b.ask("GET", "/api/v1/ledger/transfers?call_id="+url.QueryEscape(internal), "").fails(http.StatusNotFound, "not_found")
}

// A call's conversion is told as the document says.
func TestCallTellsItsConversion(t *testing.T) {
	b := newBench(t)
	f := newFeed(t, b)
	if _, err := b.db.Write.Exec(`INSERT INTO conversion_group (id, campaign, spec, created_at) VALUES (1, 'solar', '{"posted":true}', 1)`); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"c1", "c2"} {
		f.call(event.Call{CallID: id, Campaign: "solar", Buyer: "acme", StartedAt: f.at.UnixMicro()})
	}
	by := f.pays("c1", "5").String()
	var v sink.CallView
	b.ask("GET", "/api/v1/calls/c1", "").is(http.StatusOK, &v)
	if c := v.Conversion; c == nil || c.Status != "converted" || *c.Event != by || *c.Late {
		t.Errorf("conversion %+v", c)
	}
	b.ask("GET", "/api/v1/calls/c2", "").is(http.StatusOK, &v)
	if c := v.Conversion; c == nil || c.Status != "waiting" || c.Until == nil || c.Late != nil {
		t.Errorf("conversion %+v", c)
	}
}
