package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

const accountsPath = "/api/v1/accounts"

type accountCmd struct {
	List accountListCmd `cmd:"" help:"List accounts with their balances, by name."`
	Show accountShowCmd `cmd:"" help:"Show what an account holds, and the lines that made it so, the newest first."`
}

type accountListCmd struct {
	Prefix   string `arg:"" optional:"" help:"How their names begin, such as user:."`
	Currency string `help:"In this currency." placeholder:"CODE"`
	listing  `embed:""`
}

var accountColumns = []column{
	{head: "ACCOUNT", path: "account"},
	{head: "CUR", path: "currency"},
	{head: "CREDITED", path: "credits", money: true},
	{head: "TAKEN BACK", path: "debits", money: true},
	{head: "BALANCE", path: "balance", money: true},
}

func (l accountListCmd) Run(a *app) error {
	query := url.Values{}
	if l.Prefix != "" {
		query.Set("prefix", l.Prefix)
	}
	if l.Currency != "" {
		query.Set("currency", l.Currency)
	}
	return a.withClient(func(c *client) error {
		return a.list(c, accountsPath, query, l.listing, accountColumns,
			"no account fits; sources with \"settle: account\" open them, see \"tallyhook source create --help\"")
	})
}

type accountShowCmd struct {
	Name  string `arg:"" help:"The account's name, such as user:alice."`
	Limit int    `default:"50" help:"Lines at most, up to 1000."`
	After string `help:"Go on behind this cursor, which the page before named." placeholder:"CURSOR"`
	JSON  bool   `help:"Print JSON."`
}

var statementColumns = []column{
	{head: "RECEIVED (UTC)", path: "received_at", show: moment},
	{head: "EVENT", path: "event"},
	{head: "SOURCE", path: "source"},
	{head: "CAUSE", path: "cause"},
	{head: "TRANSACTION", path: "transaction_id"},
	{head: "AMOUNT", path: "amount", money: true},
	{head: "CUR", path: "currency"},
	{head: "BALANCE", path: "balance", money: true},
}

func (s accountShowCmd) Run(a *app) error {
	query := url.Values{"account": {s.Name}, "limit": {strconv.Itoa(s.Limit)}, "after": {s.After}}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.get(a.ctx, accountsPath+"/statement", query, &raw); err != nil {
			return err
		}
		if s.JSON {
			return a.printJSON(raw)
		}
		return a.printStatement(raw)
	})
}

func (a *app) printStatement(raw json.RawMessage) error {
	var s struct {
		Balances []json.RawMessage
		Rows     []json.RawMessage
		Next     string
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("the statement cannot be read: %w", err)
	}
	if err := a.showRows(newTable(a.out, accountColumns), s.Balances, false); err != nil {
		return err
	}
	if len(s.Rows) > 0 {
		fmt.Fprintln(a.out)
		if err := a.showRows(newTable(a.out, statementColumns), s.Rows, false); err != nil {
			return err
		}
	}
	if s.Next != "" {
		fmt.Fprintf(a.errOut, "there are more: --after %s goes on\n", quoteArg(s.Next))
	}
	return nil
}
