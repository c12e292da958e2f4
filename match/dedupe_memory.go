package match

import (
	"context"
	"encoding/binary"
	"math/bits"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// MemoryDeduperConfig bounds a MemoryDeduper.
type MemoryDeduperConfig struct {
	Window  time.Duration    // for how long a claim is remembered; default 24 h
	KeysMax int              // how many claims are remembered, about 40 bytes each; default 4 million, the oldest go first
	Now     func() time.Time // default time.Now
}

// generations is into how many steps window and cap are cut.
const generations = 64

// MemoryDeduper is the Deduper of a single node.
//
// Claims are counted into generations; one ends after a 64th of the window or
// of the cap, and generations leave as a whole, the oldest first: by age, or
// because there are too many claims. A claim that belongs to one that has left
// is dead: it is overwritten, and dropped when its table runs full. So nothing
// sweeps, and since claims hold no pointers the collector passes them by; a
// cache of objects would take three times the memory and be walked.
type MemoryDeduper struct {
	window  time.Duration
	keysMax int
	now     func() time.Time

	mu     sync.Mutex
	tables []claimTable
	gens   [2*generations + 1]generation // a ring of the live ones
	oldest uint32                        // number of the oldest live generation
	newest uint32
	keys   int // live claims
}

type generation struct {
	began, last time.Time // when it began, and when its last claim came
	keys        int
}

var _ Deduper = (*MemoryDeduper)(nil)

// NewMemoryDeduper makes an empty deduper.
func NewMemoryDeduper(c MemoryDeduperConfig) *MemoryDeduper {
	if c.Window <= 0 {
		c.Window = 24 * time.Hour
	}
	if c.KeysMax <= 0 {
		c.KeysMax = 4_000_000
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	d := &MemoryDeduper{window: c.Window, keysMax: c.KeysMax, now: c.Now, tables: make([]claimTable, claimTableCount)}
	d.oldest, d.newest = 1, 1
	*d.gen(1) = generation{began: c.Now(), last: c.Now()}
	return d
}

// Claim implements Deduper. It never fails.
func (d *MemoryDeduper) Claim(_ context.Context, keys []event.Digest, ids []event.ID, owners []event.ID) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	d.age(now)
	for i, key := range keys {
		owners[i] = ids[i]
		if key.IsZero() {
			continue
		}
		// Half a SHA-256 spreads by itself, and 64 bits of it are plenty for a hint.
		h := binary.LittleEndian.Uint64(key[:])
		owner, fresh := d.tables[h>>claimTableShift].claim(h, ids[i], d.oldest, d.newest)
		if owners[i] = owner; fresh {
			d.grown(now)
		}
	}
	return nil
}

// Len is how many claims are remembered.
func (d *MemoryDeduper) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.keys
}

func (d *MemoryDeduper) gen(n uint32) *generation { return &d.gens[n%uint32(len(d.gens))] }

// age begins a new generation when the newest has had its time, and lets go
// of those whose last claim lies behind the window.
func (d *MemoryDeduper) age(now time.Time) {
	if now.Sub(d.gen(d.newest).began) >= d.window/generations {
		d.begin(now)
	}
	for d.oldest < d.newest && now.Sub(d.gen(d.oldest).last) >= d.window {
		d.drop()
	}
}

// grown counts a new claim.
func (d *MemoryDeduper) grown(now time.Time) {
	g := d.gen(d.newest)
	g.last = now
	g.keys++
	d.keys++
	if g.keys >= max(1, d.keysMax/generations) {
		d.begin(now)
	}
	for d.keys > d.keysMax && d.oldest < d.newest {
		d.drop()
	}
}

func (d *MemoryDeduper) begin(now time.Time) {
	if d.newest-d.oldest+1 == uint32(len(d.gens)) {
		d.drop()
	}
	d.newest++
	*d.gen(d.newest) = generation{began: now, last: now}
}

func (d *MemoryDeduper) drop() {
	d.keys -= d.gen(d.oldest).keys
	d.oldest++
}

// The tables of a MemoryDeduper; the upper bits of a key choose one.
const (
	claimTableCount = 1 << 10
	claimTableShift = 64 - 10
	claimSlotsMin   = 8
)

// claim is one identity with its owner, 24 bytes.
type claim struct {
	h      uint64
	seq    uint64 // of the owner: the sequence, and its N in the upper 16 bits
	stream uint32
	gen    uint32 // 0 is an empty slot
}

const seqBits = 48 // of a journal's sequence: 280 million million records

// claimTable is a hash table with linear probing, half to three quarters full.
type claimTable struct {
	slots []claim
	used  int // slots that are not empty, dead ones too
}

// claim gives the live owner of h, or makes id it in generation gen.
func (t *claimTable) claim(h uint64, id event.ID, oldest, gen uint32) (owner event.ID, fresh bool) {
	if (t.used+1)*4 > len(t.slots)*3 {
		t.renew(oldest)
	}
	free, i := -1, t.slot(h)
	for ; t.slots[i].gen != 0; i = t.next(i) {
		switch c := &t.slots[i]; {
		case c.gen < oldest:
			if free < 0 {
				free = i
			}
		case c.h == h:
			return event.ID{Stream: c.stream, Seq: c.seq & (1<<seqBits - 1), N: uint16(c.seq >> seqBits)}, false
		}
	}
	if free >= 0 {
		i = free
	} else {
		t.used++
	}
	t.slots[i] = claim{h: h, seq: id.Seq&(1<<seqBits-1) | uint64(id.N)<<seqBits, stream: id.Stream, gen: gen}
	return id, true
}

// renew makes the table anew, half full of what is live.
func (t *claimTable) renew(oldest uint32) {
	live := 0
	for i := range t.slots {
		if t.slots[i].gen >= oldest {
			live++
		}
	}
	old := t.slots
	t.slots, t.used = make([]claim, max(claimSlotsMin, 2*live)), live
	for i := range old {
		if old[i].gen >= oldest {
			j := t.slot(old[i].h)
			for t.slots[j].gen != 0 {
				j = t.next(j)
			}
			t.slots[j] = old[i]
		}
	}
}

func (t *claimTable) slot(h uint64) int {
	hi, _ := bits.Mul64(h<<(64-claimTableShift), uint64(len(t.slots)))
	return int(hi)
}

func (t *claimTable) next(i int) int {
	if i++; i < len(t.slots) {
		return i
	}
	return 0
}
