package journal

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"
)

// view is what everybody but the writer may know of the journal: what is
// synced, where it lies, what may be trimmed, and the measurements.
type view struct {
	mu        sync.Mutex
	segs      []segment // oldest first, the last one is live
	last      uint64    // newest synced record, 0 for none
	lastAt    int64
	committed uint64 // everything below it is in the ledger
	readers   map[*Reader]struct{}
	closed    bool

	records   uint64
	bytes     uint64
	syncs     uint64
	syncLast  time.Duration
	syncTimes Histogram
	perSync   Histogram
}

func (v *view) load(segs []segment, last uint64, at int64) {
	v.segs, v.last, v.lastAt = segs, last, at
	v.committed = segs[0].first
	v.readers = make(map[*Reader]struct{})
	v.syncTimes = newHistogram(syncSeconds())
	v.perSync = newHistogram(syncRecords())
}

// publish makes a synced group known.
func (v *view) publish(l *liveSegment, records, bytes int, took time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last, v.lastAt = l.next-1, l.at
	v.segs[len(v.segs)-1].end = l.off
	v.records += uint64(records)
	v.bytes += uint64(bytes)
	v.syncs++
	v.syncLast = took
	v.syncTimes.observe(took.Seconds())
	v.perSync.observe(float64(records))
	v.wake()
}

// rotate adds a new live segment, or puts it in the place of an empty one.
func (v *view) rotate(seg segment, replace bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if replace {
		v.segs[len(v.segs)-1] = seg
		return
	}
	v.segs = append(v.segs, seg)
}

func (v *view) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	v.wake()
}

// wake tells readers to look again; v.mu is held.
func (v *view) wake() {
	for r := range v.readers {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
}

// find gives the segment that holds seq, which is synced, how far it may be
// read, and the last sequence in it.
func (v *view) find(seq uint64) (seg segment, end int64, last uint64, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	i := sort.Search(len(v.segs), func(i int) bool { return v.segs[i].first > seq }) - 1
	if i < 0 {
		return segment{}, 0, 0, fmt.Errorf("%w: record %d, the oldest is %d", ErrTrimmed, seq, v.segs[0].first)
	}
	seg, last = v.segs[i], v.last
	if end = seg.end; end == 0 {
		end = seg.size
	}
	if i+1 < len(v.segs) {
		last = v.segs[i+1].first - 1
	}
	return seg, end, last, nil
}

// oldest gives the segment to be trimmed next, and the time of its newest
// record. ok is false when it holds a record that is not in the ledger, or is
// the live one.
func (v *view) oldest() (seg segment, newestAt int64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.segs) < 2 || v.segs[1].first > v.committed {
		return segment{}, 0, false
	}
	return v.segs[0], v.segs[1].floor, true
}

// forget takes the oldest segment off the list.
func (v *view) forget() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.segs = v.segs[1:]
}

// restore puts back what forget took off.
func (v *view) restore(seg segment) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.segs = slices.Insert(v.segs, 0, seg)
}

// Last is the newest synced record's sequence, 0 for none yet, and its
// received_at.
func (j *Journal) Last() (seq uint64, at int64) {
	j.view.mu.Lock()
	defer j.view.mu.Unlock()
	return j.view.last, j.view.lastAt
}

// Commit says that every record below next is in the ledger, so that it may be
// trimmed when RetainFor is over. It never goes back. The error wraps ErrBeyond
// when the ledger is ahead of the journal.
func (j *Journal) Commit(next uint64) error {
	v := &j.view
	v.mu.Lock()
	defer v.mu.Unlock()
	if next > v.last+1 {
		return fmt.Errorf("%w: commit of everything below %d, the newest record of stream %d is %d; the journal folder was rolled back or lost its end",
			ErrBeyond, next, j.stream, v.last)
	}
	if next > v.committed {
		v.committed = next
	}
	return nil
}
