package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/sink"
)

func TestCall(t *testing.T) {
	b := fed(t)
	var c sink.CallView
	b.ask("GET", "/api/v1/calls/c1", "").is(http.StatusOK, &c)
	if c.Value.String() != "60.00" || c.PublisherShare.String() != "48.00" || *c.Currency != "USD" || !c.ValueFromPostback || *c.LastEvent != "1-4" {
		t.Errorf("call %+v", c)
	}
	b.ask("GET", "/api/v1/calls/"+url.PathEscape("c/2 ü"), "").is(http.StatusOK, &c)
	if c.CallID != "c/2 ü" || c.Value.String() != "0.00" || *c.Qualified {
		t.Errorf("call %+v", c)
	}
	b.ask("GET", "/api/v1/calls/stranger", "").fails(http.StatusNotFound, "not_found", `"stranger"`, "POST /v1/calls")
}

func TestLedgerListings(t *testing.T) {
	b := fed(t)
	var balances listing[sink.BalanceRow]
	b.ask("GET", "/api/v1/ledger/balances", "").is(http.StatusOK, &balances)
	got := map[string]string{}
	for _, r := range balances.Rows {
		got[r.Account] = r.Balance.String() + " " + r.Currency
	}
	if len(got) != 4 || got["buyer:acme:receivable"] != "60.00 USD" || got["publisher:pub-7:pending"] != "48.00 USD" {
		t.Errorf("balances %v", got)
	}
	b.ask("GET", "/api/v1/ledger/balances?account=buyer&limit=1", "").is(http.StatusOK, &balances)
	if len(balances.Rows) != 1 || balances.Rows[0].Owner != "acme" || balances.Next != "" {
		t.Errorf("buyers' balances %+v", balances)
	}
	b.ask("GET", "/api/v1/ledger/balances?currency=EUR", "").is(http.StatusOK, &balances)
	if len(balances.Rows) != 0 {
		t.Errorf("balances in EUR %+v", balances)
	}

	var all, page listing[sink.TransferRow]
	b.ask("GET", "/api/v1/ledger/transfers", "").is(http.StatusOK, &all)
	if len(all.Rows) != 4 || all.Rows[0].Event != "1-4" || all.Rows[0].Amount.String() != "10.00" {
		t.Errorf("transfers %+v", all.Rows)
	}
	var paged []sink.TransferRow
	for after := ""; ; after = page.Next {
		page = listing[sink.TransferRow]{}
		b.ask("GET", "/api/v1/ledger/transfers?call_id=c1&limit=3&after="+after, "").is(http.StatusOK, &page)
		paged = append(paged, page.Rows...)
		if page.Next == "" {
			break
		}
	}
	if len(paged) != 4 || paged[3] != all.Rows[3] {
		t.Errorf("pages give %+v", paged)
	}
	b.ask("GET", "/api/v1/ledger/transfers?call_id=cc", "").fails(http.StatusNotFound, "not_found", `"cc"`)
	b.ask("GET", "/api/v1/ledger/transfers?after="+balances.Next+"x", "").fails(http.StatusBadRequest, "bad_request", "cursor")
}

func TestVerify(t *testing.T) {
	b := fed(t)
	var v verified
	b.ask("GET", "/api/v1/ledger/verify", "").is(http.StatusOK, &v)
	if len(v.Findings.Checks) < 8 || v.Findings.First() != nil {
		t.Errorf("findings %+v", v.Findings)
	}

	if _, err := b.db.Write.Exec(`UPDATE balance SET debits = debits + 1 WHERE account = 1`); err != nil {
		t.Fatal(err)
	}
	b.ask("GET", "/api/v1/ledger/verify", "").is(http.StatusOK, &v)
	if bad := v.Findings.First(); bad == nil || bad.Fault == "" {
		t.Errorf("a falsified balance is not found: %+v", v.Findings)
	}
}

// TestVerifyTellsProgress: every line is JSON, steps come in order and end
// done, and the findings are the last line.
func TestVerifyTellsProgress(t *testing.T) {
	b := fed(t)
	a := b.ask("GET", "/api/v1/ledger/verify", "", "Accept", "application/x-ndjson").is(http.StatusOK, nil)
	if a.Header().Get("Content-Type") != typeNDJSON || !a.Flushed {
		t.Errorf("content type %q, flushed %t", a.Header().Get("Content-Type"), a.Flushed)
	}
	lines := strings.Split(strings.TrimSpace(a.Body.String()), "\n")
	steps := 0
	for i, line := range lines {
		var l struct {
			Step        string
			Done, Total int64
			Findings    *sink.Findings
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		if last := i == len(lines)-1; last != (l.Findings != nil) || (!last && (l.Step == "" || l.Done > l.Total)) {
			t.Errorf("line %d of %d: %s", i+1, len(lines), line)
		}
		if l.Step != "" && l.Done == l.Total {
			steps++
		}
	}
	if steps < 8 {
		t.Errorf("%d steps ended:\n%s", steps, a.Body)
	}
}

func TestVerifyFails(t *testing.T) {
	b := fed(t)
	if _, err := b.db.Write.Exec(`ALTER TABLE transfer RENAME TO transfer_canary`); err != nil {
		t.Fatal(err)
	}
	b.ask("GET", "/api/v1/ledger/verify", "").fails(http.StatusInternalServerError, "internal", "log")
	a := b.ask("GET", "/api/v1/ledger/verify", "", "Accept", "application/x-ndjson").is(http.StatusOK, nil)
	lines := strings.Split(strings.TrimSpace(a.Body.String()), "\n")
	var last fault
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil || last.Error != "internal" {
		t.Errorf("the last line is %s", lines[len(lines)-1])
	}
	if strings.Contains(a.Body.String(), "canary") || !strings.Contains(b.log.String(), "no such table") {
		t.Errorf("told: %s, logged: %s", a.Body, b.log)
	}
}

func TestOneVerificationAtATime(t *testing.T) {
	b := fed(t)
	b.console.verifying.Lock()
	b.ask("GET", "/api/v1/ledger/verify", "").fails(http.StatusConflict, "verify_running", "wait")
	b.console.verifying.Unlock()
	b.ask("GET", "/api/v1/ledger/verify", "").is(http.StatusOK, nil)
}

func TestVerifyWithoutDatabase(t *testing.T) {
	b := newBench(t)
	b.console.cfg.VerifyDB = nil
	b.ask("GET", "/api/v1/ledger/verify", "").fails(http.StatusServiceUnavailable, "node_not_running", "tallyhook serve")
}
