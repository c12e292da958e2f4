package rewrite_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

const randomModules = 400

// TestRandom runs random valid modules beside their rewritten forms: results,
// traps, memory and globals must be the same.
func TestRandom(t *testing.T) {
	ran, trapped := 0, 0
	for seed := range uint64(randomModules) {
		g := generator{r: rand.New(rand.NewPCG(seed, 4))}
		p, err := both(t, g.module().bytes())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range uint64(4) {
			args := []uint64{seed * i & 0xffff, i << 30}
			want, got := call(p.plain, "f", args...), count(p.counted, fuelPerCall, "f", args...)
			if got.trap != want.trap || !slices.Equal(got.results, want.results) {
				t.Errorf("seed %d %v: %v %q, the original %v %q", seed, args, got.results, got.trap, want.results, want.trap)
			}
			if diff := sameMemory(p.plain, p.counted) + sameGlobals(p.plain, p.counted, []string{"a", "b"}); diff != "" {
				t.Errorf("seed %d %v: %s", seed, args, diff)
			}
			if got.trap == "" && got.depth != int64(rewrite.Default().DepthMax) {
				t.Errorf("seed %d %v: depth %d afterwards", seed, args, got.depth)
			}
			ran++
			if want.trap != "" {
				trapped++
				break
			}
		}
	}
	t.Logf("%d calls, %d of them trapped", ran, trapped)
	if ran-trapped < randomModules/2 || trapped == 0 {
		t.Errorf("%d calls, %d trapped: the generator makes nothing of use", ran, trapped)
	}
}

// generator makes modules that are valid and end by themselves: loops count
// down a local of their own, and functions call only those behind them. All
// functions take (i32, i64); their results differ.
type generator struct {
	r       *rand.Rand
	results [][]byte // of each function
	self    int      // the function being made
	labels  [][]byte // what a branch to each open block takes, the innermost last; nil is a loop
	loops   int      // open ones, each with its local
	depth   int
	calls   int
}

const (
	generatedFunctions = 5
	localI32           = 2 // and the next two
	localI64           = 5 // and the next
	localLoops         = 7 // counters, one for each nesting of loops
)

func (g *generator) module() build {
	b := build{globals: [][]byte{join(op(i32, 1), i32c(3), end), join(op(i64, 1), i64c(4), end)},
		exports: [][]byte{join(text("a"), op(3, 0)), join(text("b"), op(3, 1))},
		table:   op(0x70, 0, generatedFunctions), elements: op(0, 1, 2, 3, 4),
		data: [][]byte{join(op(1), text("a passive segment"))}, count: true}
	kinds := [][]byte{{}, {i32}, {i64}, {i32, i64}, {i64, i32, i32}}
	for range generatedFunctions {
		g.results = append(g.results, kinds[g.r.IntN(len(kinds))])
	}
	for i := range generatedFunctions {
		g.self, g.labels, g.loops, g.calls = i, [][]byte{g.results[i]}, 0, 0
		code := g.statements(6)
		for _, t := range g.results[i] {
			code = join(code, g.value(t))
		}
		b.fns = append(b.fns, fn{params: types(i32, i64), results: g.results[i], locals: op(3, 3, i32, 2, i64, 3, i32), code: code})
	}
	b.fns[0].name = "f"
	return b
}

func (g *generator) statements(n int) []byte {
	var code []byte
	if g.depth < 5 {
		g.depth++
		for range g.r.IntN(n) {
			code = append(code, g.statement()...)
		}
		g.depth--
	}
	return code
}

// inside opens a block whose branches take some values.
func (g *generator) inside(takes []byte, make func() []byte) []byte {
	g.labels = append(g.labels, takes)
	code := make()
	g.labels = g.labels[:len(g.labels)-1]
	return code
}

func (g *generator) statement() []byte {
	few := func() []byte { return g.statements(4) }
	switch g.r.IntN(15) {
	case 0:
		return join(g.value(i32), set(localI32+g.r.IntN(3)))
	case 1:
		return join(g.value(i64), set(localI64+g.r.IntN(2)))
	case 2:
		return join(g.value(i32), gset(0), g.value(i64), gset(1))
	case 3:
		return join(g.address(), g.value(i32), store32)
	case 4:
		return g.inside([]byte{}, func() []byte { return block(none, few()) })
	case 5:
		return join(g.value(i32), g.inside([]byte{}, func() []byte { return when(none, few(), few()) }))
	case 6:
		return g.loop(few)
	case 7:
		return g.branch(few)
	case 8:
		return join(g.address(), g.value(i32), g.length(), fill)
	case 9:
		return join(g.address(), g.address(), g.length(), copyBytes)
	case 10:
		return join(g.address(), i32c(int32(g.r.IntN(10))), i32c(int32(g.r.IntN(9))), op(0xfc, 8, 0, 0))
	case 11:
		return g.invoke()
	case 12:
		return join(i32c(int32(g.r.IntN(2))), grow, drop)
	case 13:
		return g.table(few)
	}
	return join(g.value(i32), g.value(i64), drop, drop)
}

func (g *generator) loop(few func() []byte) []byte {
	if g.loops == 3 {
		return nop
	}
	counter := localLoops + g.loops
	g.loops++
	code := g.inside(nil, few)
	g.loops--
	return join(i32c(int32(g.r.IntN(4)+1)), set(counter), loop(none, code, get(counter), i32c(1), sub, tee(counter), i32c(0), op(0x4a), brIf(0)))
}

// branch leaves a block, sometimes under a condition and sometimes with dead code behind it.
func (g *generator) branch(few func() []byte) []byte {
	label := g.r.IntN(len(g.labels))
	takes := g.labels[len(g.labels)-1-label]
	if takes == nil {
		return nop // only the counter leads back
	}
	values := func() []byte {
		var code []byte
		for _, t := range takes {
			code = join(code, g.value(t))
		}
		return code
	}
	if g.r.IntN(3) > 0 {
		return join(values(), g.value(i32), brIf(label), repeat(len(takes), drop))
	}
	leave := br(label + 1)
	if label == len(g.labels)-1 && g.r.IntN(2) == 0 {
		leave = ret
	}
	return join(g.value(i32), g.inside([]byte{}, func() []byte { return when(none, join(values(), leave, few()), nil) }))
}

// table is a br_table among the blocks that it opens.
func (g *generator) table(few func() []byte) []byte {
	inner := func() []byte { return join(g.value(i32), i32c(3), op(0x71), brTable(0, 1, 0, 1, 1)) }
	return g.inside([]byte{}, func() []byte {
		return block(none, g.inside([]byte{}, func() []byte { return block(none, inner()) }), few())
	})
}

// invoke calls a function behind this one, directly or through the table.
func (g *generator) invoke() []byte {
	if g.self == generatedFunctions-1 || g.calls == 3 {
		return nop
	}
	g.calls++
	callee := g.self + 1 + g.r.IntN(generatedFunctions-g.self-1)
	code := join(g.value(i32), g.value(i64))
	if g.r.IntN(2) == 0 {
		code = join(code, invoke(callee))
	} else {
		code = join(code, i32c(int32(callee)), invokeTable(callee))
	}
	return join(code, repeat(len(g.results[callee]), drop))
}

func (g *generator) address() []byte {
	if g.r.IntN(40) == 0 {
		return g.value(i32) // may be out of bounds
	}
	return join(g.value(i32), i32c(0x7fff), op(0x71))
}

func (g *generator) length() []byte { return join(g.value(i32), i32c(0xff), op(0x71)) }

func (g *generator) value(t byte) []byte {
	g.depth++
	defer func() { g.depth-- }()
	deep := g.depth > 7
	if t == i64 {
		return g.long(deep)
	}
	switch g.r.IntN(9) {
	case 0:
		return i32c(int32(g.r.Uint32()) >> g.r.IntN(32))
	case 1:
		return get(0)
	case 2, 3:
		if deep {
			return gget(0)
		}
		ops := []byte{0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x48, 0x6f, 0x77}
		return join(g.value(i32), g.value(i32), ops[g.r.IntN(len(ops)):][:1])
	case 4:
		if deep {
			return i32c(1)
		}
		return join(g.address(), load32)
	case 5:
		if deep {
			return i32c(2)
		}
		return join(g.value(i32), tee(localI32+g.r.IntN(3)))
	case 6:
		if deep {
			return get(localLoops)
		}
		return join(g.value(i64), op(0xa7))
	case 7:
		if deep {
			return i32c(3)
		}
		return g.inside([]byte{i32}, func() []byte { return block(i32, g.statements(2), g.value(i32)) })
	}
	return get(localI32 + g.r.IntN(3))
}

func (g *generator) long(deep bool) []byte {
	switch n := g.r.IntN(5); {
	case deep || n == 0:
		return get(1)
	case n == 1:
		return join(g.value(i32), op(0xad))
	case n == 2:
		ops := []byte{0x7c, 0x7d, 0x7e, 0x83, 0x84, 0x85, 0x86}
		return join(g.value(i64), g.value(i64), ops[g.r.IntN(len(ops)):][:1])
	case n == 3:
		return gget(1)
	}
	return get(localI64 + g.r.IntN(2))
}
