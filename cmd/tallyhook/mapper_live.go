package main

import (
	"fmt"
	"net/http"
	"strconv"
)

type mapperActivateCmd struct {
	Name    string `arg:"" help:"Name of the mapper."`
	Version int    `arg:"" help:"Version to activate."`
	remote  `embed:""`
}

func (m mapperActivateCmd) Run(a *app) error {
	if err := checkVersion(m.Version); err != nil {
		return err
	}
	return a.withNode(m.remote, func(c *client) error { return a.activateMapper(c, m.Name, m.Version) })
}

// activateMapper puts a version in force and says what that means.
func (a *app) activateMapper(c *client, name string, version int) error {
	var now mapperInfo
	if err := c.send(a.ctx, http.MethodPost, mapperPath(name)+"/activate", map[string]int{"version": version}, &now); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s@%d is active%s\n", name, version, servedBy(&now))
	if now.Previous > 0 {
		fmt.Fprintf(a.out, "%s@%d was before it: \"tallyhook mapper rollback %s\" puts it back\n", name, now.Previous, quoteArg(name))
	}
	return nil
}

// servedBy says which sources name a mapper.
func servedBy(m *mapperInfo) string {
	if len(m.Sources) == 0 {
		return "; no source names this mapper yet: its operator sets mapper: " + m.Name + " there"
	}
	return "; " + joinPrintable(m.Sources) + " " + namesIt(len(m.Sources))
}

func namesIt(sources int) string {
	if sources == 1 {
		return "names this mapper"
	}
	return "name this mapper"
}

type mapperRollbackCmd struct {
	Name   string `arg:"" help:"Name of the mapper."`
	remote `embed:""`
}

func (m mapperRollbackCmd) Run(a *app) error {
	return a.withNode(m.remote, func(c *client) error {
		var now mapperInfo
		if err := c.send(a.ctx, http.MethodPost, mapperPath(m.Name)+"/rollback", struct{}{}, &now); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "%s@%d is active again%s\n", m.Name, now.Active, servedBy(&now))
		return nil
	})
}

type mapperGrantCmd struct {
	Name   string `arg:"" help:"Name of the mapper."`
	Tier   string `required:"" env:"-" enum:"standard,large" help:"standard: at most 10 million units of fuel a call. large: 50 million, for mappers in languages that bring a runtime." placeholder:"TIER"`
	remote `embed:""`
}

func (m mapperGrantCmd) Run(a *app) error {
	return a.withNode(m.remote, func(c *client) error {
		if err := c.send(a.ctx, http.MethodPatch, mapperPath(m.Name), map[string]string{"tier": m.Tier}, nil); err != nil {
			return err
		}
		fmt.Fprintf(a.out, "mapper %s is in tier %s: push again what was refused for its fuel; versions that are admitted keep their limit\n", m.Name, m.Tier)
		return nil
	})
}

func checkVersion(version int) error {
	if version < 1 {
		return usagef("version %d: versions are numbered from 1; \"tallyhook mapper list\" names mappers, \"tallyhook mapper show NAME\" their versions", version)
	}
	return nil
}

type mapperShadowCmd struct {
	Name    string `arg:"" help:"Name of the mapper."`
	Version int    `arg:"" optional:"" help:"Version to run beside the active one; without it, show what was counted so far."`
	Off     bool   `env:"-" help:"Stop."`
	JSON    bool   `help:"Print each row as JSON on a line of its own."`
	remote  `embed:""`
}

var shadowColumns = []column{
	{head: "ACTIVE", path: "active", right: true},
	{head: "CANDIDATE", path: "candidate", right: true},
	{head: "FIELD", path: "field"},
	{head: "SAME", path: "same", right: true},
	{head: "DIFFERENT", path: "different", right: true},
	{head: "LAST DIFFERENCE", path: "example", sentence: true},
}

func (m mapperShadowCmd) Run(a *app) error {
	switch {
	case m.Off && m.Version != 0:
		return usagef("mapper shadow %s: say either a version or --off", m.Name)
	case m.Version < 0:
		return checkVersion(m.Version)
	}
	return a.withNode(m.remote, func(c *client) error {
		if m.Version == 0 && !m.Off {
			return m.show(a, c)
		}
		if err := c.send(a.ctx, http.MethodPost, mapperPath(m.Name)+"/shadow", map[string]int{"version": m.Version}, nil); err != nil {
			return err
		}
		if m.Off {
			fmt.Fprintf(a.out, "nothing runs beside the active version of %s any more; what was counted stays\n", m.Name)
			return nil
		}
		fmt.Fprintf(a.out, "%s@%d runs beside the active version from now on and books nothing\n\"tallyhook mapper shadow %s\" shows where they differ\n",
			m.Name, m.Version, quoteArg(m.Name))
		return nil
	})
}

// show prints what was counted, field by field.
func (m mapperShadowCmd) show(a *app, c *client) error {
	var now mapperInfo
	if err := c.get(a.ctx, mapperPath(m.Name), nil, &now); err != nil {
		return err
	}
	var counted page
	if err := c.get(a.ctx, mapperPath(m.Name)+"/shadow", nil, &counted); err != nil {
		return err
	}
	if len(counted.Rows) > 0 {
		if err := a.showRows(newTable(a.out, shadowColumns), counted.Rows, m.JSON); err != nil {
			return err
		}
	}
	switch {
	case now.Shadow > 0 && len(counted.Rows) == 0:
		fmt.Fprintf(a.errOut, "%s@%d runs beside the active version; nothing was counted yet: counts come as postbacks do\n", m.Name, now.Shadow)
	case now.Shadow == 0:
		fmt.Fprintf(a.errOut, "no version of %s runs beside the active one now; \"tallyhook mapper shadow %s %s\" starts one\n",
			m.Name, quoteArg(m.Name), strconv.Itoa(max(now.newest(), 1)))
	}
	return nil
}
