package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Beside a call's value stands the call's currency: a payout that was reported
// in another one says so, and only to people.
func TestActivityNamesAPayoutsOwnCurrency(t *testing.T) {
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"rows":[{"event":"1-1","status":"stale","payout":"50.00","value":"7.00","currency":"USD","reported_currency":"EUR"},
			{"event":"1-2","status":"duplicate","payout":"60.00","value":"7.00","currency":"USD","reported_currency":"USD"},
			{"event":"1-3","status":"duplicate","payout":"70.00","value":"7.00","currency":"USD","reported_currency":null}],"next":""}`)
	})
	dir := folderWithKey(t)
	o := tallyhook(t, "activity", "--data", dir, "--admin", addr).ends(0).says("50.00 EUR", "60.00", "70.00")
	if strings.Count(o.out, "EUR") != 1 || strings.Contains(o.out, "60.00 USD") {
		t.Errorf("shown\n%s", o.out)
	}
	tallyhook(t, "activity", "--json", "--data", dir, "--admin", addr).ends(0).says(`"payout":"50.00"`)
}

func TestSentenceStandsBelowItsRowOnANarrowTerminal(t *testing.T) {
	cols := []column{{head: "WHO", path: "who"}, {head: "WHY", path: "why", sentence: true}}
	f := func(width int, want string) {
		t.Helper()
		var out bytes.Buffer
		tab := newTable(&out, cols)
		tab.width = width
		if err := tab.add(rowsOf(t, `{"who":"a","why":"It came late."}`, `{"who":"b","why":null}`)); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("at %d columns\n%s\nwant\n%s", width, out.String(), want)
		}
	}
	f(80, "WHO\na\n    It came late.\nb\n")
	f(120, "WHO  WHY\na    It came late.\nb\n")
	f(0, "WHO  WHY\na    It came late.\nb\n")
}

func TestBalancesAreSortedByAccount(t *testing.T) {
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"rows":[{"account":"network:revenue","currency":"USD"},{"account":"buyer:a","currency":"USD"},{"account":"buyer:a","currency":"EUR"}],"next":""}`)
	})
	o := tallyhook(t, "ledger", "balances", "--data", folderWithKey(t), "--admin", addr).ends(0)
	if got := strings.Fields(o.out); strings.Join(got[len(got)-6:], " ") != "buyer:a EUR buyer:a USD network:revenue USD" {
		t.Errorf("shown\n%s", o.out)
	}
}

func TestInternational(t *testing.T) {
	f := func(caller, region, want string) {
		t.Helper()
		if got := international(caller, region); got != want {
			t.Errorf("%q in %s is %q, want %q", caller, region, got, want)
		}
	}
	f("3055550002", "US", "+13055550002")
	f("(305) 555-0002", "us", "+13055550002")
	f("030 123456", "DE", "+4930123456")
	f("+49 30 123456", "US", "+49 30 123456")
	f("anonymous", "US", "anonymous")
	f("12", "US", "12")
	f("3055550002", "nowhere", "3055550002")
	f("", "US", "")
}
