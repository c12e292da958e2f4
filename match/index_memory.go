package match

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// MemoryIndexConfig bounds a MemoryIndex.
type MemoryIndexConfig struct {
	Keep     time.Duration    // for how long after its start a call is found; default 72 h
	CallsMax int              // room for so many calls with four names each; beyond it the oldest slice goes; default 20 million
	Now      func() time.Time // default time.Now
}

const (
	sliceLength  = 10 * time.Minute
	sliceMicros  = int64(sliceLength / time.Microsecond)
	namesPerCall = 4
	putChunk     = 64 // calls taken in under one lock, so that look-ups are never held up for long
	findChunk    = 64 // wants whose memory is asked for at once
)

// MemoryIndex is the Index of a single node, rebuilt from the store at start.
//
// A name is 16 bytes in one of 4,096 small hash tables (nameTable) that grow
// each by itself, so no call ever waits for all of them. Time is cut into
// slices of ten minutes; a name belongs to the slice in which its call started
// and is dead once that lies before the horizon. Nothing sweeps: dead names are
// skipped, overwritten, and dropped when their table runs full. A call without
// a start, or with one in the future, belongs to the slice in which it was put.
//
// The clock is taken to run forward: after a jump ahead the horizon stays
// there, and until time has caught up the store answers instead.
type MemoryIndex struct {
	keep     int64 // slices
	namesMax int
	now      func() time.Time
	seed     uint64

	mu      sync.RWMutex
	tables  []nameTable
	horizon int64 // the oldest slice that is kept
	count   []int // live names by slice, a ring
	names   int   // their sum

	has        ranges
	complete   bool
	rebuilding bool
}

var _ Index = (*MemoryIndex)(nil)

// NewMemoryIndex makes an empty index, incomplete until its first Rebuild.
func NewMemoryIndex(c MemoryIndexConfig) *MemoryIndex {
	if c.Keep <= 0 {
		c.Keep = 72 * time.Hour
	}
	if c.CallsMax <= 0 {
		c.CallsMax = 20_000_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	keep := int64((c.Keep + sliceLength - 1) / sliceLength)
	return &MemoryIndex{
		keep:     keep,
		namesMax: c.CallsMax * namesPerCall,
		now:      c.Now,
		seed:     rand.Uint64(),
		tables:   make([]nameTable, tableCount),
		count:    make([]int, keep+1),
	}
}

// Put implements Index. It never fails.
func (m *MemoryIndex) Put(_ context.Context, calls []event.Call, from, through int64) error {
	m.add(calls, true)
	m.mu.Lock()
	m.has.add(span{from, through})
	m.mu.Unlock()
	return nil
}

// Rebuild implements Index. What was Put before or meanwhile is not undone.
func (m *MemoryIndex) Rebuild(ctx context.Context, scan Scan, through int64, progress func(calls int)) error {
	m.mu.Lock()
	if m.rebuilding {
		m.mu.Unlock()
		return ErrRebuilding
	}
	m.rebuilding, m.complete = true, false
	m.mu.Unlock()

	n := 0
	err := scan(ctx, func(calls []event.Call) error {
		m.add(calls, false)
		n += len(calls)
		if progress != nil {
			progress(n)
		}
		return ctx.Err()
	})

	m.mu.Lock()
	defer m.mu.Unlock()
	m.rebuilding = false
	if err != nil {
		return fmt.Errorf("rebuild call index after %d calls: %w", n, err)
	}
	m.has.add(span{0, through})
	m.complete = true
	return nil
}

// NeedsRebuild reports whether the index is incomplete and nobody is at work
// on that. It never fails.
func (m *MemoryIndex) NeedsRebuild(context.Context) (bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return !m.complete && !m.rebuilding, nil
}

// Complete reports whether the index holds all recent calls.
func (m *MemoryIndex) Complete() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.complete
}

// Size is how many names are kept and how many bytes their tables take.
func (m *MemoryIndex) Size() (names int, bytes int64) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	for i := range m.tables {
		bytes += int64(cap(m.tables[i].slots)) * nameBytes
	}
	return m.names, bytes
}

// add takes calls in. newer says that they are newer than what is there: a
// rebuild reads the past and must not put a call back into an older slice.
func (m *MemoryIndex) add(calls []event.Call, newer bool) {
	for len(calls) > 0 {
		n := min(len(calls), putChunk)
		m.addChunk(calls[:n], newer)
		calls = calls[n:]
	}
}

func (m *MemoryIndex) addChunk(calls []event.Call, newer bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	today := max(m.now().UnixMicro()/sliceMicros, m.horizon)
	m.advance(today - m.keep)
	for i := range calls {
		c := &calls[i]
		if c.No <= 0 || c.No > callNoMax {
			panic(fmt.Sprintf("bug: call number %d in the call index: want 1 to %d", c.No, callNoMax))
		}
		slice := c.StartedAt / sliceMicros
		if c.StartedAt == 0 || slice > today {
			slice = today
		}
		if slice < m.horizon {
			continue
		}
		var room [8]event.CallKey
		for _, key := range c.AppendKeys(room[:0]) {
			m.addName(key, packName(c.No, slice), newer)
		}
		for m.names > m.namesMax {
			m.advance(m.horizon + 1)
		}
	}
}

func (m *MemoryIndex) addName(key event.CallKey, v packed, newer bool) {
	h := spread(key, m.seed)
	was, is := m.tables[h>>tableShift].put(h, v, m.horizon, newer)
	if was != 0 {
		m.count[was.slice()%int64(len(m.count))]--
		m.names--
	}
	if is != 0 {
		m.count[is.slice()%int64(len(m.count))]++
		m.names++
	}
}

// advance moves the horizon to slice to, never back.
func (m *MemoryIndex) advance(to int64) {
	for i := 0; m.horizon < to && i < len(m.count); i++ {
		n := &m.count[m.horizon%int64(len(m.count))]
		m.names -= *n
		*n = 0
		m.horizon++
	}
	m.horizon = max(m.horizon, to)
}

// Find implements Index. It never fails.
//
// In a large index nearly every look-up misses the processor's caches. So a
// chunk of wants first works out where each of its names begins, then touches
// all these places in a loop so short that the processor overlaps the misses,
// and only then looks at what came.
func (m *MemoryIndex) Find(_ context.Context, wants []Want, out [][]int64) (through int64, err error) {
	now := m.now().UnixMicro()/sliceMicros - m.keep
	m.mu.RLock()
	defer m.mu.RUnlock()
	horizon := max(m.horizon, now)
	for len(wants) > 0 {
		n := min(len(wants), findChunk)
		m.findChunk(wants[:n], out[:n], horizon)
		wants, out = wants[n:], out[n:]
	}
	return m.through(), nil
}

// Through implements Index. It never fails.
func (m *MemoryIndex) Through(context.Context) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.through(), nil
}

// through needs the lock.
func (m *MemoryIndex) through() int64 {
	if m.complete {
		return m.has.through
	}
	return 0
}

func (m *MemoryIndex) findChunk(wants []Want, out [][]int64, horizon int64) {
	var heads [findChunk * WantKeysMax]nameHead
	n := 0
	for i := range wants {
		for _, key := range wants[i].Keys[:wants[i].N] {
			h := spread(key, m.seed)
			heads[n] = m.tables[h>>tableShift].head(h)
			n++
		}
	}
	for i := range heads[:n] {
		if head := &heads[i]; head.at < len(head.slots) {
			head.first = head.slots[head.at].v
		}
	}
	next := heads[:n]
	for i := range wants {
		w := &wants[i]
		mine := next[:w.N]
		next = next[w.N:]
		if w.Since != 0 && w.Since < horizon*sliceMicros {
			continue
		}
		before := len(out[i])
		for k := 0; k < len(mine) && len(out[i]) == before; k++ {
			if mine[k].first != 0 {
				out[i] = mine[k].appendCalls(out[i], horizon)
			}
		}
	}
}
