package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/tallyhook/tallyhook/mapper/admission"
)

const mappersPath = "/api/v1/mappers"

func mapperPath(name string) string { return mappersPath + "/" + url.PathEscape(name) }

func versionPath(name string, version int) string {
	return mapperPath(name) + "/versions/" + strconv.Itoa(version)
}

// mapperInfo is what commands need of a mapper's answer.
type mapperInfo struct {
	Name     string
	Active   int // numbers of versions; 0 is none
	Previous int
	Shadow   int
	Sources  []string
	Versions []struct{ Version int }
}

func (m *mapperInfo) newest() (n int) {
	for _, v := range m.Versions {
		n = max(n, v.Version)
	}
	return n
}

func joinPrintable(list []string) string { return printable(strings.Join(list, ", ")) }

type mapperListCmd struct {
	listing
	remote `embed:""`
}

var mapperColumns = []column{
	{head: "NAME", path: "name"},
	{head: "ACTIVE", path: "active", right: true, show: versionOrNone},
	{head: "PREVIOUS", path: "previous", right: true, show: versionOrNone},
	{head: "SHADOW", path: "shadow", right: true, show: versionOrNone},
	{head: "TIER", path: "tier"},
	{head: "MADE BY", path: "created_by"},
	{head: "CHANGED (UTC)", path: "updated_at", show: moment},
	{head: "SOURCES", path: "sources", show: memberText},
}

func versionOrNone(v any) string {
	if s := text(v); s != "" && s != "0" {
		return s
	}
	return "-"
}

func (m mapperListCmd) Run(a *app) error {
	return a.withNode(m.remote, func(c *client) error {
		return a.list(c, mappersPath, nil, m.listing, mapperColumns,
			"there are no mappers: \"tallyhook mapper push FILE.wasm --name NAME --vectors DIR\" makes one, \"tallyhook mapper new\" begins one")
	})
}

type mapperShowCmd struct {
	Name    string `arg:"" help:"Name of the mapper."`
	Version int    `arg:"" optional:"" help:"Show this version with the verdict of its admission."`
	JSON    bool   `help:"Print JSON."`
	remote  `embed:""`
}

var versionColumns = []column{
	{head: "VERSION", path: "version", right: true},
	{head: "STATE", path: "state"},
	{head: "BYTES", path: "bytes", right: true, show: thousands},
	{head: "FUEL LIMIT", path: "fuel_limit", right: true, show: thousands},
	{head: "CONFIG", path: "has_config"},
	{head: "SHA-256", path: "sha256", show: shortDigest},
	{head: "PUSHED BY", path: "pushed_by"},
	{head: "PUSHED (UTC)", path: "created_at", show: moment},
}

func thousands(v any) string {
	n, err := strconv.ParseInt(text(v), 10, 64)
	if err != nil || n == 0 {
		return ""
	}
	return count(n)
}

func shortDigest(v any) string { return cut(text(v), 12) }

func (m mapperShowCmd) Run(a *app) error {
	if m.Version < 0 {
		return checkVersion(m.Version)
	}
	path := mapperPath(m.Name)
	if m.Version > 0 {
		path = versionPath(m.Name, m.Version)
	}
	return a.withNode(m.remote, func(c *client) error {
		var raw json.RawMessage
		if err := c.get(a.ctx, path, nil, &raw); err != nil {
			return err
		}
		switch {
		case m.JSON:
			return a.printJSON(raw)
		case m.Version > 0:
			return a.showVersion(raw)
		}
		return a.showMapper(raw)
	})
}

// showMapper prints a mapper and its versions, the newest first.
func (a *app) showMapper(raw json.RawMessage) error {
	head, versions, err := without(raw, "versions")
	if err != nil {
		return err
	}
	if err := a.printObject(head); err != nil {
		return err
	}
	var rows []json.RawMessage
	if err := json.Unmarshal(versions, &rows); err != nil {
		return err
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(a.out)
	return a.showRows(newTable(a.out, versionColumns), rows, false)
}

// showVersion prints a version, then what admission found.
func (a *app) showVersion(raw json.RawMessage) error {
	head, found, err := without(raw, "verdict")
	if err != nil {
		return err
	}
	if err := a.printObject(head); err != nil {
		return err
	}
	var v *admission.Verdict
	if err := json.Unmarshal(found, &v); err != nil || v == nil {
		return err
	}
	fmt.Fprintln(a.out)
	return a.printVerdict(v, false)
}

// without takes a member out of an object, whose other members keep their
// order; the member is null when it is not there.
func without(object json.RawMessage, name string) (rest, member json.RawMessage, err error) {
	d := json.NewDecoder(strings.NewReader(string(object)))
	if _, err := d.Token(); err != nil { // {
		return nil, nil, err
	}
	rest, member = json.RawMessage("{}"), json.RawMessage("null")
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		if key == name {
			member = value
			continue
		}
		rest = withMember(rest, fmt.Sprint(key), value)
	}
	_, err = d.Token() // }
	return rest, member, err
}
