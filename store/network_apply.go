package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/tallyhook/tallyhook/source"
)

// Action is what Apply did, or would do, to one object.
type Action string

// Actions.
const (
	Create    Action = "create"
	Update    Action = "update"
	Unchanged Action = "unchanged"
)

// Change is what Apply makes of one object of the file.
type Change struct {
	Kind   string      `json:"kind"` // buyer, publisher, campaign, source
	ID     string      `json:"id"`
	Action Action      `json:"action"`
	Diff   []FieldDiff `json:"diff,omitempty"` // a campaign's assignments are fields: assignments.PUBLISHER.payout, conversion.trigger
}

// Apply brings the store to what n says and lists what that changes, in the
// order of the file. All of it happens, or, on an error or a dry run, nothing.
// ErrInvalid carries every fault with its place. Objects that n does not name
// stay as they are, but a named campaign has exactly the assignments named: one
// left out is ended, and so is its conversion group. New sources get a token; read it with GetSource.
func (o *Objects) Apply(ctx context.Context, actor string, n *Network, dryRun bool) ([]Change, error) {
	n = n.normal()
	var changes []Change
	run := func(tx *sql.Tx) error {
		p := &applier{o: o, ctx: ctx, tx: tx}
		if err := p.plan(n); err != nil {
			return err
		}
		changes = p.changes
		if dryRun || len(p.writes) == 0 {
			return nil
		}
		for _, write := range p.writes {
			if err := write(); err != nil {
				return err
			}
		}
		for _, c := range changes {
			if c.Action == Unchanged {
				continue
			}
			if err := o.audit(ctx, tx, actor, string(c.Action), c.Kind+"/"+c.ID, c.Diff); err != nil {
				return err
			}
		}
		return o.DB.raiseVersion(ctx, tx)
	}
	in := o.DB.change
	if dryRun {
		in = o.DB.snapshot // which cannot write
	}
	switch err := in(ctx, run); {
	case errors.Is(err, ErrInvalid): // each fault tells its place
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("apply: %w", err)
	}
	return changes, nil
}

// applier compares a network with the store, first everything, and keeps the
// writes for when nothing is wrong. It lives for one transaction.
type applier struct {
	o       *Objects
	ctx     context.Context
	tx      *sql.Tx
	changes []Change
	writes  []func() error
}

func (p *applier) plan(n *Network) error {
	publishers, err := texts(p.ctx, p.tx, `SELECT id FROM publisher ORDER BY id`)
	if err != nil {
		return err
	}
	faults := n.check(publishers)
	if err := p.planSourceIDs(n, faults); err != nil {
		return err
	}
	if err := p.planMappers(n, faults); err != nil {
		return err
	}
	if err := faults.err(); err != nil {
		return err
	}
	for _, b := range n.Buyers {
		if err := p.party("buyer", b); err != nil {
			return err
		}
	}
	for _, b := range n.Publishers {
		if err := p.party("publisher", b); err != nil {
			return err
		}
	}
	for i := range n.Campaigns {
		if err := p.campaign(&n.Campaigns[i]); err != nil {
			return err
		}
	}
	for i := range n.Sources {
		if err := p.source(n.Sources[i]); err != nil {
			return err
		}
	}
	return nil
}

// planSourceIDs finds sources of the file whose ids were given away before.
func (p *applier) planSourceIDs(n *Network, faults *faultList) error {
	deleted, err := texts(p.ctx, p.tx, `SELECT id FROM source WHERE deleted = 1`)
	if err != nil {
		return err
	}
	gone := newNameSet(deleted)
	for i, s := range n.Sources {
		if gone.has[s.ID] {
			faults.add(fmt.Sprintf("sources[%d].id", i), fmt.Errorf("%q was deleted and its id stays with its events: choose another id", s.ID))
		}
	}
	return nil
}

// add notes one object's change and how to write it.
func (p *applier) add(kind, id string, isNew bool, diff []FieldDiff, write func() error) {
	c := Change{Kind: kind, ID: id, Action: Unchanged, Diff: diff}
	switch {
	case isNew:
		c.Action = Create
	case diff != nil:
		c.Action = Update
	}
	if c.Action != Unchanged {
		p.writes = append(p.writes, write)
	}
	p.changes = append(p.changes, c)
}

// party plans a buyer or publisher; kind is its table's name.
func (p *applier) party(kind string, want Party) error {
	old, isNew, err := p.stored(kind, want.ID)
	if err != nil {
		return err
	}
	diff := diffFields(old, map[string]string{"name": want.Name})
	p.add(kind, want.ID, isNew, diff, func() error { return p.upsert(kind, want.ID, want.Name) })
	return nil
}

// stored reads the name of a buyer, publisher or campaign as a set of fields.
func (p *applier) stored(table, id string) (fields map[string]string, isNew bool, err error) {
	var name string
	err = p.tx.QueryRowContext(p.ctx, `SELECT name FROM `+table+` WHERE id = $1`, id).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return map[string]string{}, true, nil
	}
	return map[string]string{"name": name}, false, err
}

func (p *applier) upsert(table, id, name string) error {
	_, err := p.tx.ExecContext(p.ctx, `INSERT INTO `+table+` (id, name) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET name = excluded.name`, id, name)
	return err
}

// campaign plans a campaign with its rules and its conversion group: a changed,
// new or ended one is a new row.
func (p *applier) campaign(want *Campaign) error {
	old, isNew, err := p.stored("campaign", want.ID)
	if err != nil {
		return err
	}
	now, err := assignments(p.ctx, p.tx, want.ID, want.ID)
	if err != nil {
		return err
	}
	groups, err := conversions(p.ctx, p.tx, want.ID, want.ID)
	if err != nil {
		return err
	}
	next := map[string]string{"name": want.Name}
	if err := errors.Join(groupFields(groups[want.ID], old), groupFields(want.Conversion, next)); err != nil {
		return err
	}
	regroup := len(diffFields(fieldsOf(old, "conversion"), fieldsOf(next, "conversion"))) > 0
	for _, a := range now[want.ID] {
		old[payoutField(a.Publisher)] = a.Payout
	}
	for _, a := range want.Assignments {
		next[payoutField(a.Publisher)] = a.Payout
	}
	var rules []Assignment
	for _, a := range now[want.ID] {
		if _, kept := next[payoutField(a.Publisher)]; !kept {
			rules = append(rules, Assignment{Publisher: a.Publisher})
		}
	}
	for _, a := range want.Assignments {
		if old[payoutField(a.Publisher)] != a.Payout {
			rules = append(rules, a)
		}
	}
	p.add("campaign", want.ID, isNew, diffFields(old, next), func() error {
		if err := p.upsert("campaign", want.ID, want.Name); err != nil {
			return err
		}
		for _, a := range rules {
			_, err := p.tx.ExecContext(p.ctx, `INSERT INTO rule (campaign, publisher, payout, created_at) VALUES ($1, $2, $3, $4)`,
				want.ID, a.Publisher, a.Payout, p.o.now().UnixMicro())
			if err != nil {
				return err
			}
		}
		if regroup {
			return insertGroup(p.ctx, p.tx, want.ID, want.Conversion, p.o.now().UnixMicro())
		}
		return nil
	})
	return nil
}

func payoutField(publisher string) string { return "assignments." + publisher + ".payout" }

// source plans a source. An unchanged one keeps its token and its times.
func (p *applier) source(want source.Spec) error {
	rows, err := readSources(p.ctx, p.tx, `s.id = $1`, want.ID)
	if err != nil {
		return err
	}
	var diff []FieldDiff
	write := func() error { return p.o.insertSource(p.ctx, p.tx, want) }
	if len(rows) == 0 {
		diff, err = (*sourceRow)(nil).diff(want)
	} else {
		diff, err = rows[0].diff(want)
		if next, compileErr := source.Compile(want); err == nil && compileErr == nil {
			err = p.o.secretsFit(&rows[0], next) // told by a dry run too
		}
		write = func() error {
			_, err := p.o.updateSource(p.ctx, p.tx, &rows[0], want)
			return err
		}
	}
	if err != nil {
		return err
	}
	p.add("source", want.ID, len(rows) == 0, diff, write)
	return nil
}
