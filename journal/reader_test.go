package journal

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// A record is not given before its sync is through, however long that takes.
func TestReaderSeesSynced(t *testing.T) {
	s := newSlow()
	cfg := config(s)
	j := open(t, cfg)
	r, err := j.Reader(0)
	must(t, err)
	defer r.Close()
	s.on.Store(true)
	done := make(chan error)
	go func() { _, err := j.Append(record(1, 10)); done <- err }()
	<-s.began // written, not synced
	var b event.Batch
	if _, err := r.fill(&b); err != nil || len(b.Records) > 0 || r.Position() != 1 {
		t.Fatalf("%d records given before the sync, %v", len(b.Records), err)
	}
	if w := r.Watermark(); w != 0 {
		t.Fatalf("watermark %d while a record is on its way", w)
	}
	s.on.Store(false)
	close(s.go_)
	must(t, <-done)
	must(t, r.Next(context.Background(), &b))
	if len(b.Records) != 1 || b.First != 1 || b.Next != 2 || b.Stream != 7 || r.Position() != 2 {
		t.Fatalf("batch of %d: %+v", len(b.Records), b)
	}
}

// Next takes what waits up to the batch's limits, waits only for the first
// record, and ends with its context or the journal.
func TestReaderNext(t *testing.T) {
	cfg := config(OSFS{})
	cfg.Dir, cfg.SegmentBytes, cfg.BytesMax = t.TempDir(), 1<<20, 1<<30
	j := open(t, cfg)
	var recs [][]byte
	for i := range event.BatchRecordsMax + 5 {
		recs = append(recs, record(i, 20))
	}
	_, err := j.AppendAll(recs)
	must(t, err)
	r, err := j.Reader(3)
	must(t, err)
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var b event.Batch
	must(t, r.Next(ctx, &b))
	if len(b.Records) != event.BatchRecordsMax || b.First != 3 || r.Position() != 3+event.BatchRecordsMax {
		t.Fatalf("first batch: %d from %d", len(b.Records), b.First)
	}
	b.Reset()
	must(t, r.Next(ctx, &b))
	if len(b.Records) != 3 {
		t.Fatalf("second batch: %d records, want 3", len(b.Records))
	}
	b.Reset()
	got := make(chan error)
	go func() { got <- r.Next(ctx, &b) }()
	mustAppend(t, j, 1, 10, uint64(len(recs)+1))
	must(t, <-got)
	if len(b.Records) != 1 {
		t.Fatalf("third batch: %d records, want 1", len(b.Records))
	}
	go func() { got <- r.Next(ctx, &b) }()
	cancel()
	wantErr(t, <-got, context.Canceled)
	wantErr(t, r.Next(ctx, &b), context.Canceled)
	go func() { got <- r.Next(context.Background(), &b) }()
	must(t, j.Close())
	wantErr(t, <-got, ErrClosed)
}

// Beyond a damaged record Next does not go; what lies before it is given.
func TestReaderDamage(t *testing.T) {
	cfg := config(memFS{FS: crashable()})
	j := open(t, cfg)
	for i := range 10 {
		mustAppend(t, j, i, 100, uint64(i+1))
	}
	off := int64(dataStart + 4*(frameBytes+len(record(1, 100))) + 50) // in the fifth record
	patch(t, cfg.FS, j.live.name, off, func(p []byte) { p[0] ^= 1 }, 1)
	r, err := j.Reader(1)
	must(t, err)
	defer r.Close()
	var b event.Batch
	must(t, r.Next(context.Background(), &b))
	if len(b.Records) != 4 {
		t.Fatalf("%d records, want 4", len(b.Records))
	}
	for range 2 {
		b.Reset()
		var d *Damage
		if err := r.Next(context.Background(), &b); !errors.As(err, &d) || d.File != j.live.name ||
			d.Offset >= off || d.Offset < off-200 || len(b.Records) > 0 {
			t.Fatalf("%v", err)
		}
	}
	patch(t, cfg.FS, j.live.name, off, func(p []byte) { p[0] ^= 1 }, 1) // repaired
	must(t, r.Next(context.Background(), &b))
	if len(b.Records) != 6 {
		t.Fatalf("%d records, want 6", len(b.Records))
	}
}

// A record that the batch cannot read stops the reader and says which one it is.
func TestReaderUnknownRecord(t *testing.T) {
	j := open(t, config(memFS{FS: crashable()}))
	mustAppend(t, j, 1, 10, 1)
	_, err := j.Append([]byte{99, 1, 2, 3})
	must(t, err)
	var b event.Batch
	r, err := j.Reader(1)
	must(t, err)
	defer r.Close()
	must(t, r.Next(context.Background(), &b))
	err = r.Next(context.Background(), &event.Batch{})
	if err == nil || !strings.Contains(err.Error(), "00000000000000000001.seg: record version 99") || r.Position() != 2 {
		t.Fatalf("%v at %d", err, r.Position())
	}
}

// When all is given the watermark is now, and nothing is stamped before it,
// not even when the clock steps back.
func TestWatermark(t *testing.T) {
	clock := newClock(time.UnixMicro(1_000_000))
	cfg := config(memFS{FS: crashable()})
	cfg.Now = clock.now
	j := open(t, cfg)
	for i := range 3 {
		clock.add(time.Second)
		mustAppend(t, j, i, 10, uint64(i+1))
	}
	r, err := j.Reader(1)
	must(t, err)
	defer r.Close()
	var b event.Batch
	must(t, r.Next(context.Background(), &b))
	clock.add(time.Minute)
	within(t, "watermark is now", func() bool { return r.Watermark() == clock.micros.Load() })
	w := clock.micros.Load()
	clock.add(-time.Hour)
	mustAppend(t, j, 4, 10, 4)
	if _, at := j.Last(); at != w {
		t.Fatalf("stamped %d, the watermark was %d", at, w)
	}
	if got := r.Watermark(); got != b.Records[2].ReceivedAt {
		t.Fatalf("watermark %d with one record to come, the last given has %d", got, b.Records[2].ReceivedAt)
	}
}

// Many append, in ones and in batches, some read, the ledger commits, segments
// come and go: every acknowledged record is read once, under its id, in order.
func TestHammer(t *testing.T) {
	for name, fs := range map[string]FS{"os": OSFS{}, "memory": memFS{FS: crashable()}} {
		t.Run(name, func(t *testing.T) { hammer(t, fs) })
	}
}

func hammer(t *testing.T, fs FS) {
	cfg := config(fs)
	cfg.Dir, cfg.SegmentBytes, cfg.BytesMax = t.TempDir(), 128<<10, 1<<30
	cfg.RetainFor, cfg.CheckFor, cfg.IdleAfter = -1, time.Millisecond, time.Millisecond
	j := open(t, cfg)
	const callers = 16
	var ids sync.Map // sequence to number of the record
	var number atomic.Int64
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() { hammerAppend(t, j, rand.New(rand.NewPCG(uint64(c), 1)), &number, &ids) })
	}
	ctx, stop := context.WithCancel(context.Background())
	seen := make([][]int, 3)
	var readers sync.WaitGroup
	var position [3]atomic.Uint64
	for i := range seen {
		r, err := j.Reader(1)
		must(t, err)
		readers.Go(func() {
			defer r.Close()
			var b event.Batch
			for r.Next(ctx, &b) == nil {
				for k := range b.Records {
					seen[i] = append(seen[i], bodyID(t, &b.Records[k]))
				}
				position[i].Store(b.Next)
				if err := j.Commit(min(position[0].Load(), position[1].Load(), position[2].Load())); err != nil {
					t.Error(err)
				}
				b.Reset()
				if _, err := verify(fs, cfg.Dir, nil); err != nil && i == 0 {
					t.Errorf("verify beside the writer: %v", err)
				}
			}
		})
	}
	all.Wait()
	total := uint64(number.Load())
	within(t, "read", func() bool {
		return min(position[0].Load(), position[1].Load(), position[2].Load()) == total+1
	})
	stop()
	readers.Wait()
	for i := range seen {
		for k, id := range seen[i] {
			if want, ok := ids.Load(uint64(k + 1)); !ok || want != id {
				t.Fatalf("reader %d: record %d is number %d, acknowledged as %v", i, k+1, id, want)
			}
		}
	}
	if s := j.Status(); s.Records != total || s.Backlog != 0 || s.RecordsBySync.Sum != float64(total) || s.SyncSeconds.Count != s.Syncs {
		t.Fatalf("%d appended: %+v", total, s)
	}
}

// hammerAppend appends batches and remembers which record got which sequence.
func hammerAppend(t *testing.T, j *Journal, rng *rand.Rand, number *atomic.Int64, ids *sync.Map) {
	for range 60 {
		n := 1 + rng.IntN(3)
		var recs [][]byte
		last := int(number.Add(int64(n)))
		for i := range n {
			recs = append(recs, record(last-n+1+i, rng.IntN(1500)))
		}
		id, err := j.AppendAll(recs)
		if err != nil {
			t.Error(err)
			return
		}
		for i := range n {
			if _, twice := ids.LoadOrStore(id.Seq+uint64(i), last-n+1+i); twice {
				t.Errorf("sequence %d given twice", id.Seq+uint64(i))
			}
		}
	}
}
