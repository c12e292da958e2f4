package journal

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// disk is one that can be filled by others, and freed again.
type disk struct {
	fs       FS
	dir      string
	segment  int64
	ballast  int64
	fill     func(t *testing.T) // others take all there is
	release  func(t *testing.T) // and give it back
	hasSpace func() int64
}

// A full disk refuses, loses nothing, keeps the process alive, gives up its
// ballast for the others, and goes on by itself when there is space.
func TestDiskFull(t *testing.T) {
	for name, open := range disks() {
		t.Run(name, func(t *testing.T) { diskFull(t, open(t)) })
	}
}

func diskFull(t *testing.T, d disk) {
	cfg := config(d.fs)
	cfg.Dir, cfg.SegmentBytes, cfg.BytesMax = d.dir, d.segment, 1<<40
	cfg.BallastBytes, cfg.CheckFor, cfg.RecordBytesMax = d.ballast, 2*time.Millisecond, 8<<10
	j := open(t, cfg)
	acked := 0
	fillUp := func() {
		t.Helper()
		for {
			_, err := j.Append(record(acked, 4000))
			if err != nil {
				wantErr(t, err, ErrFull)
				return
			}
			acked++
		}
	}
	resumes := func() {
		t.Helper()
		within(t, "resumed", func() bool {
			_, err := j.Append(record(acked, 4000))
			if err != nil {
				wantErr(t, err, ErrFull)
				return false
			}
			acked++
			return true
		})
	}
	ballast := func() bool { return ballastSize(cfg.FS, filepath.Join(cfg.Dir, ballastName)) == d.ballast }
	within(t, "ballast", ballast)
	within(t, "spare", j.keeper.has)

	d.fill(t) // by others
	fillUp()
	within(t, "ballast given up", func() bool { return !ballast() })
	if free := d.hasSpace(); free < d.ballast {
		t.Fatalf("the others got %d bytes, the ballast has %d", free, d.ballast)
	}
	if j.Status().Full == nil || j.Err() != nil {
		t.Fatalf("status %+v", j.Status())
	}
	d.release(t)
	resumes()
	within(t, "ballast again", ballast)

	fillUp() // by us
	within(t, "ballast given up", func() bool { return !ballast() })
	must(t, j.Close()) // a full disk does not stop a restart
	j = open(t, cfg)
	last, _ := j.Last()
	if last != uint64(acked) {
		t.Fatalf("%d records after the restart, %d acknowledged", last, acked)
	}
	allThere(t, j, acked)
	must(t, j.Commit(last+1)) // retention gives way to a full disk
	fillUpTo := acked + int(3*d.segment/4000)
	within(t, "goes on in trimmed space", func() bool {
		resumes()
		last, _ := j.Last()
		must(t, j.Commit(last+1))
		return acked >= fillUpTo
	})
}

// allThere wants exactly the records 0 to n-1.
func allThere(t *testing.T, j *Journal, n int) {
	t.Helper()
	seen := 0
	must(t, readAll(t, j, 1, func(r *event.Record) {
		if id := bodyID(t, r); id != seen {
			t.Fatalf("record %v is number %d", r.ID, id)
		}
		seen++
	}))
	if seen != n {
		t.Fatalf("read %d records, want %d", seen, n)
	}
}

func quotaDisk(t *testing.T) disk {
	q := newQuota(memFS{FS: crashable()}, 1<<20)
	var taken int64
	return disk{
		fs: q, dir: "/journal", segment: 64 << 10, ballast: 100 << 10,
		fill:     func(t *testing.T) { taken, _ = q.FreeBytes(""); q.q.add(-taken) },
		release:  func(t *testing.T) { q.q.add(taken) },
		hasSpace: func() int64 { n, _ := q.FreeBytes(""); return n },
	}
}
