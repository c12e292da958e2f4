package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nyaruka/phonenumbers"

	"github.com/tallyhook/tallyhook/console"
)

type activityCmd struct {
	Source  string `help:"Of this source." placeholder:"ID"`
	Status  string `help:"With this status; several with commas." placeholder:"STATUS"`
	Since   string `help:"Received at or after this time, such as 2026-11-20T08:00:00Z, or 1h for that long ago." placeholder:"TIME"`
	Until   string `help:"Received before this time, in the same forms." placeholder:"TIME"`
	Caller  string `help:"From this caller; without a plus it is a number of --region." placeholder:"NUMBER"`
	Region  string `default:"${region}" help:"Country code for a caller without one." placeholder:"CODE"`
	CallID  string `help:"Matched to this call." placeholder:"ID"`
	Follow  bool   `help:"Go on showing what comes, and what becomes of what waited, until interrupted."`
	listing `embed:""`
}

var activityColumns = []column{
	{head: "RECEIVED (UTC)", path: "received_at", show: moment},
	{head: "EVENT", path: "event"},
	{head: "SOURCE", path: "source"},
	{head: "STATUS", path: "status"},
	{head: "CALLER", path: "caller"},
	{head: "SECONDS", path: "duration", right: true},
	{head: "PAYOUT", path: "payout", money: true},
	{head: "VALUE", path: "value", money: true},
	{head: "CUR", path: "currency"},
	{head: "CALL", path: "call_id"},
	{head: "REASON", path: "reason_text", sentence: true},
}

const (
	activityPath   = "/api/v1/activity"
	followInterval = time.Second
	followFirst    = 10 // rows shown before following, unless a limit is given
)

func (v activityCmd) Run(a *app) error {
	query := url.Values{}
	for name, value := range map[string]string{"source": v.Source, "status": v.Status, "since": v.Since, "until": v.Until, "caller": international(v.Caller, v.Region), "call_id": v.CallID} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return a.withClient(func(c *client) error {
		if v.Follow {
			return a.follow(c, query, v.listing)
		}
		printed, err := a.listRows(c, activityPath, query, v.listing, a.activityTable())
		if err != nil || printed > 0 {
			return err
		}
		if err := c.checkSource(a.ctx, v.Source); err != nil {
			return err
		}
		fmt.Fprintln(a.errOut, "no events fit; \"tallyhook activity\" without filters lists the newest")
		return nil
	})
}

// activityTable names the payout's currency where it is not that of the row:
// beside a call's value stands the call's currency, whatever was reported.
func (a *app) activityTable() *table {
	t := newTable(a.out, activityColumns)
	t.amend = func(rows []map[string]any) error {
		for _, row := range rows {
			if c := text(row["reported_currency"]); row["payout"] != nil && c != "" && c != row["currency"] {
				row["payout"] = text(row["payout"]) + " " + c
			}
		}
		return nil
	}
	return t
}

// international writes a caller as events record it. What is no number of the
// region stays as it is: it may have been reported so.
func international(caller, region string) string {
	if caller == "" || strings.HasPrefix(strings.TrimSpace(caller), "+") {
		return caller
	}
	n, err := phonenumbers.Parse(caller, strings.ToUpper(region))
	if err != nil || !phonenumbers.IsPossibleNumber(n) {
		return caller
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

// checkSource tells of a source that is not there. One that was deleted still
// has its events: ask only when there are none.
func (c *client) checkSource(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	err := c.get(ctx, sourcePath(id), nil, nil)
	if refusedAs(err, "not_found") {
		return err
	}
	return nil // the listing itself was answered
}

// follow shows the last events, oldest first, and then asks for what changed
// since, again and again. An interrupt is its natural end.
func (a *app) follow(c *client, query url.Values, l listing) error {
	if l.After != "" || l.All {
		return usagef("--follow goes on from the newest event: leave out --after and --all")
	}
	f := &follower{app: a, client: c, query: query, table: a.activityTable(), json: l.JSON}
	err := f.begin(min(l.Limit, followFirst))
	for err == nil {
		select {
		case <-a.ctx.Done():
			return nil
		case <-time.After(f.wait):
		}
		err = f.poll()
	}
	if a.ctx.Err() != nil {
		return nil
	}
	return err
}

// follower is a listing that is being followed. change is the number of the
// last change that it has shown, or passed over because of its filters.
type follower struct {
	app    *app
	client *client
	query  url.Values
	table  *table
	json   bool
	change string
	wait   time.Duration // before the next question
	silent bool          // the node did not answer the last one
}

func (f *follower) begin(rows int) error {
	query := clone(f.query)
	query.Set("limit", strconv.Itoa(max(rows, 1)))
	var p page
	if err := f.client.get(f.app.ctx, activityPath, query, &p); err != nil {
		return err
	}
	f.change, f.wait = "0", 0
	if len(p.Rows) == 0 {
		return f.client.checkSource(f.app.ctx, f.query.Get("source"))
	}
	// The listing is in order of change, newest first: its head is where we are.
	var newest struct {
		ChangeSeq int64 `json:"change_seq"`
	}
	if err := decodeNumbers(p.Rows[0], &newest); err != nil {
		return err
	}
	f.change = strconv.FormatInt(newest.ChangeSeq, 10)
	slices.Reverse(p.Rows)
	return f.app.showRows(f.table, p.Rows, f.json)
}

// poll asks once. A node that does not answer is asked again: it may be
// starting anew.
func (f *follower) poll() error {
	query := clone(f.query)
	query.Set("newer_than", f.change)
	query.Set("limit", strconv.Itoa(console.ListRowsMax))
	var p page
	err := f.client.get(f.app.ctx, activityPath, query, &p)
	var refused *apiError
	switch {
	case err == nil:
	case errors.As(err, &refused) && refused.Status < 500, f.app.ctx.Err() != nil:
		return err
	default:
		if !f.silent {
			fmt.Fprintf(f.app.errOut, "%s; asking again every second\n", err)
		}
		f.silent, f.wait = true, followInterval
		return nil
	}
	f.silent, f.change = false, p.Next
	f.wait = followInterval
	if len(p.Rows) == 0 {
		return nil
	}
	if len(p.Rows) == console.ListRowsMax {
		f.wait = 0
	}
	return f.app.showRows(f.table, p.Rows, f.json)
}

func clone(q url.Values) url.Values {
	c := url.Values{}
	for name, values := range q {
		c[name] = slices.Clone(values)
	}
	return c
}
