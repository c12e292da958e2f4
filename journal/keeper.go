package journal

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// keeper is the background goroutine's share: it fills the next segment with
// zeros before the writer needs it, trims, keeps the ballast, watches space.
type keeper struct {
	mu      sync.Mutex
	changed sync.Cond
	spare   *spareFile
	taken   bool  // the writer has it in hand and has not yet given it its name
	wanted  bool  // the writer waits for a spare
	denied  error // why it gets none
	poked   chan struct{}

	// the goroutine's own
	ballast int64 // bytes of the ballast file, 0 for none
	warned  bool  // that the journal fills up
	late    bool  // has said that the clock is behind
	lacking bool  // space for the next segment
	stuck   bool  // on a segment that cannot be removed
}

// spareFile is a file of zeros, synced, that has no sequence yet.
type spareFile struct {
	file File
	size int64
}

func (k *keeper) start() {
	k.changed.L = &k.mu
	k.poked = make(chan struct{}, 1)
}

func (k *keeper) poke() {
	select {
	case k.poked <- struct{}{}:
	default:
	}
}

// take gives the writer the spare file and waits for it while it is in the
// making. When there is no space for one it sets full, which stays until there
// is a spare again.
func (k *keeper) take(full *atomic.Pointer[refusal]) (*spareFile, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r := full.Load(); r != nil {
		return nil, r.err
	}
	k.wanted, k.denied = true, nil
	for k.spare == nil && k.denied == nil {
		k.poke()
		k.changed.Wait()
	}
	k.wanted = false
	if k.spare == nil {
		if errors.Is(k.denied, ErrFull) {
			full.Store(&refusal{k.denied})
		}
		return nil, k.denied
	}
	sp := k.spare
	k.spare, k.taken = nil, true
	return sp, nil
}

// placed says that the name of the spare file is free again.
func (k *keeper) placed() {
	k.mu.Lock()
	k.taken = false
	k.mu.Unlock()
	k.poke()
}

// keep is the background goroutine.
func (j *Journal) keep() {
	defer j.done.Done()
	k := &j.keeper
	tick := time.NewTicker(j.cfg.CheckFor)
	defer tick.Stop()
	k.ballast = ballastSize(j.cfg.FS, j.path(ballastName))
	for {
		if j.Err() == nil {
			if err := j.tidy(); err != nil && !errors.Is(err, errStopped) {
				j.fail(err)
			}
		}
		if err := j.Err(); err != nil {
			k.deny(err)
		}
		select {
		case <-j.quit:
			if k.spare != nil {
				k.spare.file.Close()
			}
			return
		case <-k.poked:
		case <-tick.C:
		}
	}
}

// tidy looks after everything once. Its error is a failure of the disk.
func (j *Journal) tidy() error {
	k := &j.keeper
	if err := j.trim(nil); err != nil {
		return err
	}
	if !k.has() {
		sp, err := j.makeSpare()
		switch {
		case err == nil:
			k.lacking = false
			if k.put(sp, &j.full) {
				j.cfg.Log.Info("journal: there is space again")
			}
		case errors.Is(err, ErrFull):
			if k.deny(err) {
				j.cfg.Log.Error("journal: appends are refused until there is space", "error", err)
			} else if !k.lacking {
				j.cfg.Log.Warn("journal: no space for the segment after this one", "error", err)
			}
			k.lacking = true
		default:
			return err
		}
	}
	j.warn()
	return j.keepBallast()
}

// has reports whether there is a spare file, be it in the writer's hand: a new
// one would be made over it.
func (k *keeper) has() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.spare != nil || k.taken
}

// put hands a spare over and ends the state of being full, if there was one.
func (k *keeper) put(sp *spareFile, full *atomic.Pointer[refusal]) (relieved bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spare = sp
	k.changed.Broadcast()
	return full.Swap(nil) != nil
}

// deny answers a waiting writer that there will be no spare.
func (k *keeper) deny(err error) (waited bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.wanted || k.denied != nil {
		return false
	}
	k.denied = err
	k.changed.Broadcast()
	return true
}

// makeSpare allocates the next segment's file. When space is short, committed
// segments go before their time.
func (j *Journal) makeSpare() (*spareFile, error) {
	size := j.cfg.SegmentBytes
	if err := j.trim(func() bool { return j.used()+size > share(j.cfg.BytesMax, 85) || j.short(size) > 0 }); err != nil {
		return nil, err
	}
	if used := j.used(); used+size > share(j.cfg.BytesMax, 95) {
		return nil, fmt.Errorf("%w: its segments take %d of BytesMax %d bytes and none of them can go yet", ErrFull, used, j.cfg.BytesMax)
	}
	if lack := j.short(size); lack > 0 {
		return nil, j.diskFull(fmt.Errorf("%w: the disk of %s lacks %d bytes for another segment; free some space", ErrFull, j.cfg.Dir, lack))
	}
	name := j.path(spareName)
	f, err := j.cfg.FS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err == nil {
		if err = zero(f, 0, size, j.quit); err == nil {
			return &spareFile{file: f, size: size}, nil
		}
		f.Close()
		if rerr := j.cfg.FS.Remove(name); rerr != nil && noSpace(err) {
			err = rerr
		}
	}
	if noSpace(err) {
		return nil, j.diskFull(fmt.Errorf("%w: %w; free some space", ErrFull, err))
	}
	return nil, err
}

// diskFull gives the ballast's space to whoever needs it to go on; the journal
// itself does not take it, see short.
func (j *Journal) diskFull(full error) error {
	if err := j.dropBallast(); err != nil {
		return err
	}
	return full
}

// short is how many bytes the disk lacks for a segment of size. While there is
// no ballast its space is left alone too.
func (j *Journal) short(size int64) int64 {
	need := size + j.cfg.FreeBytesMin
	if j.keeper.ballast == 0 {
		need += j.cfg.BallastBytes
	}
	return need - j.free()
}

// free is what the disk has left, very much when that is not known.
func (j *Journal) free() int64 {
	n, err := j.cfg.FS.FreeBytes(j.cfg.Dir)
	if err != nil {
		return math.MaxInt64
	}
	return n
}

// used is what the segments take, the spare not counted.
func (j *Journal) used() (n int64) {
	j.view.mu.Lock()
	defer j.view.mu.Unlock()
	for i := range j.view.segs {
		n += j.view.segs[i].size
	}
	return n
}

func (j *Journal) path(name string) string { return filepath.Join(j.cfg.Dir, name) }

func share(n, percent int64) int64 { return n / 100 * percent }

// trim removes whole segments whose records are all in the ledger, oldest
// first: those over RetainFor, and while pressed says so, younger ones too.
func (j *Journal) trim(pressed func() bool) error {
	for {
		seg, kept, ok := j.view.oldest()
		if !ok {
			return nil
		}
		if j.cfg.Now().Sub(time.UnixMicro(kept)) < j.cfg.RetainFor && (pressed == nil || !pressed()) {
			return nil
		}
		j.view.forget()
		if err := j.cfg.FS.Remove(seg.name); err != nil && !errors.Is(err, os.ErrNotExist) {
			// The ones after it have to wait: the chain must not get a gap.
			j.view.restore(seg)
			if !j.keeper.stuck {
				j.cfg.Log.Error("journal: cannot trim", "file", seg.name, "error", err)
			}
			j.keeper.stuck = true
			return nil
		}
		j.keeper.stuck = false
		// Synced one by one, so that no crash leaves a gap in the chain.
		if err := j.cfg.FS.SyncDir(j.cfg.Dir); err != nil {
			return fmt.Errorf("sync folder %s: %w", j.cfg.Dir, err)
		}
	}
}

// warn says once when the journal begins to fill up.
func (j *Journal) warn() {
	used := j.used()
	over := used >= share(j.cfg.BytesMax, 70)
	if over && !j.keeper.warned {
		s := j.Status()
		j.cfg.Log.Warn("journal: over 70 % of its size", "bytes", used, "bytes_max", j.cfg.BytesMax, "backlog_records", s.Backlog)
	}
	j.keeper.warned = over
	j.warnOfClock()
}

// clockBehindMax is how far the clock may lie behind the newest record before
// the journal says so: until it has caught up, every record has the same time,
// and what waits or is remembered by time stands still.
const clockBehindMax = 5 * time.Minute

func (j *Journal) warnOfClock() {
	_, at := j.Last()
	behind := time.UnixMicro(at).Sub(j.cfg.Now())
	if late := behind > clockBehindMax; late != j.keeper.late {
		j.keeper.late = late
		if late {
			j.cfg.Log.Warn("journal: the clock is behind the newest record; windows stand still until it has caught up. Set the clock right, or move the journal folder away once it is booked", "behind", behind.Round(time.Second))
		}
	}
}
