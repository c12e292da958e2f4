package ingest

import (
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// stillClock stands until it is moved.
type stillClock struct {
	mu sync.Mutex
	at time.Time
}

func (c *stillClock) now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.at }

func (c *stillClock) move(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.at = c.at.Add(d) }

const (
	soon  = time.Millisecond
	never = time.Minute // long enough for any machine
)

func seq(n uint64) event.ID { return event.ID{Stream: 1, Seq: n} }

func TestBoardEitherOrder(t *testing.T) {
	b := NewBoard(time.Now)
	got := func(id event.ID, out []Outcome, ok bool) {
		t.Helper()
		if !ok || len(out) != 2 || out[0].Status != event.Booked || out[1].Event != (event.ID{Stream: id.Stream, Seq: id.Seq, N: 1}) {
			t.Errorf("%v: got %+v, %v", id, out, ok)
		}
	}
	early := seq(1)
	b.Deliver(batchOf(early, event.FlagReply, booked, booked))
	out, ok := b.Await(early, never)
	got(early, out, ok)

	late := seq(2)
	type result struct {
		out []Outcome
		ok  bool
	}
	done := make(chan result)
	go func() { out, ok := b.Await(late, never); done <- result{out, ok} }()
	for b.waitersFor(late) == 0 {
		time.Sleep(soon)
	}
	b.Deliver(batchOf(late, event.FlagReply, booked, booked))
	r := <-done
	got(late, r.out, r.ok)

	if out, ok := b.Await(early, soon); ok {
		t.Errorf("delivered twice: %+v", out)
	}
	b.Deliver(batchOf(seq(3), 0, booked))
	if out, ok := b.Await(seq(3), soon); ok {
		t.Errorf("delivered without FlagReply: %+v", out)
	}
	if out, ok := b.Await(event.ID{Stream: 2, Seq: 2}, soon); ok {
		t.Errorf("another stream's: %+v", out)
	}
}

func (b *Board) waitersFor(id event.ID) int {
	sh := b.shard(boardKey{id.Stream, id.Seq})
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return len(sh.waiting)
}

func (b *Board) kept() (n, waiting int) {
	for i := range b.shards {
		sh := &b.shards[i]
		sh.mu.Lock()
		n += len(sh.early)
		waiting += len(sh.waiting)
		sh.mu.Unlock()
	}
	return n, waiting
}

// A batch holds many records; each waiter gets its own, whatever lies between.
func TestBoardWholeBatch(t *testing.T) {
	b := NewBoard(time.Now)
	batch := new(event.Batch)
	for i := range uint64(10) {
		flags := event.FlagReply
		if i%3 == 0 {
			flags = 0
		}
		if err := batch.Add(seq(100+i), 1, event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback, Flags: flags})); err != nil {
			t.Fatal(err)
		}
	}
	for i := range batch.Records {
		for k := range i % 4 {
			batch.NewEvent(&batch.Records[i], k).Verdict = booked
		}
	}
	b.Deliver(batch)
	for i := range uint64(10) {
		out, ok := b.Await(seq(100+i), soon)
		want := int(i % 4)
		if i%3 == 0 {
			want = 0
		}
		if len(out) != want || ok != (want > 0) {
			t.Errorf("record %d: %d outcomes, %v; want %d", i, len(out), ok, want)
		}
		for k := range out {
			if out[k].Event != (event.ID{Stream: 1, Seq: 100 + i, N: uint16(k)}) {
				t.Errorf("record %d: outcome %d is of %v", i, k, out[k].Event)
			}
		}
	}
}

// What nobody fetches expires, by age and by number.
func TestBoardIsBounded(t *testing.T) {
	clock := &stillClock{at: testStart}
	b := NewBoard(clock.now)
	b.Deliver(batchOf(seq(1), event.FlagReply, booked))
	clock.move(BoardKeepFor + time.Second)
	if _, ok := b.Await(seq(1), soon); ok {
		t.Error("an outcome outlived BoardKeepFor")
	}
	batch := new(event.Batch)
	rec := event.AppendRecord(nil, &event.Record{Kind: event.RecordPostback, Flags: event.FlagReply})
	for i := range uint64(2 * BoardKeepMax) {
		batch.Reset()
		if err := batch.Add(seq(10+i), 1, rec); err != nil {
			t.Fatal(err)
		}
		batch.NewEvent(&batch.Records[0], 0).Verdict = booked
		b.Deliver(batch)
	}
	if n, _ := b.kept(); n != BoardKeepMax {
		t.Errorf("%d outcomes are kept, want %d", n, BoardKeepMax)
	}
	if _, ok := b.Await(seq(10), soon); ok {
		t.Error("the oldest was not dropped")
	}
	if _, ok := b.Await(seq(10+2*BoardKeepMax-1), soon); !ok {
		t.Error("the newest was dropped")
	}
	again := seq(10 + 2*BoardKeepMax - 2)
	b.Deliver(batchOf(again, event.FlagReply, event.Verdict{Status: event.Unmatched})) // replayed after a crash
	if out, ok := b.Await(again, soon); !ok || out[0].Status != event.Unmatched {
		t.Errorf("replayed: %+v, %v", out, ok)
	}
	clock.move(BoardKeepFor + time.Second)
	for i := range uint64(boardShards) {
		b.Await(seq(i), 0)
	}
	if n, waiting := b.kept(); n != 0 || waiting != 0 {
		t.Errorf("%d outcomes and %d waiters are left", n, waiting)
	}
}

// Deliveries, waits and time-outs at once: each outcome goes to one waiter at
// most, its own, and nothing is left behind but what came too late.
func TestBoardConcurrently(t *testing.T) {
	b := NewBoard(time.Now)
	const each = 500
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(each) {
				b.Deliver(batchOf(seq(g*each+i), event.FlagReply, booked))
			}
		})
		wg.Go(func() {
			for i := range uint64(each) {
				id, d := seq(g*each+i), never
				if i%5 == 0 {
					d = time.Duration(i) * time.Microsecond
				}
				out, ok := b.Await(id, d)
				if ok && out[0].Event != id || !ok && d == never {
					t.Errorf("%v: got %+v, %v", id, out, ok)
				}
			}
		})
	}
	wg.Wait()
	if _, waiting := b.kept(); waiting != 0 {
		t.Errorf("%d waiters are left", waiting)
	}
}
