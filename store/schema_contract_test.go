package store_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite"

	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// raw opens the database at url without the store; the caller closes it.
func raw(t *testing.T, url string) (*sql.DB, goose.Dialect) {
	t.Helper()
	driver, name, dialect := "pgx", url, goose.DialectPostgres
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		driver, name, dialect = "sqlite", path, goose.DialectSQLite3
	}
	return must[*sql.DB](t)(sql.Open(driver, name)), dialect
}

// edit changes a database behind the store's back.
func edit(t *testing.T, url, statement string) {
	t.Helper()
	db, _ := raw(t, url)
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// atVersion makes the schema that a build with version migrations left.
func atVersion(t *testing.T, url string, version int64) {
	t.Helper()
	db, dialect := raw(t, url)
	defer db.Close()
	dir := map[goose.Dialect]string{goose.DialectPostgres: "postgres", goose.DialectSQLite3: "sqlite"}[dialect]
	p := must[*goose.Provider](t)(goose.NewProvider(dialect, db, os.DirFS(filepath.Join("migrations", dir)), goose.WithDisableGlobalRegistry(true)))
	if _, err := p.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
}

func TestSchema(t *testing.T) {
	promise(t, "an older one is migrated with what it holds, but not by a reader", func(t *testing.T, url string) {
		atVersion(t, url, 1)
		edit(t, url, `INSERT INTO stream (node, created_at) VALUES ('kept', 1)`)
		refuses(t, store.OpenReadOnly, url, "version 1", "migrates it")
		db := open(t, url)
		if s, err := db.Stream(t.Context(), 1); err != nil || s.Node != "kept" {
			t.Errorf("stream %+v, %v", s, err)
		}
		ro := must[*store.DB](t)(store.OpenReadOnly(t.Context(), url))
		if err := ro.Close(); err != nil {
			t.Error(err)
		}
	})

	promise(t, "a newer one is refused and left alone", func(t *testing.T, url string) {
		if err := open(t, url).Close(); err != nil {
			t.Fatal(err)
		}
		edit(t, url, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9001, `+
			map[bool]string{true: "true", false: "1"}[strings.HasPrefix(url, "postgres")]+`)`)
		refuses(t, store.Open, url, "9001", "newer build")
		refuses(t, store.OpenReadOnly, url, "9001", "newer build")
	})

	promise(t, "another program's database is refused and left alone", func(t *testing.T, url string) {
		edit(t, url, `CREATE TABLE photo (id INTEGER)`)
		refuses(t, store.Open, url, "something else")
		db, _ := raw(t, url)
		defer db.Close()
		if _, err := db.Exec(`SELECT 1 FROM meta`); err == nil {
			t.Error("it was migrated")
		}
	})
}

func TestPrepare(t *testing.T) {
	promise(t, "may be called again", func(t *testing.T, url string) {
		db := open(t, url)
		id := db.ID
		if err := db.Prepare(t.Context()); err != nil || db.ID != id {
			t.Fatalf("id %q became %q, %v", id, db.ID, err)
		}
		if err := db.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	})

	promise(t, "compares an id that is known beforehand", func(t *testing.T, url string) {
		id := open(t, url).ID
		db := must[*store.DB](t)(store.Dial(url))
		defer db.Close()
		db.ID = "00000000-0000-4000-8000-000000000000"
		if err := db.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), db.ID) {
			t.Errorf("error %v: want one that names both stores", err)
		}
		db.ID = id
		if err := db.Prepare(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestNodes(t *testing.T) {
	promise(t, "each with how far it is and when it was seen", func(t *testing.T, url string) {
		db := open(t, url)
		made := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
		for _, node := range []string{"one", "two"} {
			must[uint32](t)(db.NewStream(t.Context(), node, made))
		}
		if _, err := db.Write.Exec(`UPDATE stream SET next_seq = 7, received_at = $1, seen_at = $2 WHERE stream = 1`, made.Add(time.Second).UnixMicro(), made.Add(time.Minute).UnixMicro()); err != nil {
			t.Fatal(err)
		}
		list := must[[]store.NodeInfo](t)(db.Nodes(t.Context()))
		if len(list) != 2 ||
			list[0] != (store.NodeInfo{Stream: 1, Node: "one", NextSeq: 7, ReceivedAt: made.Add(time.Second), SeenAt: made.Add(time.Minute), CreatedAt: made}) ||
			list[1] != (store.NodeInfo{Stream: 2, Node: "two", NextSeq: 1, CreatedAt: made}) {
			t.Errorf("nodes %+v", list)
		}
	})
}

func TestChangesFromTwoNodes(t *testing.T) {
	promise(t, "none is lost between reading and writing", func(t *testing.T, url string) {
		const rounds = 12
		one, _ := openObjects(t, url)
		two, _ := openObjects(t, url)
		create(t, one, source.Spec{ID: "acme"})
		done := make(chan error)
		for _, node := range []*store.Objects{one, two, one, two} {
			go func() {
				var err error
				for range rounds {
					_, changeErr := node.ChangeSource(t.Context(), "ann", "acme", func(s *source.Spec) error { s.Buyer += "+"; return nil })
					if changeErr != nil {
						err = changeErr
					}
				}
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if info := must[store.SourceInfo](t)(one.GetSource(t.Context(), "acme")); len(info.Buyer) != 4*rounds {
			t.Errorf("%d changes are left of %d", len(info.Buyer), 4*rounds)
		}
		audit, _, err := one.ListAudit(t.Context(), "", store.ListRowsMax)
		if err != nil || len(audit) != 4*rounds+1 {
			t.Fatalf("%d audit rows, %v", len(audit), err)
		}
		for i := range audit[:4*rounds-1] { // the newest first, each starts where the one before ended
			if len(audit[i].Diff) != 1 || audit[i].Diff[0].Old != audit[i+1].Diff[0].New && audit[i].Diff[0].Old != "" {
				t.Fatalf("audit row %d is %+v after %+v", i, audit[i], audit[i+1])
			}
		}
	})

	promise(t, "two files are applied one after the other", func(t *testing.T, url string) {
		const rounds = 8
		one, _ := openObjects(t, url)
		two, _ := openObjects(t, url)
		done := make(chan error)
		files := []string{"percent 10", "percent 20"}
		for i, node := range []*store.Objects{one, one, two, two} {
			payout := files[i%2]
			n := &store.Network{Publishers: []store.Party{{ID: "p1"}, {ID: "p2"}}, Campaigns: []store.Campaign{{ID: "solar",
				Assignments: []store.Assignment{{Publisher: "p1", Payout: payout}, {Publisher: "p2", Payout: payout}}}}}
			go func() {
				var err error
				for range rounds {
					if _, applyErr := node.Apply(t.Context(), "ann", n, false); applyErr != nil {
						err = applyErr
					}
				}
				done <- err
			}()
		}
		for range 4 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		// Whoever came second found what the first had left: of each publisher
		// the payouts take turns, and both publishers have the same ones.
		for _, publisher := range []string{"p1", "p2"} {
			var last string
			for _, r := range rules(t, one) {
				at, payout, _ := strings.Cut(r, "=")
				if at != "solar/"+publisher {
					continue
				}
				if payout == last {
					t.Errorf("rules %q: %s was made twice", rules(t, one), r)
				}
				last = payout
			}
		}
	})
}

func TestSnapshotIsOfOneMoment(t *testing.T) {
	promise(t, "version and sources belong together", func(t *testing.T, url string) {
		const changes = 60
		o, c := openObjects(t, url)
		create(t, o, source.Spec{ID: "first"})
		create(t, o, source.Spec{ID: "last"})
		made := must[int64](t)(o.Version(t.Context()))
		done := make(chan error, 1)
		go func() {
			var err error
			for i := range changes {
				id := []string{"first", "last"}[i%2]
				if _, changeErr := o.ChangeSource(t.Context(), "ann", id, func(s *source.Spec) error { s.Buyer = fmt.Sprint(i + 1); return nil }); changeErr != nil {
					err = changeErr
				}
			}
			done <- err
		}()
		for over := false; !over; {
			select {
			case err := <-done:
				if over = true; err != nil {
					t.Fatal(err)
				}
			default:
			}
			s := must[*store.Snapshot](t)(o.Snapshot(t.Context()))
			d := must[*source.Directory](t)(s.Directory(c.at, nil))
			newest := 0
			for _, src := range d.All() {
				n, _ := strconv.Atoi(src.Spec.Buyer)
				newest = max(newest, n)
			}
			if s.Version != made+int64(newest) {
				t.Fatalf("version %d with change %d", s.Version, newest)
			}
		}
	})
}
