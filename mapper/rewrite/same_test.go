package rewrite_test

import (
	"context"
	"slices"
	"testing"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// pair is a module as it was and rewritten.
type pair struct{ plain, counted api.Module }

// both instantiates a module and its rewritten form, each in a runtime of its
// own with the host functions that tests import.
func both(t testing.TB, code []byte) (p pair, err error) {
	t.Helper()
	out, _ := mustRewrite(t, code, rewrite.Default())
	plain, counted := newRuntime(t, 256), newRuntime(t, 256)
	for _, r := range []wazero.Runtime{plain, counted} {
		_, err := r.NewHostModuleBuilder("host").NewFunctionBuilder().
			WithGoFunction(api.GoFunc(func(_ context.Context, stack []uint64) { stack[0] = stack[0]*3 + 1 }),
				[]api.ValueType{api.ValueTypeI32}, []api.ValueType{api.ValueTypeI32}).Export("triple").Instantiate(context.Background())
		if err != nil {
			t.Fatal(err)
		}
	}
	if p.plain, err = instantiate(plain, code); err != nil {
		return p, err
	}
	if p.counted, err = instantiate(counted, out); err != nil {
		t.Errorf("the original compiles, the rewritten module does not: %v", err)
	}
	return p, err
}

// wantSame: the rewritten module gives the original's results, memory and traps,
// the depth is level again after a call, and fuel was taken.
func wantSame(t *testing.T, name string, b build, calls ...[]uint64) {
	t.Helper()
	p, err := both(t, b.bytes())
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if len(calls) == 0 {
		calls = [][]uint64{nil}
	}
	for _, args := range calls {
		want, got := call(p.plain, "f", args...), count(p.counted, fuelPerCall, "f", args...)
		if got.trap != want.trap || !slices.Equal(got.results, want.results) {
			t.Errorf("%s %v: %v %q, the original %v %q", name, args, got.results, got.trap, want.results, want.trap)
		}
		if got.trap == "" && got.depth != int64(rewrite.Default().DepthMax) {
			t.Errorf("%s %v: depth %d afterwards", name, args, got.depth)
		}
		if got.fuel <= 0 {
			t.Errorf("%s %v: took %d units", name, args, got.fuel)
		}
		if diff := sameMemory(p.plain, p.counted); diff != "" {
			t.Errorf("%s %v: memory: %s", name, args, diff)
		}
	}
}

// Arguments of most functions here, and one that is called and calls nothing.
var (
	numbers = [][]uint64{{0}, {1}, {2}, {3}, {7}, {1 << 31}}
	leaf    = fn{params: "i", results: "i", code: LocalGet(0)}
)

// with is a module whose f calls another function first, so that it keeps count
// of depth, then runs code.
func with(results string, code ...any) build {
	return build{fns: []fn{{params: "i", results: results, name: "f", locals: Locals(Group(2, I32)),
		code: Cat(LocalGet(0), Call(1), OpDrop, Cat(code...))}, leaf}}
}

// TestSameBranches: blocks, branches and ways out of a function.
func TestSameBranches(t *testing.T) {
	wantSame(t, "br_table", with("i", Block(NoResult, Block(NoResult, Block(NoResult, LocalGet(0), BrTable(0, 1, 2, 0)), I32Const(10), OpReturn), I32Const(20), OpReturn), I32Const(30)), numbers...)
	wantSame(t, "br_table to the function", with("i", Block(I32, I32Const(5), LocalGet(0), BrTable(0, 1, 1)), I32Const(100), OpI32Add), numbers...)
	wantSame(t, "br to the function", with("i", Block(NoResult, Loop(NoResult, LocalGet(0), I32Const(9), OpI32Add, Br(2))), I32Const(1)), numbers...)
	wantSame(t, "br_if with a value", with("i", Block(I32, I32Const(4), LocalGet(0), BrIf(0), OpDrop, I32Const(6)), LocalGet(0), OpI32Add), numbers...)
	wantSame(t, "br_if to the function", with("i", I32Const(4), LocalGet(0), BrIf(0), OpDrop, I32Const(6)), numbers...)
	wantSame(t, "return in a loop", with("i", Loop(NoResult, LocalGet(0), I32Const(1), OpI32Sub, LocalTee(0), I32Const(5), OpI32LtS, If(NoResult, Cat(LocalGet(0), OpReturn), nil), Br(0)), I32Const(0)), [][]uint64{{0}, {9}, {100}}...)
	wantSame(t, "return in depth, two results", with("ii", Block(NoResult, Block(NoResult, when2(LocalGet(0), Cat(LocalGet(0), I32Const(8), OpReturn)))), I32Const(1), I32Const(2)), numbers...)
	wantSame(t, "return above other values", with("i", I32Const(77), I32Const(88), LocalGet(0), OpIf, NoResult, LocalGet(0), OpReturn, OpEnd, OpI32Add), numbers...)
	wantSame(t, "if and else with results", with("i", LocalGet(0), If(I32, I32Const(3), I32Const(4))), numbers...)
	wantSame(t, "three results of mixed types", with("iIF", LocalGet(0), I64Const(5), 0x44, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f), numbers...)
	wantSame(t, "unreachable code", with("i", LocalGet(0), OpReturn, I32Const(1), OpI32Add, OpDrop, Br(0)), numbers...)
	wantSame(t, "trap of its own", with("i", LocalGet(0), OpI32Eqz, OpIf, NoResult, OpUnreachable, OpEnd, I32Const(10), LocalGet(0), OpI32DivS), numbers...)
	wantSame(t, "out of bounds", with("i", LocalGet(0), I32Load()), numbers...)
	wantSame(t, "nested loops", with("i", Loop(NoResult, I32Const(5), LocalSet(1), Loop(NoResult, LocalGet(2), LocalGet(1), OpI32Add, LocalSet(2), LocalGet(1), I32Const(1), OpI32Sub, LocalTee(1), BrIf(0)),
		LocalGet(0), I32Const(1), OpI32Sub, LocalTee(0), I32Const(0), OpI32GtS, BrIf(0)), LocalGet(2)), numbers[:5]...)
	wantSame(t, "continue the outer loop", with("i", Loop(NoResult, LocalGet(0), I32Const(1), OpI32Add, LocalTee(0), I32Const(50), OpI32LtS, OpIf, NoResult,
		Loop(NoResult, LocalGet(0), I32Const(3), OpI32RemS, BrIf(2), LocalGet(2), I32Const(1), OpI32Add, LocalSet(2)), Br(1), OpEnd), LocalGet(2)), numbers[:5]...)
}

// TestSameCalls: parameters and results, calls, globals.
func TestSameCalls(t *testing.T) {
	wantSame(t, "loop with parameters", build{extra: []fn{leaf}, fns: []fn{{params: "i", results: "i", name: "f", locals: Locals(Group(1, I32)),
		code: Cat(LocalGet(0), OpLoop, 0, I32Const(7), OpI32Add, LocalTee(1), LocalGet(1), I32Const(100), OpI32LtS, BrIf(0), OpEnd)}}}, numbers[:5]...)
	wantSame(t, "block with parameters and two results", build{extra: []fn{{params: "i", results: "ii"}}, fns: []fn{{params: "i", results: "ii", name: "f",
		code: Cat(LocalGet(0), OpBlock, 0, I32Const(3), LocalGet(0), BrIf(0), OpI32Add, I32Const(9), OpEnd, Call(1))}, leaf}}, numbers...)
	wantSame(t, "factorial", build{fns: []fn{{params: "i", results: "i", name: "f",
		code: Cat(LocalGet(0), If(I32, Cat(LocalGet(0), LocalGet(0), I32Const(1), OpI32Sub, Call(0), OpI32Mul), I32Const(1)))}}}, [][]uint64{{0}, {5}, {12}, {300}}...)
	wantSame(t, "recursion that returns early, four results", build{fns: []fn{{params: "i", results: "iIIi", name: "f",
		code: Cat(LocalGet(0), OpI32Eqz, OpIf, NoResult, I32Const(1), I64Const(2), I64Const(3), I32Const(4), OpReturn, OpEnd, LocalGet(0), I32Const(1), OpI32Sub, Call(0))}}}, [][]uint64{{0}, {40}}...)
	wantSame(t, "call_indirect", build{extra: []fn{leaf}, fns: []fn{{params: "i", results: "i", name: "f", code: Cat(I32Const(6), LocalGet(0), CallIndirect(0))},
		{params: "i", results: "i", code: Cat(LocalGet(0), I32Const(1), OpI32Add)}, {params: "i", results: "i", code: Cat(LocalGet(0), LocalGet(0), OpI32Mul)}, {}},
		table: Cat(0x70, 0, 4), elements: Cat(1, 2, 3)}, numbers...)
	wantSame(t, "imported function", build{imports: []fn{{name: "triple", params: "i", results: "i"}}, fns: []fn{{params: "i", results: "i", name: "f",
		code: Cat(LocalGet(0), Call(0), Call(0))}}}, numbers...)
	wantSame(t, "globals", build{globals: [][]byte{Cat(I32, 1, I32Const(5), OpEnd), Cat(I64, 0, I64Const(1<<40), OpEnd)}, fns: []fn{{params: "i", results: "iI", name: "f",
		code: Cat(GlobalGet(0), LocalGet(0), OpI32Add, GlobalSet(0), GlobalGet(0), GlobalGet(1))}}}, numbers...)
}

// TestSameMemory: bulk instructions, growth, a start function.
func TestSameMemory(t *testing.T) {
	wantSame(t, "memory.fill", with("i", I32Const(100), LocalGet(0), I32Const(50), MemoryFill(), I32Const(120), I32Load8U()), numbers...)
	wantSame(t, "memory.fill of any length", with("i", I32Const(100), I32Const(1), LocalGet(0), MemoryFill(), I32Const(100), I32Load8U()), [][]uint64{{0}, {1}, {65436}, {65437}}...)
	wantSame(t, "memory.copy over itself", with("i", I32Const(10), I32Const(1), I32Const(99), MemoryFill(), I32Const(14), I32Const(8), LocalGet(0), MemoryCopy(), I32Const(16), I32Load8U()), numbers[:5]...)
	wantSame(t, "memory.init and data.drop", build{count: true, data: [][]byte{Cat(1, "abcdefgh")}, fns: []fn{{params: "i", results: "i", name: "f",
		code: Cat(I32Const(4), I32Const(1), LocalGet(0), MemoryInit(0), DataDrop(0), I32Const(4), I32Load8U())}}}, [][]uint64{{3}, {0}, {1}}...)
	wantSame(t, "bulk in a loop", with("i", I32Const(5), LocalSet(1), Loop(NoResult, LocalGet(1), I32Const(100), OpI32Mul, LocalGet(1), LocalGet(0), I32Const(255), OpI32And, MemoryFill(),
		LocalGet(1), I32Const(1), OpI32Sub, LocalTee(1), BrIf(0)), I32Const(300), I32Load8U()), numbers...)
	wantSame(t, "memory.grow", with("i", LocalGet(0), MemoryGrow(), MemorySize(), OpI32Add), numbers...)
	wantSame(t, "a start function", build{start: Cat(1), fns: []fn{{params: "i", results: "i", name: "f", code: Cat(I32Const(8), I32Load())},
		{code: Cat(I32Const(8), I32Const(42), I32Store())}}}, numbers[:1]...)
	wantSame(t, "a vector", build{fns: []fn{{params: "i", results: "i", name: "f", code: Cat(LocalGet(0), 0xfd, 17, 0xfd, 12, Repeat(16, 3),
		Cat(0xfd, 0xae, 1), 0xfd, 0xa1, 1, 0xfd, 27, 2)}}}, numbers...)
	wantSame(t, "no locals, no results", build{fns: []fn{{name: "f", code: Cat(OpNop)}}})
}

// when2 is an if without results after its condition.
func when2(condition, then []byte) []byte { return Cat(condition, If(NoResult, then, nil)) }

// TestTariff: what is taken is what the tariff says, to the unit.
func TestTariff(t *testing.T) {
	f := func(name string, want int64, b build, args ...uint64) {
		t.Helper()
		out, _ := mustRewrite(t, b.bytes(), rewrite.Default())
		r := newRuntime(t, 256)
		_, err := r.NewHostModuleBuilder("host").NewFunctionBuilder().WithFunc(func() {}).Export("work").Instantiate(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		m, err := instantiate(r, out)
		if err != nil {
			t.Fatal(err)
		}
		if got := count(m, fuelPerCall, "f", args...); got.fuel != want || got.trap != "" {
			t.Errorf("%s: %d units %q, want %d", name, got.fuel, got.trap, want)
		}
		// One unit less than it takes is too little, exactly as much is enough.
		if got := count(m, want-1, "f", args...); got.trap != "fuel" {
			t.Errorf("%s: not ended with %d units: %q", name, want-1, got.trap)
		}
		if got := count(m, want, "f", args...); got.trap != "" {
			t.Errorf("%s: ended by %q with all of its %d units", name, got.trap, want)
		}
	}
	f("empty", 1, one("", "", nil))
	f("four instructions and end", 5, one("", "", nil, Repeat(4, OpNop)))
	f("an arm that is not taken", 1+1+3+1+1, one("", "", nil, I32Const(0), If(NoResult, Repeat(3, OpNop), nil)))
	f("nine locals", 1+2, one("", "", Locals(Group(9, I64))))
	f("slow instructions", 7+4*rewrite.SlowFuel, one("", "", nil, I32Const(8), I32Load(), I32Const(7), OpI32DivS, I32Const(3), OpI32RemU, OpDrop, 0x44, 0, 0, 0, 0, 0, 0, 0, 0, OpF64Sqrt, OpDrop))
	f("an imported function", rewrite.ImportFuel+1+1, build{imports: []fn{{name: "work"}}, fns: []fn{{name: "f", code: Call(0)}}})
	f("a function of its own", 1+1+3, build{fns: []fn{{name: "f", code: Call(1)}, {code: Repeat(2, OpNop)}}})
	f("five turns", 1+1+5*6, one("i", "", nil, Loop(NoResult, LocalGet(0), I32Const(1), OpI32Sub, LocalTee(0), BrIf(0))), 5)
	f("memory.grow", rewrite.GrowFuel+4, one("", "", nil, I32Const(1), MemoryGrow(), OpDrop))
	f("memory.grow that is not reached", 1+1+3+1+1, one("", "", nil, I32Const(0), If(NoResult, Cat(I32Const(1), MemoryGrow(), OpDrop), nil)))
	f("memory.fill", 4+rewrite.SlowFuel+1000, one("", "", nil, I32Const(0), I32Const(1), I32Const(1000), MemoryFill()))
}
