package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/tallyhook/tallyhook/store"
)

// storeCmd works on the primary store itself: it needs no node and no admin
// key, only the URL, as its owner has it.
type storeCmd struct {
	Migrate storeMigrateCmd `cmd:"" help:"Make the tables, or bring them up to this build. Run it as the owner of the database."`
	Grant   storeGrantCmd   `cmd:"" help:"Give a Postgres role what nodes need, and nothing that could change what is booked."`
	Status  storeStatusCmd  `cmd:"" help:"Say which store the URL leads to and whether this build can work on it."`
}

type storeMigrateCmd struct{}

func (storeMigrateCmd) Run(a *app) error {
	db, err := store.Open(a.ctx, a.opt.Store)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "store %s is at the schema of this build\n", db.ID)
	return db.Close()
}

type storeGrantCmd struct {
	Role string `arg:"" help:"A role that exists."`
}

func (g storeGrantCmd) Run(a *app) (err error) {
	db, err := store.Open(a.ctx, a.opt.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err := db.AppRole(a.ctx, g.Role); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "role %s has what a node needs; give its URL to the nodes as --store\n", g.Role)
	return nil
}

type storeStatusCmd struct {
	JSON bool `help:"Print JSON."`
}

func (s storeStatusCmd) Run(a *app) (err error) {
	db, err := store.OpenReadOnly(a.ctx, a.opt.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	nodes, err := db.Nodes(a.ctx)
	if err != nil {
		return err
	}
	kind := "sqlite"
	if db.Postgres() {
		kind = "postgres"
	}
	if s.JSON {
		return a.printJSON(map[string]any{"store": db.ID, "kind": kind, "streams": len(nodes)})
	}
	fmt.Fprintf(a.out, "store %s (%s): its schema is this build's; %d streams\n", db.ID, kind, len(nodes))
	return nil
}

type nodeCmd struct {
	List nodeListCmd `cmd:"" help:"List every stream that fed the store, its node, how far it is booked and when it was last seen."`
}

type nodeListCmd struct {
	JSON bool `help:"Print JSON."`
}

var nodeColumns = []column{
	{head: "STREAM", path: "stream", right: true},
	{head: "NODE", path: "node"},
	{head: "NEXT SEQ", path: "next_seq", right: true},
	{head: "LAST RECORD (UTC)", path: "received_at", show: moment},
	{head: "SEEN (UTC)", path: "seen_at", show: moment},
	{head: "CREATED (UTC)", path: "created_at", show: moment},
}

func (l nodeListCmd) Run(a *app) (err error) {
	db, err := store.OpenReadOnly(a.ctx, a.opt.Store)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	nodes, err := db.Nodes(a.ctx)
	if err != nil {
		return err
	}
	if l.JSON {
		return a.printJSON(map[string]any{"rows": nodes})
	}
	var rows []map[string]any
	for _, n := range nodes {
		rows = append(rows, map[string]any{"stream": strconv.Itoa(int(n.Stream)), "node": n.Node, "next_seq": strconv.FormatUint(n.NextSeq, 10),
			"received_at": stamp(n.ReceivedAt), "seen_at": stamp(n.SeenAt), "created_at": stamp(n.CreatedAt)})
	}
	return newTable(a.out, nodeColumns).add(rows)
}

func stamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
