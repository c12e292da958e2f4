package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/tallyhook/tallyhook/sink"
)

const heldPath = "/api/v1/held"

type heldCmd struct {
	List    heldListCmd    `cmd:"" help:"List events that wait for a person, those that wait longest first."`
	Release heldReleaseCmd `cmd:"" help:"Book a held event, at its own value or at another one."`
	Reject  heldRejectCmd  `cmd:"" help:"Refuse a held event: it changes nothing, and a retry of it is a duplicate."`
}

type heldListCmd struct {
	Source  string `help:"Of this source." placeholder:"ID"`
	Reason  string `help:"Held for this reason, such as amount_over_cap." placeholder:"WORD"`
	listing `embed:""`
}

var heldColumns = []column{
	{head: "EVENT", path: "event"},
	{head: "SOURCE", path: "source"},
	{head: "SINCE (UTC)", path: "since", show: moment},
	{head: "KIND", path: "kind"},
	{head: "CALL OR ACCOUNT", path: "on"},
	{head: "AMOUNT", path: "amount", money: true},
	{head: "CUR", path: "in"},
	{head: "DECIDED", path: "decided"},
	{head: "WHY", path: "reason_text", sentence: true},
}

func (h heldListCmd) Run(a *app) error {
	query := url.Values{}
	if h.Source != "" {
		query.Set("source", h.Source)
	}
	if h.Reason != "" {
		query.Set("reason", h.Reason)
	}
	return a.withClient(func(c *client) error {
		t := newTable(a.out, heldColumns)
		t.amend = ofHeld
		printed, err := a.listRows(c, heldPath, query, h.listing, t)
		if err == nil && printed == 0 {
			fmt.Fprintln(a.errOut, "nothing is held")
		}
		return err
	})
}

// ofHeld adds to rows what they would change, by how much, and what was decided.
func ofHeld(rows []map[string]any) error {
	for _, row := range rows {
		row["on"], row["amount"], row["in"] = row["call_id"], row["payout"], row["currency"]
		if row["account"] != nil {
			row["on"] = row["account"]
		}
		if row["reward"] != nil {
			row["amount"], row["in"] = row["reward"], row["reward_currency"]
		}
		if p := row["pending"]; p != nil {
			decided := text(lookUp(p, "decision"))
			if value := text(lookUp(p, "value")); value != "" {
				decided += " at " + value
			}
			row["decided"] = decided + " by " + text(lookUp(p, "actor"))
		}
	}
	return nil
}

type heldReleaseCmd struct {
	Event string `arg:"" help:"Id of the event, such as 1-42, as \"held list\" names it."`
	Value string `help:"Book it at this value, in the currency of its call or account, instead of what was reported." placeholder:"AMOUNT"`
	JSON  bool   `help:"Print the event as JSON."`
}

func (h heldReleaseCmd) Run(a *app) error {
	body := map[string]string{}
	if h.Value != "" {
		body["value"] = h.Value
	}
	return a.rule(h.Event, "release", body, h.JSON)
}

type heldRejectCmd struct {
	Event string `arg:"" help:"Id of the event, such as 1-42, as \"held list\" names it."`
	JSON  bool   `help:"Print the event as JSON."`
}

func (h heldRejectCmd) Run(a *app) error {
	return a.rule(h.Event, "reject", map[string]string{}, h.JSON)
}

// rule decides of a held event and tells what became of it, or that no node
// has carried it out yet.
func (a *app) rule(id, decision string, body map[string]string, asJSON bool) error {
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.send(a.ctx, http.MethodPost, heldPath+"/"+url.PathEscape(id)+"/"+decision, body, &raw); err != nil {
			return err
		}
		if asJSON {
			return a.printJSON(raw)
		}
		var waits struct{ Pending *sink.HeldRuling }
		if err := json.Unmarshal(raw, &waits); err != nil {
			return fmt.Errorf("the answer about event %s cannot be read: %w", id, err)
		}
		if waits.Pending != nil {
			fmt.Fprintf(a.out, "Event %s: %s is noted; a node carries it out with its next batch. See \"tallyhook event %s\".\n", printable(id), decision, quoteArg(id))
			return nil
		}
		var t timeline
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("the answer about event %s cannot be read: %w", id, err)
		}
		t.printHead(a.out)
		return nil
	})
}
