package ingest

import (
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// Outcome is what a reply says of one event. It owns its texts.
type Outcome struct {
	Event    event.ID
	Status   event.Status
	Reason   event.Reason
	Detail   event.Detail
	CallID   string
	Value    event.Amount // of the call, after the event
	Currency string
}

// Board is where a handler that waits for a verdict meets the pipeline that
// commits it. Either may come first: the pipeline often commits before the
// handler has learnt its event's id. Outcomes that nobody waits for are kept
// for BoardKeepFor, the last BoardKeepMax of them.
type Board struct {
	now     func() time.Time
	waiters sync.Pool
	shards  [boardShards]boardShard
}

// Limits of what a Board keeps.
const (
	BoardKeepFor = 5 * time.Second
	BoardKeepMax = 16 << 10

	boardShards = 64
	shardKeep   = BoardKeepMax / boardShards
)

type boardKey struct {
	stream uint32
	seq    uint64
}

type boardShard struct {
	mu      sync.Mutex
	waiting map[boardKey]*waiter
	early   map[boardKey]int // place in ring
	ring    [shardKeep]earlyOutcome
	head, n int // the oldest, and how many places are in use
}

// earlyOutcome is a place in the ring; taken ones have no outcomes.
type earlyOutcome struct {
	key      boardKey
	at       time.Time
	outcomes []Outcome
}

type waiter struct {
	ready chan []Outcome // of one: the sender never blocks
	timer *time.Timer
}

// NewBoard makes an empty board.
func NewBoard(now func() time.Time) *Board {
	b := &Board{now: now}
	b.waiters.New = func() any {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return &waiter{ready: make(chan []Outcome, 1), timer: t}
	}
	for i := range b.shards {
		b.shards[i].waiting, b.shards[i].early = map[boardKey]*waiter{}, map[boardKey]int{}
	}
	return b
}

// Deliver hands out the verdicts of a committed batch to whoever waits for
// them. It looks at records with FlagReply only and copies what it keeps.
func (b *Board) Deliver(batch *event.Batch) {
	events := batch.Events
	for i := 0; i < len(events); {
		rec := events[i].Record
		j := i + 1
		for j < len(events) && events[j].ID.Seq == events[i].ID.Seq && events[j].ID.Stream == events[i].ID.Stream {
			j++
		}
		if rec != nil && rec.Flags&event.FlagReply != 0 {
			b.post(outcomesOf(events[i:j]))
		}
		i = j
	}
}

func outcomesOf(events []event.Event) []Outcome {
	out := make([]Outcome, len(events))
	for i := range events {
		e, o := &events[i], &out[i]
		v := &e.Verdict
		*o = Outcome{Event: e.ID, Status: v.Status, Reason: v.Reason, Detail: v.Detail, CallID: v.CallID, Value: v.Value, Currency: v.Currency}
		o.own()
	}
	return out
}

// own moves the texts of o into memory of its own, with one allocation.
func (o *Outcome) own() {
	d := &o.Detail
	texts := [...]*string{(*string)(&o.Reason), &o.CallID, &o.Currency, &d.Field, &d.Got, &d.Call, &d.Of, &d.Would, &d.Value}
	n := 0
	for _, t := range texts {
		n += len(*t)
	}
	mem := make([]byte, 0, n)
	for _, t := range texts {
		from := len(mem)
		mem = append(mem, *t...)
		*t = event.View(mem[from:])
	}
}

func (b *Board) post(out []Outcome) {
	key := boardKey{out[0].Event.Stream, out[0].Event.Seq}
	sh := b.shard(key)
	now := b.now()
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if w := sh.waiting[key]; w != nil {
		delete(sh.waiting, key)
		w.ready <- out
		return
	}
	if i, ok := sh.early[key]; ok { // committed again after a crash
		sh.ring[i].outcomes = out
		return
	}
	sh.expire(now)
	if sh.n == shardKeep {
		sh.drop()
	}
	i := (sh.head + sh.n) % shardKeep
	sh.ring[i] = earlyOutcome{key, now, out}
	sh.early[key] = i
	sh.n++
}

// Await waits up to d for the outcomes of the record that id names, one per
// event and in their order. It gives false when they do not come in time; they
// may still come and then expire. One caller may wait for a record.
func (b *Board) Await(id event.ID, d time.Duration) ([]Outcome, bool) {
	key := boardKey{id.Stream, id.Seq}
	sh := b.shard(key)
	now := b.now()
	sh.mu.Lock()
	sh.expire(now)
	if i, ok := sh.early[key]; ok {
		out := sh.ring[i].outcomes
		sh.ring[i].outcomes = nil
		delete(sh.early, key)
		sh.mu.Unlock()
		return out, true
	}
	w := b.waiters.Get().(*waiter)
	sh.waiting[key] = w
	sh.mu.Unlock()

	w.timer.Reset(d)
	defer b.waiters.Put(w)
	select {
	case out := <-w.ready:
		w.timer.Stop()
		return out, true
	case <-w.timer.C:
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if sh.waiting[key] == w {
		delete(sh.waiting, key)
		return nil, false
	}
	return <-w.ready, true // delivered between the timer and the lock
}

func (b *Board) shard(k boardKey) *boardShard { return &b.shards[k.seq%boardShards] }

// expire drops what is older than BoardKeepFor. The caller holds the lock.
func (sh *boardShard) expire(now time.Time) {
	for sh.n > 0 && now.Sub(sh.ring[sh.head].at) > BoardKeepFor {
		sh.drop()
	}
}

// drop forgets the oldest place in the ring.
func (sh *boardShard) drop() {
	old := &sh.ring[sh.head]
	if i, ok := sh.early[old.key]; ok && i == sh.head {
		delete(sh.early, old.key)
	}
	*old = earlyOutcome{}
	sh.head = (sh.head + 1) % shardKeep
	sh.n--
}
