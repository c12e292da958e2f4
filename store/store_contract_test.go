package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
	"github.com/tallyhook/tallyhook/store/storetest"
)

// backends gives, per kind of database, the URL of a new and empty one that
// goes away with the test.
var backends = map[string]func(t *testing.T) string{
	"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(t.TempDir(), "tallyhook.db") },
	"postgres": func(t *testing.T) string { return services.Postgres(t) },
}

// made gives the URL of a new store that has its schema already.
var made = map[string]func(t testing.TB) string{"sqlite": storetest.SQLite, "postgres": storetest.Postgres}

func TestMain(m *testing.M) { os.Exit(storetest.Main(m)) }

// promise runs one case on every backend, each on its own empty database.
func promise(t *testing.T, name string, check func(t *testing.T, url string)) {
	t.Helper()
	for backend, empty := range backends {
		t.Run(backend+"/"+name, func(t *testing.T) { check(t, empty(t)) })
	}
}

// onObjects is promise for what Objects do, on a store that is there; the clock
// stands until it is set.
func onObjects(t *testing.T, name string, check func(t *testing.T, o *store.Objects, c *clock)) {
	t.Helper()
	for backend, open := range made {
		t.Run(backend+"/"+name, func(t *testing.T) {
			o, c := openObjects(t, open(t))
			check(t, o, c)
		})
	}
}

type clock struct{ at time.Time }

func (c *clock) now() time.Time          { return c.at }
func (c *clock) advance(d time.Duration) { c.at = c.at.Add(d) }

var sealKey = []byte("0123456789abcdef0123456789abcdef")

func open(t *testing.T, url string) *store.DB {
	t.Helper()
	db, err := store.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func openObjects(t *testing.T, url string) (*store.Objects, *clock) {
	t.Helper()
	seal, err := store.NewSeal(sealKey)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{at: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)}
	o := &store.Objects{DB: open(t, url), Seal: seal, Now: c.now}
	if err := o.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o, c
}

// must gives v and ends the test on an error.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantKind(t *testing.T, err, kind error) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("error %v: want one that is %q", err, kind)
	}
}

func TestStore(t *testing.T) {
	promise(t, "an id is made once and stays", func(t *testing.T, url string) {
		first := must[*store.DB](t)(store.Open(t.Context(), url))
		if len(first.ID) != 36 {
			t.Fatalf("id %q is no UUID", first.ID)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		if again := open(t, url); again.ID != first.ID {
			t.Fatalf("id %q became %q", first.ID, again.ID)
		}
	})

	promise(t, "several open a new store at once", func(t *testing.T, url string) {
		ids := make([]string, 6)
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				db, err := store.Open(context.Background(), url)
				if err != nil {
					t.Error(err)
					return
				}
				ids[i] = db.ID
				if err := db.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id == "" || id != ids[0] {
				t.Fatalf("ids %q: want one", ids)
			}
		}
	})

	promise(t, "stream numbers rise and are never given twice", func(t *testing.T, url string) {
		db := open(t, url)
		now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		for want := uint32(1); want <= 3; want++ {
			if n := must[uint32](t)(db.NewStream(t.Context(), fmt.Sprintf("node%d", want), now)); n != want {
				t.Fatalf("stream %d: want %d", n, want)
			}
		}
		if _, err := db.Write.Exec(`DELETE FROM stream WHERE stream = 3`); err != nil {
			t.Fatal(err)
		}
		if n := must[uint32](t)(db.NewStream(t.Context(), "node4", now)); n != 4 {
			t.Fatalf("stream %d after the last was deleted: want 4", n)
		}
		if s := must[store.StreamInfo](t)(db.Stream(t.Context(), 2)); s != (store.StreamInfo{NextSeq: 1, Node: "node2"}) {
			t.Fatalf("new stream is %+v", s)
		}
		if _, err := db.Write.Exec(`UPDATE stream SET next_seq = 43, received_at = 99 WHERE stream = 2`); err != nil {
			t.Fatal(err)
		}
		if s := must[store.StreamInfo](t)(db.Stream(t.Context(), 2)); s != (store.StreamInfo{NextSeq: 43, ReceivedAt: 99, Node: "node2"}) {
			t.Fatalf("committed stream is %+v", s)
		}
		_, err := db.Stream(t.Context(), 3)
		wantKind(t, err, store.ErrNotFound)
	})

	promise(t, "the read pool refuses to write", func(t *testing.T, url string) {
		db := open(t, url)
		if _, err := db.Read.Exec(`INSERT INTO meta (key, value) VALUES ('a', 'b')`); err == nil {
			t.Fatal("it wrote")
		}
	})

	promise(t, "read only: sees what a running node commits, changes nothing", func(t *testing.T, url string) {
		if _, err := store.OpenReadOnly(t.Context(), url); err == nil {
			t.Fatal("a store that is not there was opened for reading")
		}
		node := open(t, url)
		ro := must[*store.DB](t)(store.OpenReadOnly(t.Context(), url))
		if ro.ID != node.ID {
			t.Fatalf("id %q: want %q", ro.ID, node.ID)
		}
		if _, err := ro.NewStream(t.Context(), "x", time.Now()); err == nil {
			t.Fatal("it wrote")
		}
		n := must[uint32](t)(node.NewStream(t.Context(), "node", time.Now()))
		must[store.StreamInfo](t)(ro.Stream(t.Context(), n))
		if err := ro.Close(); err != nil {
			t.Fatal(err)
		}
	})

	promise(t, "read only: opens a store whose node has stopped", func(t *testing.T, url string) {
		db := must[*store.DB](t)(store.Open(t.Context(), url))
		n := must[uint32](t)(db.NewStream(t.Context(), "node", time.Now()))
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		ro := must[*store.DB](t)(store.OpenReadOnly(t.Context(), url))
		must[store.StreamInfo](t)(ro.Stream(t.Context(), n))
		if err := ro.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// refuses wants url not to be opened, with an error that has all of want.
func refuses(t *testing.T, open func(context.Context, string) (*store.DB, error), url string, want ...string) error {
	t.Helper()
	db, err := open(t.Context(), url)
	if err == nil {
		db.Close()
		t.Fatal("it was opened")
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %v: want one with %q", err, w)
		}
	}
	return err
}

func TestConcurrentUse(t *testing.T) {
	const workers, rounds = 4, 8
	onObjects(t, "writers and readers side by side", func(t *testing.T, o *store.Objects, _ *clock) {
		ctx := t.Context()
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				id := fmt.Sprintf("source-%d", w)
				if _, _, err := o.CreateSource(ctx, "test", source.Spec{ID: id}, true); err != nil {
					t.Error(err)
					return
				}
				for r := range rounds {
					if _, err := o.ChangeSource(ctx, "test", id, func(s *source.Spec) error { s.Buyer = fmt.Sprint("buyer", r); return nil }); err != nil {
						t.Error(err)
					}
				}
			})
			wg.Go(func() {
				var dir *source.Directory
				for range rounds {
					next, err := o.Directory(ctx, dir)
					if err != nil {
						t.Error(err)
						return
					}
					if dir != nil && next.Version < dir.Version {
						t.Errorf("version fell from %d to %d", dir.Version, next.Version)
					}
					if dir = next; len(dir.All()) > workers {
						t.Errorf("%d sources", len(dir.All()))
					}
					if _, _, err := o.ListSources(ctx, "", 0); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if v := must[int64](t)(o.Version(ctx)); v != workers*(1+rounds) {
			t.Fatalf("version %d after %d changes", v, workers*(1+rounds))
		}
		for w := range workers {
			if info := must[store.SourceInfo](t)(o.GetSource(ctx, fmt.Sprintf("source-%d", w))); info.Buyer != fmt.Sprint("buyer", rounds-1) {
				t.Fatalf("source-%d ended with buyer %q", w, info.Buyer)
			}
		}
	})
}
