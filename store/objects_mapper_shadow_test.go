package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/store"
)

func TestShadowCounts(t *testing.T) {
	onObjects(t, "add up and are bounded", func(t *testing.T, o *store.Objects, _ *clock) {
		ctx := t.Context()
		pushed(t, o, "m", "x")
		version := must[int64](t)(o.Version(ctx))
		add := func(counts ...store.ShadowCount) {
			t.Helper()
			if err := o.AddShadowCounts(ctx, counts); err != nil {
				t.Fatal(err)
			}
		}
		add()
		add(store.ShadowCount{Mapper: "m", Active: 1, Candidate: 2, Field: "payout", Same: 10, Different: 1, Example: "a"},
			store.ShadowCount{Mapper: "m", Active: 1, Candidate: 2, Field: "caller", Same: 11},
			store.ShadowCount{Mapper: "gone", Active: 1, Candidate: 2, Field: "caller", Same: 11})
		add(store.ShadowCount{Mapper: "m", Active: 1, Candidate: 2, Field: "payout", Same: 5, Different: 2, Example: "b"})
		add(store.ShadowCount{Mapper: "m", Active: 1, Candidate: 2, Field: "payout", Same: 1})
		add(store.ShadowCount{Mapper: "m", Active: 2, Candidate: 3, Field: "payout", Same: 1, Example: strings.Repeat("é", 1000) + "\x00\xff"})
		got := must[[]store.ShadowCount](t)(o.ShadowCounts(ctx, "m"))
		if len(got) != 3 || got[0].Candidate != 3 || len(got[0].Example) != store.ShadowExampleBytesMax ||
			got[1] != (store.ShadowCount{Mapper: "m", Active: 1, Candidate: 2, Field: "caller", Same: 11}) ||
			got[2] != (store.ShadowCount{Mapper: "m", Active: 1, Candidate: 2, Field: "payout", Same: 16, Different: 3, Example: "b"}) {
			t.Errorf("counts %+v", got)
		}
		var many []store.ShadowCount
		for i := range store.ShadowFieldsMax + 20 {
			many = append(many, store.ShadowCount{Mapper: "m", Active: 5, Candidate: 6, Field: fmt.Sprintf("extra.%03d", i), Same: 1})
		}
		add(many...)
		add(many[0])
		got = must[[]store.ShadowCount](t)(o.ShadowCounts(ctx, "m"))
		if len(got) != 3+store.ShadowFieldsMax || got[0].Same != 2 {
			t.Errorf("%d rows, the first %+v", len(got), got[0])
		}
		if v := must[int64](t)(o.Version(ctx)); v != version {
			t.Error("counting is a change of the objects")
		}
		_, err := o.ShadowCounts(ctx, "n")
		wantKind(t, err, store.ErrNotFound)
	})

	promise(t, "from two nodes at once", func(t *testing.T, url string) {
		one, _ := openObjects(t, url)
		two, _ := openObjects(t, url)
		for _, m := range []string{"a", "b"} {
			pushed(t, one, m, "x")
		}
		var wg sync.WaitGroup
		for i, o := range []*store.Objects{one, two, one, two} {
			wg.Go(func() {
				counts := []store.ShadowCount{{Mapper: "a", Candidate: 1, Field: "x", Same: 1}, {Mapper: "b", Candidate: 1, Field: "x", Same: 1}}
				if i%2 == 1 {
					slices.Reverse(counts)
				}
				for range 10 {
					if err := o.AddShadowCounts(t.Context(), counts); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := must[[]store.ShadowCount](t)(one.ShadowCounts(t.Context(), "b")); len(got) != 1 || got[0].Same != 40 {
			t.Errorf("counts %+v", got)
		}
	})
}
