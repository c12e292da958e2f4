package match

import (
	"math/bits"

	"github.com/tallyhook/tallyhook/event"
)

// The memory index is 2^12 tables; the upper bits of a spread key choose one.
const (
	tableCount = 1 << 12
	tableShift = 64 - 12

	nameBytes = 16 // of one name in a table
	lineSlots = 4  // slots in one line of the processor's cache, 64 bytes
	slotsMin  = 16 // of a table that holds anything
	callNoMax = 1<<40 - 1
)

// packed is what a table keeps of a call:
//
//	63        24 23     0
//	| call no   | slice |     0 is an empty slot
type packed uint64

func packName(no, slice int64) packed { return packed(uint64(no)<<24 | uint64(slice)) }
func (v packed) no() int64            { return int64(v >> 24) }
func (v packed) slice() int64         { return int64(v & (1<<24 - 1)) }

// name is one name of one call. It holds no pointers: the collector does not
// look into tables.
type name struct {
	h uint64
	v packed
}

// nameTable is a hash table with linear probing that may hold many calls
// under one hash, CandidatesMax at most, so no name makes a long run. Runs
// begin at a cache line and the table is kept between two fifths and three
// fifths full, so that nearly every look-up reads one line of memory. Slots
// are never emptied one by one; dead ones (before the horizon) are
// overwritten, and left behind when the table is made anew.
type nameTable struct {
	slots []name
	used  int // slots that are not empty, dead ones too
}

// spread turns a key into what tables hold. Keys are the same everywhere and
// so could be made to collide; the seed of this process keeps that out. It is
// one to one: equal hashes are equal keys.
func spread(key event.CallKey, seed uint64) uint64 {
	h := (uint64(key) ^ seed) * 0x9e3779b97f4a7c15
	return (h ^ h>>32) * 0xd6e8feb86659fd93
}

// slot is where the run of h begins: the bits below the table's own, as a
// fraction of the table's lines, of which there may be any number.
func (t *nameTable) slot(h uint64) int {
	line, _ := bits.Mul64(h<<(64-tableShift), uint64(len(t.slots))/lineSlots)
	return int(line) * lineSlots
}

func (t *nameTable) next(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}

// put adds v under h. If the call is there already its slice changes, provided
// that newer is set. was is the live name that went and is the one that came;
// zero is none.
func (t *nameTable) put(h uint64, v packed, horizon int64, newer bool) (was, is packed) {
	if (t.used+1)*5 > len(t.slots)*3 {
		t.renew(horizon)
	}
	free, oldest, same := -1, -1, 0
	i := t.slot(h)
	for ; t.slots[i].v != 0; i = t.next(i) {
		s := &t.slots[i]
		switch {
		case s.v.slice() < horizon:
			if free < 0 {
				free = i
			}
		case s.h != h:
		case s.v.no() == v.no():
			if !newer {
				return 0, 0
			}
			was, s.v = s.v, v
			return was, v
		default:
			same++
			if oldest < 0 || s.v.older(t.slots[oldest].v) {
				oldest = i
			}
		}
	}
	switch {
	case same >= CandidatesMax:
		if v.older(t.slots[oldest].v) {
			return 0, 0
		}
		was, i = t.slots[oldest].v, oldest
	case free >= 0:
		i = free
	default:
		t.used++
	}
	t.slots[i] = name{h, v}
	return was, v
}

// older orders names by slice, then by number.
func (v packed) older(o packed) bool {
	if v.slice() != o.slice() {
		return v.slice() < o.slice()
	}
	return v < o
}

// renew makes the table anew, two fifths full of what is live.
func (t *nameTable) renew(horizon int64) {
	live := 0
	for i := range t.slots {
		if s := &t.slots[i]; s.v != 0 && s.v.slice() >= horizon {
			live++
		}
	}
	old := t.slots
	t.slots, t.used = make([]name, max(slotsMin, (live*5/2+lineSlots-1)/lineSlots*lineSlots)), live
	for i := range old {
		if s := &old[i]; s.v != 0 && s.v.slice() >= horizon {
			j := t.slot(s.h)
			for t.slots[j].v != 0 {
				j = t.next(j)
			}
			t.slots[j] = *s
		}
	}
}

// nameHead is where the run of a hash begins. The table must not change until
// the head has been used.
type nameHead struct {
	hash  uint64
	slots []name
	at    int
	first packed // what is at slots[at], once it has been read
}

func (t *nameTable) head(h uint64) nameHead {
	return nameHead{hash: h, slots: t.slots, at: t.slot(h)}
}

// appendCalls appends the numbers of the live calls under the head's hash.
func (head *nameHead) appendCalls(out []int64, horizon int64) []int64 {
	for i := head.at; ; {
		s := &head.slots[i]
		if s.v == 0 {
			return out
		}
		if s.h == head.hash && s.v.slice() >= horizon {
			out = append(out, s.v.no())
		}
		if i++; i == len(head.slots) {
			i = 0
		}
	}
}
