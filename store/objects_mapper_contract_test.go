package store_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/store"
)

var found = json.RawMessage(`{"admitted":true}`)

func code(text string) store.MapperUpload { return store.MapperUpload{Code: []byte(text)} }

// pushed pushes a module and leaves it uploaded.
func pushed(t *testing.T, o *store.Objects, name, text string) store.MapperVersion {
	t.Helper()
	return must[store.MapperVersion](t)(o.PushMapper(t.Context(), "ann", store.ScopeAll, name, code(text)))
}

// inState brings a new version of a mapper to a state.
func inState(t *testing.T, o *store.Objects, name string, state store.MapperState) int {
	t.Helper()
	v := pushed(t, o, name, fmt.Sprint(state, time.Now().UnixNano())).Version
	if state == store.MapperUploaded {
		return v
	}
	must[store.MapperVersion](t)(o.AdmitMapper(t.Context(), "ann", name, v, state != store.MapperRefused, 1000, found))
	if state == store.MapperActive || state == store.MapperRetired {
		must[store.MapperInfo](t)(o.ActivateMapper(t.Context(), "ann", name, v))
	}
	if state == store.MapperRetired {
		inState(t, o, name, store.MapperActive)
	}
	return v
}

func stateOf(t *testing.T, o *store.Objects, name string, version int) store.MapperState {
	t.Helper()
	return must[store.MapperVersion](t)(o.GetMapperVersion(t.Context(), name, version)).State
}

func TestMapperTransitions(t *testing.T) {
	ctx := t.Context()
	steps := map[string]func(o *store.Objects, v int) error{
		"admit": func(o *store.Objects, v int) error {
			_, err := o.AdmitMapper(ctx, "ann", "m", v, true, 1000, found)
			return err
		},
		"refuse": func(o *store.Objects, v int) error {
			_, err := o.AdmitMapper(ctx, "ann", "m", v, false, 0, found)
			return err
		},
		"activate": func(o *store.Objects, v int) error { _, err := o.ActivateMapper(ctx, "ann", "m", v); return err },
		"shadow":   func(o *store.Objects, v int) error { _, err := o.ShadowMapper(ctx, "ann", "m", v); return err },
	}
	const up, ad, no, on, old = store.MapperUploaded, store.MapperAdmitted, store.MapperRefused, store.MapperActive, store.MapperRetired
	onObjects(t, "every step from every state", func(t *testing.T, o *store.Objects, c *clock) {
		inState(t, o, "m", on) // something to compare with
		for _, f := range []struct {
			from, to store.MapperState
			step     string
			wayOut   string // of the refusal, "" when the step is taken
		}{
			{up, ad, "admit", ""}, {ad, ad, "admit", ""}, {no, no, "admit", "push the module again"}, {on, on, "admit", ""}, {old, old, "admit", ""},
			{up, no, "refuse", ""}, {ad, ad, "refuse", "that stands"}, {no, no, "refuse", ""}, {on, on, "refuse", "that stands"}, {old, old, "refuse", "that stands"},
			{up, up, "activate", "push the same module again"}, {ad, on, "activate", ""}, {no, no, "activate", "push a mended module"}, {on, on, "activate", ""}, {old, on, "activate", ""},
			{up, up, "shadow", "push the same module again"}, {ad, ad, "shadow", ""}, {no, no, "shadow", "push a mended module"}, {on, on, "shadow", "choose another"}, {old, old, "shadow", ""},
		} {
			v := inState(t, o, "m", f.from)
			err := steps[f.step](o, v)
			if f.wayOut == "" && err != nil || f.wayOut != "" && (!errors.Is(err, store.ErrState) || !strings.Contains(err.Error(), f.wayOut) || !strings.Contains(err.Error(), fmt.Sprintf("m@%d", v))) {
				t.Errorf("%s from %s: %v, want %q", f.step, f.from, err, f.wayOut)
			}
			if to := stateOf(t, o, "m", v); to != f.to {
				t.Errorf("%s from %s leads to %s, want %s", f.step, f.from, to, f.to)
			}
		}
	})

	onObjects(t, "what is not there", func(t *testing.T, o *store.Objects, _ *clock) {
		inState(t, o, "m", on)
		for _, step := range steps {
			wantKind(t, step(o, 99), store.ErrNotFound)
		}
		_, err := o.ActivateMapper(ctx, "ann", "n", 1)
		wantKind(t, err, store.ErrNotFound)
		if !strings.Contains(err.Error(), `did you mean "m"?`) {
			t.Error(err)
		}
		_, err = o.AdmitMapper(ctx, "ann", "m", 1, true, 0, found)
		wantKind(t, err, store.ErrInvalid)
		_, err = o.AdmitMapper(ctx, "ann", "m", 1, true, 1, json.RawMessage(`{`))
		wantKind(t, err, store.ErrInvalid)
		_, err = o.SetMapperTier(ctx, "ann", "m", "huge")
		wantKind(t, err, store.ErrInvalid)
	})

	onObjects(t, "activate, roll back, and back further", func(t *testing.T, o *store.Objects, _ *clock) {
		is := func(m store.MapperInfo, err error) func(active, previous, shadow int) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			return func(active, previous, shadow int) {
				t.Helper()
				if m.Active != active || m.Previous != previous || m.Shadow != shadow {
					t.Errorf("active %d, previous %d, shadow %d: want %d, %d, %d", m.Active, m.Previous, m.Shadow, active, previous, shadow)
				}
			}
		}
		for range 3 {
			inState(t, o, "m", ad)
		}
		_, err := o.ShadowMapper(ctx, "ann", "m", 1)
		wantKind(t, err, store.ErrState) // nothing to compare with
		is(o.ActivateMapper(ctx, "ann", "m", 1))(1, 0, 0)
		is(o.ShadowMapper(ctx, "ann", "m", 2))(1, 0, 2)
		is(o.ActivateMapper(ctx, "ann", "m", 2))(2, 1, 0) // no shadow of itself
		is(o.ShadowMapper(ctx, "ann", "m", 1))(2, 1, 1)
		is(o.ActivateMapper(ctx, "ann", "m", 3))(3, 2, 1)
		is(o.ShadowMapper(ctx, "ann", "m", 0))(3, 2, 0)
		is(o.RollbackMapper(ctx, "ann", "m"))(2, 1, 0)
		is(o.RollbackMapper(ctx, "ann", "m"))(1, 0, 0)
		_, err = o.RollbackMapper(ctx, "ann", "m")
		wantKind(t, err, store.ErrState)
		is(o.ActivateMapper(ctx, "ann", "m", 3))(3, 1, 0)
		is(o.ActivateMapper(ctx, "ann", "m", 1))(1, 3, 0)
		is(o.RollbackMapper(ctx, "ann", "m"))(3, 0, 0) // the two had taken turns
		for v, want := range map[int]store.MapperState{1: old, 2: old, 3: on} {
			if got := stateOf(t, o, "m", v); got != want {
				t.Errorf("version %d is %s: want %s", v, got, want)
			}
		}
	})
}

func TestPushMapper(t *testing.T) {
	ctx := t.Context()
	onObjects(t, "the same bytes give the same version", func(t *testing.T, o *store.Objects, c *clock) {
		up := store.MapperUpload{Code: []byte("code"), Config: []byte("{}"), Vectors: []byte("-- v --\n")}
		push := func(name string, up store.MapperUpload) store.MapperVersion {
			t.Helper()
			return must[store.MapperVersion](t)(o.PushMapper(ctx, "ann", store.ScopeAll, name, up))
		}
		one := push("m", up)
		if one.Version != 1 || one.State != store.MapperUploaded || one.Bytes != 4 || !one.HasConfig || one.VectorsBytes != 8 ||
			one.SHA256 != "5694d08a2e53ffcae0c3103e5ad6f6076abd960eb1f8a56577040bc1028f702b" || one.PushedBy != "ann" || !one.CreatedAt.Equal(c.at) {
			t.Errorf("version %+v", one)
		}
		version := must[int64](t)(o.Version(ctx))
		if again := push("m", up); !reflect.DeepEqual(again, one) || must[int64](t)(o.Version(ctx)) != version {
			t.Errorf("again %+v: want %+v and no change", again, one)
		}
		for i, other := range []store.MapperUpload{
			{Code: []byte("codex"), Config: up.Config, Vectors: up.Vectors}, {Code: up.Code, Config: []byte("{ }"), Vectors: up.Vectors},
			{Code: up.Code, Config: up.Config}, {Code: up.Code, Vectors: up.Vectors}, {Code: []byte("code{}"), Vectors: up.Vectors},
		} {
			if v := push("m", other); v.Version != i+2 {
				t.Errorf("other bytes %d are version %d", i, v.Version)
			}
		}
		if v := push("n", up); v.Version != 1 {
			t.Errorf("of another mapper it is version %d", v.Version)
		}
		must[store.MapperInfo](t)(o.SetMapperTier(ctx, "ann", "m", store.TierLarge))
		if v := push("m", up); v.Version != 7 || v.Tier != store.TierLarge {
			t.Errorf("under another tier it is %+v", v)
		}
		var modules int
		if err := o.DB.Read.QueryRow(`SELECT count(*) FROM mapper_module`).Scan(&modules); err != nil || modules != 3 {
			t.Errorf("%d modules are kept, %v: want 3", modules, err)
		}
		got := must[store.MapperUpload](t)(o.GetMapperUpload(ctx, "m", 1))
		if !reflect.DeepEqual(got, up) {
			t.Errorf("upload %q", got)
		}
		digest := store.MapperDigest(up.Code, up.Config)
		if got := must[store.MapperUpload](t)(o.MapperUploadOf(ctx, digest)); string(got.Code) != "code" || string(got.Config) != "{}" {
			t.Errorf("upload of a digest %q", got)
		}
		_, err := o.MapperUploadOf(ctx, store.MapperDigest(up.Code, nil))
		if err != nil {
			t.Error(err)
		}
		_, err = o.MapperUploadOf(ctx, strings.Repeat("0", 64))
		wantKind(t, err, store.ErrNotFound)
		_, err = o.MapperUploadOf(ctx, "abc")
		wantKind(t, err, store.ErrInvalid)
	})

	onObjects(t, "a refused one keeps no bytes and can be tried again", func(t *testing.T, o *store.Objects, _ *clock) {
		v := pushed(t, o, "m", "shared")
		pushed(t, o, "n", "shared")
		refuse := func(name string) {
			t.Helper()
			must[store.MapperVersion](t)(o.AdmitMapper(ctx, "ann", name, 1, false, 0, json.RawMessage(`{"reasons":[]}`)))
		}
		modules := func() (n int) {
			t.Helper()
			if err := o.DB.Read.QueryRow(`SELECT count(*) FROM mapper_module`).Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n
		}
		refuse("m")
		if modules() != 1 {
			t.Error("a module that another version has went away")
		}
		_, err := o.GetMapperUpload(ctx, "m", 1)
		wantKind(t, err, store.ErrState)
		refuse("n")
		if modules() != 0 {
			t.Error("a module that nobody has stays")
		}
		_, err = o.MapperUploadOf(ctx, store.MapperDigest([]byte("shared"), nil))
		wantKind(t, err, store.ErrNotFound)
		again := pushed(t, o, "m", "shared")
		if again.Version != v.Version || again.State != store.MapperUploaded || again.Verdict != nil || modules() != 1 {
			t.Errorf("again %+v", again)
		}
	})

	onObjects(t, "limits", func(t *testing.T, o *store.Objects, _ *clock) {
		for _, up := range []store.MapperUpload{
			{}, {Code: make([]byte, store.MapperModuleBytesMax+1)}, {Code: []byte("x"), Config: make([]byte, store.MapperConfigBytesMax+1)},
			{Code: []byte("x"), Vectors: make([]byte, store.MapperVectorsBytesMax+1)},
		} {
			_, err := o.PushMapper(ctx, "ann", store.ScopeAll, "m", up)
			wantKind(t, err, store.ErrInvalid)
		}
		for _, name := range []string{"", "M", "a b", "m@1", strings.Repeat("m", 64)} {
			_, err := o.PushMapper(ctx, "ann", store.ScopeAll, name, code("x"))
			wantKind(t, err, store.ErrInvalid)
		}
		pushed(t, o, "m", "x")
		if _, err := o.DB.Write.Exec(`UPDATE mapper SET newest = $1`, store.MapperVersionsMax-1); err != nil {
			t.Fatal(err)
		}
		if v := pushed(t, o, "m", "last"); v.Version != store.MapperVersionsMax {
			t.Errorf("version %d", v.Version)
		}
		_, err := o.PushMapper(ctx, "ann", store.ScopeAll, "m", code("one too many"))
		wantKind(t, err, store.ErrState)
		pushed(t, o, "m", "x") // is there
		pushed(t, o, "n", "x")
		if _, err := o.DB.Write.Exec(`UPDATE mapper_version SET bytes = $1 WHERE mapper = 'n'`, store.MapperBytesMax-1); err != nil {
			t.Fatal(err)
		}
		pushed(t, o, "n", "y")
		_, err = o.PushMapper(ctx, "ann", store.ScopeAll, "n", code("z"))
		wantKind(t, err, store.ErrState)
	})
}

func TestMapperAudit(t *testing.T) {
	onObjects(t, "who did what, one row and one version each", func(t *testing.T, o *store.Objects, _ *clock) {
		ctx := t.Context()
		inState(t, o, "m", store.MapperActive)
		inState(t, o, "m", store.MapperAdmitted)
		for _, step := range []struct {
			action, object, field, before, after string
			do                                   func() error
		}{
			{"push", "mapper/m@3", "state", "", "uploaded", func() error { _, err := o.PushMapper(ctx, "bob", store.ScopeAll, "m", code("a")); return err }},
			{"refuse", "mapper/m@3", "state", "uploaded", "refused", func() error { _, err := o.AdmitMapper(ctx, "bob", "m", 3, false, 0, found); return err }},
			{"push", "mapper/m@3", "state", "refused", "uploaded", func() error { _, err := o.PushMapper(ctx, "bob", store.ScopeAll, "m", code("a")); return err }},
			{"admit", "mapper/m@3", "fuel_limit", "0", "9", func() error { _, err := o.AdmitMapper(ctx, "bob", "m", 3, true, 9, found); return err }},
			{"shadow", "mapper/m@2", "shadow", "", "2", func() error { _, err := o.ShadowMapper(ctx, "bob", "m", 2); return err }},
			{"activate", "mapper/m@3", "active", "1", "3", func() error { _, err := o.ActivateMapper(ctx, "bob", "m", 3); return err }},
			{"rollback", "mapper/m@1", "active", "3", "1", func() error { _, err := o.RollbackMapper(ctx, "bob", "m"); return err }},
			{"shadow", "mapper/m", "shadow", "2", "", func() error { _, err := o.ShadowMapper(ctx, "bob", "m", 0); return err }},
			{"update", "mapper/m", "tier", "standard", "large", func() error { _, err := o.SetMapperTier(ctx, "bob", "m", store.TierLarge); return err }},
		} {
			for _, first := range []bool{true, false} {
				before := must[int64](t)(o.Version(ctx))
				if step.action == "refuse" && !first || step.action == "push" && !first || step.action == "rollback" && !first {
					continue // the same again is another step there
				}
				if err := step.do(); err != nil {
					t.Fatal(err)
				}
				if rose := must[int64](t)(o.Version(ctx)) - before; rose != 1 && first || rose != 0 && !first {
					t.Errorf("%s %s, first time %t: the version rose by %d", step.action, step.object, first, rose)
				}
			}
			rows, _, err := o.ListAudit(ctx, "", 1)
			if err != nil {
				t.Fatal(err)
			}
			want := store.FieldDiff{Field: step.field, Old: step.before, New: step.after}
			if r := rows[0]; r.Actor != "bob" || r.Action != step.action || r.Object != step.object || !slices.Contains(r.Diff, want) {
				t.Errorf("audit %+v: want %s %s with %+v", r, step.action, step.object, want)
			}
		}
	})
}
