package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
	"github.com/tallyhook/tallyhook/store"
)

type ledgerCmd struct {
	Balances  ledgerBalancesCmd  `cmd:"" help:"List accounts with their balances."`
	Transfers ledgerTransfersCmd `cmd:"" help:"List transfers, the newest first."`
	Verify    ledgerVerifyCmd    `cmd:"" help:"Check every invariant of the books; exit 1 names the first that fails."`
}

type ledgerBalancesCmd struct {
	Account  string `help:"This account, or those whose names begin so: buyer, buyer:acme, network:revenue." placeholder:"NAME"`
	Currency string `help:"In this currency." placeholder:"CODE"`
	listing  `embed:""`
}

var balanceColumns = []column{
	{head: "ACCOUNT", path: "account"},
	{head: "CUR", path: "currency"},
	{head: "DEBITS", path: "debits", money: true},
	{head: "CREDITS", path: "credits", money: true},
	{head: "BALANCE", path: "balance", money: true},
	{head: "GROWS BY", path: "normal"},
}

func (b ledgerBalancesCmd) Run(a *app) error {
	query := url.Values{}
	if b.Account != "" {
		query.Set("account", b.Account)
	}
	if b.Currency != "" {
		query.Set("currency", b.Currency)
	}
	return a.withClient(func(c *client) error {
		t := newTable(a.out, balanceColumns)
		t.amend = byAccount
		printed, err := a.listRows(c, "/api/v1/ledger/balances", query, b.listing, t)
		if err == nil && printed == 0 {
			fmt.Fprintln(a.errOut, "no account fits; accounts are opened by the first posting")
		}
		return err
	})
}

// byAccount sorts a page: the API's pages are in the order in which accounts
// were opened.
func byAccount(rows []map[string]any) error {
	slices.SortFunc(rows, func(a, b map[string]any) int {
		return cmp.Or(strings.Compare(text(a["account"]), text(b["account"])), strings.Compare(text(a["currency"]), text(b["currency"])))
	})
	return nil
}

type ledgerTransfersCmd struct {
	CallID  string `help:"Of this call." placeholder:"ID"`
	listing `embed:""`
}

var transferColumns = []column{
	{head: "POSTING", path: "posting", right: true},
	{head: "LINE", path: "line", right: true},
	{head: "RECEIVED (UTC)", path: "received_at", show: moment},
	{head: "EVENT", path: "event"},
	{head: "CALL", path: "call_id"},
	{head: "CAUSE", path: "cause"},
	{head: "DEBIT", path: "debit"},
	{head: "CREDIT", path: "credit"},
	{head: "AMOUNT", path: "amount", money: true},
	{head: "CUR", path: "currency"},
}

func (t ledgerTransfersCmd) Run(a *app) error {
	query := url.Values{}
	if t.CallID != "" {
		query.Set("call_id", t.CallID)
	}
	return a.withClient(func(c *client) error {
		return a.list(c, "/api/v1/ledger/transfers", query, t.listing, transferColumns, "nothing is booked yet")
	})
}

type ledgerVerifyCmd struct {
	JSON bool `help:"Print what was found as JSON."`
}

var checkColumns = []column{
	{head: "CHECK", path: "id"},
	{head: "RESULT", path: "ok", show: checkResult},
	{head: "ROWS", path: "checked", right: true},
	{head: "WHAT HOLDS", path: "title"},
}

func checkResult(v any) string {
	if v == true {
		return "ok"
	}
	return "FAILS"
}

// Run reads the store itself, for reading only: beside a running node, with
// none, on a copy of the data folder, and without a key. There is one way to
// verify, so that the proof never depends on the node whose books it proves.
func (v ledgerVerifyCmd) Run(a *app) error {
	findings, err := a.verifyStore(a.opt.Store)
	if err != nil {
		return err
	}
	if v.JSON {
		err = a.printJSON(findings)
	} else {
		err = a.printFindings(findings)
	}
	if bad := findings.First(); bad != nil && err == nil {
		return fmt.Errorf("%s does not hold: %s", bad.ID, bad.Fault)
	}
	return err
}

func (a *app) verifyStore(url string) (*sink.Findings, error) {
	if err := storeFile(url); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no store at %s: verify runs where the data folder is, name it with --data; of a node elsewhere ask GET /api/v1/ledger/verify", url)
	} else if err != nil {
		return nil, fmt.Errorf("the store cannot be looked at: %w", err)
	}
	db, err := store.OpenReadOnly(a.ctx, url)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	bar := a.newProgress("ledger verify", "rows")
	defer bar.end()
	found, err := sink.Verify(a.ctx, db.Read, func(step string, done, total int64) {
		bar.describe("ledger verify " + step)
		bar.set(done, total)
	})
	if err != nil || a.opt.Activity == "" {
		return found, err
	}
	bar.describe("ledger verify I10")
	return found, a.compareActivity(found, db)
}

// compareActivity adds the check that the activity store counts what the
// verdict log does. What is not shipped yet counts on neither side.
func (a *app) compareActivity(found *sink.Findings, db *store.DB) error {
	server, err := clickhouse.Open(a.opt.Activity)
	if err != nil {
		return usageError{err}
	}
	defer server.Close()
	var first, last int64
	if err := db.Read.QueryRowContext(a.ctx, `SELECT coalesce(min(received_at), 0), coalesce(max(received_at), 0) FROM verdict`).Scan(&first, &last); err != nil {
		return fmt.Errorf("read the verdict log: %w", err)
	}
	c, err := clickhouse.Compare(a.ctx, db.Read, server, time.UnixMicro(first), time.UnixMicro(last).Add(time.Hour))
	if err != nil {
		return fmt.Errorf("compare with the activity store: %w", err)
	}
	check := sink.Check{ID: "I10", Title: "the activity store counts every hour as the verdict log does", OK: len(c.Differences) == 0, Checked: int64(c.Hours)}
	if !check.OK {
		check.Fault = fmt.Sprintf("%d hours differ; in that of %s the log has %d events and the activity store %d", len(c.Differences),
			c.Differences[0].Hour.Format(time.RFC3339), c.Differences[0].Ledger.Events, c.Differences[0].ClickHouse.Events)
	}
	found.Checks = append(found.Checks, check)
	return nil
}

func (a *app) printFindings(f *sink.Findings) error {
	rows := make([]map[string]any, len(f.Checks))
	var checked int64
	for i, c := range f.Checks {
		rows[i] = map[string]any{"id": c.ID, "ok": c.OK, "checked": count(c.Checked), "title": c.Title}
		checked += c.Checked
	}
	if err := newTable(a.out, checkColumns).add(rows); err != nil {
		return err
	}
	if f.First() == nil {
		fmt.Fprintf(a.out, "The books hold: %d checks, %s.\n", len(f.Checks), plural(checked, "row"))
	}
	return nil
}
