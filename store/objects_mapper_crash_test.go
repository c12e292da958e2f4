package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/store"
)

// TestMapperAfterCrash: whatever was committed when a process was killed is a
// whole state, from which the same push goes on.
func TestMapperAfterCrash(t *testing.T) {
	promise(t, "an upload that died is taken up", func(t *testing.T, url string) {
		dead, _ := openObjects(t, url)
		v := pushed(t, dead, "m", "code") // and is killed before its admission ends
		o, _ := openObjects(t, url)
		_, err := o.ActivateMapper(t.Context(), "ann", "m", v.Version)
		wantKind(t, err, store.ErrState)
		again := pushed(t, o, "m", "code")
		if again.Version != v.Version || again.State != store.MapperUploaded {
			t.Fatalf("again %+v", again)
		}
		must[store.MapperVersion](t)(o.AdmitMapper(t.Context(), "ann", "m", again.Version, true, 5, found))
		if m := must[store.MapperInfo](t)(o.ActivateMapper(t.Context(), "ann", "m", again.Version)); m.Active != v.Version {
			t.Errorf("mapper %+v", m)
		}
	})

	promise(t, "a change that did not commit leaves nothing", func(t *testing.T, url string) {
		o, _ := openObjects(t, url)
		inState(t, o, "m", store.MapperActive)
		v := inState(t, o, "m", store.MapperAdmitted)
		was := must[store.MapperDetail](t)(o.GetMapper(t.Context(), "m"))
		version := must[int64](t)(o.Version(t.Context()))
		// The audit cannot be written: the last statement but one of every change.
		if _, err := o.DB.Write.Exec(`ALTER TABLE audit RENAME TO audit_away`); err != nil {
			t.Fatal(err)
		}
		for name, step := range map[string]func() error{
			"push": func() error {
				_, err := o.PushMapper(t.Context(), "ann", store.ScopeAll, "m", code("half"))
				return err
			},
			"new": func() error {
				_, err := o.PushMapper(t.Context(), "ann", store.ScopeAll, "n", code("half"))
				return err
			},
			"activate": func() error { _, err := o.ActivateMapper(t.Context(), "ann", "m", v); return err },
			"shadow":   func() error { _, err := o.ShadowMapper(t.Context(), "ann", "m", v); return err },
			"tier":     func() error { _, err := o.SetMapperTier(t.Context(), "ann", "m", store.TierLarge); return err },
		} {
			if step() == nil {
				t.Errorf("%s went through", name)
			}
		}
		if _, err := o.DB.Write.Exec(`ALTER TABLE audit_away RENAME TO audit`); err != nil {
			t.Fatal(err)
		}
		if now := must[store.MapperDetail](t)(o.GetMapper(t.Context(), "m")); !reflect.DeepEqual(now, was) || must[int64](t)(o.Version(t.Context())) != version {
			t.Errorf("mapper %+v: want %+v", now, was)
		}
		_, err := o.GetMapper(t.Context(), "n")
		wantKind(t, err, store.ErrNotFound)
		var modules int
		if err := o.DB.Read.QueryRow(`SELECT count(*) FROM mapper_module`).Scan(&modules); err != nil || modules != len(was.Versions) {
			t.Errorf("%d modules, %v", modules, err)
		}
	})
}

func TestMappersAtOnce(t *testing.T) {
	promise(t, "activations, pushes and roll-backs from two nodes", func(t *testing.T, url string) {
		one, _ := openObjects(t, url)
		two, _ := openObjects(t, url)
		for range 4 {
			inState(t, one, "m", store.MapperAdmitted)
		}
		var wg sync.WaitGroup
		for i, o := range []*store.Objects{one, two, one, two} {
			wg.Go(func() {
				for round := range 5 {
					if _, err := o.ActivateMapper(t.Context(), "ann", "m", i+1); err != nil {
						t.Error(err)
					}
					if _, err := o.PushMapper(t.Context(), "ann", store.ScopeAll, "m", code(fmt.Sprint("round ", round))); err != nil {
						t.Error(err)
					}
					if _, err := o.RollbackMapper(t.Context(), "ann", "m"); err != nil && !errors.Is(err, store.ErrState) {
						t.Error(err)
					}
					d, err := o.GetMapper(t.Context(), "m")
					if err != nil {
						t.Error(err)
						continue
					}
					var active []int
					for _, v := range d.Versions {
						if v.State == store.MapperActive {
							active = append(active, v.Version)
						}
					}
					if len(active) != 1 || active[0] != d.Active || d.Previous == d.Active {
						t.Errorf("active %v of mapper %+v", active, d.MapperInfo)
					}
				}
			})
		}
		wg.Wait()
		if d := must[store.MapperDetail](t)(one.GetMapper(t.Context(), "m")); len(d.Versions) != 4+5 {
			t.Errorf("%d versions: want one for each module", len(d.Versions))
		}
	})

	promise(t, "two that admit the same version, the first verdict stands", func(t *testing.T, url string) {
		o, _ := openObjects(t, url)
		v := pushed(t, o, "m", "code").Version
		fuels := make([]int64, 4)
		var wg sync.WaitGroup
		for i := range fuels {
			wg.Go(func() {
				got, err := o.AdmitMapper(t.Context(), "ann", "m", v, true, int64(i+1), found)
				if err != nil {
					t.Error(err)
				}
				fuels[i] = got.FuelLimit
			})
		}
		wg.Wait()
		if slices.Max(fuels) != slices.Min(fuels) {
			t.Errorf("fuel limits %v: want one", fuels)
		}
	})
}
