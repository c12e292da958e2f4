package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/sink"
)

const eventsPath = "/api/v1/events/"

type eventCmd struct {
	ID   string `arg:"" help:"Id of the event, such as 1-42, as answers and listings name it."`
	JSON bool   `help:"Print JSON."`
}

// timeline is sink.Timeline as it comes over the wire.
type timeline struct {
	sink.Row
	Request     *requestView        `json:"request"`
	Report      json.RawMessage     `json:"report"`
	Candidates  []sink.Candidate    `json:"candidates"` // in place of Row's number of them
	Revisions   []sink.Revision     `json:"revisions"`
	Postings    []sink.EventPosting `json:"postings"`
	ParkedUntil *sink.Instant       `json:"parked_until"`
}

// requestView is a request as it came, secrets redacted.
type requestView struct {
	Method      string          `json:"method"`
	Query       string          `json:"query"`
	ContentType string          `json:"content_type"`
	Headers     json.RawMessage `json:"headers"`
	Peer        string          `json:"peer"`
	Body        *string         `json:"body"`
	Base64      string          `json:"body_base64"`
	BodyCut     bool            `json:"body_cut"`
}

func (e eventCmd) Run(a *app) error {
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.get(a.ctx, eventsPath+url.PathEscape(e.ID), nil, &raw); err != nil {
			return err
		}
		if e.JSON {
			return a.printJSON(raw)
		}
		var t timeline
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("the answer about event %s cannot be read: %w", e.ID, err)
		}
		return t.print(a.out)
	})
}

func (t *timeline) print(w io.Writer) error {
	t.printHead(w)
	t.printRequest(w)
	if err := t.printReport(w); err != nil {
		return err
	}
	t.printCandidates(w)
	if err := t.printRevisions(w); err != nil {
		return err
	}
	t.printPostings(w)
	return nil
}

func (t *timeline) printHead(w io.Writer) {
	state := ""
	switch {
	case t.ParkedUntil != nil:
		state = " (waits until " + instant(*t.ParkedUntil) + ")"
	case !t.Final:
		state = " (not final)"
	}
	fmt.Fprintf(w, "Event %s: %s%s\n", t.Event, t.Status, state)
	if t.ReasonText != "" {
		fmt.Fprintln(w, printable(t.ReasonText))
	}
	fmt.Fprintln(w)
	head := []member{
		{"received", instant(t.ReceivedAt) + ", source " + t.Source + ", from " + t.Peer},
		{"decided", fmt.Sprintf("%s, revision %d", instant(t.DecidedAt), t.Revision)},
	}
	if t.CallID != nil {
		head = append(head, member{"call", t.call()})
	}
	said := t.settlement()
	switch {
	case t.Value != nil && said.Account != "":
		head = append(head, member{"account", fmt.Sprintf("%s; this event changed it by %s%s", said.Account, t.ShareDelta, said.in())},
			member{"payout", fmt.Sprintf("%s %s; this event changed it by %s", t.Value, deref(t.Currency), t.Delta)})
	case said.Account != "":
		head = append(head, member{"account", said.Account + said.reported()})
	case t.Value != nil:
		head = append(head, member{"value", fmt.Sprintf("%s %s; this event changed it by %s and the publisher's share by %s", t.Value, deref(t.Currency), t.Delta, t.ShareDelta)})
	}
	l := t.Latency
	waited := ""
	if t.Revision > 1 {
		waited = ", its waiting included"
	}
	head = append(head, member{"time", fmt.Sprintf("%s from receipt to verdict%s; queued %s, its batch mapped in %s and matched in %s",
		micro(l.Total), waited, micro(l.Queue), micro(l.Map), micro(l.Match))})
	printMembers(w, "  ", head)
}

// call describes the matched call.
func (t *timeline) call() string {
	s := *t.CallID
	if t.Strategy != "" {
		s += ", found by " + strings.ReplaceAll(t.Strategy, "_", " ")
	}
	for _, part := range []struct {
		name  string
		value *string
	}{{"caller", t.CallCaller}, {"campaign", t.Campaign}, {"publisher", t.Publisher}, {"buyer", t.Buyer}} {
		if v := deref(part.value); v != "" {
			s += ", " + part.name + " " + v
		}
	}
	return s
}

func (t *timeline) printRequest(w io.Writer) {
	fmt.Fprintln(w, "\nRequest")
	q := t.Request
	if q == nil {
		fmt.Fprintln(w, "  no longer kept")
		return
	}
	printMembers(w, "  ", []member{{"method", q.Method}, {"query", q.Query}, {"type", q.ContentType}})
	if headers, err := flatten(q.Headers); err == nil && len(headers) > 0 {
		fmt.Fprintln(w, "  headers")
		printMembers(w, "    ", headers)
	}
	switch {
	case q.Base64 != "":
		fmt.Fprintf(w, "  body, not text, in base64\n    %s\n", q.Base64)
	case deref(q.Body) != "":
		fmt.Fprintln(w, "  body")
		for line := range strings.Lines(strings.ReplaceAll(*q.Body, "\t", "    ")) {
			fmt.Fprintf(w, "    %s\n", printable(strings.TrimRight(line, "\r\n")))
		}
	}
	if q.BodyCut {
		fmt.Fprintln(w, "    … the body was longer; this is what was kept")
	}
}

func (t *timeline) printReport(w io.Writer) error {
	burnt := ""
	if t.Fuel > 0 {
		burnt = fmt.Sprintf(" for %d units of fuel", t.Fuel)
	}
	fmt.Fprintf(w, "\nReport, made of it by mapper %s%s\n", printable(t.Mapper), burnt)
	if len(t.Report) == 0 || string(t.Report) == "null" {
		fmt.Fprintln(w, "  none: it could not be read")
		return nil
	}
	members, err := flatten(t.Report)
	if err != nil {
		return fmt.Errorf("report of event %s: %w", t.Event, err)
	}
	printMembers(w, "  ", members)
	return nil
}

func (t *timeline) printCandidates(w io.Writer) {
	if len(t.Candidates) == 0 {
		return
	}
	fmt.Fprintln(w, "\nCalls considered")
	width := 0
	for _, c := range t.Candidates {
		width = max(width, len(c.CallID))
	}
	for _, c := range t.Candidates {
		why := "fits"
		if !c.Fits {
			why = strings.ReplaceAll(c.Why, "_", " ")
		}
		if c.MissedBy > 0 {
			why += ", missed by " + (time.Duration(c.MissedBy) * time.Second).String()
		}
		fmt.Fprintf(w, "  %-*s  %s\n", width, printable(c.CallID), printable(why))
	}
}

var revisionColumns = []column{
	{head: "  REVISION", path: "revision", right: true},
	{head: "DECIDED (UTC)", path: "decided_at", show: momentMicros},
	{head: "STATUS", path: "status"},
	{head: "CALL", path: "call_id"},
	{head: "VALUE", path: "value", money: true},
	{head: "CHANGE", path: "delta", money: true},
	{head: "SHARE", path: "share_delta", money: true},
	{head: "REASON", path: "reason_text"},
}

func (t *timeline) printRevisions(w io.Writer) error {
	fmt.Fprintln(w, "\nVerdict")
	raw, err := json.Marshal(t.Revisions)
	if err != nil {
		return err
	}
	var rows []map[string]any
	if err := decodeNumbers(raw, &rows); err != nil {
		return err
	}
	return newTable(w, revisionColumns).add(rows)
}

func (t *timeline) printPostings(w io.Writer) {
	if len(t.Postings) == 0 {
		fmt.Fprintln(w, "\nNothing was posted.")
		return
	}
	fmt.Fprintln(w, "\nPostings")
	said := t.settlement()
	for _, p := range t.Postings {
		if said.Account != "" {
			fmt.Fprintf(w, "  %d  %s: %s has %s%s of this transaction now, the buyer owes %s %s for it\n", p.No, p.Cause, printable(said.Account), p.Share, said.in(), p.Value, p.Currency)
		} else {
			fmt.Fprintf(w, "  %d  %s: the call is worth %s %s now, the publisher's share is %s\n", p.No, p.Cause, p.Value, p.Currency, p.Share)
		}
		from, to := 0, 0
		for _, l := range p.Transfers {
			from, to = max(from, len(l.Debit)), max(to, len(l.Credit))
		}
		for _, l := range p.Transfers {
			fmt.Fprintf(w, "     debit %-*s  credit %-*s  %12s %s\n", from, printable(l.Debit), to, printable(l.Credit), l.Amount, l.Currency)
		}
	}
}

func instant(i sink.Instant) string {
	return time.UnixMicro(int64(i)).UTC().Format("2006-01-02 15:04:05.000000") + " UTC"
}

func micro(us int64) string { return (time.Duration(us) * time.Microsecond).String() }

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
