package wasm

import (
	"context"
	"errors"
	"testing"
	"time"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// hostile is a module that was made to do harm, and what becomes of it.
type hostile struct {
	name string
	make func() *Builder

	refused string // by the rewriter, with this code
	class   Class  // else how its call, or its start, ends
	harm    bool   // it traps; false: it does no harm at all and answers
	start   bool   // in its start-up
}

// hostiles are the modules. Large ones are made when needed only.
func hostiles() []hostile {
	return append(hostileWork(), hostileShapes()...)
}

// hostileWork are small modules that run for ever, or take what they can get.
func hostileWork() []hostile {
	drop := I64Const(0)
	const fullPages = 256
	wide := func(body ...any) func() *Builder {
		return func() *Builder {
			m := MapperPages(64, fullPages, append([]any{I32Const(fullPages - 64), MemoryGrow(), OpDrop}, body...)...)
			return m
		}
	}
	with := func(body ...any) func() *Builder { return func() *Builder { return Mapper(body...) } }
	loop := func(body ...any) []byte { return Loop(NoResult, Cat(body...), Br(0)) }
	// host calls one imported function without end.
	host := func(from, name, params, results string, args ...int32) func() *Builder {
		return func() *Builder {
			m := new(Builder)
			f := m.Imported(from, name, params, results)
			m.Memory(64, 64)
			var code []byte
			for _, a := range args {
				code = append(code, I32Const(a)...)
			}
			code = append(code, Call(f)...)
			if results != "" {
				code = append(code, OpDrop)
			}
			m.Complete(loop(code), drop)
			return m
		}
	}
	return []hostile{
		{name: "endless loop", make: with(loop(), drop), class: Fuel, harm: true},
		{name: "endless loop in start", make: func() *Builder {
			m := Mapper(drop)
			m.Starting(loop())
			return m
		}, class: Crash, harm: true, start: true},
		{name: "endless loop in _initialize", make: func() *Builder {
			m := Mapper(drop)
			m.Function("_initialize", "", "", 0, loop())
			return m
		}, class: Fuel, harm: true, start: true},
		{name: "tree of calls in _initialize", make: func() *Builder {
			m := callTree()
			m.Function("_initialize", "", "", 0, Call(2))
			return m
		}, class: Fuel, harm: true, start: true},
		{name: "tree of calls", make: callTree, class: Fuel, harm: true},
		{name: "recursion", make: with(LocalGet(0), Call(1)), class: Depth, harm: true},
		{name: "recursion with 500 locals", make: func() *Builder { return fatRecursion(500) }, class: Depth, harm: true},
		{name: "recursion by table", make: tableRecursion, class: Depth, harm: true},
		{name: "memory.grow by one without end", make: with(loop(I32Const(1), MemoryGrow(), OpDrop), drop), class: Fuel, harm: true},
		{name: "memory.fill of 16 MiB", make: wide(loop(I32Const(0), I32Const(7), I32Const(fullPages*pageBytes-1), MemoryFill()), drop), class: Fuel, harm: true},
		{name: "memory.fill of 1 MiB", make: wide(loop(I32Const(0), I32Const(7), I32Const(1<<20), MemoryFill()), drop), class: Fuel, harm: true},
		{name: "memory.copy of 8 MiB", make: wide(loop(I32Const(0), I32Const(1), I32Const(8<<20), MemoryCopy()), drop), class: Fuel, harm: true},
		{name: "divisions", make: with(loop(I64Const(-1), I64Const(3), OpI64DivS, OpDrop), drop), class: Fuel, harm: true},
		{name: "square roots", make: with(loop(0x44, tenPointZero(), OpF64Sqrt, OpF64Sqrt, OpF64Sqrt, OpF64Sqrt, OpDrop), drop), class: Fuel, harm: true},
		{name: "log without end", make: host("mapper_v1", "log", "iii", "", 0, 0, 1024), class: Fuel, harm: true},
		{name: "fd_write without end", make: host(wasiModule, "fd_write", "iiii", "i", 1, 0, 100, 8), class: Fuel, harm: true},
		{name: "random_get without end", make: host(wasiModule, "random_get", "ii", "i", 0, 1024), class: Fuel, harm: true},
		{name: "poll_oneoff without end", make: host(wasiModule, "poll_oneoff", "iiii", "i", 0, 8192, 64, 0), class: Fuel, harm: true},
		{name: "proc_exit", make: host(wasiModule, "proc_exit", "i", "", 0), class: Crash, harm: true},
		{name: "result at 0x7fffffff", make: with(Place(0x7fffffff, 100)), class: Memory, harm: true},
		{name: "result longer than memory", make: with(Place(8, 0xffffffff)), class: Memory, harm: true},
	}
}

func tenPointZero() []byte { return []byte{0, 0, 0, 0, 0, 0, 0x24, 0x40} } // 10.0

// callTree is forty functions that call the next one twice: 2^40 calls without
// a loop or a recursion.
func callTree() *Builder {
	m := MapperPages(2, 2, Call(2), I64Const(0))
	for i := range 40 {
		m.Function("", "", "", 0, Call(i+3), Call(i+3))
	}
	m.Function("", "", "", 0)
	return m
}

func fatRecursion(locals int) *Builder {
	m := MapperPages(2, 2, Call(2), I64Const(0))
	use := Cat(LocalGet(0), LocalSet(locals-1))
	m.Function("", "", "", locals, use, Call(2), use)
	return m
}

func tableRecursion() *Builder {
	m := new(Builder)
	m.Memory(2, 2)
	m.Complete(LocalGet(0), I32Const(0), CallIndirect(1)) // type 1 is that of mapper_v1_map
	m.Tables = append(m.Tables, Cat(0x70, 1, 1, 1))
	m.Elements = append(m.Elements, Cat(0, I32Const(0), OpEnd, 1, 1))
	return m
}

// TestHostile: every hostile module is refused for a reason or stopped by its
// own counters, and the others on the machine do not notice.
func TestHostile(t *testing.T) {
	e := openEngine(t, Config{CacheDir: privateDir(t)})
	neighbour := load(t, e, "neighbour@1", Answering("right"))
	quit, done := make(chan struct{}), make(chan int)
	go func() { // another source's events, all the while
		w := e.Worker()
		defer w.Close(context.Background())
		events := 0
		for ; ; events++ {
			select {
			case <-quit:
				done <- events
				return
			case <-time.After(time.Millisecond):
				wantAnswer(t, w, neighbour, "right")
			}
		}
	}()
	for _, h := range hostiles() {
		t.Run(h.name, func(t *testing.T) {
			w := newWorker(t, e)
			wantAnswer(t, w, neighbour, "right")
			upload := h.make().Bytes()
			grown := rssGrowth(t, func() { h.check(t, e, w, upload) })
			if grown > hostileBytesMax {
				t.Errorf("resident memory rose by %d MiB, at most %d are to be expected", grown>>20, hostileBytesMax>>20)
			}
			wantAnswer(t, w, neighbour, "right")
		})
	}
	close(quit)
	if n := <-done; n == 0 {
		t.Error("the neighbour had no event at all")
	}
}

// check runs h as its author would: upload, instance, call.
func (h *hostile) check(t *testing.T, e *Engine, w *Worker, upload []byte) {
	code, _, err := rewrite.Rewrite(upload, rewrite.Default())
	if h.refused != "" {
		var refusal *rewrite.Refusal
		if !errors.As(err, &refusal) || refusal.Code != h.refused || refusal.Text == "" {
			t.Fatalf("%v; want it refused: %s", err, h.refused)
		}
		return
	}
	if err != nil {
		t.Fatalf("refused: %v; it is bounded, and is to be tried here", err)
	}
	p, err := e.Load(context.Background(), Module{Name: h.name, Code: code, FuelPerCall: fuelPerCall})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(context.Background())
	begun := time.Now()
	i, err := w.Instance(context.Background(), p)
	if h.start {
		wantTrap(t, err, h.class, "start")
		t.Logf("%v for the start", time.Since(begun).Round(time.Microsecond))
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	_, _, err = i.Map(context.Background(), 0)
	t.Logf("%v for %d units, %v", time.Since(begun).Round(time.Microsecond), i.Fuel(), err)
	if !h.harm {
		if err != nil {
			t.Errorf("%v; it is to answer", err)
		}
		return
	}
	trap := wantTrap(t, err, h.class, "")
	if trap.Fuel > fuelPerCall+chargeMax {
		t.Errorf("%d units used of %d and one charge of at most %d", trap.Fuel, fuelPerCall, chargeMax)
	}
	if w.Bytes() > 40<<20 {
		t.Errorf("%d bytes of instances", w.Bytes())
	}
}

// chargeMax is the most that is charged at once: a bulk operation over all of
// memory, at a unit per byte, and the straight code of one function.
const chargeMax = MemoryPagesMax*pageBytes + 64<<10

// hostileBytesMax is what one module may make the process grow by while it is
// compiled and run: its memory of 16 MiB, a stack of some MiB twice while it
// grows, an upload of 4 MiB with its decoded form, and as much again that the
// collector has not got back. The race detector keeps shadows of it all.
const hostileBytesMax = 192 << 20
