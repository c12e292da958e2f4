package store_test

import (
	"database/sql"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

func TestRule(t *testing.T) {
	onObjects(t, "of held events only, the last one counts, audited", func(t *testing.T, o *store.Objects, c *clock) {
		exec := func(query string, args ...any) {
			t.Helper()
			if _, err := o.DB.Write.Exec(query, args...); err != nil {
				t.Fatal(err)
			}
		}
		for seq, status := range []string{"held", "booked"} {
			exec(`INSERT INTO verdict (change_seq, stream, seq, n, revision, final, status, reason, source, received_at, decided_at, kind, strategy, candidates,
				delta, share_delta, mapper, peer, us_queue, us_map, us_match, us_total, report)
				VALUES ($1, 1, $2, 0, 1, 0, $3, '', 's', 1, 1, '', '', 0, 0, 0, '', '', 0, 0, 0, 0, $4)`, seq+1, seq+7, status, `{}`)
		}
		exec(`INSERT INTO held (stream, seq, n, source, reason, since, identity) VALUES (1, 7, 0, 's', 'amount_over_cap', 1, $1)`, []byte("0123456789abcdef0"))
		rule := func(seq uint64, release bool, value *event.Amount) error {
			return o.Rule(t.Context(), "ann", event.ID{Stream: 1, Seq: seq}, release, value)
		}
		want := func(release int, micros sql.NullInt64) {
			t.Helper()
			var got int
			var value sql.NullInt64
			var actor string
			if err := o.DB.Read.QueryRow(`SELECT release, value, actor FROM ruling`).Scan(&got, &value, &actor); err != nil || got != release || value != micros || actor != "ann" {
				t.Errorf("release %d, value %v, by %q, %v: want %d, %v", got, value, actor, err, release, micros)
			}
		}
		version := must[int64](t)(o.Version(t.Context()))
		amount := func(a event.Amount) *event.Amount { return &a }
		if err := rule(7, false, nil); err != nil {
			t.Fatal(err)
		}
		want(0, sql.NullInt64{})
		if err := rule(7, true, amount(12_500_000)); err != nil {
			t.Fatal(err)
		}
		want(1, sql.NullInt64{Int64: 12_500_000, Valid: true})
		if err := rule(7, true, nil); err != nil {
			t.Fatal(err)
		}
		want(1, sql.NullInt64{})

		err := rule(8, true, nil)
		wantKind(t, err, store.ErrInvalid)
		if !strings.Contains(err.Error(), "1-8 is booked, not held") {
			t.Error(err)
		}
		wantKind(t, rule(9, true, nil), store.ErrNotFound)
		for _, value := range []event.Amount{-1, source.AmountMaxMost + 1} {
			wantKind(t, rule(7, true, &value), store.ErrInvalid)
		}
		wantKind(t, rule(7, false, amount(1)), store.ErrInvalid)
		want(1, sql.NullInt64{})

		rows, _, err := o.ListAudit(t.Context(), "", 0)
		if err != nil || len(rows) != 3 {
			t.Fatalf("%d audit rows, %v", len(rows), err)
		}
		for i, action := range []string{"release", "release", "reject"} {
			if rows[i].Action != action || rows[i].Object != "event/1-7" || rows[i].Actor != "ann" {
				t.Errorf("audit %+v: want %s", rows[i], action)
			}
		}
		if d := rows[1].Diff; len(d) != 1 || d[0] != (store.FieldDiff{Field: "value", New: "12.50"}) {
			t.Errorf("diff %+v", d)
		}
		if v := must[int64](t)(o.Version(t.Context())); v != version {
			t.Errorf("nodes take up %d instead of %d, though no object has changed", v, version)
		}
	})
}

func TestConversionGroups(t *testing.T) {
	onObjects(t, "each change is a row, an end is one too", func(t *testing.T, o *store.Objects, _ *clock) {
		apply := func(text string, dryRun bool) store.Change {
			t.Helper()
			n := new(store.Network)
			if err := source.DecodeYAML([]byte(text), n); err != nil {
				t.Fatal(err)
			}
			changes := must[[]store.Change](t)(o.Apply(t.Context(), "ann", n, dryRun))
			return changes[len(changes)-1]
		}
		specs := func() (list []string) {
			t.Helper()
			rows, err := o.DB.Read.Query(`SELECT spec FROM conversion_group WHERE campaign = 'solar' ORDER BY id`)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var s string
				if err := rows.Scan(&s); err != nil {
					t.Fatal(err)
				}
				list = append(list, s)
			}
			return list
		}
		now := func() *event.Group {
			t.Helper()
			list, _, err := o.ListCampaigns(t.Context(), "", 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range list {
				if c.ID == "solar" {
					return c.Conversion
				}
			}
			return nil
		}
		fields := func(c store.Change) string {
			var list []string
			for _, d := range c.Diff {
				list = append(list, d.Field+"="+d.Old+">"+d.New)
			}
			return strings.Join(list, " ")
		}
		const plain = "campaigns: [{id: solar, assignments: []}]"
		const sold = `campaigns: [{id: solar, assignments: [], conversion: {trigger: "sold=1", revenue: "20", payout: "12.50", posted: true, modifier: "*0.8", timeout: 5m}}]`

		if c := apply(sold, true); c.Action != store.Create || len(specs()) != 0 {
			t.Errorf("a dry run wrote: %+v", c)
		}
		c := apply(sold, false)
		if got := fields(c); c.Action != store.Create || !strings.Contains(got, "conversion.trigger=>sold=1") || !strings.Contains(got, "conversion.revenue=>20.00") || !strings.Contains(got, "conversion.timeout=>5m0s") {
			t.Errorf("%s: %s", c.Action, got)
		}
		if g := now(); g == nil || g.Trigger != "sold=1" || *g.Payout != 12_500_000 || g.Rule != "*0.8" || !g.Posted {
			t.Errorf("group %+v", g)
		}
		if c = apply(strings.Replace(sold, `"20"`, `"20.000"`, 1), false); c.Action != store.Unchanged || len(specs()) != 1 {
			t.Errorf("%s: %s, %d rows", c.Action, fields(c), len(specs()))
		}
		if c = apply(strings.Replace(sold, `"20"`, `"21"`, 1), false); fields(c) != "conversion.revenue=20.00>21.00" || len(specs()) != 2 {
			t.Errorf("%s: %s, %d rows", c.Action, fields(c), len(specs()))
		}
		if c = apply(plain, false); c.Action != store.Update || !strings.Contains(fields(c), "conversion.trigger=sold=1>") || now() != nil {
			t.Errorf("%s: %s, now %+v", c.Action, fields(c), now())
		}
		if got := specs(); len(got) != 3 || got[2] != "" {
			t.Errorf("rows %q", got)
		}
		if c = apply(plain, false); c.Action != store.Unchanged || len(specs()) != 3 {
			t.Errorf("%s, %d rows", c.Action, len(specs()))
		}
		if apply(sold, false); now() == nil || len(specs()) != 4 {
			t.Errorf("%d rows", len(specs()))
		}

		n := new(store.Network)
		if err := source.DecodeYAML([]byte(`campaigns: [{id: solar, assignments: [], conversion: {posted: false}}]`), n); err != nil {
			t.Fatal(err)
		}
		_, err := o.Apply(t.Context(), "ann", n, false)
		wantKind(t, err, store.ErrInvalid)
		if !strings.Contains(err.Error(), "campaigns[0]: conversion") {
			t.Error(err)
		}
	})
}
