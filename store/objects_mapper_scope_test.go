package store_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// partner makes a key and gives it as who asks with it is seen.
func partner(t *testing.T, o *store.Objects, sources ...string) *store.Key {
	t.Helper()
	_, text, err := o.CreateKey(t.Context(), "ann", store.KeySpec{Name: "p", Role: store.RolePartner, Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	k, ok, err := o.KeyByHash(t.Context(), source.HashToken([]byte(text)))
	if err != nil || !ok {
		t.Fatalf("key %v, %v", ok, err)
	}
	return &k
}

func TestMapperScope(t *testing.T) {
	onObjects(t, "a partner reaches its own", func(t *testing.T, o *store.Objects, _ *clock) {
		ctx := t.Context()
		create(t, o, source.Spec{ID: "mine"})
		create(t, o, source.Spec{ID: "theirs"})
		scope := partner(t, o, "mine").Scope()
		must[store.MapperVersion](t)(o.PushMapper(ctx, "p", scope, "own", code("x")))
		pushed(t, o, "other", "x")
		reach := func(scope store.Scope, name string, want bool) {
			t.Helper()
			err := o.ReachMapper(ctx, scope, name)
			_, pushErr := o.PushMapper(ctx, "p", scope, name, code("y"))
			if (err == nil) != want || (pushErr == nil) != want {
				t.Errorf("%s: %v, push: %v: want reach %t", name, err, pushErr, want)
			}
			if !want {
				wantKind(t, err, store.ErrForbidden)
				wantKind(t, pushErr, store.ErrForbidden)
			}
		}
		reach(scope, "own", true)
		reach(scope, "other", false)
		reach(store.Scope{}, "own", false)
		reach((&store.Key{ID: 1, Role: "auditor"}).Scope(), "own", false)
		reach((&store.Key{Role: store.RolePartner}).Scope(), "own", false) // a key without a number made nothing
		wantKind(t, o.ReachMapper(ctx, scope, "nothing"), store.ErrForbidden)
		wantKind(t, o.ReachMapper(ctx, store.ScopeAll, "nothing"), store.ErrNotFound)
		_, err := o.PushMapper(ctx, "p", store.Scope{}, "nothing", code("y"))
		wantKind(t, err, store.ErrForbidden)

		must[store.MapperVersion](t)(o.AdmitMapper(ctx, "ann", "own", 1, true, 1, found))
		must[store.MapperVersion](t)(o.AdmitMapper(ctx, "ann", "other", 1, true, 1, found))
		name := func(id, mapper string) {
			t.Helper()
			must[store.SourceInfo](t)(o.ChangeSource(ctx, "ann", id, func(s *source.Spec) error { s.Mapper = mapper; return nil }))
		}
		name("mine", "other@1")
		reach(scope, "other", true)
		name("theirs", "other@1")
		reach(scope, "other", false)
		name("theirs", "own@1")
		reach(scope, "own", false)
		if err := o.DeleteSource(ctx, "ann", "theirs"); err != nil {
			t.Fatal(err)
		}
		reach(scope, "own", true)
	})

	onObjects(t, "a partner makes so many and no more", func(t *testing.T, o *store.Objects, _ *clock) {
		create(t, o, source.Spec{ID: "mine"})
		scope := partner(t, o, "mine").Scope()
		for i := range store.MappersPerKeyMax {
			must[store.MapperVersion](t)(o.PushMapper(t.Context(), "p", scope, fmt.Sprint("m", i), code("x")))
		}
		_, err := o.PushMapper(t.Context(), "p", scope, "more", code("x"))
		wantKind(t, err, store.ErrState)
		_, err = o.TierToPush(t.Context(), scope, "more")
		wantKind(t, err, store.ErrState)
		must[store.MapperVersion](t)(o.PushMapper(t.Context(), "p", scope, "m0", code("y")))
		pushed(t, o, "more", "x")
	})

	onObjects(t, "listings hold what is reached once, in order", func(t *testing.T, o *store.Objects, _ *clock) {
		create(t, o, source.Spec{ID: "mine"})
		scope := partner(t, o, "mine").Scope()
		for i, name := range strings.Split("f e d c b a", " ") {
			by := store.ScopeAll
			if i%2 == 0 {
				by = scope
			}
			must[store.MapperVersion](t)(o.PushMapper(t.Context(), "p", by, name, code("x")))
		}
		for want, by := range map[string]store.Scope{"abcdef": store.ScopeAll, "bdf": scope, "": {}} {
			for limit := 1; limit <= 7; limit++ {
				var names string
				for after := ""; ; {
					page, next, err := o.ListMappers(t.Context(), by, after, limit)
					if err != nil || len(page) > limit {
						t.Fatalf("page of %d, %v", len(page), err)
					}
					for _, m := range page {
						names += m.Name
					}
					if after = next; next == "" {
						break
					}
				}
				if names != want {
					t.Errorf("limit %d: %q, want %q", limit, names, want)
				}
			}
		}
	})
}

func TestPartnerKeys(t *testing.T) {
	onObjects(t, "made with what bounds them", func(t *testing.T, o *store.Objects, c *clock) {
		create(t, o, source.Spec{ID: "a"})
		create(t, o, source.Spec{ID: "b"})
		info, text, err := o.CreateKey(t.Context(), "ann", store.KeySpec{Name: "p", Role: store.RolePartner, Sources: []string{"b", "a", "b"}, MayActivate: true})
		want := store.KeyInfo{ID: 1, Name: "p", Role: store.RolePartner, Sources: []string{"a", "b"}, MayActivate: true, CreatedAt: c.at}
		if err != nil || !reflect.DeepEqual(info, want) {
			t.Fatalf("%+v, %v: want %+v", info, err, want)
		}
		k, ok, err := o.KeyByHash(t.Context(), source.HashToken([]byte(text)))
		if err != nil || !ok || !reflect.DeepEqual(k, store.Key{ID: 1, Name: "p", Role: store.RolePartner, Sources: []string{"a", "b"}, MayActivate: true}) {
			t.Errorf("%+v, %v, %v", k, ok, err)
		}
		if list, _, err := o.ListKeys(t.Context(), "", 0); err != nil || !reflect.DeepEqual(list, []store.KeyInfo{want}) {
			t.Errorf("%+v, %v", list, err)
		}
		for _, bad := range []store.KeySpec{
			{Name: "p", Role: store.RolePartner}, {Name: "p", Role: store.RolePartner, Sources: []string{"c"}},
			{Name: "p", Role: store.RolePartner, Sources: make([]string, store.KeySourcesMax+1)},
			{Name: "p", Role: store.RoleAdmin, Sources: []string{"a"}}, {Name: "p", Role: store.RoleAdmin, MayActivate: true},
		} {
			_, _, err := o.CreateKey(t.Context(), "ann", bad)
			wantKind(t, err, store.ErrInvalid)
		}
	})
}

// TestMigrateToMappers: keys and sources of a store from before go on as they
// were.
func TestMigrateToMappers(t *testing.T) {
	promise(t, "an older store's keys and sources stay", func(t *testing.T, url string) {
		before := int64(4)
		if strings.HasPrefix(url, "postgres") {
			before = 3
		}
		atVersion(t, url, before)
		db, _ := raw(t, url)
		hash := source.HashToken([]byte("tk_old"))
		for _, insert := range []string{
			`INSERT INTO access_key (name, hash, role, created_at) VALUES ('admin.key', $1, 'admin', 1)`,
			`INSERT INTO source (id, spec, token_hash, token_sealed, created_at, updated_at) VALUES ('old', '{"id":"old","name":"Old"}', $1, '', 1, 1)`,
		} {
			if strings.HasPrefix(url, "sqlite") {
				insert = strings.ReplaceAll(insert, "''", "x''")
			}
			if _, err := db.Exec(insert, hash[:]); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		o, _ := openObjects(t, url)
		k, ok, err := o.KeyByHash(t.Context(), hash)
		if err != nil || !ok || !reflect.DeepEqual(k, store.Key{ID: 1, Name: "admin.key", Role: store.RoleAdmin}) {
			t.Errorf("key %+v, %v, %v", k, ok, err)
		}
		s := must[*store.Snapshot](t)(o.Snapshot(t.Context()))
		if fromSnapshot, ok := s.KeyByHash(hash); !ok || !reflect.DeepEqual(fromSnapshot, k) || len(s.Mappers()) != 0 {
			t.Errorf("in the snapshot it is %+v, %v, beside mappers %v", fromSnapshot, ok, s.Mappers())
		}
		if d := directory(t, o, nil); d.ByID("old") == nil || d.ByID("old").MapperName != "" || d.Live() != 1 {
			t.Error("the source is not as it was")
		}
	})
}
