package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// What is appended is there, in order, after any number of restarts.
func TestAppendRead(t *testing.T) {
	for name, backend := range map[string]func(t *testing.T) Config{
		"os": func(t *testing.T) Config {
			cfg := config(OSFS{})
			cfg.Dir = filepath.Join(t.TempDir(), "data", "journal")
			return cfg
		},
		"memory": func(t *testing.T) Config { return config(memFS{FS: crashable()}) },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := backend(t)
			var want []int
			for start := range 4 {
				j := open(t, cfg)
				for i := range 60 {
					id := start*100 + i
					mustAppend(t, j, id, 10+id*9, uint64(len(want)+1))
					want = append(want, id)
				}
				first, err := j.AppendAll([][]byte{record(1, 9), record(2, 3000), record(3, 9)})
				must(t, err)
				if first.Seq != uint64(len(want)+1) {
					t.Fatalf("batch begins at %v, want %d", first, len(want)+1)
				}
				want = append(want, 1, 2, 3)
				if got := contents(t, j); !slices.Equal(got, want) {
					t.Fatalf("start %d: read %v, want %v", start, got, want)
				}
				must(t, j.Close())
				r, err := verify(cfg.FS, cfg.Dir, nil)
				if err != nil || r.Records != uint64(len(want)) || r.Last != uint64(len(want)) || r.Segments < 1+start || r.Loose != 0 {
					t.Fatalf("verify: %+v, %v", r, err)
				}
			}
		})
	}
}

func TestAppendRefuses(t *testing.T) {
	cfg := config(memFS{FS: crashable()})
	j := open(t, cfg)
	_, err := j.Append(nil)
	wantErr(t, err, ErrEmpty)
	_, err = j.AppendAll(nil)
	wantErr(t, err, ErrEmpty)
	_, err = j.AppendAll([][]byte{{1}, {}})
	wantErr(t, err, ErrEmpty)
	_, err = j.Append(make([]byte, 8<<10+1))
	wantErr(t, err, ErrTooLarge)
	_, err = j.AppendAll([][]byte{make([]byte, 8<<10), make([]byte, 8<<10)})
	wantErr(t, err, ErrTooLarge)
	mustAppend(t, j, 1, 10, 1) // nothing of that took a sequence
	must(t, j.Close())
	_, err = j.Append([]byte{1})
	wantErr(t, err, ErrClosed)
	_, err = j.Reader(1)
	wantErr(t, err, ErrClosed)
}

// A group that the small first segment cannot hold goes into one of full size
// in its place.
func TestFirstGroupLarge(t *testing.T) {
	cfg := config(OSFS{})
	cfg.Dir, cfg.SegmentBytes, cfg.BytesMax, cfg.RecordBytesMax = t.TempDir(), 8<<20, 64<<20, 2<<20
	j := open(t, cfg)
	mustAppend(t, j, 1, 1<<20, 1)
	mustAppend(t, j, 2, 10, 2)
	if got := contents(t, j); !slices.Equal(got, []int{1, 2}) {
		t.Fatalf("read %v", got)
	}
	must(t, j.Close())
	j = open(t, cfg)
	mustAppend(t, j, 3, 10, 3)
	if s := j.Status(); s.Segments != 1 || s.Bytes != 8<<20 {
		t.Fatalf("status %+v", s)
	}
}

func TestLocked(t *testing.T) {
	cfg := config(OSFS{})
	cfg.Dir = t.TempDir()
	j := open(t, cfg)
	_, err := Open(cfg)
	wantErr(t, err, ErrLocked)
	if !strings.Contains(err.Error(), cfg.Dir) || !strings.Contains(err.Error(), "process ") {
		t.Fatalf("the error %q does not name the folder and the process", err)
	}
	must(t, j.Close())
	must(t, open(t, cfg).Close())
}

// A wiped folder begins a new stream; a folder of another store is refused.
func TestStream(t *testing.T) {
	stream := uint32(0)
	cfg := config(memFS{FS: crashable()})
	cfg.NewStream = func() (uint32, error) { stream++; return stream, nil }
	j := open(t, cfg)
	mustAppend(t, j, 1, 10, 1)
	must(t, j.Close())
	j = open(t, cfg)
	if j.Stream() != 1 || stream != 1 {
		t.Fatalf("stream %d after a restart, %d obtained", j.Stream(), stream)
	}
	must(t, j.Close())

	other := cfg
	other.StoreID = "another"
	_, err := Open(other)
	if err == nil || !strings.Contains(err.Error(), `belongs to store "store", this is store "another"`) {
		t.Fatalf("folder of another store: %v", err)
	}

	wiped := cfg
	wiped.FS = memFS{FS: crashable()}
	j = open(t, wiped)
	if j.Stream() != 2 {
		t.Fatalf("stream %d in a wiped folder, want 2", j.Stream())
	}
	mustAppend(t, j, 1, 10, 1)
	wantErr(t, j.Commit(3), ErrBeyond)
	_, err = j.Reader(3)
	wantErr(t, err, ErrBeyond)

	cfg.FS = memFS{FS: crashable()}
	boom := errors.New("boom")
	cfg.NewStream = func() (uint32, error) { return 0, boom }
	_, err = Open(cfg)
	wantErr(t, err, boom)
}

// Files that vanish are missed: by the meta, by the next header, by the mark.
func TestMissingFiles(t *testing.T) {
	cfg := config(memFS{FS: crashable()})
	j := open(t, cfg)
	for i := range 40 {
		mustAppend(t, j, i, 3000, uint64(i+1))
	}
	must(t, j.Close())
	firsts, err := listSegments(cfg.FS, cfg.Dir)
	must(t, err)
	f := func(want string, names ...string) {
		t.Helper()
		c := cfg
		c.FS = copyFiles(t, cfg.FS, cfg.Dir)
		for _, name := range names {
			must(t, c.FS.Remove(name))
		}
		j, err := Open(c)
		if err == nil {
			j.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("without %v: %v, want %q", names, err, want)
		}
		if _, err := verify(c.FS, c.Dir, nil); err == nil {
			t.Fatalf("verify without %v finds nothing", names)
		}
	}
	path := func(i int) string { return segmentPath(cfg.Dir, firsts[i]) }
	all := make([]string, len(firsts))
	for i := range firsts {
		all[i] = path(i)
	}
	f("holds segments but no file \"meta\"", "/journal/meta")
	f(filepath.Base(path(1))+", is missing", path(1))
	f(path(len(firsts)-1)+" is damaged at offset 0: the file is missing", path(len(firsts)-1))
	f("has lost all its segments", all...)
}

// Time does not go back, not even when the clock does and the node restarts.
func TestClock(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	clock := newClock(start)
	cfg := config(memFS{FS: crashable()})
	cfg.Now = clock.now
	j := open(t, cfg)
	at := func(want time.Time) {
		t.Helper()
		if _, got := j.Last(); got != want.UnixMicro() {
			t.Fatalf("received at %v, want %v", time.UnixMicro(got).UTC(), want)
		}
	}
	mustAppend(t, j, 1, 10, 1)
	at(start)
	clock.add(-time.Hour)
	mustAppend(t, j, 2, 10, 2)
	at(start)
	must(t, j.Close())
	j = open(t, cfg)
	at(start)
	for i := range 20 {
		mustAppend(t, j, i, 4000, uint64(3+i)) // into new segments
	}
	at(start)
	must(t, j.Close())
	j = open(t, cfg)
	clock.add(2 * time.Hour)
	mustAppend(t, j, 9, 10, 23)
	at(start.Add(time.Hour))
	contents(t, j)
}

// Only what is in the ledger is trimmed, by whole segments, when it is old.
func TestTrim(t *testing.T) {
	clock := newClock(time.Unix(1_800_000_000, 0))
	cfg := config(memFS{FS: crashable()})
	cfg.Now = clock.now
	j := open(t, cfg)
	for i := range 50 {
		mustAppend(t, j, i, 3000, uint64(i+1))
	}
	first := func() uint64 { return j.Status().First }
	tidied(j)
	must(t, j.Commit(30))
	must(t, j.Commit(20)) // does not go back
	tidied(j)
	if first() != 1 {
		t.Fatalf("trimmed to %d before its time", first())
	}
	clock.add(25 * time.Hour)
	tidied(j)
	if f := first(); f == 1 || f > 30 {
		t.Fatalf("the oldest record is %d, want one from 2 to 30", f)
	}
	_, err := j.Reader(1)
	wantErr(t, err, ErrTrimmed)
	r, err := j.Reader(30)
	must(t, err)
	r.Close()
	must(t, j.Close())

	j = open(t, cfg)
	for i := uint64(30); i <= 50; i++ {
		must(t, j.Commit(i+1))
	}
	tidied(j)
	s := j.Status()
	if s.Segments != 1 || s.Backlog != 0 || s.Last != 50 {
		t.Fatalf("all is committed: %+v", s)
	}
	infos, err := list(cfg.FS, cfg.Dir)
	must(t, err)
	if len(infos) != 1 || infos[0].First != s.First || infos[0].Last != 50 || !infos[0].Live {
		t.Fatalf("list %+v", infos)
	}
	mustAppend(t, j, 50, 10, 51)
}

// Over 85 % of BytesMax retention gives way, over 95 % appends do.
func TestBytesMax(t *testing.T) {
	cfg := config(memFS{FS: crashable()})
	cfg.BytesMax, cfg.CheckFor = 20*32<<10, time.Millisecond
	j := open(t, cfg)
	n := uint64(0)
	var err error
	for err == nil {
		if _, err = j.Append(record(int(n), 4000)); err == nil {
			n++
		}
	}
	wantErr(t, err, ErrFull)
	s := j.Status()
	if s.Bytes > share(cfg.BytesMax, 95) || s.Bytes < share(cfg.BytesMax, 85) || s.Last != n || s.Full == nil || s.Failed != nil {
		t.Fatalf("full with %+v", s)
	}
	must(t, j.Commit(n+1))
	within(t, "space again", func() bool { _, err = j.Append(record(int(n), 10)); return err == nil })
	s = j.Status()
	if s.Bytes+cfg.SegmentBytes > share(cfg.BytesMax, 85) || s.Last != n+1 || s.First == 1 || s.Full != nil {
		t.Fatalf("after the commit %+v", s)
	}
	id := int(s.First) - 1
	must(t, readAll(t, j, s.First, func(r *event.Record) {
		if bodyID(t, r) != id {
			t.Fatalf("record %v holds another", r.ID)
		}
		id++
	}))
}

// Append of one caller allocates nothing, and neither does its writer.
func TestAppendAllocs(t *testing.T) {
	cfg := config(OSFS{})
	cfg.Dir, cfg.SegmentBytes, cfg.CheckFor = t.TempDir(), 1<<20, time.Hour
	j := open(t, cfg)
	within(t, "spare", j.keeper.has)
	rec := record(1, 600)
	for range 10 {
		_, err := j.Append(rec)
		must(t, err)
	}
	if n := testing.AllocsPerRun(500, func() {
		if _, err := j.Append(rec); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations per append, want 0", n)
	}
}

func TestConfig(t *testing.T) {
	f := func(want string, change func(c *Config)) {
		t.Helper()
		c := config(memFS{FS: crashable()})
		change(&c)
		if j, err := Open(c); err == nil || !strings.Contains(err.Error(), want) {
			if err == nil {
				j.Close()
			}
			t.Fatalf("error %v, want %q", err, want)
		}
	}
	f("no folder", func(c *Config) { c.Dir = "" })
	f("no store id", func(c *Config) { c.StoreID = "" })
	f("no source of stream", func(c *Config) { c.NewStream = nil })
	f("SegmentBytes 8192", func(c *Config) { c.SegmentBytes = 8192 })
	f("BytesMax 65536", func(c *Config) { c.BytesMax = 65536 })
	f("do not fit", func(c *Config) { c.GroupBytesMax = 32 << 10 })
	f("RecordBytesMax 20000", func(c *Config) { c.RecordBytesMax = 20000 })
	f("must not be negative", func(c *Config) { c.BatchBytesMax = -1 })
}

// The marks and the meta survive their own encoding, and nothing else passes.
func TestMeta(t *testing.T) {
	m := meta{stream: 4_000_000_000, store: "a \"b\"\n", created: time.Unix(5, 6000).UTC()}
	p := appendMeta(nil, m)
	got, err := decodeMeta(p)
	if err != nil || got != m {
		t.Fatalf("read %+v, %v", got, err)
	}
	for i := range p {
		q := slices.Clone(p)
		q[i] ^= 4
		if got, err := decodeMeta(q); err == nil && got != m {
			t.Fatalf("byte %d changed: read %+v", i, got)
		}
	}
	if _, err := decodeMeta(p[:len(p)-12]); err == nil {
		t.Fatal("a cut meta passes")
	}
}

func TestHistogram(t *testing.T) {
	h := newHistogram([]float64{1, 10})
	for _, v := range []float64{0.5, 1, 2, 11, 100} {
		h.observe(v)
	}
	if got := fmt.Sprint(h.Counts, h.Count, h.Sum, h.Cumulative()); got != "[2 1 2] 5 114.5 map[1:2 10:3]" {
		t.Fatal(got)
	}
}
