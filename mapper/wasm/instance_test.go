package wasm

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/abi"
	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

func TestMap(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	p := load(t, e, "echo@1", Echo())
	i := instance(t, w, p)
	for range 3 {
		n := request(i)
		want := bytes.Clone(i.Input()[:n])
		out, code, err := i.Map(context.Background(), n)
		if err != nil || code != 0 || !bytes.Equal(out, want) {
			t.Fatalf("%x, code %d, %v; want %x", out, code, err, want)
		}
		if i.Fuel() <= 0 || i.Fuel() > 100 {
			t.Errorf("%d units of fuel for six instructions", i.Fuel())
		}
	}
	if i.Pages() != 2 || len(i.Input()) != BufferBytes || p.RawBody() || p.Made() != 1 {
		t.Errorf("%d pages, a buffer of %d bytes, raw body %t, %d instances", i.Pages(), len(i.Input()), p.RawBody(), p.Made())
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := i.Map(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v after the context's end", err)
	}
	wantAnswer(t, w, load(t, e, "answering@1", Answering("r1")), "r1")
}

func TestMapCodes(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	f := func(code uint32) {
		t.Helper()
		p := load(t, e, "code", Mapper(I64Const(int64(code))))
		out, got, err := instance(t, w, p).Map(context.Background(), 0)
		if out != nil || got != code || err != nil {
			t.Errorf("%x, %d, %v; want code %d", out, got, err, code)
		}
	}
	f(abi.CodeDrop)
	f(abi.CodeMalformed)
	f(1234)
	f(0xffffffff)
}

// Whatever place a module names, nothing outside its memory is read.
func TestMapResultPlace(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	f := func(ptr, n uint32, ok bool) {
		t.Helper()
		p := load(t, e, "place", Mapper(Place(ptr, n)))
		defer p.Close(context.Background())
		out, _, err := instance(t, w, p).Map(context.Background(), 0)
		if ok {
			if err != nil || out == nil || len(out) != int(n) {
				t.Errorf("%#x, %d: %d bytes, %v", ptr, n, len(out), err)
			}
			return
		}
		if wantTrap(t, err, Memory, "mapper_v1_map gave an output of"); out != nil {
			t.Errorf("%#x, %d: %d bytes beside the error", ptr, n, len(out))
		}
	}
	const end = 2 * pageBytes
	f(1, 0, true)
	f(end, 0, true)
	f(end-16384, 16384, true)
	f(end-1, 1, true)
	f(end-1, 2, false)
	f(end, 1, false)
	f(end+1, 0, false)
	f(0x7fffffff, 8, false)
	f(0x7fffffff, 0, false)
	f(0xffffffff, 1, false) // sums beyond 32 bits
	f(0xffffffff, 0xffffffff, false)
	f(0xfffffff0, 0x20, false)
	f(8, 16385, false)
	f(8, 0xffffffff, false)
}

func TestMapTraps(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	f := func(class Class, text string, code ...any) {
		t.Helper()
		p := load(t, e, "trap", Mapper(code...))
		i := instance(t, w, p)
		_, _, err := i.Map(context.Background(), 0)
		trap := wantTrap(t, err, class, text)
		if trap.Fuel <= 0 || i.Fuel() != trap.Fuel {
			t.Errorf("%d units of fuel, and %d by the instance", trap.Fuel, i.Fuel())
		}
		_, _, err = i.Map(context.Background(), 0)
		wantTrap(t, err, Crash, "ask the worker for a new one")
		if instance(t, w, p) == i {
			t.Errorf("%s: the same instance after a trap", text)
		}
	}
	zero := I64Const(0)
	f(Crash, "in function 1: unreachable", OpUnreachable)
	f(Crash, "integer divide by zero", zero, zero, OpI64DivS)
	f(Crash, "out of bounds memory access", I32Const(-8), I64Load())
	f(Fuel, "ran out of fuel in function 1: it was given 10000000 units", Endless(), OpUnreachable)
	f(Depth, "went too deep", LocalGet(0), Call(1))
	f(Memory, "outside the 131072 bytes of memory", Place(0x7fffffff, 1))
}

// A view from before memory grew may be of the old memory; asking again gives
// the new one.
func TestMapGrows(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	// One page more, then the output from the new page's start: zeros, then 42.
	const grown = 2 * pageBytes
	m := Mapper(I32Const(1), MemoryGrow(), OpDrop, I32Const(grown+7), I64Const(42), I64Store(), Place(grown, 8))
	i := instance(t, w, load(t, e, "grows", m))
	before := w.Bytes()
	i.Input()[0] = 0xAB
	out, _, err := i.Map(context.Background(), 1)
	if err != nil || !bytes.Equal(out, []byte{0, 0, 0, 0, 0, 0, 0, 42}) {
		t.Fatalf("%x, %v", out, err)
	}
	if i.Pages() != 3 || w.Bytes() != before+pageBytes {
		t.Errorf("%d pages; %d bytes, were %d", i.Pages(), w.Bytes(), before)
	}
	if i.Input()[0] != 0xAB {
		t.Error("the buffer lost its bytes when memory grew")
	}
	if n := request(i); n == 0 {
		t.Error("the buffer cannot be written after memory grew")
	}
}

func TestMapAllocatesNothing(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	p := load(t, e, "echo@1", Echo())
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := testing.AllocsPerRun(200, func() {
		i, err := w.Instance(ctx, p)
		if err != nil {
			t.Fatal(err)
		}
		out, _, err := i.Map(ctx, request(i))
		if err != nil || len(out) == 0 || i.Fuel() == 0 || i.Pages() != 2 {
			t.Fatalf("%x, %v", out, err)
		}
	})
	if n != 0 {
		t.Errorf("%g allocations per call", n)
	}
}

func TestMapPanicsOnALongInput(t *testing.T) {
	e := openEngine(t, Config{})
	i := instance(t, newWorker(t, e), load(t, e, "echo@1", Echo()))
	defer func() {
		if recover() == nil {
			t.Error("an input longer than the buffer went through")
		}
	}()
	i.Map(context.Background(), BufferBytes+1)
}

func TestStartUp(t *testing.T) {
	e := openEngine(t, Config{})
	// It counts in memory: _initialize sets 1, the buffer adds 2, init adds the
	// configuration's first byte; the answer is the sum.
	const at = 65536
	load64 := Cat(I32Const(at), I64Load())
	add := func(code ...any) []byte { return Cat(I32Const(at), load64, Cat(code...), OpI64Add, I64Store()) }
	m := new(Builder)
	m.Memory(2, 2)
	m.Function("_initialize", "", "", 0, I32Const(at), I64Const(1), I64Store())
	m.Function("mapper_v1_buffer", "", "I", 0, add(I64Const(2)), Place(BufferAt, BufferBytes))
	m.Function("mapper_v1_init", "i", "i", 0, add(I32Const(BufferAt), I64Load8U()), LocalGet(0), I32Const(3), OpI32Ne) // length 3 or refuse
	m.Function("mapper_v1_map", "i", "I", 0, load64)
	m.Function("mapper_v1_raw_body", "ii", "I", 0, OpUnreachable)
	f := func(config string) (*Instance, error) {
		p, err := e.Load(context.Background(), Module{Name: "m", Code: rewritten(t, m), Config: []byte(config), FuelPerCall: 1000})
		if err != nil {
			t.Fatal(err)
		}
		if !p.RawBody() || p.FuelPerCall() != 1000 {
			t.Errorf("raw body %t, %d units", p.RawBody(), p.FuelPerCall())
		}
		return newWorker(t, e).Instance(context.Background(), p)
	}
	i, err := f("\x10..")
	if err != nil {
		t.Fatal(err)
	}
	if _, code, err := i.Map(context.Background(), 0); err != nil || code != 1+2+16 {
		t.Errorf("%d, %v; want 19", code, err)
	}
	if left := i.InitFuelLeft(); left <= 0 || left >= rewrite.Default().FuelInit {
		t.Errorf("%d units left of %d", left, rewrite.Default().FuelInit)
	}
	_, err = f("four")
	wantBad(t, err, BadConfigValue, "refuses its configuration with code 1")
	_, err = f("")
	wantBad(t, err, BadConfigValue, "code 1")
	_, err = f(string(make([]byte, BufferBytes+1)))
	wantBad(t, err, BadConfigBytes, "has 32769 bytes and the module's buffer takes 32768")
}

// withBuffer is a mapper that drops everything and names this as its buffer.
func withBuffer(ptr, n uint32) *Builder {
	m := new(Builder)
	m.Memory(2, 2)
	m.Function("mapper_v1_buffer", "", "I", 0, Place(ptr, n))
	m.Function("mapper_v1_map", "i", "I", 0, I64Const(0))
	return m
}

func TestStartUpFails(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	edge := instance(t, w, load(t, e, "edge", withBuffer(2*pageBytes-16384, 16384)))
	if len(edge.Input()) != 16384 {
		t.Errorf("a buffer of %d bytes at the end of memory", len(edge.Input()))
	}
	before, bytes := w.Instances(), w.Bytes()
	start := func(m *Builder) error {
		t.Helper()
		p := load(t, e, "start", m)
		_, err := w.Instance(context.Background(), p)
		if p.Made() != 1 || w.Instances() != before || w.Bytes() != bytes {
			t.Errorf("%d made, %d kept, %d bytes", p.Made(), w.Instances(), w.Bytes())
		}
		if err := p.Close(context.Background()); err != nil || !p.freed {
			t.Errorf("closing: freed %t, %v", p.freed, err)
		}
		return err
	}
	wantBad(t, start(withBuffer(1024, 16383)), BadBuffer, "a buffer of 16383 bytes; at least 16384")
	wantBad(t, start(withBuffer(2*pageBytes-16383, 16384)), BadBuffer, "ends outside the 131072 bytes of memory")
	wantBad(t, start(withBuffer(0xffffffff, 0xffffffff)), BadBuffer, "ends outside")

	m := Mapper(I64Const(0))
	m.Function("_initialize", "", "", 0, Endless())
	wantTrap(t, start(m), Fuel, "in start-up, _initialize: the module ran out of fuel")
	m = Mapper(I64Const(0))
	m.Function("_initialize", "", "", 0, OpUnreachable)
	wantTrap(t, start(m), Crash, "in start-up, _initialize: the module crashed")
	m = Mapper(I64Const(0))
	m.Starting(Endless())
	wantTrap(t, start(m), Crash, "the module's start function crashed")
	m = Mapper(I64Const(0))
	m.Data(2*pageBytes-1, "ab")
	wantBad(t, start(m), BadStart, "out of bounds memory access")
}
