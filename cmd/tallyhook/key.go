package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make a key for the admin API; it is told this once."`
	List   keyListCmd   `cmd:"" help:"List keys; the keys themselves are not kept."`
	Delete keyDeleteCmd `cmd:"" help:"End a key at once."`
}

const keysPath = "/api/v1/keys"

type keyCreateCmd struct {
	Name        string   `arg:"" help:"Who will use it, for people and for the audit."`
	Role        string   `required:"" env:"-" enum:"admin,partner" help:"admin: may do everything. partner: may push, list, show and test mappers of the sources named with --source, nothing else." placeholder:"ROLE"`
	Source      []string `env:"-" help:"A source of this partner. Repeatable." placeholder:"ID"`
	MayActivate bool     `env:"-" help:"The partner may also activate, shadow and roll back those mappers."`
	JSON        bool     `help:"Print the key as JSON."`
	remote      `embed:""`
}

func (k keyCreateCmd) Run(a *app) error {
	switch {
	case k.Role == "admin" && (len(k.Source) > 0 || k.MayActivate):
		return usagef("key create %s: --source and --may-activate bound a partner; a key of role admin may do everything", k.Name)
	case k.Role == "partner" && len(k.Source) == 0:
		return usagef("key create %s: a partner's key needs a --source at least; \"tallyhook source list\" lists them", k.Name)
	}
	spec := object{"name": k.Name, "role": k.Role}
	if len(k.Source) > 0 {
		spec["sources"] = k.Source
	}
	spec.put("may_activate", k.MayActivate)
	return a.withNode(k.remote, func(c *client) error {
		var raw json.RawMessage
		if err := c.send(a.ctx, http.MethodPost, keysPath, spec, &raw); err != nil {
			return err
		}
		if k.JSON {
			return a.printJSON(raw)
		}
		var made struct {
			ID  int64  `json:"id"`
			Key string `json:"key"`
		}
		if err := json.Unmarshal(raw, &made); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "id   %d\nkey  %s\n     told this once; its holder keeps it in a file and names that with --admin-key-file\n", made.ID, printable(made.Key))
		return nil
	})
}

type keyListCmd struct {
	listing
	remote `embed:""`
}

var keyColumns = []column{
	{head: "ID", path: "id", right: true},
	{head: "NAME", path: "name"},
	{head: "ROLE", path: "role"},
	{head: "MAY ACTIVATE", path: "may_activate"},
	{head: "CREATED (UTC)", path: "created_at", show: moment},
	{head: "SOURCES", path: "sources", show: memberText},
}

func (k keyListCmd) Run(a *app) error {
	return a.withNode(k.remote, func(c *client) error {
		return a.list(c, keysPath, nil, k.listing, keyColumns, "there are no keys but those that nodes hold in files: \"tallyhook key create NAME --role partner --source ID\" makes one")
	})
}

type keyDeleteCmd struct {
	ID     int64 `arg:"" help:"Id of the key, from \"tallyhook key list\"."`
	Yes    bool  `env:"-" help:"Yes, delete it."`
	remote `embed:""`
}

func (k keyDeleteCmd) Run(a *app) error {
	if !k.Yes {
		return usagef("key delete %d: its holder is refused from then on, and a key cannot be brought back; add --yes", k.ID)
	}
	return a.withNode(k.remote, func(c *client) error {
		if err := c.ask(a.ctx, http.MethodDelete, keysPath+"/"+strconv.FormatInt(k.ID, 10), "", nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "key %d is ended\n", k.ID)
		return nil
	})
}
