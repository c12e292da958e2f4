package journal

import (
	"errors"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/tallyhook/tallyhook/event"
)

// rotten is a folder with several segments, and what of its bytes may not
// change unnoticed.
type rotten struct {
	disk     *vfs.MemFS
	records  int
	live     string
	lastFrom int64 // the last flush of the live file, when no mark covers it
	lastEnd  int64
	ends     map[string]int64 // offset after the last frame of each segment
}

func makeRotten(t *testing.T, cfg Config, marked bool) rotten {
	t.Helper()
	cfg.FS = memFS{FS: crashable()}
	j := open(t, cfg)
	rng := rand.New(rand.NewPCG(5, 5))
	r := rotten{ends: map[string]int64{}}
	for j.Status().Segments < 5 || liveEnd(j) < cfg.SegmentBytes/2 {
		recs := [][]byte{record(r.records, rng.IntN(900)), record(r.records+1, rng.IntN(900))}
		from := liveEnd(j)
		_, err := j.AppendAll(recs)
		must(t, err)
		r.records += 2
		r.lastFrom, r.lastEnd = from, liveEnd(j)
	}
	for _, seg := range j.view.segs {
		r.ends[seg.name] = seg.end
	}
	r.live = j.live.name
	if marked {
		must(t, j.Close())
		r.lastFrom, r.lastEnd = 0, 0
	}
	r.disk = copyFiles(t, cfg.FS, cfg.Dir).FS.(*vfs.MemFS)
	return r
}

// liveEnd is how far the live segment is synced.
func liveEnd(j *Journal) int64 {
	j.view.mu.Lock()
	defer j.view.mu.Unlock()
	return j.view.segs[len(j.view.segs)-1].end
}

// One bit flips, or one page turns to zeros, anywhere in any file. Then the
// journal says where, or gives every record as it was; never fewer, never others.
func TestBitRot(t *testing.T) {
	for name, marked := range map[string]bool{"closed in order": true, "in full run": false} {
		t.Run(name, func(t *testing.T) {
			cfg := config(nil)
			r := makeRotten(t, cfg, marked)
			rng := rand.New(rand.NewPCG(9, 9))
			var loud, harmless int
			for range 1000 {
				file, off, n := r.spot(rng)
				fs := memFS{FS: crashClone(r.disk, 0, nil)}
				changed := false
				patch(t, fs, file, off, func(p []byte) {
					before := slices.Clone(p)
					if n == 1 {
						p[0] ^= 1 << rng.IntN(8)
					} else {
						clear(p)
					}
					changed = !slices.Equal(before, p)
				}, n)
				if r.judge(t, cfg, fs, file, off, n, changed) {
					loud++
				} else {
					harmless++
				}
			}
			t.Logf("%d found, %d without effect", loud, harmless)
			if loud < 300 || harmless < 100 {
				t.Fatal("the spots are badly spread")
			}
		})
	}
}

// spot chooses a byte or a page that is not in the last flush.
func (r *rotten) spot(rng *rand.Rand) (file string, off int64, n int) {
	names := []string{"/journal/" + metaName}
	for name := range r.ends {
		names = append(names, name)
	}
	slices.Sort(names)
	for {
		file = names[rng.IntN(len(names))]
		size := r.ends[file]
		switch {
		case file == names[len(names)-1]:
			return file, int64(rng.IntN(60)), 1 // meta
		case rng.IntN(4) == 0:
			size = 32 << 10 // the zeros behind too
		}
		off, n = rng.Int64N(size), 1
		if rng.IntN(3) == 0 {
			off, n = off/pageBytes*pageBytes, pageBytes
		}
		if file != r.live || off+int64(n) <= r.lastFrom || off >= r.lastEnd {
			return file, off, n
		}
	}
}

// judge opens the folder, reads it, verifies it, and reports whether the fault was told.
func (r *rotten) judge(t *testing.T, cfg Config, fs FS, file string, off int64, n int, changed bool) (loud bool) {
	t.Helper()
	inFrames := changed && off+int64(n) > dataStart && off < r.ends[file]
	_, err := verify(fs, cfg.Dir, nil)
	var d *Damage
	if err != nil && (!errors.As(err, &d) || !strings.Contains(err.Error(), filepath.Base(file))) {
		t.Fatalf("%s at %d: verify: %v", file, off, err)
	}
	if inFrames && (err == nil || d.Offset > off+int64(n)) {
		t.Fatalf("%s at %d, %d bytes: verify finds %v", file, off, n, err)
	}
	cfg.FS = fs
	j, err := Open(cfg)
	if err == nil {
		seq := 0
		err = readAll(t, j, 1, func(rec *event.Record) {
			if id := bodyID(t, rec); id != seq || rec.ID.Seq != uint64(seq+1) {
				t.Fatalf("%s at %d: record %v is number %d", file, off, rec.ID, id)
			}
			seq++
		})
		if err == nil && seq != r.records {
			t.Fatalf("%s at %d, %d bytes: %d records of %d, and no error", file, off, n, seq, r.records)
		}
		must(t, j.Close())
	}
	if err != nil && (!errors.As(err, &d) || d.File != file && filepath.Base(file) != metaName && !strings.Contains(err.Error(), filepath.Base(file))) {
		t.Fatalf("%s at %d: %v names another place", file, off, err)
	}
	if inFrames && err == nil {
		t.Fatalf("%s at %d, %d bytes: changed frames go unnoticed", file, off, n)
	}
	return err != nil
}
