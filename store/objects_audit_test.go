package store_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// adminKey makes a key and gives its text.
func adminKey(t *testing.T, o *store.Objects, name string) string {
	t.Helper()
	_, text, err := o.CreateKey(t.Context(), "ann", store.KeySpec{Name: name, Role: store.RoleAdmin})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestKeys(t *testing.T) {
	onObjects(t, "made, found by digest, ended", func(t *testing.T, o *store.Objects, c *clock) {
		plain := adminKey(t, o, "console")
		if !strings.HasPrefix(plain, store.KeyPrefix) || len(plain) != 46 {
			t.Fatalf("key of %d bytes", len(plain))
		}
		k, ok, err := o.KeyByHash(t.Context(), source.HashToken([]byte(plain)))
		if k.Name != "console" || k.Role != store.RoleAdmin || !ok || err != nil {
			t.Errorf("%+v, %v, %v", k, ok, err)
		}
		if _, ok, err := o.KeyByHash(t.Context(), source.HashToken([]byte(plain+"x"))); ok || err != nil {
			t.Errorf("another key: %v, %v", ok, err)
		}
		list, next, err := o.ListKeys(t.Context(), "", 0)
		if err != nil || next != "" || len(list) != 1 || list[0].Name != "console" || !list[0].CreatedAt.Equal(c.at) {
			t.Fatalf("%+v, %q, %v", list, next, err)
		}
		if err := o.DeleteKey(t.Context(), "ann", list[0].ID); err != nil {
			t.Fatal(err)
		}
		if _, ok, _ := o.KeyByHash(t.Context(), source.HashToken([]byte(plain))); ok {
			t.Error("a deleted key still opens")
		}
		wantKind(t, o.DeleteKey(t.Context(), "ann", list[0].ID), store.ErrNotFound)
		for _, bad := range [][2]string{{"console", "root"}, {"console", ""}, {"", "admin"}, {"a\nb", "admin"}, {strings.Repeat("x", 201), "admin"}} {
			_, _, err := o.CreateKey(t.Context(), "ann", store.KeySpec{Name: bad[0], Role: bad[1]})
			wantKind(t, err, store.ErrInvalid)
		}
	})

	onObjects(t, "keys and audit come in pages", func(t *testing.T, o *store.Objects, _ *clock) {
		for i := range 5 {
			adminKey(t, o, fmt.Sprint("key", i))
		}
		var names, objects []string
		for after, pages := "", 0; ; pages++ {
			page, next, err := o.ListKeys(t.Context(), after, 2)
			if err != nil || pages > 3 {
				t.Fatal(pages, err)
			}
			for _, k := range page {
				names = append(names, k.Name)
			}
			if after = next; next == "" {
				break
			}
		}
		for after, pages := "", 0; ; pages++ {
			page, next, err := o.ListAudit(t.Context(), after, 2)
			if err != nil || pages > 3 {
				t.Fatal(pages, err)
			}
			for _, r := range page {
				objects = append(objects, r.Object)
			}
			if after = next; next == "" {
				break
			}
		}
		if got := strings.Join(names, " "); got != "key0 key1 key2 key3 key4" {
			t.Errorf("keys %s", got)
		}
		if got := strings.Join(objects, " "); got != "key/5 key/4 key/3 key/2 key/1" {
			t.Errorf("audit of %s: want the newest first", got)
		}
		_, _, err := o.ListAudit(t.Context(), "abc", 0)
		wantKind(t, err, store.ErrInvalid)
	})
}

func TestEveryChangeIsAuditedAndRaisesTheVersion(t *testing.T) {
	onObjects(t, "audit", func(t *testing.T, o *store.Objects, c *clock) {
		ctx := t.Context()
		source1 := source.Spec{ID: "acme"}
		network := &store.Network{Buyers: []store.Party{{ID: "b"}}}
		for _, step := range []struct {
			action, object, field string
			do                    func() error
		}{
			{"create", "source/acme", "currency", func() error { _, _, err := o.CreateSource(ctx, "ann", source1, true); return err }},
			{"update", "source/acme", "buyer", func() error {
				_, err := o.ChangeSource(ctx, "ann", "acme", func(s *source.Spec) error { s.Buyer = "b"; return nil })
				return err
			}},
			{"rotate_token", "source/acme", "", func() error { _, err := o.RotateToken(ctx, "ann", "acme"); return err }},
			{"rotate_secret", "source/acme", "", func() error { _, _, err := o.RotateSecret(ctx, "ann", "acme", 0); return err }},
			{"drop_secrets", "source/acme", "", func() error { _, err := o.DropSecrets(ctx, "ann", "acme"); return err }},
			{"delete", "source/acme", "", func() error { return o.DeleteSource(ctx, "ann", "acme") }},
			{"create", "key/1", "name", func() error {
				_, _, err := o.CreateKey(ctx, "ann", store.KeySpec{Name: "console", Role: store.RoleAdmin})
				return err
			}},
			{"delete", "key/1", "name", func() error { return o.DeleteKey(ctx, "ann", 1) }},
			{"create", "buyer/b", "name", func() error { _, err := o.Apply(ctx, "ann", network, false); return err }},
		} {
			c.advance(time.Second)
			before := must[int64](t)(o.Version(ctx))
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			if after := must[int64](t)(o.Version(ctx)); after != before+1 {
				t.Errorf("%s %s: version went from %d to %d", step.action, step.object, before, after)
			}
			rows, _, err := o.ListAudit(ctx, "", 1)
			if err != nil || len(rows) != 1 {
				t.Fatalf("%v, %v", rows, err)
			}
			r := rows[0]
			if r.Action != step.action || r.Object != step.object || r.Actor != "ann" || !r.At.Equal(c.at) {
				t.Errorf("audit row %+v: want %s %s", r, step.action, step.object)
			}
			if named := slices.ContainsFunc(r.Diff, func(d store.FieldDiff) bool { return d.Field == step.field }); named != (step.field != "") {
				t.Errorf("%s %s: diff %v: want %q", step.action, step.object, r.Diff, step.field)
			}
		}
		if rows, _, err := o.ListAudit(ctx, "", 0); err != nil || len(rows) != 9 {
			t.Errorf("%d audit rows, %v", len(rows), err)
		}
	})
}

func TestNothingTellsASecret(t *testing.T) {
	onObjects(t, "infos, listings, audit, errors, tables", func(t *testing.T, o *store.Objects, _ *clock) {
		ctx := t.Context()
		info, secret, err := o.CreateSource(ctx, "ann", source.Spec{ID: "acme"}, true)
		if err != nil {
			t.Fatal(err)
		}
		secrets := []string{secret, string(info.Token), adminKey(t, o, "console")}
		info, secret, err = o.RotateSecret(ctx, "ann", "acme", 0)
		if err != nil {
			t.Fatal(err)
		}
		rotated := must[store.SourceInfo](t)(o.RotateToken(ctx, "ann", "acme"))
		secrets = append(secrets, secret, string(rotated.Token))
		signs := createWith(t, o, signed("signs", "hmac-sha256", ""), theSecret)
		_, misfit := o.SetSecret(ctx, "ann", "signs", theSecret+"\n", 0)
		wantKind(t, misfit, store.ErrInvalid)
		_, misplaced := o.AddPublicKey(ctx, "ann", "signs", "k", string(theSecret))
		wantKind(t, misplaced, store.ErrInvalid)
		secrets = append(secrets, string(theSecret))
		list, _, _ := o.ListSources(ctx, "", 0)
		keys, _, _ := o.ListKeys(ctx, "", 0)
		audit, _, _ := o.ListAudit(ctx, "", 0)
		if len(list) != 2 || len(keys) != 1 || len(audit) != 5 {
			t.Fatalf("%d sources, %d keys, %d audit rows", len(list), len(keys), len(audit))
		}
		broken := &store.Objects{DB: o.DB, Seal: must[*store.Seal](t)(store.NewSeal([]byte("another key, another key, anothe")))}
		_, wrong := broken.GetSource(ctx, "acme")
		wantKind(t, wrong, store.ErrWrongKey)
		_, _, again := o.CreateSource(ctx, "ann", source.Spec{ID: "acme"}, true)

		var said strings.Builder
		for _, v := range []any{info, &info, rotated, signs, misfit, misplaced, list, keys, audit, wrong, again, o, o.Seal, directory(t, o, nil).ByID("acme").Spec} {
			fmt.Fprintf(&said, "%v\n%+v\n%#v\n%s\n", v, v, v, v)
			if text, err := json.Marshal(v); err == nil {
				said.Write(text)
			}
		}
		for _, table := range []string{"source", "source_secret", "access_key", "audit", "meta"} {
			rows, err := o.DB.Read.Query(`SELECT * FROM ` + table)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			columns, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				row, at := make([]sql.NullString, len(columns)), make([]any, len(columns))
				for i := range row {
					at[i] = &row[i]
				}
				if err := rows.Scan(at...); err != nil {
					t.Fatal(err)
				}
				fmt.Fprintln(&said, row)
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
		}
		if !strings.Contains(said.String(), "acme") {
			t.Fatal("nothing was said at all")
		}
		for i, s := range append(secrets, string(sealKey)) {
			if strings.Contains(said.String(), strings.TrimPrefix(s, store.KeyPrefix)) {
				t.Errorf("secret %d is told in\n%s", i, said.String())
			}
		}
	})
}
