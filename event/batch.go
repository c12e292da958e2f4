package event

import "time"

// Event is one report, or one call upsert, on its way through the stream.
// Each step fills in its own part; everything textual is a view into the
// Batch and lives until its Reset.
type Event struct {
	ID     ID
	Record *Record // what it came from
	IsCall bool    // Call is filled, else Report

	// mapper
	Report   Report
	Call     Call
	Policy   *Policy
	Mapper   string // name and version of what mapped it: "builtin", "acme@3"
	Fuel     int64  // that a partner's mapper used for the record; told with its first report
	Again    bool   // the record is one of Batch.Waiting
	Strong   Digest // identity given by the sender; zero when there is none
	Reverses Digest // identity of the conversion that a reversal or adjustment with an id speaks of
	Weak     Digest // identity by content
	Money    Digest // the money fields, to tell a conflict from a repeat

	// match
	Hints     []int64 // numbers of calls that may fit, from the index
	HintOwner ID      // who else claimed this identity, says the dedupe cache

	// ledger
	Verdict Verdict
}

// Reset empties e and keeps its memory.
func (e *Event) Reset() {
	extra, ids, hints := e.Report.Extra[:0], e.Call.NetworkIDs[:0], e.Hints[:0]
	*e = Event{Report: Report{Extra: extra}, Call: Call{NetworkIDs: ids}, Hints: hints}
}

// Limits of one batch.
const (
	BatchRecordsMax = 2000
	BatchEventsMax  = 1 << 14 // from where on what can wait waits; some more may come
	BatchBytesMax   = 1 << 20
)

// Batch is a run of journal records with everything the stream makes of them.
// It owns its bytes: Add copies, and all views die with Reset. One goroutine
// has it at a time.
type Batch struct {
	Stream uint32
	First  uint64 // sequence of the first record; the batch covers [First, Next)
	Next   uint64

	// Watermark is a time up to which every record of the stream has been
	// taken in by this batch or an earlier one; what waits until then may end.
	Watermark int64

	// RecordsMax, when not 0, makes the batch full earlier than BatchRecordsMax.
	RecordsMax int

	// IndexedThrough is the change number of the last call upsert that the
	// index had in full when it was asked for hints.
	IndexedThrough int64

	Records []Record // as the journal gave them

	// Waiting are records whose events were recorded as waiting for their mapper
	// and are to be mapped now; their events stand before those of Records.
	Waiting []Record

	// Queued names sources that have more such events than Waiting holds: what
	// they send now waits behind those.
	Queued []string

	Events []Event // as the mapper made them, in order

	BegunAt         int64         // when its records were read, microseconds since the Unix epoch
	Mapped, Matched time.Duration // how long those steps took

	chunks [][]byte // the arena: full chunks first, the last one in use
	used   int      // chunks in use
	size   int      // bytes in use
}

const chunkBytes = 256 << 10

// Reset forgets records, events and bytes and keeps the memory.
func (b *Batch) Reset() {
	for i := range b.used {
		if poison {
			for j := range b.chunks[i] {
				b.chunks[i][j] = 0xDB
			}
		}
		b.chunks[i] = b.chunks[i][:0]
	}
	if cap(b.Events) > 2*BatchEventsMax {
		b.Events = nil // arrays as large as they may be are rare, and would be kept for good
	}
	*b = Batch{Records: b.Records[:0], Waiting: b.Waiting[:0], Queued: b.Queued[:0], Events: b.Events[:0], chunks: b.chunks}
}

// Alloc returns n bytes of the batch's arena, not cleared.
func (b *Batch) Alloc(n int) []byte {
	b.size += n
	for {
		if b.used > 0 {
			c := b.chunks[b.used-1]
			if len(c)+n <= cap(c) {
				b.chunks[b.used-1] = c[:len(c)+n]
				return c[len(c) : len(c)+n : len(c)+n]
			}
		}
		if b.used == len(b.chunks) {
			b.chunks = append(b.chunks, make([]byte, 0, max(chunkBytes, n)))
		} else if cap(b.chunks[b.used]) < n {
			b.chunks[b.used] = make([]byte, 0, n)
		}
		b.used++
	}
}

// Copy copies p into the arena and returns a view of the copy.
func (b *Batch) Copy(p []byte) []byte {
	c := b.Alloc(len(p))
	copy(c, p)
	return c
}

// Full reports whether the batch has reached a limit; Add still works.
func (b *Batch) Full() bool {
	most := BatchRecordsMax
	if b.RecordsMax > 0 {
		most = b.RecordsMax
	}
	return len(b.Records) >= most || b.size >= BatchBytesMax
}

// Add copies an encoded record into the batch. On an error the batch is as it was.
func (b *Batch) Add(id ID, receivedAt int64, rec []byte) error {
	n := len(b.Records)
	if n < cap(b.Records) {
		b.Records = b.Records[:n+1]
	} else {
		b.Records = append(b.Records, Record{})
	}
	r := &b.Records[n]
	*r = Record{ID: id, ReceivedAt: receivedAt, Headers: r.Headers[:0]}
	if err := DecodeRecord(r, b.Copy(rec)); err != nil {
		b.Records = b.Records[:n]
		return err
	}
	if n == 0 {
		b.Stream, b.First = id.Stream, id.Seq
	}
	b.Next = id.Seq + 1
	return nil
}

// NewEvent appends an empty event for report n of r and returns it. The
// pointer dies with the next NewEvent.
func (b *Batch) NewEvent(r *Record, n int) *Event {
	i := len(b.Events)
	if i < cap(b.Events) {
		b.Events = b.Events[:i+1]
		b.Events[i].Reset()
	} else {
		b.Events = append(b.Events, Event{})
	}
	e := &b.Events[i]
	e.ID, e.Record = ID{Stream: r.ID.Stream, Seq: r.ID.Seq, N: uint16(n)}, r
	return e
}
