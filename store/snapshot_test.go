package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// furnished gives objects of every kind that a snapshot holds, and a key's text.
func furnished(t *testing.T, url string) (*store.Objects, *clock, string) {
	t.Helper()
	o, c := openObjects(t, url)
	create(t, o, source.Spec{ID: "plain"})
	create(t, o, source.Spec{ID: "odd", Name: "Odd \"names\" & ünits", Buyer: "b1", Currency: "EUR", Fields: map[string][]string{"payout": {"amt"}}, Paused: true})
	create(t, o, source.Spec{ID: "secret"})
	for range 2 {
		if _, _, err := o.RotateSecret(t.Context(), "ann", "secret", time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	create(t, o, source.Spec{ID: "gone"})
	if err := o.DeleteSource(t.Context(), "ann", "gone"); err != nil {
		t.Fatal(err)
	}
	inState(t, o, "m", store.MapperRetired) // 1, and 2 active
	for range 2 {
		inState(t, o, "m", store.MapperAdmitted) // 3, 4
	}
	inState(t, o, "idle", store.MapperAdmitted)
	inState(t, o, "busy", store.MapperActive)
	must[store.MapperInfo](t)(o.ShadowMapper(t.Context(), "ann", "m", 3))
	create(t, o, source.Spec{ID: "pinned", Mapper: "idle@1"})
	create(t, o, source.Spec{ID: "follows", Mapper: "m", MapperFallback: source.FallbackPrevious})
	partner(t, o, "plain", "odd")
	return o, c, adminKey(t, o, "feed")
}

// away gives what a node has of its objects while the store, of the kind of
// url, cannot be reached.
func away(t *testing.T, url string, key []byte) *store.Objects {
	t.Helper()
	gone := "postgres://127.0.0.1:1/none"
	if strings.HasPrefix(url, "sqlite:") {
		gone = "sqlite:/nowhere/at/all/tallyhook.db"
	}
	db := must[*store.DB](t)(store.Dial(gone))
	t.Cleanup(func() { db.Close() })
	return &store.Objects{DB: db, Seal: must[*store.Seal](t)(store.NewSeal(key))}
}

func saved(t *testing.T, o *store.Objects) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "objects")
	if err := o.SaveSnapshot(path, must[*store.Snapshot](t)(o.Snapshot(t.Context()))); err != nil {
		t.Fatal(err)
	}
	return path
}

func sameDirectory(t *testing.T, got, want *source.Directory) {
	t.Helper()
	if got.Version != want.Version || got.Live() != want.Live() || len(got.All()) != len(want.All()) {
		t.Errorf("version %d with %d of %d sources: want version %d with %d of %d",
			got.Version, got.Live(), len(got.All()), want.Version, want.Live(), len(want.All()))
	}
	for _, s := range want.All() {
		if !reflect.DeepEqual(got.ByID(s.Spec.ID), s) {
			t.Errorf("source %+v: want %+v", got.ByID(s.Spec.ID), s)
		}
		if byToken := got.ByToken(s.TokenHash); (byToken == nil) != s.Deleted {
			t.Errorf("source %s by token: %v", s.Spec.ID, byToken)
		}
	}
}

func TestSnapshot(t *testing.T) {
	promise(t, "comes back from the disk as it is in the store", func(t *testing.T, url string) {
		o, c, key := furnished(t, url)
		path := saved(t, o)
		if info := must[os.FileInfo](t)(os.Stat(path)); info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v", info.Mode())
		}
		s := must[*store.Snapshot](t)(away(t, url, sealKey).LoadSnapshot(path))
		if s.StoreID != o.DB.ID || s.Version != must[int64](t)(o.Version(t.Context())) || !s.TakenAt.Equal(c.at) {
			t.Errorf("snapshot of store %s, version %d, %v", s.StoreID, s.Version, s.TakenAt)
		}
		for range 2 { // before the first secret ends, and afterwards
			d := must[*source.Directory](t)(s.Directory(c.at, nil))
			sameDirectory(t, d, directory(t, o, nil))
			until, some := nextExpiry(t, o, c)
			if at, ok := s.NextExpiry(c.at); ok != some || !at.Equal(until) {
				t.Errorf("next expiry %v, %v: the store says %v, %v", at, ok, until, some)
			}
			if again := must[*source.Directory](t)(s.Directory(c.at, d)); again.ByID("secret") != d.ByID("secret") {
				t.Error("an unchanged source is another pointer")
			}
			c.advance(time.Hour)
		}
		stored, _, err := o.KeyByHash(t.Context(), source.HashToken([]byte(key)))
		if k, ok := s.KeyByHash(source.HashToken([]byte(key))); !ok || err != nil || !reflect.DeepEqual(k, stored) {
			t.Errorf("key %+v, %v: the store says %+v, %v", k, ok, stored, err)
		}
		live := must[*store.Snapshot](t)(o.Snapshot(t.Context())).Mappers()
		if !reflect.DeepEqual(s.Mappers(), live) {
			t.Errorf("mappers %+v: the store says %+v", s.Mappers(), live)
		}
		if _, ok := s.KeyByHash(source.HashToken([]byte(key + "x"))); ok {
			t.Error("another key is known")
		}
	})

	promise(t, "of an empty store is a snapshot too", func(t *testing.T, url string) {
		o, _ := openObjects(t, url)
		s := must[*store.Snapshot](t)(away(t, url, sealKey).LoadSnapshot(saved(t, o)))
		if d := must[*source.Directory](t)(s.Directory(time.Now(), nil)); len(d.All()) != 0 || s.StoreID != o.DB.ID {
			t.Errorf("%d sources of store %s", len(d.All()), s.StoreID)
		}
	})
}

func TestSnapshotMappers(t *testing.T) {
	onObjects(t, "what a node may have to run", func(t *testing.T, o *store.Objects, _ *clock) {
		numbers := func(name string) (list []int) {
			t.Helper()
			for _, m := range must[*store.Snapshot](t)(o.Snapshot(t.Context())).Mappers() {
				for _, v := range m.Versions {
					if up := must[store.MapperUpload](t)(o.MapperUploadOf(t.Context(), v.SHA256)); store.MapperDigest(up.Code, up.Config) != v.SHA256 || v.FuelLimit != 1000 {
						t.Errorf("%s@%d: %+v", m.Name, v.Version, v)
					}
					if m.Name == name {
						list = append(list, v.Version)
					}
				}
			}
			return list
		}
		is := func(want ...int) {
			t.Helper()
			if got := numbers("m"); !slices.Equal(got, want) {
				t.Errorf("versions %v: want %v", got, want)
			}
		}
		for range 5 {
			inState(t, o, "m", store.MapperAdmitted)
		}
		is()
		for _, v := range []int{1, 2, 3} {
			must[store.MapperInfo](t)(o.ActivateMapper(t.Context(), "ann", "m", v))
		}
		is(2, 3)
		must[store.MapperInfo](t)(o.ShadowMapper(t.Context(), "ann", "m", 4))
		is(2, 3, 4)
		create(t, o, source.Spec{ID: "pinned", Mapper: "m@1"})
		create(t, o, source.Spec{ID: "twice", Mapper: "m@3"})
		is(1, 2, 3, 4)
		if err := o.DeleteSource(t.Context(), "ann", "pinned"); err != nil { // its events may still come
			t.Fatal(err)
		}
		is(1, 2, 3, 4)
		must[store.MapperInfo](t)(o.RollbackMapper(t.Context(), "ann", "m"))
		is(1, 2, 3, 4)
		must[store.SourceInfo](t)(o.ChangeSource(t.Context(), "ann", "twice", func(s *source.Spec) error { s.Mapper = "m"; return nil }))
		is(1, 2, 4)
	})
}

func TestSnapshotFile(t *testing.T) {
	o, _, _ := furnished(t, backends["sqlite"](t))
	path := saved(t, o)
	file := must[[]byte](t)(os.ReadFile(path))
	refused := func(content []byte, want string) error {
		t.Helper()
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := o.LoadSnapshot(path)
		if s != nil || err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Fatalf("error %v: want one with %q and the path", err, want)
		}
		return err
	}

	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 0x20
		refused(bad, "")
		refused(file[:i], "")
	}
	refused(append(bytes.Clone(file), 0), "delete it")
	refused(nil, "does not begin")

	other, _, _ := furnished(t, backends["sqlite"](t))
	refused(must[[]byte](t)(os.ReadFile(saved(t, other))), "this node belongs to store "+o.DB.ID)

	// Bytes of this store under the name of another one.
	renamed := bytes.Replace(file, []byte(o.DB.ID), []byte(other.DB.ID), 1)
	if err := os.WriteFile(path, renamed, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := other.LoadSnapshot(path); err == nil || !strings.Contains(err.Error(), "do not open") {
		t.Errorf("a renamed one: %v", err)
	}

	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := away(t, "sqlite:", []byte("another key of thirty-two bytes!")).LoadSnapshot(path)
	wantKind(t, err, store.ErrWrongKey)

	head, sealed := file[:len(file)-len(body(t, o, file))], body(t, o, file)
	text := must[[]byte](t)(o.Seal.Open(sealed, "snapshot", o.DB.ID, "objects"))
	newer := bytes.Replace(text, []byte(`"schema":`), []byte(`"schema":9`), 1)
	refused(append(bytes.Clone(head), o.Seal.Seal(newer, "snapshot", o.DB.ID, "objects")...), "newer build")

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := o.LoadSnapshot(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// body is the sealed part of a snapshot's file.
func body(t *testing.T, o *store.Objects, file []byte) []byte {
	t.Helper()
	_, sealed, ok := bytes.Cut(file, []byte(o.DB.ID+"\n"))
	if !ok {
		t.Fatal("the file does not name its store")
	}
	return sealed
}

func TestSaveSnapshot(t *testing.T) {
	o, _, _ := furnished(t, backends["sqlite"](t))
	path := saved(t, o)
	first := must[*store.Snapshot](t)(o.LoadSnapshot(path))
	create(t, o, source.Spec{ID: "later"})
	second := must[*store.Snapshot](t)(o.Snapshot(t.Context()))

	// What a crash left behind, readable by everybody, is no obstacle.
	if err := os.WriteFile(path+".new", []byte("half a fi"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := o.SaveSnapshot(path, second); err != nil {
		t.Fatal(err)
	}
	if s := must[*store.Snapshot](t)(o.LoadSnapshot(path)); s.Version != second.Version || s.Version <= first.Version {
		t.Errorf("version %d after %d", s.Version, first.Version)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v", files, err)
	}
	if info := must[os.FileInfo](t)(os.Stat(path)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}

	// What cannot be written leaves the one before.
	if err := os.MkdirAll(filepath.Join(path+".new", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := o.SaveSnapshot(path, first); err == nil {
		t.Error("it was written")
	}
	if s := must[*store.Snapshot](t)(o.LoadSnapshot(path)); s.Version != second.Version {
		t.Errorf("version %d: want %d", s.Version, second.Version)
	}
}

func TestSaveSnapshotAtOnce(t *testing.T) {
	o, _, _ := furnished(t, backends["sqlite"](t))
	path := filepath.Join(t.TempDir(), "objects")
	s := must[*store.Snapshot](t)(o.Snapshot(t.Context()))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := o.SaveSnapshot(path, s); err != nil {
				t.Error(err)
			}
			if _, err := o.LoadSnapshot(path); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// FuzzSnapshot gives the decoder what only a build with the key could have
// written: it takes it or refuses it, and what it takes comes back.
func FuzzSnapshot(f *testing.F) {
	const id = "00000000-0000-4000-8000-000000000000"
	seal, err := store.NewSeal(sealKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"schema":2,"version":7,"taken_at":1795262400000000,"sources":[{"id":"a","spec":"{\"id\":\"a\"}",` +
		`"token":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","secrets":[{"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","until":1}]}],` +
		`"keys":[{"hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","name":"n","role":"admin"}],` +
		`"mappers":[{"name":"m","active":2,"versions":[{"version":2,"digest":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","fuel_limit":1,"state":"active"}]}]}`))
	f.Add([]byte(`{"sources":[{"token":"AA=="}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		o := away(t, "postgres:", sealKey)
		path := filepath.Join(t.TempDir(), "objects")
		file := append([]byte("tallyhook objects 1\n"+id+"\n"), seal.Seal(text, "snapshot", id, "objects")...)
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := o.LoadSnapshot(path)
		if err != nil {
			return
		}
		now := time.Unix(1_795_262_400, 0)
		s.NextExpiry(now)
		one, oneErr := s.Directory(now, nil)
		if err := o.SaveSnapshot(path, s); err != nil {
			t.Fatal(err)
		}
		again := must[*store.Snapshot](t)(o.LoadSnapshot(path))
		if !reflect.DeepEqual(again.Mappers(), s.Mappers()) {
			t.Fatalf("mappers %+v, then %+v", s.Mappers(), again.Mappers())
		}
		two, twoErr := again.Directory(now, nil)
		if (oneErr == nil) != (twoErr == nil) {
			t.Fatalf("errors %v, then %v", oneErr, twoErr)
		}
		if oneErr == nil {
			sameDirectory(t, two, one)
		}
	})
}
