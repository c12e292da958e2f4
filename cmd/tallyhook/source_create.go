package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/source"
)

type sourceCreateCmd struct {
	Name         string        `arg:"" help:"Name, for people."`
	Rest         []string      `arg:"" optional:"" hidden:"" name:"rest" help:"Nothing."`
	ID           string        `help:"Id; made from the name when it is not given." placeholder:"ID"`
	Buyer        string        `help:"Price this buyer's calls only." placeholder:"BUYER"`
	Preset       string        `help:"What is known of this kind of sender: ${presets}." placeholder:"PRESET"`
	Mapper       string        `help:"Partner's mapper that reads its postbacks: NAME, or NAME@VERSION." placeholder:"NAME"`
	Fallback     bool          `name:"mapper-fallback" help:"While the mapper's active version is broken, the one before it maps."`
	Currency     string        `help:"Of payouts that name none." placeholder:"CODE"`
	Region       string        `help:"Country code for numbers without one, such as US." placeholder:"CODE"`
	Secret       secretFlag    `env:"-" help:"Ask the sender for a secret, made and told once; or --secret=@FILE, --secret=- (stdin), --secret=VALUE for the sender's own. Others on this machine can read a VALUE: prefer @FILE." placeholder:"@FILE"`
	Auth         string        `help:"The sender shows the secret itself there: bearer, basic, header:NAME or query:NAME." placeholder:"PLACE"`
	AllowIP      []string      `name:"allow-ip" help:"Address or prefix that may send; others are refused. Repeatable." placeholder:"CIDR"`
	Settle       string        `help:"call: postbacks pay for calls. account: for an account that they name." placeholder:"WHAT"`
	Account      string        `help:"Template of the account's name, such as user:{user_id}." placeholder:"TEMPLATE"`
	Reward       string        `help:"What the account is credited: a currency, or with a rate so many of it for one of the payout, such as COINS:1000." placeholder:"CURRENCY[:RATE]"`
	Reply        string        `help:"verdict: wait for it a moment. accepted: answer once it is on disk." placeholder:"MODE"`
	Ack          string        `help:"journal: a 2xx says that the postback is on this node's disk. committed: that the ledger has committed its verdict." placeholder:"WHEN"`
	Field        []string      `sep:"none" help:"Names that this sender uses for a field, tried first: payout=data.amount,sum. Repeatable." placeholder:"FIELD=NAME,…"`
	DurationUnit string        `help:"How durations are written: seconds, ms or mm:ss." placeholder:"UNIT"`
	Cents        bool          `help:"Amounts are whole cents."`
	DecimalComma bool          `help:"Amounts are written 1.234,56."`
	Identity     *string       `help:"Field whose value identifies a postback for ever." placeholder:"FIELD"`
	ParkFor      time.Duration `help:"How long a postback waits for its call." placeholder:"TIME"`
	DedupeWindow time.Duration `help:"How long a repeat without an id counts as one." placeholder:"TIME"`
	Tolerance    time.Duration `help:"By how much durations may differ." placeholder:"TIME"`
	Window       time.Duration `help:"By how much starts may differ." placeholder:"TIME"`
	PerToken     int           `help:"Requests a minute; -1 is no limit." placeholder:"N"`
	PerIP        int           `name:"per-ip" help:"Requests a minute from one address; -1 is no limit." placeholder:"N"`
	Strict       bool          `help:"50 requests a minute from one address, 200 in all."`
	JSON         bool          `help:"Print the source as JSON."`
}

func (s sourceCreateCmd) Run(a *app) error {
	spec, err := s.spec()
	if err != nil {
		return err
	}
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.send(a.ctx, http.MethodPost, sourcesPath, spec, &raw); err != nil {
			return err
		}
		if s.JSON {
			err = a.printJSON(raw)
		} else if err = a.printHandOut(raw); err == nil {
			err = a.printOwnCurrency(raw)
		}
		if err != nil || s.Buyer == "" {
			return err
		}
		return a.warnOfBuyer(c, s.Buyer)
	})
}

// warnOfBuyer says that a buyer is not there. A source may come before its
// buyer, so it is no error.
func (a *app) warnOfBuyer(c *client, id string) error {
	var known []string
	query := url.Values{"limit": {strconv.Itoa(console.ListRowsMax)}}
	for {
		var p page
		if err := c.get(a.ctx, "/api/v1/buyers", query, &p); err != nil {
			return fmt.Errorf("the source is made, but its buyer %q cannot be looked up: %w", id, err)
		}
		for _, row := range p.Rows {
			var buyer struct {
				ID string `json:"id"`
			}
			if err := json.Unmarshal(row, &buyer); err != nil {
				return err
			}
			if buyer.ID == id {
				return nil
			}
			known = append(known, buyer.ID)
		}
		if p.Next == "" {
			break
		}
		query.Set("after", p.Next)
	}
	fmt.Fprintf(a.errOut, "warning: there is no buyer %q%s; \"tallyhook apply\" makes buyers, and this source prices calls of that buyer only\n", id, meant(id, known))
	return nil
}

// spec is the body of the request: what was said, and nothing else, so that
// the rest follows the preset and the product's defaults.
func (s *sourceCreateCmd) spec() (map[string]any, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	fields, err := fieldNames(s.Field)
	if err != nil {
		return nil, err
	}
	limits, profile := object{}, ""
	if s.Strict {
		profile = "strict"
	}
	limits.put("profile", profile)
	limits.put("per_token_per_min", s.PerToken)
	limits.put("per_ip_per_min", s.PerIP)
	match := object{}
	match.put("default_region", s.Region)
	match.put("duration_tolerance", s.Tolerance)
	match.put("window", s.Window)
	transforms := object{}
	transforms.put("duration", s.DurationUnit)
	transforms.put("cents", s.Cents)
	transforms.put("decimal_comma", s.DecimalComma)
	spec := object{"name": s.Name}
	spec.put("id", s.ID)
	spec.put("buyer", s.Buyer)
	spec.put("preset", s.Preset)
	spec.put("mapper", s.Mapper)
	if s.Fallback {
		spec.put("mapper_fallback", source.FallbackPrevious)
	}
	spec.put("currency", s.Currency)
	if err := s.who(spec); err != nil {
		return nil, err
	}
	spec.put("settle", s.Settle)
	spec.put("account", s.Account)
	if currency, rate, _ := strings.Cut(s.Reward, ":"); s.Reward != "" {
		reward := object{"currency": currency}
		reward.put("rate", rate)
		spec.put("reward", reward)
	}
	spec.put("reply", s.Reply)
	spec.put("ack", s.Ack)
	if s.Identity != nil {
		spec.put("identity", *s.Identity)
	}
	spec.put("park_for", s.ParkFor)
	spec.put("dedupe_window", s.DedupeWindow)
	spec.put("fields", fields)
	spec.put("limits", limits)
	spec.put("match", match)
	spec.put("transforms", transforms)
	return spec, nil
}

// check refuses what cannot be meant. What stands behind --secret with a blank
// is not repeated: it is one.
func (s *sourceCreateCmd) check() error {
	switch {
	case len(s.Rest) > 0 && s.Secret.asked:
		return usagef("source create: there is an argument too many: write --secret=@FILE or --secret=VALUE, without a blank; --secret alone makes a secret")
	case len(s.Rest) > 0:
		return usagef("source create: unexpected argument %q: a name of several words stands in quotes", s.Rest[0])
	case s.Identity != nil && *s.Identity == "":
		return usagef("--identity is empty: want the name of the field that identifies a postback, such as transaction_id")
	}
	for _, d := range []struct {
		flag  string
		value time.Duration
	}{{"park-for", s.ParkFor}, {"dedupe-window", s.DedupeWindow}, {"tolerance", s.Tolerance}, {"window", s.Window}} {
		if d.value < 0 {
			return usagef("--%s %s: want a time above zero, such as 90s or 24h", d.flag, d.value)
		}
	}
	return nil
}

// who adds what says who may send.
func (s *sourceCreateCmd) who(spec object) error {
	if len(s.AllowIP) > 0 {
		spec["allow_ips"] = s.AllowIP
	}
	switch kind, name, _ := strings.Cut(s.Auth, ":"); {
	case s.Auth == "":
	case s.Auth == "bearer", s.Auth == "basic", (kind == "header" || kind == "query") && name != "":
		spec["signature"] = object{"algorithm": "secret", "signature": object{"in": s.Auth}}
	default:
		return usagef("--auth %q: want bearer, basic, header:NAME or query:NAME", s.Auth)
	}
	secret, err := s.Secret.wish()
	if err == nil && secret != nil {
		spec["secret"] = secret
	}
	return err
}

// object is a JSON object under construction.
type object map[string]any

// put adds a member unless its value is the type's zero or empty.
func (o object) put(name string, v any) {
	switch x := v.(type) {
	case string:
		if x == "" {
			return
		}
	case bool:
		if !x {
			return
		}
	case int:
		if x == 0 {
			return
		}
	case time.Duration:
		if x == 0 {
			return
		}
		v = x.String()
	case object:
		if len(x) == 0 {
			return
		}
	}
	o[name] = v
}

// fieldNames reads FIELD=NAME,NAME; a field may come several times.
func fieldNames(list []string) (object, error) {
	fields := object{}
	for _, text := range list {
		slot, names, ok := strings.Cut(text, "=")
		split := strings.Split(names, ",")
		if !ok || slot == "" || slices.Contains(split, "") {
			return nil, usagef("--field %q: want FIELD=NAME or FIELD=NAME,NAME, for example payout=data.amount", text)
		}
		had, _ := fields[slot].([]string)
		fields[slot] = append(had, split...)
	}
	return fields, nil
}
