package journal

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/tallyhook/tallyhook/event"
)

// outage is a disk as a power cut left it, and what its journal owes.
type outage struct {
	fs        *vfs.MemFS
	acked     uint64 // records that were acknowledged before the cut
	sent      uint64 // records handed over before the cut
	committed uint64
}

// The power goes at every point where something is made durable, and the disk
// keeps none, half or all of what was not. Every acknowledged record is there
// afterwards; what else is there was sent, in order; and life goes on.
func TestPowerLoss(t *testing.T) {
	seeds := seedsDefault // fewer under the race detector
	if n, err := strconv.Atoi(os.Getenv("TALLYHOOK_SEEDS")); err == nil {
		seeds = n
	}
	var next atomic.Int64
	var cuts atomic.Int64
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for seed := next.Add(1); int(seed) <= seeds && !t.Failed(); seed = next.Add(1) {
				n, err := powerLoss(t, uint64(seed))
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				cuts.Add(int64(n))
			}
		})
	}
	all.Wait()
	t.Logf("%d seeds, %d power cuts", seeds, cuts.Load())
}

// powerLoss is the life of one journal: three times it runs until the power
// goes, each time from one of the disks that the time before left.
func powerLoss(t *testing.T, seed uint64) (cuts int, err error) {
	rng := rand.New(rand.NewPCG(seed, 2))
	now := outage{fs: crashable()}
	for range 3 {
		left, err := untilPowerLoss(t, now, rng)
		if err != nil {
			return cuts, err
		}
		cuts += len(left)
		keep := rng.IntN(len(left))
		for i, o := range left {
			if i == keep {
				continue // its own turn comes now
			}
			j, err := recovered(t, o)
			if err != nil {
				return cuts, err
			}
			if err := j.Close(); err != nil {
				return cuts, err
			}
		}
		now = left[keep]
	}
	return cuts, nil
}

// untilPowerLoss opens the journal of o, checks it, works with it, and gives
// the disks that cuts at each moment would have left.
func untilPowerLoss(t *testing.T, o outage, rng *rand.Rand) (left []outage, err error) {
	var acked, sent, committed atomic.Uint64
	acked.Store(o.acked)
	sent.Store(o.sent)
	committed.Store(o.committed)
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(rng.Uint64(), 3))
	var removed []string // since the folder was synced last: any of them may be gone or not
	cut := func() {
		mu.Lock()
		defer mu.Unlock()
		l := outage{acked: acked.Load(), committed: committed.Load()}
		l.fs = crashClone(o.fs, dice.IntN(3)*50, dice)
		for _, name := range removed {
			if dice.IntN(2) == 0 {
				l.fs.Remove(name) // fails where it is gone already
			}
		}
		l.sent = sent.Load()
		left = append(left, l)
	}
	cfg := powerConfig(memFS{FS: o.fs, before: func(op, name string) error {
		if op != "write" && name != spareName {
			cut()
		}
		mu.Lock()
		defer mu.Unlock()
		switch op {
		case "remove":
			removed = append(removed, "/journal/"+name)
		case "syncdir":
			removed = nil
		}
		return nil
	}})
	if rng.IntN(2) == 0 {
		cfg.IdleAfter = 10 * time.Microsecond
	}
	j, err := Open(cfg)
	if err != nil {
		return nil, err
	}
	last, err := owed(t, j, o)
	if err != nil {
		return nil, err
	}
	sent.Store(last)
	for range 10 {
		if last, err = powerWork(j, rng, last, &sent); err != nil {
			return nil, err
		}
		acked.Store(last)
		if rng.IntN(4) == 0 {
			committed.Store(last)
			if err := j.Commit(last); err != nil {
				return nil, err
			}
		}
	}
	if rng.IntN(2) == 0 {
		cut()
	}
	err = j.Close()
	cut()
	return left, err
}

// powerWork appends one to four records behind record last.
func powerWork(j *Journal, rng *rand.Rand, last uint64, sent *atomic.Uint64) (uint64, error) {
	n := 1 + rng.IntN(4)
	var recs [][]byte
	for i := range n {
		recs = append(recs, record(int(last)+1+i, rng.IntN(5000/n)))
	}
	sent.Store(last + uint64(n))
	_, err := j.AppendAll(recs)
	return last + uint64(n), err
}

func powerConfig(fs FS) Config {
	cfg := config(fs)
	cfg.RetainFor = -1
	cfg.CheckFor = time.Hour
	cfg.SegmentBytes, cfg.RecordBytesMax = 28<<10, 6<<10
	return cfg
}

func recovered(t *testing.T, o outage) (*Journal, error) {
	j, err := Open(powerConfig(memFS{FS: o.fs}))
	if err != nil {
		return nil, err
	}
	if _, err := owed(t, j, o); err != nil {
		return nil, err
	}
	_, err = verify(j.cfg.FS, j.cfg.Dir, nil)
	return j, err
}

// owed checks that a recovered journal holds what it must, and gives its last record.
func owed(t *testing.T, j *Journal, o outage) (uint64, error) {
	last, _ := j.Last()
	if last < o.acked || last > o.sent {
		return 0, fmt.Errorf("the newest record is %d, acknowledged were %d, sent %d", last, o.acked, o.sent)
	}
	first := j.Status().First
	if first > max(o.committed, 1) {
		return 0, fmt.Errorf("the oldest record is %d, committed was all below %d", first, o.committed)
	}
	want := first
	err := readAll(t, j, first, func(r *event.Record) {
		if id := bodyID(t, r); uint64(id) != want || r.ID.Seq != want {
			t.Errorf("record %v is number %d, want %d", r.ID, id, want)
		}
		want++
	})
	if err == nil && want != last+1 {
		err = fmt.Errorf("read up to %d, want %d", want-1, last)
	}
	return last, err
}

// Whatever a torn write leaves behind the last whole frame, it is cut.
func TestTornTail(t *testing.T) {
	cfg := config(memFS{FS: crashable()})
	j := open(t, cfg)
	for i := range 5 {
		mustAppend(t, j, i, 700, uint64(i+1))
	}
	// A group of three that was never acknowledged, as bytes.
	var group []byte
	for i := range 3 {
		group = appendFrame(group, j.live.at, record(100+i, 900))
	}
	seal(group, j.live.seed, 6)
	off, name := j.live.off, j.live.name
	disk := copyFiles(t, cfg.FS, cfg.Dir) // no mark yet
	must(t, j.Close())

	f := func(what string, records uint64, tail []byte) {
		t.Helper()
		c := cfg
		c.FS = copyFiles(t, disk, cfg.Dir)
		patch(t, c.FS, name, off, func(p []byte) { copy(p, tail) }, len(tail))
		j := open(t, c)
		if last, _ := j.Last(); last != records {
			t.Fatalf("%s: %d records, want %d", what, last, records)
		}
		mustAppend(t, j, 9, 10, records+1)
		must(t, j.Close())
		if r, err := verify(c.FS, c.Dir, nil); err != nil || r.Loose != 0 || r.Records != records+1 {
			t.Fatalf("%s: %+v, %v", what, r, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 1))
	garbage := make([]byte, 3000)
	for i := range garbage {
		garbage[i] = byte(rng.Uint32())
	}
	third := 2 * len(group) / 3
	f("nothing", 5, nil)
	f("garbage", 5, garbage)
	f("whole group", 8, group)
	f("zeros between", 5, append(make([]byte, 500), garbage...))
	f("head missing", 5, append(make([]byte, 100), group[100:]...))
	for n := 1; n < len(group); n += 37 {
		f("cut at "+strconv.Itoa(n), uint64(5+n*3/len(group)), group[:n])
	}
	torn := append([]byte(nil), group...)
	clear(torn[third-300 : third-200])
	f("hole in the second of three", 6, torn)
	forged := record(1, 2000) // a sender cannot know the seed
	inner := appendFrame(nil, time.Now().UnixMicro(), []byte("forged"))
	seal(inner, 0, 7)
	copy(forged[200:], inner)
	fake := appendFrame(nil, j.live.at, forged)
	seal(fake, j.live.seed, 6)
	f("frame inside a torn payload", 5, fake[:1500])
}

// The crash of a process that is only making its journal leaves nothing that
// stands in the way of the next one; records without a meta do.
func TestHalfMade(t *testing.T) {
	cfg := config(memFS{FS: crashable()})
	j := open(t, cfg)
	bare := copyFiles(t, cfg.FS, cfg.Dir)
	mustAppend(t, j, 1, 10, 1)
	must(t, j.Close())
	must(t, cfg.FS.Remove("/journal/meta"))
	_, err := Open(cfg)
	if err == nil || !strings.Contains(err.Error(), "no file \"meta\"") {
		t.Fatalf("records without meta: %v", err)
	}
	must(t, bare.Remove("/journal/meta"))
	cfg.FS, cfg.NewStream = bare, func() (uint32, error) { return 8, nil }
	j = open(t, cfg)
	mustAppend(t, j, 1, 10, 1)
	if j.Stream() != 8 {
		t.Fatalf("stream %d", j.Stream())
	}
}

// The marks take turns, so that a mark which is torn while it is written leaves
// the one before.
func TestMarksTakeTurns(t *testing.T) {
	cfg := config(memFS{FS: crashable()})
	for i := range 4 {
		j := open(t, cfg)
		name := j.live.name
		mustAppend(t, j, i, 10, uint64(i+1))
		must(t, j.Close())
		patch(t, cfg.FS, name, int64(1+i%2)*pageBytes, func(p []byte) {
			if m, ok := decodeMark(p, j.live.seed); !ok || m.seq != uint64(i+1) || m.end != j.live.off {
				t.Fatalf("mark %d: %+v, %v", i, m, ok)
			}
		}, markBytes)
	}
}
