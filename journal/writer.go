package journal

import (
	"fmt"
	"time"
)

// liveSegment is the segment that is written to. Only the writer touches it
// while the journal is open.
type liveSegment struct {
	segment
	file  File
	off   int64  // where the next group goes; everything before is synced
	next  uint64 // sequence of the next record
	at    int64  // received_at of the last record
	marks int    // marks written, they go to the two pages in turn
	fresh bool   // something was synced since the last mark
}

// write is the writer: it takes whatever waits, writes it, syncs it, answers,
// until Close, or until a failure has been told to everybody.
func (j *Journal) write() {
	defer j.done.Done()
	defer close(j.quit)
	spare := make([]byte, 0, j.cfg.GroupBytesMax)
	idle := time.NewTimer(j.cfg.IdleAfter)
	defer idle.Stop()
	for j.waits(idle) {
		j.in.mu.Lock()
		buf, records, g := j.in.take(spare)
		j.in.mu.Unlock()
		first, err := j.writeGroup(buf, records)
		g.finish(first, err)
		if spare = buf[:0]; cap(spare) > 2*j.cfg.GroupBytesMax {
			spare = make([]byte, 0, j.cfg.GroupBytesMax) // a large batch's memory goes back
		}
	}
	j.writeMark(0)
}

// waits returns true when there is a group to write, false when the journal
// was closed and nothing waits. When nothing comes for a while it writes a mark.
func (j *Journal) waits(idle *time.Timer) bool {
	in := &j.in
	in.mu.Lock()
	defer in.mu.Unlock()
	in.writing = false
	for in.records == 0 && !in.closing {
		in.idle = true
		in.mu.Unlock()
		var quiet <-chan time.Time
		if j.live.fresh {
			idle.Reset(j.cfg.IdleAfter)
			quiet = idle.C
		}
		select {
		case <-in.wake:
		case <-quiet:
			j.writeMark(0)
		}
		in.mu.Lock()
	}
	in.idle = false
	return in.records > 0
}

// writeGroup puts a group on disk: one write, one sync. It returns the
// sequence of the first record.
func (j *Journal) writeGroup(buf []byte, records int) (first uint64, err error) {
	if err := j.Err(); err != nil {
		return 0, err
	}
	l := &j.live
	if int64(len(buf)) > l.size-l.off {
		if err := j.rotate(); err != nil {
			return 0, err
		}
	}
	first = l.next
	n, at := seal(buf, l.seed, first)
	if n != records {
		panic(fmt.Sprintf("bug: %d records appended, %d frames in the group", records, n))
	}
	if err := writeFull(l.file, buf, l.off); err != nil {
		return 0, j.fail(fmt.Errorf("write to %s: %w", l.name, err))
	}
	begun := time.Now()
	if err := l.file.Sync(); err != nil {
		return 0, j.fail(fmt.Errorf("sync %s: %w", l.name, err))
	}
	if err := j.Err(); err != nil {
		return 0, err // the keeper failed meanwhile
	}
	l.off += int64(len(buf))
	l.next, l.at, l.fresh = first+uint64(n), at, true
	j.view.publish(l, n, len(buf), time.Since(begun))
	return first, nil
}

// rotate goes on in a new segment. When there is no space for one it returns
// an error that wraps ErrFull and everything is as it was.
func (j *Journal) rotate() error {
	sp, err := j.keeper.take(&j.full)
	if err != nil {
		return err
	}
	l := &j.live
	old := *l
	empty := old.next == old.first
	h := header{stream: j.stream, first: l.next, previous: old.first, floor: l.at, size: sp.size}
	if empty {
		h.previous = old.previous
	}
	seg, err := place(j.cfg.FS, j.cfg.Dir, sp.file, h)
	if err != nil {
		sp.file.Close()
		return j.fail(fmt.Errorf("begin segment %d: %w", h.first, err))
	}
	if !empty {
		if err := j.writeMark(h.first); err != nil {
			sp.file.Close()
			return err
		}
	}
	if err := old.file.Close(); err != nil {
		sp.file.Close()
		return j.fail(fmt.Errorf("close %s: %w", old.name, err))
	}
	*l = liveSegment{segment: seg, file: sp.file, off: dataStart, next: old.next, at: old.at}
	j.view.rotate(seg, empty)
	j.keeper.placed()
	return nil
}

// writeMark notes that the live segment is synced as far as it goes, and, with
// next, that it is closed and by which segment it is followed.
func (j *Journal) writeMark(next uint64) error {
	l := &j.live
	if err := j.Err(); err != nil || (!l.fresh && next == 0) {
		return err
	}
	var room [markBytes]byte
	p := appendMark(room[:0], mark{seq: l.next - 1, end: l.off, next: next}, l.seed)
	err := writeFull(l.file, p, int64(1+l.marks%2)*pageBytes)
	if err == nil {
		err = l.file.Sync()
	}
	if err != nil {
		return j.fail(fmt.Errorf("mark %s: %w", l.name, err))
	}
	l.marks++
	l.fresh = false
	return nil
}
