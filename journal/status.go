package journal

import (
	"slices"
	"time"
)

// Status is what there is to know of a journal at one moment. Totals count
// since it was opened.
type Status struct {
	Stream    uint32
	First     uint64 // oldest record that can be read, or the one to come
	Last      uint64 // newest synced record, 0 for none
	LastAt    int64  // its received_at in microseconds
	Committed uint64 // every record below is in the ledger
	Backlog   uint64 // records that are not
	Segments  int
	Bytes     int64 // that the segments take
	BytesMax  int64
	FreeBytes int64 // that the disk has left, -1 when that is not known

	Records       uint64 // appended
	RecordBytes   uint64 // appended, frames included
	Syncs         uint64
	SyncLast      time.Duration
	SyncSeconds   Histogram
	RecordsBySync Histogram

	Full   error // wraps ErrFull while appends are refused for lack of space
	Failed error // wraps ErrFailed for good
}

// Status measures the journal.
func (j *Journal) Status() Status {
	free, err := j.cfg.FS.FreeBytes(j.cfg.Dir)
	if err != nil {
		free = -1
	}
	s := Status{Stream: j.stream, BytesMax: j.cfg.BytesMax, FreeBytes: free, Bytes: j.used(), Failed: j.Err()}
	if r := j.full.Load(); r != nil {
		s.Full = r.err
	}
	v := &j.view
	v.mu.Lock()
	defer v.mu.Unlock()
	s.First, s.Last, s.LastAt, s.Committed = v.segs[0].first, v.last, v.lastAt, v.committed
	s.Backlog = v.last + 1 - v.committed
	s.Segments = len(v.segs)
	s.Records, s.RecordBytes, s.Syncs, s.SyncLast = v.records, v.bytes, v.syncs, v.syncLast
	s.SyncSeconds, s.RecordsBySync = v.syncTimes.clone(), v.perSync.clone()
	return s
}

// Histogram counts values by size.
type Histogram struct {
	Bounds []float64 // upper bounds of the buckets, ascending; shared, not to be written to
	Counts []uint64  // how many values fell into each bucket, and in the last one those above all bounds
	Count  uint64
	Sum    float64
}

func syncSeconds() []float64 {
	return []float64{0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5}
}

func syncRecords() []float64 {
	return []float64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048}
}

func newHistogram(bounds []float64) Histogram {
	return Histogram{Bounds: bounds, Counts: make([]uint64, len(bounds)+1)}
}

func (h *Histogram) observe(v float64) {
	i := 0
	for i < len(h.Bounds) && v > h.Bounds[i] {
		i++
	}
	h.Counts[i]++
	h.Count++
	h.Sum += v
}

func (h *Histogram) clone() Histogram {
	c := *h
	c.Counts = slices.Clone(h.Counts)
	return c
}

// Cumulative gives for each bound how many values were not above it, as
// Prometheus wants it.
func (h Histogram) Cumulative() map[float64]uint64 {
	m := make(map[float64]uint64, len(h.Bounds))
	var n uint64
	for i, b := range h.Bounds {
		n += h.Counts[i]
		m[b] = n
	}
	return m
}
