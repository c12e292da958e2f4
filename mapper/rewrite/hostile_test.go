package rewrite_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// hostileFuel is the largest budget of a call in the standard tier.
const hostileFuel = 10_000_000

// TestHostileRuns: what passes the caps and would run for ever, or for long, is
// ended by its counters, and they say which of them it was.
func TestHostileRuns(t *testing.T) {
	f := func(name, want string, b build) {
		t.Helper()
		out, _ := mustRewrite(t, b.bytes(), rewrite.Default())
		m := mustRun(t, out)
		began := time.Now()
		got := count(m, hostileFuel, "f")
		t.Logf("%-28s ended by %s after %s, %d units", name, got.trap, time.Since(began).Round(time.Microsecond), got.fuel)
		if got.trap != want {
			t.Errorf("%s: ended by %q, want %q", name, got.trap, want)
		}
		if want == "fuel" && got.fuel <= hostileFuel {
			t.Errorf("%s: %d units, not all", name, got.fuel)
		}
	}
	f("endless loop", "fuel", one("", "", nil, Loop(NoResult, Br(0))))
	f("endless loop of two", "fuel", one("", "", nil, Loop(NoResult, Loop(NoResult, I32Const(1), BrIf(1)), Br(0))))
	f("loop through br_table", "fuel", one("", "", nil, Loop(NoResult, I32Const(7), BrTable(0, 0))))
	f("loop with values", "fuel", build{extra: []fn{{params: "i", results: "i"}},
		fns: []fn{{name: "f", code: Cat(I32Const(1), OpLoop, 0, I32Const(1), OpI32Add, Br(0), OpEnd, OpDrop)}}})
	f("recursion", "depth", one("", "", nil, Call(0)))
	f("recursion through the table", "depth", build{extra: []fn{{}}, fns: []fn{{name: "f", code: Cat(I32Const(0), CallIndirect(0))}},
		table: Cat(0x70, 0, 1), elements: Cat(0)})
	f("recursion, 500 locals", "depth", one("", "", Locals(Group(500, I64)), set500(), Call(0)))
	f("recursion, 500 operands", "depth", build{globals: [][]byte{Cat(I32, 1, I32Const(1), OpEnd)},
		fns: []fn{{name: "f", code: Cat(Repeat(500, GlobalGet(0)), Call(0), Repeat(499, OpI32Add), OpDrop)}}})
	f("two that call each other", "depth", build{fns: []fn{{name: "f", code: Call(1)}, {code: Call(0)}}})
	f("call tree of 2^40", "fuel", callTree(40))
	f("memory.grow", "fuel", one("", "", nil, Loop(NoResult, I32Const(1), MemoryGrow(), OpDrop, Br(0))))
	f("memory.grow of nothing", "fuel", one("", "", nil, Loop(NoResult, I32Const(0), MemoryGrow(), OpDrop, Br(0))))
	big := Cat(1, 64, 0x80, 2)
	f("memory.fill of 4 MiB", "fuel", withMemory(big, one("", "", nil, Loop(NoResult, I32Const(0), I32Const(1), I32Const(4<<20), MemoryFill(), Br(0)))))
	f("memory.copy of 4 MiB", "fuel", withMemory(big, one("", "", nil, Loop(NoResult, I32Const(0), I32Const(1), I32Const(4<<20-1), MemoryCopy(), Br(0)))))
	f("memory.copy of 1 KiB", "fuel", withMemory(big, one("", "", nil, Loop(NoResult, I32Const(0), I32Const(1), I32Const(1<<10), MemoryCopy(), Br(0)))))
	f("memory.copy of nothing", "fuel", withMemory(big, one("", "", nil, Loop(NoResult, Repeat(500, I32Const(0), I32Const(1), I32Const(0), MemoryCopy()), Br(0)))))
	f("memory.fill of 2^32-1", "fuel", one("", "", nil, I32Const(0), I32Const(1), I32Const(-1), MemoryFill()))
	f("memory.fill of 2^31", "fuel", one("", "", nil, I32Const(0), I32Const(1), I32Const(-1<<31), MemoryFill()))
	f("divisions", "fuel", one("", "", Locals(Group(1, I64)), I64Const(1<<62), LocalSet(0), Loop(NoResult, LocalGet(0), Repeat(1000, I64Const(1), OpI64DivS), OpDrop, Br(0))))
	f("square roots", "fuel", one("", "", Locals(Group(1, F64)), Loop(NoResult, LocalGet(0), Repeat(1000, OpF64Sqrt), LocalSet(0), Br(0))))
	f("loads one after another", "fuel", withMemory(big, one("", "", Locals(Group(1, I32)), chase())))
}

// set500 writes every local so that each is kept in the frame across the call.
func set500() []byte {
	var b []byte
	for i := range 500 {
		b = Cat(b, I64Const(int64(i)), LocalSet(i))
	}
	return b
}

func withMemory(limits []byte, b build) build {
	b.memory = limits
	return b
}

// callTree has n functions that call the next one twice, and no loop.
func callTree(n int) build {
	b := build{}
	for i := range n {
		b.fns = append(b.fns, fn{code: Cat(Call(i+1), Call(i+1))})
	}
	b.fns = append(b.fns, fn{code: Cat(OpNop)})
	b.fns[0].name = "f"
	return b
}

// chase makes a ring of addresses far apart in 4 MiB, then follows it for ever.
func chase() []byte {
	const lines, stride = 4 << 20 / 64, 40503 // odd: passes every line
	next := Cat(LocalGet(0), I32Const(stride), OpI32Add, I32Const(lines-1), OpI32And)
	build := Loop(NoResult, LocalGet(0), I32Const(64), OpI32Mul, next, I32Const(64), OpI32Mul, I32Store(), next, LocalTee(0), BrIf(0))
	return Cat(build, Loop(NoResult, LocalGet(0), Repeat(1000, I32Load()), LocalSet(0), Br(0)))
}

// TestHostileStart: a start function and an initialisation that do not end are
// ended by the counters' initial values, before anyone can set them.
func TestHostileStart(t *testing.T) {
	b := one("", "", nil, Loop(NoResult, Br(0)))
	b.start = Cat(0)
	l := rewrite.Default()
	l.FuelInit = 1_000_000
	out, info := mustRewrite(t, b.bytes(), l)
	if !info.Start {
		t.Error("the start function is not told")
	}
	if _, err := instantiate(newRuntime(t, 256), out); err == nil || trapOf(err) != "wasm error: unreachable" && trapOf(err) != "unreachable" {
		t.Errorf("the endless start function was not ended: %v", err)
	}
}

// TestHostileRefused: what would hurt before it runs, or what a counter cannot hold.
func TestHostileRefused(t *testing.T) {
	f := func(name, code string, b build) {
		t.Helper()
		refused(t, name, code, b.bytes())
	}
	loops := func(n int) []byte { return Repeat(n, Loop(NoResult)) }
	f("table.grow loop", rewrite.RefuseTableChange, build{table: Cat(0x70, 0, 1),
		fns: []fn{{name: "f", code: Loop(NoResult, 0xd0, 0x70, I32Const(1000), TableGrow(), OpDrop, Br(0))}}})
	f("a table of 2^27-1", rewrite.RefuseTableEntries, build{table: Cat(0x70, 0, Uleb(1<<27-1)), fns: []fn{{}}})
	f("50,000 locals", rewrite.RefuseLocals, one("", "", Locals(Group(50000, I64))))
	f("2^32-1 locals, many times", rewrite.RefuseLocals, one("", "", Cat(100, Repeat(100, Uleb(1<<32-1), I64))))
	f("500 locals and 100 loops", rewrite.RefuseLocalsTimesLoops, one("", "", Locals(Group(500, I64)), loops(100)))
	f("20,000 loops one after another", rewrite.RefuseLoops, one("", "", nil, loops(20000)))
	f("20,000 loops inside one another", rewrite.RefuseLoops, one("", "", nil, Repeat(20000, OpLoop, NoResult), Repeat(20000, OpEnd)))
	f("20,000 blocks inside one another", rewrite.RefuseNesting, one("", "", nil, Repeat(20000, OpBlock, NoResult), Repeat(20000, OpEnd)))
	f("13,000 ifs", rewrite.RefuseBlocks, one("", "", nil, Repeat(13000, I32Const(1), OpIf, NoResult, OpEnd)))
	f("a br_table of a million", rewrite.RefuseBodyBytes, one("", "", nil, I32Const(0), BrTable(make([]int, 1_000_000)...)))
	f("a br_table of 60,000", rewrite.RefuseBranchTargets, one("", "", nil, I32Const(0), BrTable(make([]int, 60_000)...)))
	f("a million adds", rewrite.RefuseBodyBytes, one("", "", nil, I32Const(0), Repeat(1_000_000, I32Const(1), OpI32Add), OpDrop))
	f("200,000 live values", rewrite.RefuseBodyBytes, one("", "", nil, Repeat(200_000, I32Const(1)), Repeat(200_000, OpDrop)))
	f("20,000 live values", rewrite.RefuseOperands, one("", "", nil, Repeat(20_000, I32Const(1)), Repeat(20_000, OpDrop)))
	f("live vectors", rewrite.RefuseOperands, one("", "", nil, Repeat(2000, 0xfd, 12, make([]byte, 16)), Repeat(2000, OpDrop)))
	f("a million functions", rewrite.RefuseFunctions, manyFunctions(9000))
	f("a 5 MB custom section", rewrite.RefuseModuleBytes, build{custom: make([]byte, 5<<20), fns: []fn{{}}})
	f("a thousand results", rewrite.RefuseResults, build{extra: []fn{{results: strings.Repeat("i", 1000)}}})
	f("the fuel global by its future number", rewrite.RefuseUnknownIndex, one("", "", nil, I64Const(1<<60), GlobalSet(0)))
	f("the depth global by its future number", rewrite.RefuseUnknownIndex, one("", "", nil, I32Const(1<<30), GlobalSet(1)))
	f("the counter's local by its future number", rewrite.RefuseUnknownIndex, one("", "", nil, I64Const(0), LocalSet(0)))
	f("an export of the fuel global", rewrite.RefuseUnknownIndex, build{fns: []fn{{}}, exports: [][]byte{Cat("x", 3, 0)}})
	f("an export named like the fuel global", rewrite.RefuseReservedName, build{fns: []fn{{name: rewrite.FuelExport}}})
	f("an export named like the depth global", rewrite.RefuseReservedName, build{fns: []fn{{name: rewrite.DepthExport}}})
	f("a vector opcode with a spare byte", rewrite.RefuseUnsupported, one("", "", nil, Loop(NoResult, 0xfd, 0xa0, 0, Br(0))))
	f("a bulk opcode with a spare byte", rewrite.RefuseUnsupported, one("", "", nil, I32Const(0), I32Const(0), I32Const(0), 0xfc, 0x8b, 0, 0))
	f("a 4 GiB memory", rewrite.RefuseMemoryPages, withMemory(Cat(0, Uleb(65536)), one("", "", nil)))
	f("an atomic", rewrite.RefuseUnsupported, one("", "", nil, 0xfe, 0x03, 0))
	f("a tail call", rewrite.RefuseUnsupported, one("", "", nil, 0x12, 0))
	f("an exception", rewrite.RefuseUnsupported, one("", "", nil, 0x08, 0))
	f("memory64", rewrite.RefuseUnsupported, withMemory(Cat(4, 1), one("", "", nil)))
	f("shared memory", rewrite.RefuseUnsupported, withMemory(Cat(3, 1, 1), one("", "", nil)))
	f("a load from a second memory", rewrite.RefuseMalformed, one("", "", nil, I32Const(0), 0x28, 0x42, 1, 0, OpDrop))
	f("an imported function behind an address", rewrite.RefuseImportPointer, build{imports: []fn{{name: "slow"}},
		fns: []fn{{name: "f"}}, table: Cat(0x70, 0, 1), elements: Cat(0)})
}

// manyFunctions all have one type.
func manyFunctions(n int) build {
	b := build{extra: []fn{{}}, shared: n}
	return b
}

func refused(t *testing.T, name, code string, module []byte) {
	t.Helper()
	out, _, err := rewrite.Rewrite(module, rewrite.Default())
	var refusal *rewrite.Refusal
	if !errors.As(err, &refusal) {
		t.Errorf("%s: not refused", name)
		return
	}
	if refusal.Code != code || out != nil {
		t.Errorf("%s: refused as %s (%s), want %s", name, refusal.Code, refusal.Text, code)
	}
}

// TestLimitsWritten: whatever a module declares, the output has a maximum.
func TestLimitsWritten(t *testing.T) {
	f := func(limits []byte, pages, want uint32) {
		t.Helper()
		b := withMemory(limits, one("i", "i", nil, LocalGet(0), MemoryGrow()))
		out, info := mustRewrite(t, b.bytes(), rewrite.Default())
		if info.MemoryPages != pages || info.MemoryPagesMax != want {
			t.Errorf("limits %v: %d to %d pages, want %d to %d", limits, info.MemoryPages, info.MemoryPagesMax, pages, want)
		}
		ctx := context.Background()
		compiled, err := newRuntime(t, 65536).CompileModule(ctx, out)
		if err != nil {
			t.Fatal(err)
		}
		if most, ok := compiled.ExportedMemories()["memory"].Max(); !ok || most != want {
			t.Errorf("limits %v: the output's maximum is %d, %v", limits, most, ok)
		}
	}
	f(Cat(0, 1), 1, 256)
	f(Cat(1, 1, 3), 1, 3)
	f(Cat(0, 0), 0, 256)
	f(Cat(1, 0, 0), 0, 0)
	f(Cat(1, 64, Uleb(65536)), 64, 256)
	f(Cat(1, 64, Uleb(300)), 64, 256)
}
