package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/tallyhook/tallyhook/source/signature"
)

type sourceTestCmd struct {
	ID     string   `arg:"" help:"Id of the source."`
	Set    []string `sep:"none" env:"-" help:"What one of the sender's macros or parameters holds: user_id=u1. Repeatable." placeholder:"NAME=VALUE"`
	Method string   `env:"-" help:"GET, POST and so on; the sender's own when not given." placeholder:"METHOD"`
	JSON   bool     `help:"Print JSON."`
}

// trialView is a trial as it comes over the wire.
type trialView struct {
	OK        bool             `json:"ok"`
	Request   string           `json:"request"`
	Signature []signature.Step `json:"signature"`
	Event     string           `json:"event"`
	Report    json.RawMessage  `json:"report"`
	Verdict   *struct {
		Status   string `json:"status"`
		Would    string `json:"would"`
		Value    string `json:"value"`
		Currency string `json:"currency"`
		Account  string `json:"account"`
		CallID   string `json:"call_id"`
	} `json:"verdict"`
	Sentence string `json:"sentence"`
}

func (s sourceTestCmd) Run(a *app) error {
	set := map[string]string{}
	for _, text := range s.Set {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return usagef("--set %q: want NAME=VALUE, for example user_id=u1", text)
		}
		set[name] = value
	}
	body := map[string]any{"set": set}
	if s.Method != "" {
		body["method"] = s.Method
	}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.send(a.ctx, http.MethodPost, sourcePath(s.ID)+"/trial", body, &raw); err != nil {
			return err
		}
		var t trialView
		if err := json.Unmarshal(raw, &t); err != nil {
			return fmt.Errorf("the trial of source %s cannot be read: %w", s.ID, err)
		}
		var err error
		if s.JSON {
			err = a.printJSON(raw)
		} else {
			err = a.printTrial(&t)
		}
		if err == nil && !t.OK {
			err = fmt.Errorf("a request of source %s's sender would be refused", s.ID)
		}
		return err
	})
}

func (a *app) printTrial(t *trialView) error {
	fmt.Fprintln(a.out, "Request")
	for line := range strings.Lines(t.Request) {
		fmt.Fprintf(a.out, "  %s\n", printable(strings.TrimRight(line, "\n")))
	}
	fmt.Fprintln(a.out, "\nChecks")
	for _, step := range t.Signature {
		ok := "ok"
		if !step.OK {
			ok = "no"
		}
		fmt.Fprintf(a.out, "  %-2s  %s: %s\n", ok, printable(step.Name), printable(step.Text))
	}
	if t.Verdict != nil {
		fmt.Fprintf(a.out, "\nReport of event %s\n", t.Event)
		if len(t.Report) > 0 && string(t.Report) != "null" {
			members, err := flatten(t.Report)
			if err != nil {
				return fmt.Errorf("report of event %s: %w", t.Event, err)
			}
			printMembers(a.out, "  ", members)
		} else {
			fmt.Fprintln(a.out, "  none: it could not be read")
		}
		v := t.Verdict
		value := v.Value
		if value != "" {
			value += " " + v.Currency
		}
		fmt.Fprintln(a.out, "\nVerdict")
		printMembers(a.out, "  ", []member{{"status", v.Status}, {"would be", v.Would}, {"value", value}, {"account", v.Account}, {"call", v.CallID}})
	}
	fmt.Fprintf(a.out, "\n%s\n", printable(t.Sentence))
	return nil
}
