package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

type sourceCmd struct {
	List    sourceListCmd    `cmd:"" help:"List sources."`
	Show    sourceShowCmd    `cmd:"" help:"Show a source with its URL and what it refused of late."`
	Presets sourcePresetsCmd `cmd:"" help:"List what is known of kinds of senders, or show one."`
	Create  sourceCreateCmd  `cmd:"" help:"Create a source; prints the URL to hand out and, this once, its secret."`
	Rotate  sourceRotateCmd  `cmd:"" help:"Renew a source's token (and with it its URL) or its secret."`
	Secret  sourceSecretCmd  `cmd:"" help:"Show what a source's requests are checked with, or set the sender's own secret or public key."`
	Verify  sourceVerifyCmd  `cmd:"" name:"verify-request" help:"Explain step by step whether a captured request passes."`
	Learn   sourceLearnCmd   `cmd:"" help:"Propose names, notations, kinds and signature from the last requests, refused ones too."`
	Test    sourceTestCmd    `cmd:"" help:"Make the request that the sender would send, and run it dry: nothing is booked."`
	Pause   sourcePauseCmd   `cmd:"" help:"Pause a source: what comes is kept and ignored."`
	Resume  sourceResumeCmd  `cmd:"" help:"Resume a paused source."`
	Delete  sourceDeleteCmd  `cmd:"" help:"Delete a source: its URL stops working, its events stay."`
}

const sourcesPath = "/api/v1/sources"

func sourcePath(id string) string { return sourcesPath + "/" + url.PathEscape(id) }

type sourceListCmd struct{ listing }

var sourceColumns = []column{
	{head: "ID", path: "id"},
	{head: "NAME", path: "name"},
	{head: "BUYER", path: "buyer", show: orAny},
	{head: "PRESET", path: "preset"},
	{head: "REPLY", path: "reply", show: replyMode},
	{head: "SECRET", path: "secret"},
	{head: "STATE", path: "paused", show: pausedState},
	{head: "TOLERANCE", path: "match.duration_tolerance", right: true},
	{head: "WINDOW", path: "match.window", right: true},
	{head: "CREATED (UTC)", path: "created_at", show: moment},
}

func orAny(v any) string {
	if s := text(v); s != "" {
		return s
	}
	return "any"
}

func replyMode(v any) string {
	if object, ok := v.(map[string]any); ok {
		return text(object["mode"]) + ", custom"
	}
	return text(v)
}

func pausedState(v any) string {
	if v == true {
		return "paused"
	}
	return "live"
}

func (s sourceListCmd) Run(a *app) error {
	return a.withClient(func(c *client) error {
		return a.list(c, sourcesPath, nil, s.listing, sourceColumns, "there are no sources: \"tallyhook source create NAME\" makes one")
	})
}

// withClient runs f with a client that is closed afterwards.
func (a *app) withClient(f func(*client) error) (err error) {
	c, err := a.connect()
	if err != nil {
		return err
	}
	defer func() {
		if cerr := c.close(); err == nil {
			err = cerr
		}
	}()
	return f(c)
}

type sourceShowCmd struct {
	ID   string `arg:"" help:"Id of the source."`
	JSON bool   `help:"Print JSON; what was refused stands under \"refused\" when a node runs." xor:"form"`
	YAML bool   `name:"yaml" help:"Print a file for apply -f: what was written of the source, without what its preset and the defaults fill in." xor:"form"`
}

var refusedColumns = []column{
	{head: "AT (UTC)", path: "at", show: moment},
	{head: "FROM", path: "peer"},
	{head: "METHOD", path: "method"},
	{head: "ANSWER", path: "status", right: true},
	{head: "REASON", path: "reason"},
	{head: "FOUND", path: "detail"},
	{head: "QUERY", path: "query"},
}

func (s sourceShowCmd) Run(a *app) error {
	return a.withClient(func(c *client) error {
		var src json.RawMessage
		if err := c.get(a.ctx, sourcePath(s.ID), nil, &src); err != nil {
			return err
		}
		if s.YAML {
			return a.printSourceFile(src)
		}
		var refused page
		err := c.get(a.ctx, sourcePath(s.ID)+"/refused", nil, &refused)
		alone := refusedAs(err, "node_not_running")
		if err != nil && !alone {
			return err
		}
		if s.JSON {
			if !alone {
				src = withMember(src, "refused", refused.Rows)
			}
			return a.printJSON(src)
		}
		if err := a.printObject(src); err != nil {
			return err
		}
		if err := a.printOwnCurrency(src); err != nil || alone {
			return err
		}
		if len(refused.Rows) == 0 {
			fmt.Fprintln(a.out, "\nNothing was refused since the node started.")
			return nil
		}
		fmt.Fprintln(a.out, "\nRefused of late, not on disk:")
		if err := a.showRows(newTable(a.out, refusedColumns), refused.Rows, false); err != nil {
			return err
		}
		return a.printAdvice(refused.Rows)
	})
}

// printAdvice says once of each thing that was found what to do about it.
func (a *app) printAdvice(refused []json.RawMessage) error {
	said := map[string]bool{}
	for _, raw := range refused {
		var r struct{ Advice string }
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("a refused request cannot be read: %w", err)
		}
		if r.Advice != "" && !said[r.Advice] {
			said[r.Advice] = true
			fmt.Fprintf(a.out, "\n%s\n", printable(r.Advice))
		}
	}
	return nil
}

// withMember adds a member to the end of a JSON object.
func withMember(object json.RawMessage, name string, v any) json.RawMessage {
	value, err := json.Marshal(v)
	if err != nil {
		panic("bug: member " + name + " does not encode: " + err.Error())
	}
	head := strings.TrimRight(strings.TrimSuffix(strings.TrimSpace(string(object)), "}"), " \n")
	if !strings.HasSuffix(head, "{") {
		head += ","
	}
	return json.RawMessage(head + `"` + name + `":` + string(value) + "}")
}

// printObject writes an object's members below each other, in their order,
// inner ones by dotted names.
func (a *app) printObject(raw json.RawMessage) error {
	members, err := flatten(raw)
	if err != nil {
		return err
	}
	printMembers(a.out, "", members)
	return nil
}

type sourcePauseCmd struct {
	ID string `arg:"" help:"Id of the source."`
}

func (s sourcePauseCmd) Run(a *app) error {
	return a.patchSource(s.ID, map[string]any{"paused": true},
		"source %s is paused: its sender is still answered 200, what comes is kept and ignored\n")
}

type sourceResumeCmd struct {
	ID string `arg:"" help:"Id of the source."`
}

func (s sourceResumeCmd) Run(a *app) error {
	return a.patchSource(s.ID, map[string]any{"paused": false}, "source %s is live\n")
}

func (a *app) patchSource(id string, patch map[string]any, done string) error {
	return a.withClient(func(c *client) error {
		if err := c.send(a.ctx, http.MethodPatch, sourcePath(id), patch, nil); err != nil {
			return err
		}
		fmt.Fprintf(a.out, done, id)
		return nil
	})
}

type sourceDeleteCmd struct {
	ID  string `arg:"" help:"Id of the source."`
	Yes bool   `env:"-" help:"Yes, delete it."`
}

func (s sourceDeleteCmd) Run(a *app) error {
	if !s.Yes {
		return usagef("source delete %s: this cannot be undone, the URL stops working at once and the id is not given again; add --yes, or pause the source instead", s.ID)
	}
	return a.withClient(func(c *client) error {
		if err := c.ask(a.ctx, http.MethodDelete, sourcePath(s.ID), "", nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "source %s is deleted; its events stay\n", s.ID)
		return nil
	})
}

type sourceRotateCmd struct {
	ID     string        `arg:"" help:"Id of the source."`
	Token  bool          `help:"A new token: the old URL stops working at once."`
	Secret bool          `help:"A new secret, told this once."`
	Keep   time.Duration `default:"24h" help:"How long the secret before stays good beside the new one; 0s ends it at once."`
	JSON   bool          `help:"Print the source as JSON."`
}

func (s sourceRotateCmd) Run(a *app) error {
	if s.Token == s.Secret {
		return usagef("source rotate %s: say either --token or --secret", s.ID)
	}
	if s.Keep < 0 {
		return usagef("--keep %s: want 0s or more", s.Keep)
	}
	rotation := map[string]any{"what": "token"}
	if s.Secret {
		rotation = map[string]any{"what": "secret", "keep": s.Keep.String()}
	}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.send(a.ctx, http.MethodPost, sourcePath(s.ID)+"/rotate", rotation, &raw); err != nil {
			return err
		}
		if s.JSON {
			return a.printJSON(raw)
		}
		if err := a.printHandOut(raw); err != nil {
			return err
		}
		if s.Token {
			fmt.Fprintln(a.out, "The old URL is unknown from now on: give the sender this one.")
			return nil
		}
		var src handedOut
		if err := json.Unmarshal(raw, &src); err != nil {
			return err
		}
		switch {
		case src.SecretsUntil != "":
			fmt.Fprintf(a.out, "The secret before stays good for %s: change it at the sender until then.\n", s.Keep)
		case s.Keep > 0:
			fmt.Fprintf(a.out, "This source asked for no secret before: from now on its sender must %s, and is answered 401 until it does.\n", src.use())
		default:
			fmt.Fprintf(a.out, "No secret before it is good any more: until the sender can %s, it is answered 401.\n", src.use())
		}
		return nil
	})
}
