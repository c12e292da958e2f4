package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"github.com/tallyhook/tallyhook/event"
)

// InHand finds the record that ends the process. Before a lane parses a batch
// it writes down which records it takes in hand, and clears that afterwards;
// the file outlives the process, though not the machine, which is enough.
//
//	slot of a lane   first u64 | count u32 | deaths u32 | stream u32 | 0 u32     little endian, 24 bytes
//
// A process that starts and finds a slot in use died while parsing. The
// records of that slot are then taken one by one, each under its own mark; one
// that the process has died on twice while it was alone in hand is not parsed
// again: its event fails and is kept with its bytes.
//
// Records of the journal are runs: a suspect is known by its place. Those of a
// backlog are not, but come again: of them as many as were in hand are taken one
// by one, and one on which the process died alone is waited for.
type InHand struct {
	file   *os.File
	sparse bool
	mu     sync.Mutex
	spans  []span
	alone  [LanesMax]uint64 // the one record that the lane has in hand
}

// span is a run of suspect records and how often the process died on them.
type span struct {
	first  uint64
	count  uint32
	deaths uint32 // while it was the only record in hand
	stream uint32
}

const (
	slotBytes = 24
	deathsMax = 2

	returnMax = 10_000 // records taken one by one until a suspect of a backlog has to be back
)

// OpenInHand opens or makes the file and reads what an earlier process left.
// sparse says that the records are those of a backlog.
func OpenInHand(path string, sparse bool) (*InHand, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open marks of records in hand: %w", err)
	}
	h := &InHand{file: f, sparse: sparse}
	if err := f.Truncate(LanesMax * slotBytes); err != nil {
		return nil, errors.Join(fmt.Errorf("open marks of records in hand: %w", err), f.Close())
	}
	var slots [LanesMax * slotBytes]byte
	if _, err := f.ReadAt(slots[:], 0); err != nil {
		return nil, errors.Join(fmt.Errorf("read marks of records in hand: %w", err), f.Close())
	}
	for lane := range LanesMax {
		p := slots[lane*slotBytes:]
		s := span{binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint32(p[8:]), binary.LittleEndian.Uint32(p[12:]), binary.LittleEndian.Uint32(p[16:])}
		if s.count > event.BatchRecordsMax {
			continue
		}
		if s.count == 1 {
			if s.deaths++; sparse {
				s.count = returnMax
			}
		}
		if s.count > 0 {
			h.spans = append(h.spans, s)
		}
		h.done(lane) // from here on this process answers for what it takes in hand
	}
	return h, nil
}

// Close closes the file.
func (h *InHand) Close() error { return h.file.Close() }

// Suspects is how many records are taken one by one.
func (h *InHand) Suspects() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.spans {
		n += int(s.count)
	}
	return n
}

// limit is how many records the next batch may take: one while suspects are
// about, else no limit of its own.
func (h *InHand) limit() int {
	if h == nil || h.Suspects() == 0 {
		return 0
	}
	return 1
}

// take marks records as in hand, and a lone one as poison when the process has
// died on it too often. Those that are no run count as one from the first on.
func (h *InHand) take(lane int, records []event.Record) {
	if h == nil || len(records) == 0 {
		return
	}
	stream, first := records[0].ID.Stream, records[0].ID.Seq
	h.mu.Lock()
	deaths := uint32(0)
	if !h.sparse {
		h.spans = slices.DeleteFunc(h.spans, func(s span) bool { return s.stream != stream || s.first+uint64(s.count) <= first })
	}
	for _, s := range h.spans {
		if s.stream == stream && s.first <= first && len(records) == 1 && (!h.sparse || s.first == first) {
			deaths = max(deaths, s.deaths)
		}
	}
	if h.alone[lane] = 0; len(records) == 1 {
		h.alone[lane] = first
	}
	h.mu.Unlock()
	if deaths >= deathsMax {
		records[0].Poison = true
		return
	}
	h.write(lane, span{first, uint32(len(records)), deaths, stream})
}

// done clears the lane's mark.
func (h *InHand) done(lane int) {
	if h == nil {
		return
	}
	h.write(lane, span{})
	h.mu.Lock()
	defer h.mu.Unlock()
	seq := h.alone[lane]
	if h.alone[lane] = 0; !h.sparse || seq == 0 {
		return
	}
	for i := range h.spans {
		s := &h.spans[i]
		if s.count--; s.deaths > 0 && s.first == seq {
			s.count = 0
		}
	}
	h.spans = slices.DeleteFunc(h.spans, func(s span) bool { return s.count == 0 })
}

// write is not synced: the page cache survives the death of the process, and a
// lost mark costs one more death.
func (h *InHand) write(lane int, s span) {
	var p [slotBytes]byte
	binary.LittleEndian.PutUint64(p[:], s.first)
	binary.LittleEndian.PutUint32(p[8:], s.count)
	binary.LittleEndian.PutUint32(p[12:], s.deaths)
	binary.LittleEndian.PutUint32(p[16:], s.stream)
	_, _ = h.file.WriteAt(p[:], int64(lane*slotBytes))
}
