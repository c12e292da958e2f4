package wasm

import (
	"context"
	"fmt"
	"testing"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
)

func TestWorkerPins(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	p, q := load(t, e, "p", Answering("p")), load(t, e, "q", Answering("q"))
	first := instance(t, w, p)
	for range 3 {
		wantAnswer(t, w, q, "q")
		if instance(t, w, p) != first {
			t.Fatal("another instance without a reason")
		}
	}
	w.Discard(p)
	if instance(t, w, p) == first || p.Made() != 2 || q.Made() != 1 {
		t.Errorf("made %d and %d; want 2 after a discard, and 1", p.Made(), q.Made())
	}
	w.Discard(q)
	w.Discard(q)
	if w.Instances() != 1 {
		t.Errorf("%d instances", w.Instances())
	}
	if instance(t, newWorker(t, e), p) == instance(t, w, p) {
		t.Error("two workers share an instance")
	}
}

func TestWorkerEvicts(t *testing.T) {
	one := int64(2*pageBytes) + 24<<10 // and a third of the code
	e := openEngine(t, Config{InstanceBytesMax: 3*one + one/2})
	w := newWorker(t, e)
	var all []*Program
	for i := range 4 {
		all = append(all, load(t, e, fmt.Sprint("p", i), Answering(fmt.Sprint("a", i))))
	}
	made := func(want ...int64) {
		t.Helper()
		for i, p := range all {
			if p.Made() != want[i] {
				t.Errorf("%s was made %d times, want %d", p.Name(), p.Made(), want[i])
			}
		}
		if w.Bytes() > e.config.InstanceBytesMax || w.Bytes() <= 0 {
			t.Errorf("%d bytes; at most %d", w.Bytes(), e.config.InstanceBytesMax)
		}
	}
	for i := range 3 {
		wantAnswer(t, w, all[i], fmt.Sprint("a", i))
	}
	wantAnswer(t, w, all[0], "a0") // now 1 is the oldest
	made(1, 1, 1, 0)
	wantAnswer(t, w, all[3], "a3")
	made(1, 1, 1, 1)
	wantAnswer(t, w, all[0], "a0")
	wantAnswer(t, w, all[2], "a2")
	made(1, 1, 1, 1)
	wantAnswer(t, w, all[1], "a1") // 3 goes
	made(1, 2, 1, 1)
	wantAnswer(t, w, all[3], "a3")
	made(1, 2, 1, 2)
}

// An instance alone may be over the limit: without it nothing would run.
func TestWorkerKeepsTheLast(t *testing.T) {
	e := openEngine(t, Config{InstanceBytesMax: 1})
	w := newWorker(t, e)
	p, q := load(t, e, "p", Answering("p")), load(t, e, "q", Answering("q"))
	for range 2 {
		wantAnswer(t, w, p, "p")
		wantAnswer(t, w, p, "p")
		wantAnswer(t, w, q, "q")
	}
	if p.Made() != 2 || q.Made() != 2 || w.Instances() != 1 {
		t.Errorf("made %d and %d, keeps %d", p.Made(), q.Made(), w.Instances())
	}
}

// An instance that grew makes place: for others, it is charged by what it has.
func TestWorkerChargesGrowth(t *testing.T) {
	e := openEngine(t, Config{InstanceBytesMax: 24 * pageBytes})
	w := newWorker(t, e)
	m := MapperPages(12, 256, I32Const(8), MemoryGrow(), OpDrop, I64Const(0))
	grows, small := load(t, e, "grows", m), load(t, e, "small", Answering("s"))
	wantAnswer(t, w, small, "s")
	i := instance(t, w, grows)
	if _, _, err := i.Map(context.Background(), 0); err != nil || i.Pages() != 20 {
		t.Fatalf("%d pages, %v", i.Pages(), err)
	}
	if instance(t, w, grows) != i || w.Instances() != 2 {
		t.Fatalf("%d instances", w.Instances())
	}
	if _, _, err := i.Map(context.Background(), 0); err != nil || i.Pages() != 28 {
		t.Fatalf("%d pages, %v", i.Pages(), err)
	}
	wantAnswer(t, w, small, "s")
	if w.Instances() != 1 || w.Bytes() > e.config.InstanceBytesMax {
		t.Errorf("%d instances with %d bytes", w.Instances(), w.Bytes())
	}
}

func TestWorkerRecycles(t *testing.T) {
	e := openEngine(t, Config{CallsPerInstanceMax: 3})
	w := newWorker(t, e)
	p := load(t, e, "p", Answering("p"))
	for range 7 {
		wantAnswer(t, w, p, "p")
	}
	if p.Made() != 3 {
		t.Errorf("%d instances for 7 calls of at most 3 each", p.Made())
	}
	grows := load(t, e, "grows", Mapper(I32Const(1), MemoryGrow(), OpDrop, I64Const(0))) // 2 pages at first
	for range 2 {
		if _, _, err := instance(t, w, grows).Map(context.Background(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if i := instance(t, w, grows); i.Pages() != 4 || grows.Made() != 1 {
		t.Fatalf("%d pages, %d made", i.Pages(), grows.Made())
	}
	if _, _, err := instance(t, w, grows).Map(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	if i := instance(t, w, grows); i.Pages() != 2 || grows.Made() != 2 {
		t.Errorf("%d pages, %d made after more than twice the pages", i.Pages(), grows.Made())
	}
}
