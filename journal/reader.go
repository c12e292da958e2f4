package journal

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tallyhook/tallyhook/event"
)

// Reader gives back synced records in order. It belongs to one goroutine; a
// journal can have any number of them.
type Reader struct {
	j    *Journal
	next uint64 // sequence of the record that comes next
	at   int64  // received_at of the one before
	wake chan struct{}

	file File // the segment that scan walks over, nil for none
	seg  segment
	scan *scanner
	last uint64 // no record of the segment beyond it is known to be synced
}

// Reader begins at record from; 0 means the first one. The error wraps
// ErrTrimmed when that record is gone, ErrBeyond when it lies beyond the one
// that is to come next.
func (j *Journal) Reader(from uint64) (*Reader, error) {
	v := &j.view
	v.mu.Lock()
	defer v.mu.Unlock()
	from = max(from, 1)
	switch {
	case v.closed:
		return nil, ErrClosed
	case from < v.segs[0].first:
		return nil, fmt.Errorf("%w: record %d of stream %d, the oldest is %d", ErrTrimmed, from, j.stream, v.segs[0].first)
	case from > v.last+1:
		return nil, fmt.Errorf("%w: record %d of stream %d, the newest is %d; the journal folder was rolled back or lost its end",
			ErrBeyond, from, j.stream, v.last)
	}
	r := &Reader{j: j, next: from, wake: make(chan struct{}, 1)}
	v.readers[r] = struct{}{}
	return r, nil
}

// Position is the sequence of the record that Next will give.
func (r *Reader) Position() uint64 { return r.next }

// Close ends the reader.
func (r *Reader) Close() {
	r.j.view.mu.Lock()
	delete(r.j.view.readers, r)
	r.j.view.mu.Unlock()
	r.leave()
}

// Next adds the records that wait to b, until b is full, and sets its
// Watermark. It waits only while there is none at all, and then until ctx
// ends (ctx.Err()) or the journal is closed (ErrClosed). A record whose bytes
// are not what was written is a *Damage that names the place: Next never goes
// beyond it. What was added before stays in b and comes with a nil error; the
// error comes with the next call.
func (r *Reader) Next(ctx context.Context, b *event.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		n := len(b.Records)
		closed, err := r.fill(b)
		if len(b.Records) > n || b.Full() {
			b.Watermark = r.Watermark()
			return nil
		}
		if err != nil {
			return err
		}
		if closed {
			return ErrClosed
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fill adds what is synced now.
func (r *Reader) fill(b *event.Batch) (closed bool, err error) {
	v := &r.j.view
	v.mu.Lock()
	synced := v.last
	closed = v.closed
	v.mu.Unlock()
	for r.next <= synced && !b.Full() {
		if r.file == nil || r.next > r.last {
			if err := r.enter(); err != nil {
				return closed, err
			}
		}
		f, err := r.scan.next()
		if err == nil {
			if err = b.Add(event.ID{Stream: r.j.stream, Seq: f.seq}, f.at, f.payload); err != nil {
				err = fmt.Errorf("record %d of stream %d in %s: %w", f.seq, r.j.stream, r.seg.name, err)
			}
		} else if err == errEnd {
			err = r.scan.damage(fmt.Sprintf("record %d is missing", r.next))
		}
		if err != nil {
			r.leave() // so that another try begins at r.next, from the disk
			return closed, err
		}
		r.next, r.at = f.seq+1, f.at
	}
	return closed, nil
}

// enter makes ready to read record r.next: it learns how far the segment may
// be read now, and opens it first when it is another one.
func (r *Reader) enter() error {
	seg, end, last, err := r.j.view.find(r.next)
	if err != nil {
		return err
	}
	if r.file != nil && seg.first == r.seg.first {
		r.scan.end, r.last = end, last
		return nil
	}
	r.leave()
	f, err := r.j.cfg.FS.OpenFile(seg.name, os.O_RDONLY)
	if errors.Is(err, os.ErrNotExist) {
		if _, _, _, trimmed := r.j.view.find(r.next); trimmed != nil {
			return trimmed // between the look and the opening
		}
		return &Damage{File: seg.name, Why: "the file is missing"}
	}
	if err != nil {
		return err
	}
	r.file, r.seg, r.last = f, seg, last
	r.scan = newScanner(f, &r.seg, end)
	for r.scan.want < r.next {
		if _, err := r.scan.next(); err != nil {
			if err == errEnd {
				err = r.scan.damage(fmt.Sprintf("record %d is missing", r.scan.want))
			}
			r.leave()
			return err
		}
	}
	return nil
}

// leave closes the segment.
func (r *Reader) leave() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// Watermark is a time in microseconds before which no record was received that
// this reader has not given yet. When it has given all, that is now, and the
// journal will stamp no record earlier.
func (r *Reader) Watermark() int64 {
	in := &r.j.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.writing || in.records > 0 {
		return r.at
	}
	if last, _ := r.j.Last(); r.next <= last {
		return r.at
	}
	in.stamp()
	return in.at
}
