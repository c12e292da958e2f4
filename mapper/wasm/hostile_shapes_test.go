package wasm

import (
	"strings"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// hostileShapes are modules that would hurt while they are compiled or
// instantiated, before anything of theirs runs.
func hostileShapes() []hostile {
	return append(hostileFunctions(), hostileSections()...)
}

// hostileFunctions are modules whose functions are too much, or too many.
func hostileFunctions() []hostile {
	one := func(locals int, code ...any) func() *Builder {
		return func() *Builder {
			m := Mapper(I64Const(0))
			m.Function("", "", "", locals, code...)
			return m
		}
	}
	many := func(n, locals int, code ...any) func() *Builder {
		return func() *Builder {
			m := Mapper(I64Const(0))
			for range n {
				m.Function("", "", "", locals, code...)
			}
			return m
		}
	}
	loops := func(n int) []byte { return Repeat(n, OpLoop, NoResult, OpEnd) }
	nested := func(n int, head ...any) []byte { return Cat(Repeat(n, head...), Repeat(n, OpEnd)) }
	ifs := func(n int) []byte { return Repeat(n, I32Const(1), OpIf, NoResult, OpEnd) }
	return []hostile{
		{name: "50,000 locals in 200 functions", make: many(200, 50_000), refused: rewrite.RefuseLocals},
		{name: "50,000 locals, 2,000 loops", make: one(50_000, loops(2000)), refused: rewrite.RefuseLocals},
		{name: "recursion with 2,000 locals", make: func() *Builder { return fatRecursion(2000) }, refused: rewrite.RefuseLocals},
		{name: "500 locals, 2,000 loops", make: one(500, loops(2000)), refused: rewrite.RefuseLoops},
		{name: "500 locals, 250 loops", make: one(500, loops(250)), refused: rewrite.RefuseLocalsTimesLoops},
		{name: "20,000 nested loops", make: one(0, nested(20_000, OpLoop, NoResult)), refused: rewrite.RefuseLoops},
		{name: "20,000 loops", make: one(0, loops(20_000)), refused: rewrite.RefuseLoops},
		{name: "100,000 nested blocks", make: one(0, nested(100_000, OpBlock, NoResult)), refused: rewrite.RefuseBodyBytes},
		{name: "10,000 nested ifs", make: one(0, nested(10_000, I32Const(1), OpIf, NoResult)), refused: rewrite.RefuseNesting},
		{name: "10,000 ifs", make: one(0, ifs(10_000)), refused: rewrite.RefuseBlocks},
		{name: "200,000 ifs", make: one(0, ifs(200_000)), refused: rewrite.RefuseBodyBytes},
		{name: "br_table with 1 M targets", make: one(0, OpBlock, NoResult, I32Const(0), BrTable(make([]int, 1_000_001)...), OpEnd), refused: rewrite.RefuseBodyBytes},
		{name: "br_table with 5,000 targets", make: one(0, OpBlock, NoResult, I32Const(0), BrTable(make([]int, 5001)...), OpEnd), refused: rewrite.RefuseBranchTargets},
		{name: "1 M additions", make: one(0, I32Const(0), Repeat(1_000_000, I32Const(1), OpI32Add), OpDrop), refused: rewrite.RefuseBodyBytes},
		{name: "200,000 live values", make: one(0, Repeat(200_000, I64Const(1)), Repeat(200_000, OpDrop)), refused: rewrite.RefuseBodyBytes},
		{name: "1 M functions", make: many(1_000_000, 0), refused: rewrite.RefuseFunctions},
		{name: "20,000 functions", make: many(20_000, 0), refused: rewrite.RefuseFunctions},
	}
}

// hostileSections are modules with something too large beside their functions.
func hostileSections() []hostile {
	return []hostile{
		{name: "table.grow without end", make: tableGrow, refused: rewrite.RefuseTableChange},
		{name: "table of 2^27-1", make: func() *Builder {
			m := Mapper(I64Const(0))
			m.Tables = append(m.Tables, Cat(0x70, 0, Uleb(1<<27-1)))
			return m
		}, refused: rewrite.RefuseTableEntries},
		{name: "memory of 4 GiB", make: func() *Builder { return MapperPages(65536, 65536, I64Const(0)) }, refused: rewrite.RefuseMemoryPages},
		{name: "20,000 globals", make: func() *Builder {
			m := Mapper(I64Const(0))
			for range 20_000 {
				m.Global(I64, I64Const(0))
			}
			return m
		}, refused: rewrite.RefuseGlobals},
		{name: "500,000 exports", make: func() *Builder {
			m := Mapper(I64Const(0))
			for i := range 500_000 {
				m.Exports = append(m.Exports, Cat(string(Uleb(uint64(i))), 0, 0))
			}
			return m
		}, refused: rewrite.RefuseExports},
		{name: "1,000 results", make: func() *Builder {
			m := Mapper(I64Const(0))
			results := strings.Repeat("i", 1000)
			m.Function("", "", results, 0, Repeat(1000, I32Const(0)))
			return m
		}, refused: rewrite.RefuseResults},
		{name: "10 MB of data", make: func() *Builder {
			m := Mapper(I64Const(0))
			m.Data(0, string(make([]byte, 10_000_000)))
			return m
		}, refused: rewrite.RefuseModuleBytes},
		{name: "50 MB of custom section", make: func() *Builder { return custom("junk", 50_000_000) }, refused: rewrite.RefuseModuleBytes},
		{name: "1 MB of false DWARF", make: func() *Builder { return custom(".debug_line", 1_000_000) }},
		{name: "the counter's index", make: func() *Builder { return Mapper(I64Const(0), GlobalSet(0), I64Const(0)) }, refused: rewrite.RefuseUnknownIndex},
		{name: "the counter's name", make: func() *Builder {
			m := Mapper(I64Const(0))
			m.Counted()
			return m
		}, refused: rewrite.RefuseReservedName},
		{name: "no wasm at all", make: func() *Builder { return &Builder{Raw: []byte("MZ this is something else")} }, refused: rewrite.RefuseNotWasm},
	}
}

func tableGrow() *Builder {
	m := Mapper(OpLoop, NoResult, 0xd0, 0x70, I32Const(100_000), TableGrow(), OpDrop, Br(0), OpEnd, I64Const(0))
	m.Tables = append(m.Tables, Cat(0x70, 0, 1))
	return m
}

func custom(name string, n int) *Builder {
	m := Mapper(I64Const(0))
	m.Custom = Cat(name, Repeat(n, 0xAA))
	return m
}
