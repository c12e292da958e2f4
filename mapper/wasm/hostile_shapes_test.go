package wasm

import "github.com/tallyhook/tallyhook/mapper/rewrite"

// hostileShapes are modules that would hurt while they are compiled or
// instantiated, before anything of theirs runs.
func hostileShapes() []hostile {
	one := func(locals int, code ...any) func() *module {
		return func() *module {
			m := mapper(i64Const(0))
			m.function("", "", "", locals, code...)
			return m
		}
	}
	many := func(n, locals int, code ...any) func() *module {
		return func() *module {
			m := mapper(i64Const(0))
			for range n {
				m.function("", "", "", locals, code...)
			}
			return m
		}
	}
	loops := func(n int) []byte { return repeat(n, opLoop, noResult, opEnd) }
	nested := func(n int, head ...any) []byte { return cat(repeat(n, head...), repeat(n, opEnd)) }
	ifs := func(n int) []byte { return repeat(n, i32Const(1), opIf, noResult, opEnd) }
	return []hostile{
		{name: "table.grow without end", make: tableGrow, refused: rewrite.RefuseTableChange},
		{name: "table of 2^27-1", make: func() *module {
			m := mapper(i64Const(0))
			m.tables = append(m.tables, cat(0x70, 0, uleb(1<<27-1)))
			return m
		}, refused: rewrite.RefuseTableEntries},
		{name: "memory of 4 GiB", make: func() *module {
			m := new(module)
			m.memory(65536, 65536)
			m.complete(i64Const(0))
			return m
		}, refused: rewrite.RefuseMemoryPages},
		{name: "50,000 locals in 200 functions", make: many(200, 50_000), refused: rewrite.RefuseLocals},
		{name: "50,000 locals, 2,000 loops", make: one(50_000, loops(2000)), refused: rewrite.RefuseLocals},
		{name: "recursion with 2,000 locals", make: func() *module { return fatRecursion(2000) }, refused: rewrite.RefuseLocals},
		{name: "500 locals, 2,000 loops", make: one(500, loops(2000)), refused: rewrite.RefuseLoops},
		{name: "500 locals, 250 loops", make: one(500, loops(250)), refused: rewrite.RefuseLocalsTimesLoops},
		{name: "20,000 nested loops", make: one(0, nested(20_000, opLoop, noResult)), refused: rewrite.RefuseLoops},
		{name: "20,000 loops", make: one(0, loops(20_000)), refused: rewrite.RefuseLoops},
		{name: "100,000 nested blocks", make: one(0, nested(100_000, opBlock, noResult)), refused: rewrite.RefuseBodyBytes},
		{name: "10,000 nested ifs", make: one(0, nested(10_000, i32Const(1), opIf, noResult)), refused: rewrite.RefuseNesting},
		{name: "10,000 ifs", make: one(0, ifs(10_000)), refused: rewrite.RefuseBlocks},
		{name: "200,000 ifs", make: one(0, ifs(200_000)), refused: rewrite.RefuseBodyBytes},
		{name: "br_table with 1 M targets", make: one(0, opBlock, noResult, i32Const(0), 0x0e, uleb(1_000_000), repeat(1_000_001, 0), opEnd), refused: rewrite.RefuseBodyBytes},
		{name: "br_table with 5,000 targets", make: one(0, opBlock, noResult, i32Const(0), 0x0e, uleb(5000), repeat(5001, 0), opEnd), refused: rewrite.RefuseBranchTargets},
		{name: "1 M additions", make: one(0, i32Const(0), repeat(1_000_000, i32Const(1), opI32Add), opDrop), refused: rewrite.RefuseBodyBytes},
		{name: "200,000 live values", make: one(0, repeat(200_000, i64Const(1)), repeat(200_000, opDrop)), refused: rewrite.RefuseBodyBytes},
		{name: "1 M functions", make: many(1_000_000, 0), refused: rewrite.RefuseFunctions},
		{name: "20,000 functions", make: many(20_000, 0), refused: rewrite.RefuseFunctions},
		{name: "20,000 globals", make: func() *module {
			m := mapper(i64Const(0))
			for range 20_000 {
				m.globals = append(m.globals, cat(0x7e, 1, i64Const(0), opEnd))
			}
			return m
		}, refused: rewrite.RefuseGlobals},
		{name: "500,000 exports", make: func() *module {
			m := mapper(i64Const(0))
			for i := range 500_000 {
				m.exports = append(m.exports, cat(string(uleb(uint64(i))), 0, 0))
			}
			return m
		}, refused: rewrite.RefuseExports},
		{name: "1,000 results", make: func() *module {
			m := mapper(i64Const(0))
			results := string(repeat(1000, int('i')))
			m.function("", "", results, 0, repeat(1000, i32Const(0)))
			return m
		}, refused: rewrite.RefuseResults},
		{name: "10 MB of data", make: func() *module {
			m := mapper(i64Const(0))
			m.data(0, string(make([]byte, 10_000_000)))
			return m
		}, refused: rewrite.RefuseModuleBytes},
		{name: "50 MB of custom section", make: func() *module { return custom("junk", 50_000_000) }, refused: rewrite.RefuseModuleBytes},
		{name: "1 MB of false DWARF", make: func() *module { return custom(".debug_line", 1_000_000) }},
		{name: "the counter's index", make: func() *module { return mapper(0x42, 0, 0x24, 0, i64Const(0)) }, refused: rewrite.RefuseUnknownIndex},
		{name: "the counter's name", make: func() *module {
			m := mapper(i64Const(0))
			m.counted()
			return m
		}, refused: rewrite.RefuseReservedName},
		{name: "no wasm at all", make: func() *module { return &module{raw: []byte("MZ this is something else")} }, refused: rewrite.RefuseNotWasm},
	}
}

func tableGrow() *module {
	m := mapper(opLoop, noResult, 0xd0, 0x70, i32Const(100_000), 0xfc, 15, 0, opDrop, br(0), opEnd, i64Const(0))
	m.tables = append(m.tables, cat(0x70, 0, 1))
	return m
}

func custom(name string, n int) *module {
	m := mapper(i64Const(0))
	m.custom = cat(name, repeat(n, 0xAA))
	return m
}
