package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

func TestSourceNamesMapper(t *testing.T) {
	onObjects(t, "only what can map", func(t *testing.T, o *store.Objects, _ *clock) {
		ctx := t.Context()
		inState(t, o, "works", store.MapperActive)   // 1
		inState(t, o, "works", store.MapperAdmitted) // 2
		inState(t, o, "works", store.MapperRefused)  // 3
		inState(t, o, "works", store.MapperUploaded) // 4
		inState(t, o, "fresh", store.MapperAdmitted)
		create(t, o, source.Spec{ID: "old"})
		for i, f := range []struct{ mapper, want string }{
			{"works", ""}, {"works@1", ""}, {"works@2", ""}, {"fresh@1", ""},
			{"wroks", `did you mean "works"?`}, {"works@9", "the newest is 4"}, {"works@3", "push a mended module"},
			{"works@4", "not admitted"}, {"fresh", "tallyhook mapper activate fresh"}, {"works@x", "no whole number"},
		} {
			spec := source.Spec{ID: fmt.Sprint("s", i), Mapper: f.mapper}
			_, _, made := o.CreateSource(ctx, "ann", spec, false)
			_, changed := o.ChangeSource(ctx, "ann", "old", func(s *source.Spec) error { s.Mapper = f.mapper; return nil })
			_, applied := o.Apply(ctx, "ann", &store.Network{Sources: []source.Spec{{ID: fmt.Sprint("n", i), Mapper: f.mapper}}}, false)
			for what, err := range map[string]error{"create": made, "change": changed, "apply": applied} {
				if f.want == "" && err != nil || f.want != "" && (!errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), f.want)) {
					t.Errorf("%s with mapper %q: %v, want %q", what, f.mapper, err, f.want)
				}
				if what == "apply" && f.want != "" && !strings.Contains(err.Error(), "sources[0]") {
					t.Errorf("apply does not say where: %v", err)
				}
			}
		}
		m := must[store.MapperDetail](t)(o.GetMapper(ctx, "works"))
		if got := strings.Join(m.Sources, " "); got != "n0 n1 n2 s0 s1 s2" {
			t.Errorf("named by %s", got)
		}
		must[store.SourceInfo](t)(o.ChangeSource(ctx, "ann", "s0", func(s *source.Spec) error { s.Mapper = ""; return nil }))
		if err := o.DeleteSource(ctx, "ann", "s1"); err != nil {
			t.Fatal(err)
		}
		if m := must[store.MapperDetail](t)(o.GetMapper(ctx, "works")); strings.Join(m.Sources, " ") != "n0 n1 n2 s2" {
			t.Errorf("named by %s", m.Sources)
		}
		must[*source.Directory](t)(o.Directory(ctx, nil))
	})
}
