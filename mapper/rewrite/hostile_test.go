package rewrite_test

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"
	"time"

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
	f("endless loop", "fuel", one(nil, nil, nil, loop(none, br(0))))
	f("endless loop of two", "fuel", one(nil, nil, nil, loop(none, loop(none, i32c(1), brIf(1)), br(0))))
	f("loop through br_table", "fuel", one(nil, nil, nil, loop(none, i32c(7), brTable(0, 0))))
	f("loop with values", "fuel", build{extra: []fn{{params: types(i32), results: types(i32)}},
		fns: []fn{{name: "f", code: join(i32c(1), op(0x03, 0), i32c(1), add, br(0), end, drop)}}})
	f("recursion", "depth", one(nil, nil, nil, invoke(0)))
	f("recursion through the table", "depth", build{extra: []fn{{}}, fns: []fn{{name: "f", code: join(i32c(0), invokeTable(0))}},
		table: op(0x70, 0, 1), elements: op(0)})
	f("recursion, 500 locals", "depth", one(nil, nil, op(1, 0xf4, 3, i64), set500(), invoke(0)))
	f("recursion, 500 operands", "depth", build{globals: [][]byte{join(op(i32, 1), i32c(1), end)},
		fns: []fn{{name: "f", code: join(repeat(500, gget(0)), invoke(0), repeat(499, add), drop)}}})
	f("two that call each other", "depth", build{fns: []fn{{name: "f", code: invoke(1)}, {code: invoke(0)}}})
	f("call tree of 2^40", "fuel", callTree(40))
	f("memory.grow", "fuel", one(nil, nil, nil, loop(none, i32c(1), grow, drop, br(0))))
	f("memory.grow of nothing", "fuel", one(nil, nil, nil, loop(none, i32c(0), grow, drop, br(0))))
	big := op(1, 64, 0x80, 2)
	f("memory.fill of 4 MiB", "fuel", withMemory(big, one(nil, nil, nil, loop(none, i32c(0), i32c(1), i32c(4<<20), fill, br(0)))))
	f("memory.copy of 4 MiB", "fuel", withMemory(big, one(nil, nil, nil, loop(none, i32c(0), i32c(1), i32c(4<<20-1), copyBytes, br(0)))))
	f("memory.copy of 1 KiB", "fuel", withMemory(big, one(nil, nil, nil, loop(none, i32c(0), i32c(1), i32c(1<<10), copyBytes, br(0)))))
	f("memory.copy of nothing", "fuel", withMemory(big, one(nil, nil, nil, loop(none, repeat(500, i32c(0), i32c(1), i32c(0), copyBytes), br(0)))))
	f("memory.fill of 2^32-1", "fuel", one(nil, nil, nil, i32c(0), i32c(1), i32c(-1), fill))
	f("memory.fill of 2^31", "fuel", one(nil, nil, nil, i32c(0), i32c(1), i32c(-1<<31), fill))
	f("divisions", "fuel", one(nil, nil, op(1, 1, i64), i64c(1<<62), set(0), loop(none, get(0), repeat(1000, i64c(1), op(0x7f)), drop, br(0))))
	f("square roots", "fuel", one(nil, nil, op(1, 1, f64), loop(none, get(0), repeat(1000, op(0x9f)), set(0), br(0))))
	f("loads one after another", "fuel", withMemory(big, one(nil, nil, op(1, 1, i32), chase())))
}

// set500 writes every local so that each is kept in the frame across the call.
func set500() []byte {
	var b []byte
	for i := range 500 {
		b = join(b, i64c(int64(i)), set(i))
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
		b.fns = append(b.fns, fn{code: join(invoke(i+1), invoke(i+1))})
	}
	b.fns = append(b.fns, fn{code: nop})
	b.fns[0].name = "f"
	return b
}

// chase makes a ring of addresses far apart in 4 MiB, then follows it for ever.
func chase() []byte {
	const lines, stride = 4 << 20 / 64, 40503 // odd: passes every line
	next := join(get(0), i32c(stride), add, i32c(lines-1), op(0x71))
	build := loop(none, get(0), i32c(64), mul, next, i32c(64), mul, store32, next, tee(0), brIf(0))
	return join(build, loop(none, get(0), repeat(1000, load32), set(0), br(0)))
}

// TestHostileStart: a start function and an initialisation that do not end are
// ended by the counters' initial values, before anyone can set them.
func TestHostileStart(t *testing.T) {
	b := one(nil, nil, nil, loop(none, br(0)))
	b.start = op(0)
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
	loops := func(n int) []byte { return repeat(n, loop(none)) }
	f("table.grow loop", rewrite.RefuseTableChange, build{table: op(0x70, 0, 1),
		fns: []fn{{name: "f", code: loop(none, op(0xd0, 0x70), i32c(1000), tableGrow, drop, br(0))}}})
	f("a table of 2^27-1", rewrite.RefuseTableEntries, build{table: append(op(0x70, 0), uleb(1<<27-1)...), fns: []fn{{}}})
	f("50,000 locals", rewrite.RefuseLocals, one(nil, nil, append(append(op(1), uleb(50000)...), i64)))
	f("2^32-1 locals, many times", rewrite.RefuseLocals, one(nil, nil, append(op(100), repeat(100, uleb(1<<32-1), op(i64))...)))
	f("500 locals and 100 loops", rewrite.RefuseLocalsTimesLoops, one(nil, nil, append(append(op(1), uleb(500)...), i64), loops(100)))
	f("20,000 loops one after another", rewrite.RefuseLoops, one(nil, nil, nil, loops(20000)))
	f("20,000 loops inside one another", rewrite.RefuseLoops, one(nil, nil, nil, repeat(20000, op(3, none)), repeat(20000, end)))
	f("20,000 blocks inside one another", rewrite.RefuseNesting, one(nil, nil, nil, repeat(20000, op(2, none)), repeat(20000, end)))
	f("13,000 ifs", rewrite.RefuseBlocks, one(nil, nil, nil, repeat(13000, i32c(1), op(4, none), end)))
	f("a br_table of a million", rewrite.RefuseBodyBytes, one(nil, nil, nil, i32c(0), brTable(make([]int, 1_000_000)...)))
	f("a br_table of 60,000", rewrite.RefuseBranchTargets, one(nil, nil, nil, i32c(0), brTable(make([]int, 60_000)...)))
	f("a million adds", rewrite.RefuseBodyBytes, one(nil, nil, nil, i32c(0), repeat(1_000_000, i32c(1), add), drop))
	f("200,000 live values", rewrite.RefuseBodyBytes, one(nil, nil, nil, repeat(200_000, i32c(1)), repeat(200_000, drop)))
	f("20,000 live values", rewrite.RefuseOperands, one(nil, nil, nil, repeat(20_000, i32c(1)), repeat(20_000, drop)))
	f("live vectors", rewrite.RefuseOperands, one(nil, nil, nil, repeat(2000, op(0xfd, 12), make([]byte, 16)), repeat(2000, drop)))
	f("a million functions", rewrite.RefuseFunctions, manyFunctions(9000))
	f("a 5 MB custom section", rewrite.RefuseModuleBytes, build{custom: make([]byte, 5<<20), fns: []fn{{}}})
	f("a thousand results", rewrite.RefuseResults, build{extra: []fn{{results: repeat(1000, op(i32))}}})
	f("the fuel global by its future number", rewrite.RefuseUnknownIndex, one(nil, nil, nil, i64c(1<<60), gset(0)))
	f("the depth global by its future number", rewrite.RefuseUnknownIndex, one(nil, nil, nil, i32c(1<<30), gset(1)))
	f("the counter's local by its future number", rewrite.RefuseUnknownIndex, one(nil, nil, nil, i64c(0), set(0)))
	f("an export of the fuel global", rewrite.RefuseUnknownIndex, build{fns: []fn{{}}, exports: [][]byte{join(text("x"), op(3, 0))}})
	f("an export named like the fuel global", rewrite.RefuseReservedName, build{fns: []fn{{name: rewrite.FuelExport}}})
	f("an export named like the depth global", rewrite.RefuseReservedName, build{fns: []fn{{name: rewrite.DepthExport}}})
	f("a vector opcode with a spare byte", rewrite.RefuseUnsupported, one(nil, nil, nil, loop(none, op(0xfd, 0xa0, 0), br(0))))
	f("a bulk opcode with a spare byte", rewrite.RefuseUnsupported, one(nil, nil, nil, i32c(0), i32c(0), i32c(0), op(0xfc, 0x8b, 0, 0)))
	f("a 4 GiB memory", rewrite.RefuseMemoryPages, withMemory(append(op(0), uleb(65536)...), one(nil, nil, nil)))
	f("an atomic", rewrite.RefuseUnsupported, one(nil, nil, nil, op(0xfe, 0x03, 0)))
	f("a tail call", rewrite.RefuseUnsupported, one(nil, nil, nil, op(0x12, 0)))
	f("an exception", rewrite.RefuseUnsupported, one(nil, nil, nil, op(0x08, 0)))
	f("memory64", rewrite.RefuseUnsupported, withMemory(op(4, 1), one(nil, nil, nil)))
	f("shared memory", rewrite.RefuseUnsupported, withMemory(op(3, 1, 1), one(nil, nil, nil)))
	f("a load from a second memory", rewrite.RefuseMalformed, one(nil, nil, nil, i32c(0), op(0x28, 0x42, 1, 0), drop))
	f("an imported function behind an address", rewrite.RefuseImportPointer, build{imports: []fn{{name: "slow"}},
		fns: []fn{{name: "f"}}, table: op(0x70, 0, 1), elements: op(0)})
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
		b := withMemory(limits, one(types(i32), types(i32), nil, get(0), grow))
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
	f(op(0, 1), 1, 256)
	f(op(1, 1, 3), 1, 3)
	f(op(0, 0), 0, 256)
	f(op(1, 0, 0), 0, 0)
	f(append(op(1, 64), uleb(65536)...), 64, 256)
	f(append(op(1, 64), binary.AppendUvarint(nil, 300)...), 64, 256)
}
