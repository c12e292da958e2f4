package wasm

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// calling is a mapper that calls one imported function with constants and gives
// its result as a code (plus 1000, so that success is told from a drop).
func calling(from, name, params, results string, args ...int64) *Builder {
	m := new(Builder)
	f := m.Imported(from, name, params, results)
	m.Memory(2, 2)
	var code []byte
	for i, a := range args {
		if params[i] == 'I' {
			code = append(code, I64Const(a)...)
		} else {
			code = append(code, I32Const(int32(a))...)
		}
	}
	code = append(code, Call(f)...)
	if results == "" {
		code = append(code, I32Const(0)...)
	}
	m.Complete(code, OpI64Extend, I64Const(1000), OpI64Add)
	return m
}

func TestWASI(t *testing.T) {
	e := openEngine(t, Config{})
	w := newWorker(t, e)
	const at = 70_000
	// f calls and gives the memory at 70,000 afterwards.
	f := func(want uint32, name, params string, args ...int64) []byte {
		t.Helper()
		i := instance(t, w, load(t, e, name, calling(wasiModule, name, params, "i", args...)))
		pieces, _ := i.memory.Read(at-100, 16) // two pieces, of 3 and 4 bytes
		for n, v := range []uint32{at - 200, 3, at - 190, 4} {
			binary.LittleEndian.PutUint32(pieces[4*n:], v)
		}
		if _, code, err := i.Map(context.Background(), 0); err != nil || code != want+1000 {
			t.Errorf("%s%v: %d, %v; want %d", name, args, int(code)-1000, err, want)
		}
		p, _ := i.memory.Read(at, 40)
		return bytes.Clone(p)
	}
	word := binary.LittleEndian.Uint32
	f(success, "args_sizes_get", "ii", at, at+4)
	f(badPlace, "environ_sizes_get", "ii", at, -1)
	f(success, "args_get", "ii", at, at)
	if p := f(success, "clock_time_get", "iIi", 0, 0, at); binary.LittleEndian.Uint64(p) != standstill {
		t.Errorf("the clock shows %x", p[:8])
	}
	f(badPlace, "clock_time_get", "iIi", 0, 0, 2*pageBytes-7)
	if p := f(success, "fd_write", "iiii", 2, at-100, 2, at); word(p) != 7 {
		t.Errorf("%d bytes written, want 7", word(p))
	}
	f(success, "fd_write", "iiii", 1, at-100, 0, at)
	f(badFile, "fd_write", "iiii", 3, at-100, 2, at)
	f(badPlace, "fd_write", "iiii", 1, -8, 2, at)
	f(badPlace, "fd_write", "iiii", 1, at-100, -1, at)
	f(badPlace, "fd_write", "iiii", 1, at-100, 2, -1)
	f(badFile, "fd_prestat_get", "ii", 3, at)
	f(badFile, "fd_close", "i", 1)
	f(badFile, "path_open", "iiiiiIIii", 3, 0, at, 1, 0, 0, 0, 0, at)
	one, two := f(success, "random_get", "ii", at, 8), f(success, "random_get", "ii", at, 8)
	if !bytes.Equal(one, two) || word(one) == 0 || word(one[8:]) != 0 {
		t.Errorf("%x and %x are not the same 8 bytes", one, two)
	}
	f(success, "random_get", "ii", at, 1024)
	f(invalid, "random_get", "ii", at, 1025)
	f(badPlace, "random_get", "ii", 2*pageBytes-1, 2)
	f(success, "poll_oneoff", "iiii", at-100, at, 1, at+36)
	if p := f(success, "poll_oneoff", "iiii", at-100, at, 1, at+36); word(p) != at-200 || word(p[36:]) != 1 {
		t.Errorf("poll gives %x", p)
	}
	f(invalid, "poll_oneoff", "iiii", at, at, 0, at)
	f(invalid, "poll_oneoff", "iiii", at, at, -1, at)
	f(badPlace, "poll_oneoff", "iiii", at, -1, 1, at)
	f(success, "sched_yield", "")

	p := load(t, e, "exit", calling(wasiModule, "proc_exit", "i", "", 7))
	_, _, err := instance(t, w, p).Map(context.Background(), 0)
	wantTrap(t, err, Crash, "the module ended itself with exit code 7")
}

// Every function that is provided can be bound with the types that the check
// compares against.
func TestWASIBindsAll(t *testing.T) {
	e := openEngine(t, Config{})
	m := new(Builder)
	for from, functions := range hostFunctions {
		for name, h := range functions {
			letters := func(types []byte) (s string) {
				for _, t := range types {
					s += map[byte]string{i32: "i", i64: "I"}[t]
				}
				return s
			}
			m.Imported(from, name, letters(h.params), letters(h.results))
		}
	}
	m.Memory(2, 2)
	m.Complete(I64Const(5))
	code, _, err := rewrite.Rewrite(m.Bytes(), rewrite.Default())
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Load(context.Background(), Module{Name: "all", Code: code, FuelPerCall: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if _, code, err := instance(t, newWorker(t, e), p).Map(context.Background(), 0); code != 5 || err != nil {
		t.Errorf("%d, %v", code, err)
	}
}

func TestLog(t *testing.T) {
	var lines []string
	e := openEngine(t, Config{Log: func(module string, level int32, text []byte) {
		lines = append(lines, fmt.Sprintf("%s %d %d %.5s", module, level, len(text), text))
	}})
	w := newWorker(t, e)
	run := func(m *Builder, times int) []string {
		t.Helper()
		lines = nil
		p := load(t, e, "m@1", m)
		for range times {
			if _, _, err := instance(t, w, p).Map(context.Background(), 0); err != nil {
				t.Fatal(err)
			}
		}
		return lines
	}
	f := func(m *Builder, want string) {
		t.Helper()
		if got := strings.Join(run(m, 1), "; "); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	m := calling("mapper_v1", "log", "iii", "", 3, 70_000, 5)
	m.Data(70_000, "hello, world")
	f(m, "m@1 3 5 hello")
	f(calling("mapper_v1", "log", "iii", "", 3, 2*pageBytes-1, 2), "")
	m = calling("mapper_v1", "log", "iii", "", 0, 70_000, 50_000)
	f(m, "m@1 0 1024 \x00\x00\x00\x00\x00")
	m = calling(wasiModule, "fd_write", "iiii", "i", 2, 70_000, 2, 70_100)
	m.Data(70_000, string(Cat([]byte{20, 0x12, 1, 0, 3, 0, 0, 0}, []byte{20, 0x12, 1, 0, 0x10, 0x27, 0, 0}))) // 3 and 10,000 bytes at 70,164
	m.Data(70_164, "panic: oh")
	f(m, "m@1 2 1024 panpa")

	m = new(Builder)
	log := m.Imported("mapper_v1", "log", "iii", "")
	m.Memory(2, 2)
	m.Complete(Repeat(LogLinesMax+5, I32Const(0), I32Const(70_000), I32Const(1), Call(log)), I64Const(0))
	if n := len(run(m, 2)); n != 2*LogLinesMax {
		t.Errorf("%d lines of two calls, want %d", n, 2*LogLinesMax)
	}
}

// What the host does for a module is paid for in fuel, logged or not.
func TestHostWorkCostsFuel(t *testing.T) {
	used := func(c Config, m *Builder) int64 {
		t.Helper()
		e := openEngine(t, c)
		i := instance(t, newWorker(t, e), load(t, e, "m", m))
		_, _, err := i.Map(context.Background(), 0)
		if err != nil {
			t.Fatal(err)
		}
		return i.Fuel()
	}
	log := func(n int64) *Builder { return calling("mapper_v1", "log", "iii", "", 0, 70_000, n) }
	sink := Config{Log: func(string, int32, []byte) {}}
	if a, b := used(Config{}, log(1000)), used(sink, log(1000)); a != b || a != used(sink, log(0))+1000 {
		t.Errorf("1,000 bytes cost %d units without a sink, %d with one, none %d", a, b, used(sink, log(0)))
	}
	write := func(n int64) *Builder { return calling(wasiModule, "fd_write", "iiii", "i", 1, 70_000, n, 60_000) }
	if a, b := used(Config{}, write(4000)), used(Config{}, write(0)); a != b+4000*itemFuel {
		t.Errorf("4,000 pieces cost %d units, none %d", a, b)
	}
	e := openEngine(t, Config{})
	p, err := e.Load(context.Background(), Module{Name: "m", Code: rewritten(t, write(4000)), FuelPerCall: 1000})
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = instance(t, newWorker(t, e), p).Map(context.Background(), 0)
	wantTrap(t, err, Fuel, "ran out of fuel")

	// The start function, when nobody knows the counter yet.
	m := new(Builder)
	f := m.Imported("mapper_v1", "log", "iii", "")
	m.Memory(2, 2)
	m.Complete(I64Const(0))
	m.Starting(I32Const(0), I32Const(0), I32Const(1000), Call(f))
	if i := instance(t, newWorker(t, e), load(t, e, "start", m)); i.InitFuelLeft() > rewrite.Default().FuelInit-1000 {
		t.Errorf("%d units left after a start function that logged 1,000 bytes", i.InitFuelLeft())
	}
}
