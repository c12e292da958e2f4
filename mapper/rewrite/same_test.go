package rewrite_test

import (
	"context"
	"slices"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

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

// TestSame: the rewritten module gives the original's results, memory, globals
// and traps, the depth is level again after a call, and fuel was taken.
func TestSame(t *testing.T) {
	f := func(name string, b build, calls ...[]uint64) {
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
	n := [][]uint64{{0}, {1}, {2}, {3}, {7}, {1 << 31}}
	turns := n[:5]
	p, two := types(i32), types(i32, i32)
	same := fn{params: p, results: p}
	calling := join(get(0), invoke(1), drop) // makes a function keep count of depth
	leaf := fn{params: p, results: p, code: get(0)}
	with := func(results []byte, code ...[]byte) build {
		return build{fns: []fn{{params: p, results: results, name: "f", locals: op(1, 2, i32), code: join(calling, join(code...))}, leaf}}
	}
	f("br_table", with(p, block(none, block(none, block(none, get(0), brTable(0, 1, 2, 0)), i32c(10), ret), i32c(20), ret), i32c(30)), n...)
	f("br_table to the function", with(p, block(i32, i32c(5), get(0), brTable(0, 1, 1)), i32c(100), add), n...)
	f("br to the function", with(p, block(none, loop(none, get(0), i32c(9), add, br(2))), i32c(1)), n...)
	f("br_if with a value", with(p, block(i32, i32c(4), get(0), brIf(0), drop, i32c(6)), get(0), add), n...)
	f("br_if to the function", with(p, i32c(4), get(0), brIf(0), drop, i32c(6)), n...)
	f("return in a loop", with(p, loop(none, get(0), i32c(1), sub, tee(0), i32c(5), lts, when(none, join(get(0), ret), nil), br(0)), i32c(0)), [][]uint64{{0}, {9}, {100}}...)
	f("return in depth, two results", with(two, block(none, block(none, when2(get(0), join(get(0), i32c(8), ret)))), i32c(1), i32c(2)), n...)
	f("return above other values", with(p, i32c(77), i32c(88), get(0), op(4, none), get(0), ret, end, add), n...)
	f("if and else with results", with(p, get(0), when(i32, i32c(3), i32c(4))), n...)
	f("three results of mixed types", with(types(i32, i64, f64), get(0), i64c(5), op(0x44, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f)), n...)
	f("unreachable code", with(p, get(0), ret, i32c(1), add, drop, br(0)), n...)
	f("trap of its own", with(p, get(0), eqz, op(4, none), unreachable, end, i32c(10), get(0), op(0x6d)), n...)
	f("out of bounds", with(p, get(0), load32), n...)
	f("nested loops", with(p, loop(none, i32c(5), set(1), loop(none, get(2), get(1), add, set(2), get(1), i32c(1), sub, tee(1), brIf(0)),
		get(0), i32c(1), sub, tee(0), i32c(0), op(0x4a), brIf(0)), get(2)), turns...)
	f("continue the outer loop", with(p, loop(none, get(0), i32c(1), add, tee(0), i32c(50), lts, op(4, none),
		loop(none, get(0), i32c(3), op(0x6f), brIf(2), get(2), i32c(1), add, set(2)), br(1), end), get(2)), turns...)

	f("loop with parameters", build{extra: []fn{same}, fns: []fn{{params: p, results: p, name: "f", locals: op(1, 1, i32),
		code: join(get(0), op(3, 0), i32c(7), add, tee(1), get(1), i32c(100), lts, brIf(0), end)}}}, turns...)
	f("block with parameters and two results", build{extra: []fn{{params: p, results: two}}, fns: []fn{{params: p, results: two, name: "f",
		code: join(get(0), op(2, 0), i32c(3), get(0), brIf(0), add, i32c(9), end, invoke(1))}, leaf}}, n...)
	f("factorial", build{fns: []fn{{params: p, results: p, name: "f",
		code: join(get(0), when(i32, join(get(0), get(0), i32c(1), sub, invoke(0), mul), i32c(1)))}}}, [][]uint64{{0}, {5}, {12}, {300}}...)
	f("recursion that returns early, four results", build{fns: []fn{{params: p, results: types(i32, i64, i64, i32), name: "f",
		code: join(get(0), eqz, op(4, none), i32c(1), i64c(2), i64c(3), i32c(4), ret, end, get(0), i32c(1), sub, invoke(0))}}}, [][]uint64{{0}, {40}}...)
	f("call_indirect", build{extra: []fn{same}, fns: []fn{{params: p, results: p, name: "f", code: join(i32c(6), get(0), invokeTable(0))},
		{params: p, results: p, code: join(get(0), i32c(1), add)}, {params: p, results: p, code: join(get(0), get(0), mul)}, {}},
		table: op(0x70, 0, 4), elements: op(1, 2, 3)}, n...)
	f("imported function", build{imports: []fn{{name: "triple", params: p, results: p}}, fns: []fn{{params: p, results: p, name: "f",
		code: join(get(0), invoke(0), invoke(0))}}}, n...)
	f("globals", build{globals: [][]byte{join(op(i32, 1), i32c(5), end), join(op(i64, 0), i64c(1<<40), end)}, fns: []fn{{params: p, results: types(i32, i64), name: "f",
		code: join(gget(0), get(0), add, gset(0), gget(0), gget(1))}}}, n...)
	f("memory.fill", with(p, i32c(100), get(0), i32c(50), fill, i32c(120), load8), n...)
	f("memory.fill of any length", with(p, i32c(100), i32c(1), get(0), fill, i32c(100), load8), [][]uint64{{0}, {1}, {65436}, {65437}}...)
	f("memory.copy over itself", with(p, i32c(10), i32c(1), i32c(99), fill, i32c(14), i32c(8), get(0), copyBytes, i32c(16), load8), n[:5]...)
	f("memory.init and data.drop", build{count: true, data: [][]byte{join(op(1), text("abcdefgh"))}, fns: []fn{{params: p, results: p, name: "f",
		code: join(i32c(4), i32c(1), get(0), op(0xfc, 8, 0, 0), op(0xfc, 9, 0), i32c(4), load8)}}}, [][]uint64{{3}, {0}, {1}}...)
	f("bulk in a loop", with(p, i32c(5), set(1), loop(none, get(1), i32c(100), mul, get(1), get(0), i32c(255), op(0x71), fill,
		get(1), i32c(1), sub, tee(1), brIf(0)), i32c(300), load8), n...)
	f("memory.grow", with(p, get(0), grow, op(0x3f, 0), add), n...)
	f("a start function", build{start: op(1), fns: []fn{{params: p, results: p, name: "f", code: join(i32c(8), load32)},
		{code: join(i32c(8), i32c(42), store32)}}}, n[:1]...)
	f("a vector", build{fns: []fn{{params: p, results: p, name: "f", code: join(get(0), op(0xfd, 17), op(0xfd, 12), repeat(16, op(3)),
		op(0xfd, 0xae, 1), op(0xfd, 0xa1, 1), op(0xfd, 27, 2))}}}, n...)
	f("no locals, no results", build{fns: []fn{{name: "f", code: nop}}})
}

// when2 is an if without results after its condition.
func when2(condition, then []byte) []byte { return join(condition, when(none, then, nil)) }

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
	f("empty", 1, one(nil, nil, nil))
	f("four instructions and end", 5, one(nil, nil, nil, repeat(4, nop)))
	f("an arm that is not taken", 1+1+3+1+1, one(nil, nil, nil, i32c(0), when(none, repeat(3, nop), nil)))
	f("nine locals", 1+2, one(nil, nil, op(1, 9, i64)))
	f("slow instructions", 7+4*rewrite.SlowFuel, one(nil, nil, nil, i32c(8), load32, i32c(7), op(0x6d), i32c(3), op(0x70), drop, op(0x44, 0, 0, 0, 0, 0, 0, 0, 0), op(0x9f), drop))
	f("an imported function", rewrite.ImportFuel+1+1, build{imports: []fn{{name: "work"}}, fns: []fn{{name: "f", code: invoke(0)}}})
	f("a function of its own", 1+1+3, build{fns: []fn{{name: "f", code: invoke(1)}, {code: repeat(2, nop)}}})
	f("five turns", 1+1+5*6, one(types(i32), nil, nil, loop(none, get(0), i32c(1), sub, tee(0), brIf(0))), 5)
	f("memory.grow", rewrite.GrowFuel+4, one(nil, nil, nil, i32c(1), grow, drop))
	f("memory.grow that is not reached", 1+1+3+1+1, one(nil, nil, nil, i32c(0), when(none, join(i32c(1), grow, drop), nil)))
	f("memory.fill", 4+rewrite.SlowFuel+1000, one(nil, nil, nil, i32c(0), i32c(1), i32c(1000), fill))
}
