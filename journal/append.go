package journal

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// intake is where appends meet the writer: a buffer that they fill while the
// writer is busy with the other one, and the group that waits for it.
type intake struct {
	mu      sync.Mutex
	buf     []byte        // frames that wait to be written
	records int           // in buf
	group   *group        // who waits for them
	resting *group        // groups whose last waiter has left, for use again
	at      int64         // received_at of the last record
	idle    bool          // the writer waits for wake
	writing bool          // the writer has a group in hand
	closing bool          // Close was called
	refuse  error         // what every append gets from now on
	failure error         // the failure, see Journal.fail
	room    chan struct{} // closed when buf is taken; made by who waits for that
	wake    chan struct{}
	now     func() time.Time
}

func (in *intake) start(cfg *Config, at int64) {
	in.now, in.at = cfg.Now, at
	in.wake = make(chan struct{}, 1)
	in.buf = make([]byte, 0, cfg.GroupBytesMax)
	in.group = newGroup()
}

// close lets no more appends in and tells the writer to finish.
func (in *intake) close() {
	in.mu.Lock()
	in.closing = true
	if in.refuse == nil {
		in.refuse = ErrClosed
	}
	in.mu.Unlock()
	in.poke()
}

func (in *intake) poke() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// group is the appends that one sync answers. Waking hundreds of them is the
// larger part of an append's cost, so they share one semaphore; and a group is
// used again, but only when its last waiter has read the outcome.
type group struct {
	done  sync.WaitGroup
	first uint64 // sequence of the group's first record
	err   error
	users int32 // who will wait, counted while the group fills
	left  atomic.Int32
	next  *group
}

func newGroup() *group {
	g := new(group)
	g.done.Add(1)
	return g
}

// Append copies rec into the journal and returns its id when it is on disk,
// synced. It does not allocate. On an error nothing is promised about rec: it
// is not in the journal, except after ErrFailed, when it may be.
func (j *Journal) Append(rec []byte) (event.ID, error) {
	if len(rec) == 0 || len(rec) > j.cfg.RecordBytesMax {
		return event.ID{}, j.unfit(rec)
	}
	in := &j.in
	in.mu.Lock()
	if err := j.admit(); err != nil {
		in.mu.Unlock()
		return event.ID{}, err
	}
	in.stamp()
	in.buf = appendFrame(in.buf, in.at, rec)
	n := in.records
	in.records++
	return j.await(n)
}

// AppendAll is Append for several records at once: they get consecutive
// sequences from first on, one sync, one outcome for all.
func (j *Journal) AppendAll(recs [][]byte) (first event.ID, err error) {
	if len(recs) == 0 {
		return event.ID{}, ErrEmpty
	}
	total := 0
	for _, rec := range recs {
		if len(rec) == 0 || len(rec) > j.cfg.RecordBytesMax {
			return event.ID{}, j.unfit(rec)
		}
		total += frameBytes + len(rec)
	}
	if total > j.cfg.BatchBytesMax {
		return event.ID{}, fmt.Errorf("%w: a batch of %d bytes, BatchBytesMax is %d; send fewer records at once", ErrTooLarge, total, j.cfg.BatchBytesMax)
	}
	in := &j.in
	in.mu.Lock()
	if err := j.admit(); err != nil {
		in.mu.Unlock()
		return event.ID{}, err
	}
	in.stamp()
	for _, rec := range recs {
		in.buf = appendFrame(in.buf, in.at, rec)
	}
	n := in.records
	in.records += len(recs)
	return j.await(n)
}

func (j *Journal) unfit(rec []byte) error {
	if len(rec) == 0 {
		return ErrEmpty
	}
	return fmt.Errorf("%w: %d bytes, RecordBytesMax is %d", ErrTooLarge, len(rec), j.cfg.RecordBytesMax)
}

// stamp sets the time of the next record: now, but never before the last one.
func (in *intake) stamp() { in.at = max(in.at, in.now().UnixMicro()) }

// admit waits until the buffer has room, with in.mu held before and after. A
// buffer that has not reached GroupBytesMax takes one more, whatever its size,
// so that large batches do not starve.
func (j *Journal) admit() error {
	in := &j.in
	if in.refuse == nil && j.full.Load() == nil && len(in.buf) < j.cfg.GroupBytesMax {
		return nil
	}
	var late <-chan time.Time
	for {
		if in.refuse != nil {
			return in.refuse
		}
		if r := j.full.Load(); r != nil {
			return r.err
		}
		if len(in.buf) < j.cfg.GroupBytesMax {
			return nil
		}
		if late == nil {
			t := time.NewTimer(j.cfg.WaitMax)
			defer t.Stop()
			late = t.C
		}
		if in.room == nil {
			in.room = make(chan struct{})
		}
		room := in.room
		in.mu.Unlock()
		select {
		case <-room:
			in.mu.Lock()
		case <-late:
			in.mu.Lock()
			return fmt.Errorf("%w: %d bytes wait for the disk since %v", ErrBusy, len(in.buf), j.cfg.WaitMax)
		}
	}
}

// await lets go of in.mu and waits for the group to be synced. n is the
// record's number in the group.
func (j *Journal) await(n int) (event.ID, error) {
	in := &j.in
	g := in.group
	g.users++
	wake := in.idle
	in.idle = false
	in.mu.Unlock()
	if wake {
		in.poke()
	}
	g.done.Wait()
	first, err := g.first, g.err
	if g.left.Add(-1) == 0 {
		in.rest(g)
	}
	if err != nil {
		return event.ID{}, err
	}
	return event.ID{Stream: j.stream, Seq: first + uint64(n)}, nil
}

// rest keeps a group that nobody looks at any more for its next use.
func (in *intake) rest(g *group) {
	g.users, g.err = 0, nil
	g.done.Add(1)
	in.mu.Lock()
	g.next, in.resting = in.resting, g
	in.mu.Unlock()
}

// take gives the writer what waits and an empty buffer to those who append.
// in.mu is held.
func (in *intake) take(empty []byte) (buf []byte, records int, g *group) {
	buf, records, g = in.buf, in.records, in.group
	in.buf, in.records, in.writing = empty, 0, true
	if in.group = in.resting; in.group == nil {
		in.group = newGroup()
	} else {
		in.resting = in.group.next
	}
	if in.room != nil {
		close(in.room)
		in.room = nil
	}
	return buf, records, g
}

// finish tells everybody in the group how it went.
func (g *group) finish(first uint64, err error) {
	g.first, g.err = first, err
	g.left.Store(g.users)
	g.done.Done()
}
