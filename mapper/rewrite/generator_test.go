package rewrite_test

import (
	"math/rand/v2"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
)

// generator makes modules that are valid and end by themselves: loops count
// down a local of their own, and functions call only those behind them. All
// functions take (i32, i64); their results differ.
type generator struct {
	r       *rand.Rand
	results []string // of each function
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
	b := build{globals: [][]byte{Cat(I32, 1, I32Const(3), OpEnd), Cat(I64, 1, I64Const(4), OpEnd)},
		exports: [][]byte{Cat("a", 3, 0), Cat("b", 3, 1)},
		table:   Cat(0x70, 0, generatedFunctions), elements: Cat(0, 1, 2, 3, 4),
		data: [][]byte{Cat(1, "a passive segment")}, count: true}
	kinds := []string{"", "i", "I", "iI", "Iii"}
	for range generatedFunctions {
		g.results = append(g.results, kinds[g.r.IntN(len(kinds))])
	}
	for i := range generatedFunctions {
		g.self, g.labels, g.loops, g.calls = i, [][]byte{[]byte(g.results[i])}, 0, 0
		code := g.statements(6)
		for _, t := range []byte(g.results[i]) {
			code = Cat(code, g.value(t))
		}
		b.fns = append(b.fns, fn{params: "iI", results: g.results[i], locals: Locals(Group(3, I32), Group(2, I64), Group(3, I32)), code: code})
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
		return Cat(g.value('i'), LocalSet(localI32+g.r.IntN(3)))
	case 1:
		return Cat(g.value('I'), LocalSet(localI64+g.r.IntN(2)))
	case 2:
		return Cat(g.value('i'), GlobalSet(0), g.value('I'), GlobalSet(1))
	case 3:
		return Cat(g.address(), g.value('i'), I32Store())
	case 4:
		return g.inside([]byte{}, func() []byte { return Block(NoResult, few()) })
	case 5:
		return Cat(g.value('i'), g.inside([]byte{}, func() []byte { return If(NoResult, few(), few()) }))
	case 6:
		return g.loop(few)
	case 7:
		return g.branch(few)
	case 8:
		return Cat(g.address(), g.value('i'), g.length(), MemoryFill())
	case 9:
		return Cat(g.address(), g.address(), g.length(), MemoryCopy())
	case 10:
		return Cat(g.address(), I32Const(int32(g.r.IntN(10))), I32Const(int32(g.r.IntN(9))), MemoryInit(0))
	case 11:
		return g.invoke()
	case 12:
		return Cat(I32Const(int32(g.r.IntN(2))), MemoryGrow(), OpDrop)
	case 13:
		return g.table(few)
	}
	return Cat(g.value('i'), g.value('I'), OpDrop, OpDrop)
}

func (g *generator) loop(few func() []byte) []byte {
	if g.loops == 3 {
		return Cat(OpNop)
	}
	counter := localLoops + g.loops
	g.loops++
	code := g.inside(nil, few)
	g.loops--
	return Cat(I32Const(int32(g.r.IntN(4)+1)), LocalSet(counter), Loop(NoResult, code, LocalGet(counter), I32Const(1), OpI32Sub, LocalTee(counter), I32Const(0), OpI32GtS, BrIf(0)))
}

// branch leaves a block, sometimes under a condition and sometimes with dead code behind it.
func (g *generator) branch(few func() []byte) []byte {
	label := g.r.IntN(len(g.labels))
	takes := g.labels[len(g.labels)-1-label]
	if takes == nil {
		return Cat(OpNop) // only the counter leads back
	}
	values := func() []byte {
		var code []byte
		for _, t := range takes {
			code = Cat(code, g.value(t))
		}
		return code
	}
	if g.r.IntN(3) > 0 {
		return Cat(values(), g.value('i'), BrIf(label), Repeat(len(takes), OpDrop))
	}
	leave := Br(label + 1)
	if label == len(g.labels)-1 && g.r.IntN(2) == 0 {
		leave = Cat(OpReturn)
	}
	return Cat(g.value('i'), g.inside([]byte{}, func() []byte { return If(NoResult, Cat(values(), leave, few()), nil) }))
}

// table is a br_table among the blocks that it opens.
func (g *generator) table(few func() []byte) []byte {
	inner := func() []byte { return Cat(g.value('i'), I32Const(3), OpI32And, BrTable(0, 1, 0, 1, 1)) }
	return g.inside([]byte{}, func() []byte {
		return Block(NoResult, g.inside([]byte{}, func() []byte { return Block(NoResult, inner()) }), few())
	})
}

// invoke calls a function behind this one, directly or through the table.
func (g *generator) invoke() []byte {
	if g.self == generatedFunctions-1 || g.calls == 3 {
		return Cat(OpNop)
	}
	g.calls++
	callee := g.self + 1 + g.r.IntN(generatedFunctions-g.self-1)
	code := Cat(g.value('i'), g.value('I'))
	if g.r.IntN(2) == 0 {
		code = Cat(code, Call(callee))
	} else {
		code = Cat(code, I32Const(int32(callee)), CallIndirect(callee))
	}
	return Cat(code, Repeat(len(g.results[callee]), OpDrop))
}

func (g *generator) address() []byte {
	if g.r.IntN(40) == 0 {
		return g.value('i') // may be out of bounds
	}
	return Cat(g.value('i'), I32Const(0x7fff), OpI32And)
}

func (g *generator) length() []byte { return Cat(g.value('i'), I32Const(0xff), OpI32And) }

func (g *generator) value(t byte) []byte {
	g.depth++
	defer func() { g.depth-- }()
	deep := g.depth > 7
	if t == 'I' {
		return g.long(deep)
	}
	switch g.r.IntN(9) {
	case 0:
		return I32Const(int32(g.r.Uint32()) >> g.r.IntN(32))
	case 1:
		return LocalGet(0)
	case 2, 3:
		if deep {
			return GlobalGet(0)
		}
		ops := []byte{0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x48, 0x6f, 0x77}
		return Cat(g.value('i'), g.value('i'), ops[g.r.IntN(len(ops)):][:1])
	case 4:
		if deep {
			return I32Const(1)
		}
		return Cat(g.address(), I32Load())
	case 5:
		if deep {
			return I32Const(2)
		}
		return Cat(g.value('i'), LocalTee(localI32+g.r.IntN(3)))
	case 6:
		if deep {
			return LocalGet(localLoops)
		}
		return Cat(g.value('I'), OpI32Wrap)
	case 7:
		if deep {
			return I32Const(3)
		}
		return g.inside([]byte("i"), func() []byte { return Block(I32, g.statements(2), g.value('i')) })
	}
	return LocalGet(localI32 + g.r.IntN(3))
}

func (g *generator) long(deep bool) []byte {
	switch n := g.r.IntN(5); {
	case deep || n == 0:
		return LocalGet(1)
	case n == 1:
		return Cat(g.value('i'), OpI64Extend)
	case n == 2:
		ops := []byte{0x7c, 0x7d, 0x7e, 0x83, 0x84, 0x85, 0x86}
		return Cat(g.value('I'), g.value('I'), ops[g.r.IntN(len(ops)):][:1])
	case n == 3:
		return GlobalGet(1)
	}
	return LocalGet(localI64 + g.r.IntN(2))
}
