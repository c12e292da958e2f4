// Package journal is the durable heart of a node: an append-only log of raw
// records, on disk and synced before anybody is told so. One writer writes
// whatever waits with one write and one sync; a Reader gives back what is
// synced, in order; Commit lets old segments go. The folder holds
//
//	meta                      which stream and store this journal belongs to, as text
//	00000000000000000001.seg  segments, named by the sequence of their first record
//	spare.tmp                 the next segment, being filled with zeros or ready
//	ballast                   zeros, deleted when the disk is full so that the rest can go on
//	lock                      held by the process that writes
//
// A segment has its full size from the start, all zeros, so that a sync needs
// no metadata. Integers are little endian; received_at is in microseconds
// since the Unix epoch; CRC is CRC-32C (Castagnoli).
//
//	offset 0      header   magic "TALLYJNL" | version u32 | stream u32 | first u64 | previous u64 |
//	                       floor i64 | size i64 | salt u64 | crc u32
//	offset 4096   mark     seq u64 | end i64 | next u64 | crc u32
//	offset 8192   mark     the same; the two are written in turn, the one with the greater end counts
//	offset 12288  frames   length u32 | crc u32 | seq u64 | received_at i64 | back u32 | payload
//
// In the header, first is the sequence of the first record, previous the first
// of the segment before (0 for none, or when that was trimmed it names a file
// that is gone), floor the received_at of the last record before the segment,
// size that of the file. Its crc covers all before it. That crc is the seed of
// every other checksum in the segment: each goes on from it instead of from
// zero. As salt is random, bytes that a sender put into a payload never pass
// for a frame, nor does a frame of another segment.
//
// A frame's crc covers the frame but itself. Sequences start at 1 and have no
// gaps; received_at never decreases. Frames stand back to back, payloads are
// never empty, and after the last frame there are zeros. back is the distance
// to the start of the group, which is the frames that one write put there. The
// writer never writes a group before the one in front of it is synced. So
// where a frame is broken, a whole frame of a later group behind it proves that
// acknowledged bytes were damaged, while frames of the same group prove nothing:
// a power cut keeps any part of the last group.
//
// A mark says that everything before end, up to record seq, is synced. It is
// written after 100 ms without an append and on closing. From then on damage
// to the last group is told from a torn write as well. In a segment that is
// closed, next is the first sequence of the segment after it, so that a
// newest file that was lost is missed.
//
// Opening cuts (overwrites with zeros) what follows the last whole frame of the
// newest segment, unless one of these proofs forbids it: then it is a *Damage,
// and the journal does not open.
package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Journal is an open journal folder. All methods may be called from any
// goroutine.
type Journal struct {
	cfg    Config
	stream uint32
	lock   io.Closer
	full   atomic.Pointer[refusal] // set while there is no space for another segment
	in     intake
	live   liveSegment // the writer's own
	view   view
	keeper keeper

	failed chan struct{} // closed at the first failure
	quit   chan struct{} // closed by Close, when the writer has ended
	done   sync.WaitGroup
	closed sync.Once
}

// refusal is an error that appends share, made once.
type refusal struct{ err error }

// Open opens the journal in cfg.Dir, or makes a new one there, cuts an
// unacknowledged tail and starts writing. The error wraps ErrLocked when
// another process has the folder and is a *Damage when acknowledged bytes are
// not what they were.
func Open(cfg Config) (*Journal, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	if err := cfg.FS.MkdirAll(cfg.Dir); err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	lock, err := cfg.FS.Lock(filepath.Join(cfg.Dir, lockName))
	if err != nil {
		if errors.Is(err, ErrLocked) {
			err = fmt.Errorf("%s: %w; stop that process, or give this one its own folder", cfg.Dir, err)
		}
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{cfg: cfg, lock: lock, failed: make(chan struct{}), quit: make(chan struct{})}
	if err := j.load(); err != nil {
		if j.live.file != nil {
			j.live.file.Close()
		}
		lock.Close()
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j.in.start(&cfg, j.view.lastAt)
	j.keeper.start()
	j.done.Add(1)
	go j.write()
	j.done.Add(1)
	go j.keep()
	return j, nil
}

// load reads what is in the folder, or fills an empty one, and gets the
// newest segment ready to be written to.
func (j *Journal) load() error {
	m, err := readMeta(j.cfg.FS, j.cfg.Dir)
	if errors.Is(err, os.ErrNotExist) {
		m, err = create(&j.cfg)
	}
	if err != nil {
		return err
	}
	if m.store != j.cfg.StoreID {
		return fmt.Errorf("journal folder %s belongs to store %q, this is store %q; name the folder that belongs to this store, "+
			"or move the folder away to start a new journal (records in it that its ledger does not have yet stay in it)",
			j.cfg.Dir, m.store, j.cfg.StoreID)
	}
	j.stream = m.stream
	segs, err := loadSegments(j.cfg.FS, j.cfg.Dir, m.stream)
	if err != nil {
		return err
	}
	newest := &segs[len(segs)-1]
	f, err := j.cfg.FS.OpenFile(newest.name, os.O_RDWR)
	if err != nil {
		return err
	}
	j.live.file = f
	t, err := judgeTail(newScanner(f, newest, newest.size))
	if err != nil {
		return err
	}
	if err := t.followed(j.cfg.FS, j.cfg.Dir, newest); err != nil {
		return err
	}
	if t.loose > 0 {
		if err := zero(f, t.end, t.loose, nil); err != nil {
			return fmt.Errorf("cut the unacknowledged tail of %s: %w", newest.name, err)
		}
		j.cfg.Log.Warn("journal: cut an unacknowledged tail", "file", newest.name, "offset", t.end, "bytes", t.loose)
	}
	// The process before may have been killed between a write, or a rename, and
	// its sync. What readers are shown from now on must be as durable as the rest.
	if err := errors.Join(f.Sync(), j.cfg.FS.SyncDir(j.cfg.Dir)); err != nil {
		return err
	}
	newest.end = t.end
	j.live = liveSegment{segment: *newest, file: f, off: t.end, next: t.last + 1, at: t.at, marks: t.marks, fresh: t.end > max(t.mark.end, dataStart)}
	j.view.load(segs, t.last, t.at)
	return nil
}

// Stream is the number that the journal obtained when it was made.
func (j *Journal) Stream() uint32 { return j.stream }

// Failed is closed when a write or sync has failed: nothing is acknowledged
// any more, and the process has to end so that recovery can look at what is
// really on disk. Err says why.
func (j *Journal) Failed() <-chan struct{} { return j.failed }

// Err is the failure, which wraps ErrFailed, or nil.
func (j *Journal) Err() error {
	select {
	case <-j.failed:
		j.in.mu.Lock()
		defer j.in.mu.Unlock()
		return j.in.failure
	default:
		return nil
	}
}

// fail records the first failure. It is the end of all acknowledgements.
func (j *Journal) fail(cause error) error {
	j.in.mu.Lock()
	defer j.in.mu.Unlock()
	if j.in.failure == nil {
		j.in.failure = fmt.Errorf("%w: %w", ErrFailed, cause)
		if j.in.refuse == nil {
			j.in.refuse = j.in.failure
		}
		close(j.failed)
	}
	return j.in.failure
}

// Close writes and syncs what waits, ends readers with ErrClosed and lets go
// of the folder. It returns the failure if there was one.
func (j *Journal) Close() error {
	j.closed.Do(func() {
		j.in.close()
		j.done.Wait()
		j.view.close()
		err := j.live.file.Close()
		if lerr := j.lock.Close(); err == nil {
			err = lerr
		}
		if err != nil {
			j.cfg.Log.Error("journal: close", "error", err)
		}
	})
	return j.Err()
}

// Errors of a journal; those that it returns wrap them.
var (
	// ErrFull: there is no space for another segment, on the disk or under
	// BytesMax. Nothing was written. The journal goes on by itself when there
	// is space again; answer 503 meanwhile.
	ErrFull = errors.New("journal is full")
	// ErrBusy: the buffer stayed full for WaitMax because the disk is slow.
	// Nothing was written.
	ErrBusy = errors.New("journal is busy")
	// ErrFailed: a write or a sync failed. What it covered may or may not be
	// on disk, no later append can succeed, and the process must end.
	ErrFailed = errors.New("journal failed")
	// ErrTooLarge: a record is over RecordBytesMax, or a batch over
	// BatchBytesMax.
	ErrTooLarge = errors.New("record is too large for the journal")
	// ErrEmpty: a record holds no bytes, or a batch no records.
	ErrEmpty = errors.New("record is empty")
	// ErrLocked: another process has the folder.
	ErrLocked = errors.New("journal folder is in use by another process")
	// ErrClosed: Close was called.
	ErrClosed = errors.New("journal is closed")
	// ErrTrimmed: a reader asked for a record that was trimmed.
	ErrTrimmed = errors.New("journal was trimmed beyond this record")
	// ErrBeyond: a sequence lies beyond the newest record, so the journal
	// lost records, or belongs to another ledger.
	ErrBeyond = errors.New("sequence lies beyond the end of the journal")
)

// Damage is the error for acknowledged bytes that are not what they were.
type Damage struct {
	File   string
	Offset int64
	Why    string
}

func (d *Damage) Error() string {
	return fmt.Sprintf("journal file %s is damaged at offset %d: %s; keep a copy of the folder, then restore the file from a copy made before",
		d.File, d.Offset, d.Why)
}
