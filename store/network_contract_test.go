package store_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

const networkYAML = `
buyers:
  - {id: acme, name: Acme Media}
publishers:
  - {id: p1, name: First}
  - {id: p2}
campaigns:
  - id: solar
    name: Solar leads
    assignments:
      - {publisher: p1, payout: percent 80}
      - {publisher: p2, payout: "*0.8-1"}
  - id: Roofing 2026
    assignments:
      - {publisher: p1, payout: " flat 12.50 "}
sources:
  - name: Acme postbacks
    buyer: acme
    reply: accepted
    match: {window: 48h}
    fields: {payout: [data.amount]}
`

func network(t *testing.T, text string) *store.Network {
	t.Helper()
	n := new(store.Network)
	if err := source.DecodeYAML([]byte(text), n); err != nil {
		t.Fatal(err)
	}
	return n
}

// outline is what a list of changes comes to: one line each, with its diff.
func outline(changes []store.Change) string {
	var out strings.Builder
	for _, c := range changes {
		fmt.Fprintf(&out, "%s %s/%s", c.Action, c.Kind, c.ID)
		for _, d := range c.Diff {
			fmt.Fprintf(&out, " %s:%s>%s", d.Field, d.Old, d.New)
		}
		out.WriteByte('\n')
	}
	return out.String()
}

func rules(t *testing.T, o *store.Objects) []string {
	t.Helper()
	rows, err := o.DB.Read.Query(`SELECT campaign || '/' || publisher || '=' || payout FROM rule ORDER BY id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

func TestApply(t *testing.T) {
	apply := func(t *testing.T, o *store.Objects, text string) string {
		t.Helper()
		return outline(must[[]store.Change](t)(o.Apply(t.Context(), "ann", network(t, text), false)))
	}

	onObjects(t, "creates, then finds all unchanged", func(t *testing.T, o *store.Objects, c *clock) {
		changes := must[[]store.Change](t)(o.Apply(t.Context(), "ann", network(t, networkYAML), false))
		got := outline(changes[:5])
		want := `create buyer/acme name:>Acme Media
create publisher/p1 name:>First
create publisher/p2 name:>p2
create campaign/solar assignments.p1.payout:>percent 80 assignments.p2.payout:>*0.8-1 name:>Solar leads
create campaign/Roofing 2026 assignments.p1.payout:>flat 12.50 name:>Roofing 2026
`
		if got != want {
			t.Errorf("changes\n%swant\n%s", got, want)
		}
		if line := outline(changes[5:]); !strings.HasPrefix(line, "create source/acme-postbacks ") ||
			!strings.Contains(line, " reply:>accepted") || !strings.Contains(line, " match.window:>48h") || !strings.Contains(line, ` fields.payout:>["data.amount"]`) {
			t.Errorf("change %s", line)
		}
		info := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme-postbacks"))
		if byToken(directory(t, o, nil), info.Token) == nil || info.Secret {
			t.Errorf("source %+v", info)
		}
		version := must[int64](t)(o.Version(t.Context()))
		c.advance(time.Hour)
		for _, change := range must[[]store.Change](t)(o.Apply(t.Context(), "ann", network(t, networkYAML), false)) {
			if change.Action != store.Unchanged || change.Diff != nil {
				t.Errorf("again: %+v", change)
			}
		}
		if v := must[int64](t)(o.Version(t.Context())); v != version {
			t.Errorf("version rose from %d to %d", version, v)
		}
		if again := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme-postbacks")); !reflect.DeepEqual(again, info) {
			t.Errorf("source became %+v", again)
		}
		if audit, _, err := o.ListAudit(t.Context(), "", 0); err != nil || len(audit) != 6 {
			t.Errorf("%d audit rows, %v", len(audit), err)
		}
	})

	onObjects(t, "shows what differs and leaves the rest alone", func(t *testing.T, o *store.Objects, _ *clock) {
		apply(t, o, networkYAML)
		token := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme-postbacks")).Token
		got := apply(t, o, `
publishers:
  - {id: p2, name: Second}
  - {id: p3}
campaigns:
  - id: solar
    name: Solar leads
    assignments:
      - {publisher: p3, payout: percent 10}
      - {publisher: p1, payout: percent 75}
sources:
  - {id: acme-postbacks, name: Acme postbacks, buyer: acme, match: {window: 48h}, fields: {payout: [data.amount]}}
`)
		want := `update publisher/p2 name:p2>Second
create publisher/p3 name:>p3
update campaign/solar assignments.p1.payout:percent 80>percent 75 assignments.p2.payout:*0.8-1> assignments.p3.payout:>percent 10
update source/acme-postbacks reply:accepted>verdict
`
		if got != want {
			t.Errorf("changes\n%swant\n%s", got, want)
		}
		if r := rules(t, o); !reflect.DeepEqual(r, []string{"solar/p1=percent 80", "solar/p2=*0.8-1", "Roofing 2026/p1=flat 12.50",
			"solar/p2=", "solar/p3=percent 10", "solar/p1=percent 75"}) {
			t.Errorf("rules %q: an old one is never changed", r)
		}
		campaigns, _, err := o.ListCampaigns(t.Context(), "", 0)
		if err != nil || !reflect.DeepEqual(campaigns, []store.Campaign{
			{ID: "Roofing 2026", Name: "Roofing 2026", Assignments: []store.Assignment{{Publisher: "p1", Payout: "flat 12.50"}}},
			{ID: "solar", Name: "Solar leads", Assignments: []store.Assignment{{Publisher: "p1", Payout: "percent 75"}, {Publisher: "p3", Payout: "percent 10"}}},
		}) {
			t.Errorf("campaigns %+v, %v", campaigns, err)
		}
		if info := must[store.SourceInfo](t)(o.GetSource(t.Context(), "acme-postbacks")); info.Token != token {
			t.Error("a changed source got another token")
		}
	})

	onObjects(t, "an ended assignment ends once and may come back", func(t *testing.T, o *store.Objects, _ *clock) {
		with := "publishers: [{id: p}]\ncampaigns: [{id: c, assignments: [{publisher: p, payout: percent 50}]}]"
		without := "campaigns: [{id: c, assignments: []}]"
		apply(t, o, with)
		for range 2 {
			apply(t, o, without)
		}
		if campaigns, _, err := o.ListCampaigns(t.Context(), "", 0); err != nil || len(campaigns) != 1 || campaigns[0].Assignments == nil || len(campaigns[0].Assignments) != 0 {
			t.Errorf("campaigns %+v, %v", campaigns, err)
		}
		for range 2 {
			apply(t, o, with)
		}
		if r := rules(t, o); !reflect.DeepEqual(r, []string{"c/p=percent 50", "c/p=", "c/p=percent 50"}) {
			t.Errorf("rules %q", r)
		}
	})

	onObjects(t, "a dry run tells the same and changes nothing", func(t *testing.T, o *store.Objects, _ *clock) {
		dry := must[[]store.Change](t)(o.Apply(t.Context(), "ann", network(t, networkYAML), true))
		if v := must[int64](t)(o.Version(t.Context())); v != 0 || rules(t, o) != nil {
			t.Errorf("version %d, rules %q", v, rules(t, o))
		}
		for _, table := range []string{"buyer", "publisher", "campaign", "source", "audit"} {
			var n int
			if err := o.DB.Read.QueryRow(`SELECT count(*) FROM ` + table).Scan(&n); err != nil || n != 0 {
				t.Errorf("%d rows in %s, %v", n, table, err)
			}
		}
		if real := apply(t, o, networkYAML); outline(dry) != real {
			t.Errorf("dry\n%sreal\n%s", outline(dry), real)
		}
	})

	onObjects(t, "every fault is told with its place, and nothing happens", func(t *testing.T, o *store.Objects, _ *clock) {
		apply(t, o, "publishers: [{id: stored-publisher}]\nsources: [{id: gone}]")
		if err := o.DeleteSource(t.Context(), "ann", "gone"); err != nil {
			t.Fatal(err)
		}
		version := must[int64](t)(o.Version(t.Context()))
		_, err := o.Apply(t.Context(), "ann", network(t, `
buyers: [{id: ""}, {id: b}, {id: b, name: "two\nlines"}]
publishers: [{id: newcomer}, {id: " p"}]
campaigns:
  - id: good
    assignments: [{publisher: stored-publisher, payout: percent 80}, {publisher: newcomer, payout: flat 1}]
  - id: good
    assignments: [{publisher: newcomer, payout: percent 80}, {publisher: newcomer, payout: flat 1}]
  - id: bad
    assignments:
      - {publisher: stored-publishr, payout: per cent 80}
      - {publisher: newcomer, payout: ""}
      - {publisher: nobody-like-that}
sources:
  - {id: fine}
  - {id: fine, currency: "€"}
  - {name: Gone}
`), false)
		wantKind(t, err, store.ErrInvalid)
		want := []string{
			`buyers[0].id: "": want 1 to 128 bytes`,
			`buyers[2].id: "b" stands in buyers[1] already`,
			`buyers[2].name: name "two\nlines"`,
			`publishers[1].id: " p"`,
			`campaigns[1].id: "good" stands in campaigns[0] already`,
			`campaigns[1].assignments[1].publisher: "newcomer" stands in campaigns[1].assignments[0] already`,
			`campaigns[2].assignments[0].publisher: "stored-publishr" is not known: did you mean "stored-publisher"?`,
			`campaigns[2].assignments[0].payout: payout rule "per cent 80"`,
			`campaigns[2].assignments[1].payout: payout rule ""`,
			`campaigns[2].assignments[2].publisher: "nobody-like-that" is not known: add it to publishers`,
			`campaigns[2].assignments[2].payout: payout rule ""`,
			`sources[1]: source "fine": currency "€"`,
			`sources[1].id: "fine" stands in sources[0] already`,
			`sources[2].id: "gone" was deleted`,
		}
		got := strings.Split(err.Error(), "\n")
		if len(got) != len(want) {
			t.Errorf("%d faults, want %d:\n%v", len(got), len(want), err)
		}
		for i := range min(len(got), len(want)) {
			if !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("fault %q: want %q", got[i], want[i])
			}
		}
		if v := must[int64](t)(o.Version(t.Context())); v != version {
			t.Errorf("version rose from %d to %d", version, v)
		}
		if _, err := o.GetSource(t.Context(), "fine"); err == nil {
			t.Error("a part was applied")
		}
	})

	onObjects(t, "very many faults are cut short", func(t *testing.T, o *store.Objects, _ *clock) {
		_, err := o.Apply(t.Context(), "ann", &store.Network{Buyers: make([]store.Party, 1000)}, false)
		wantKind(t, err, store.ErrInvalid)
		if lines := strings.Split(err.Error(), "\n"); len(lines) != 51 || !strings.Contains(lines[50], "faults more") {
			t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
		}
		_, err = o.Apply(t.Context(), "ann", &store.Network{Publishers: make([]store.Party, store.NetworkListMax+1)}, false)
		wantKind(t, err, store.ErrInvalid)
	})

	onObjects(t, "the caller's network stays as it was", func(t *testing.T, o *store.Objects, _ *clock) {
		n := network(t, networkYAML)
		must[[]store.Change](t)(o.Apply(t.Context(), "ann", n, false))
		if !reflect.DeepEqual(n, network(t, networkYAML)) {
			t.Errorf("it became %+v", n)
		}
	})

	onObjects(t, "a source paused by hand shows in the diff", func(t *testing.T, o *store.Objects, _ *clock) {
		file := "sources: [{id: acme, buyer: b}]"
		apply(t, o, file)
		must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "ann", "acme", func(s *source.Spec) error { s.Paused = true; return nil }))
		if got := apply(t, o, file); got != "update source/acme paused:true>false\n" {
			t.Errorf("changes %s", got)
		}
	})
}

func TestParties(t *testing.T) {
	onObjects(t, "pages", func(t *testing.T, o *store.Objects, _ *clock) {
		must[[]store.Change](t)(o.Apply(t.Context(), "ann", network(t, `
buyers: [{id: b3}, {id: b1, name: One}, {id: b2}]
publishers: [{id: p2}, {id: p1}]
campaigns: [{id: c2}, {id: c1}, {id: c3}]`), false))
		page, next, err := o.ListBuyers(t.Context(), "", 2)
		if err != nil || next != "b2" || !reflect.DeepEqual(page, []store.Party{{ID: "b1", Name: "One"}, {ID: "b2", Name: "b2"}}) {
			t.Errorf("%v, %q, %v", page, next, err)
		}
		page, next, err = o.ListBuyers(t.Context(), next, 2)
		if err != nil || next != "" || !reflect.DeepEqual(page, []store.Party{{ID: "b3", Name: "b3"}}) {
			t.Errorf("%v, %q, %v", page, next, err)
		}
		page, next, err = o.ListPublishers(t.Context(), "p1", 2)
		if err != nil || next != "" || !reflect.DeepEqual(page, []store.Party{{ID: "p2", Name: "p2"}}) {
			t.Errorf("%v, %q, %v", page, next, err)
		}
		campaigns, next, err := o.ListCampaigns(t.Context(), "c1", 1)
		if err != nil || next != "c2" || len(campaigns) != 1 || campaigns[0].ID != "c2" {
			t.Errorf("%v, %q, %v", campaigns, next, err)
		}
		for _, list := range []func() error{
			func() error { _, _, err := o.ListBuyers(t.Context(), "", 1001); return err },
			func() error { _, _, err := o.ListPublishers(t.Context(), "", -1); return err },
			func() error { _, _, err := o.ListCampaigns(t.Context(), "", 1001); return err },
		} {
			wantKind(t, list(), store.ErrInvalid)
		}
	})
}
