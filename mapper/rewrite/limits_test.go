package rewrite_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// TestLimits: every cap lets its own number in and refuses one more, under its
// code and with a sentence that names the offender, what it has, the limit and
// a way out.
func TestLimits(t *testing.T) {
	l := rewrite.Default()
	f := func(code string, limit int, offender string, of func(n int) []byte) {
		t.Helper()
		if _, _, err := rewrite.Rewrite(of(limit), l); err != nil {
			t.Errorf("%s: %d is refused: %v", code, limit, err)
		}
		_, _, err := rewrite.Rewrite(of(limit+1), l)
		var refusal *rewrite.Refusal
		if !errors.As(err, &refusal) || refusal.Code != code {
			t.Errorf("%s: %d: %v", code, limit+1, err)
			return
		}
		sentence, wayOut, found := strings.Cut(refusal.Text, ": ")
		if !found || wayOut == "" {
			t.Errorf("%s: no way out in %q", code, refusal.Text)
		}
		for _, want := range []string{offender, fmt.Sprint(limit), fmt.Sprint(limit + 1)} {
			if !strings.Contains(sentence, want) {
				t.Errorf("%s: no %s in %q", code, want, refusal.Text)
			}
		}
	}
	g := func(code string, limit int, of func(n int) build) {
		t.Helper()
		f(code, limit, "the ", func(n int) []byte { return of(n).bytes() })
	}
	body := func(code string, limit int, of func(n int) []byte) {
		t.Helper()
		f(code, limit, `function 0 ("f")`, func(n int) []byte { return one(nil, nil, nil, of(n)).bytes() })
	}

	plain := len(build{custom: text(""), fns: []fn{{}}}.bytes()) + 3 // the section's size takes 4 bytes then
	f(rewrite.RefuseModuleBytes, l.ModuleBytesMax, "the module", func(n int) []byte {
		return build{custom: make([]byte, n-plain+1), fns: []fn{{}}}.bytes()
	})
	g(rewrite.RefuseNameBytes, l.NameBytesMax, func(n int) build { return build{fns: []fn{{name: strings.Repeat("n", n)}}} })
	g(rewrite.RefuseTypes, l.TypesMax, func(n int) build { return build{extra: make([]fn, n)} })
	g(rewrite.RefuseImports, l.ImportsMax, func(n int) build { return build{imports: make([]fn, n)} })
	g(rewrite.RefuseFunctions, l.FunctionsMax, func(n int) build { return build{extra: []fn{{}}, shared: n} })
	g(rewrite.RefuseGlobals, l.GlobalsMax, func(n int) build {
		b := build{}
		for range n {
			b.globals = append(b.globals, join(op(i32, 1), i32c(0), end))
		}
		return b
	})
	g(rewrite.RefuseExports, l.ExportsMax, func(n int) build {
		b := build{}
		for i := range n - 1 { // the memory is the last
			b.exports = append(b.exports, join(text(fmt.Sprint("e", i)), op(2, 0)))
		}
		return b
	})
	g(rewrite.RefuseParams, l.ParamsMax, func(n int) build { return build{extra: []fn{{params: repeat(n, op(i64))}}} })
	g(rewrite.RefuseResults, l.ResultsMax, func(n int) build { return build{extra: []fn{{results: repeat(n, op(i64))}}} })
	f(rewrite.RefuseTables, l.TablesMax, "the ", func(n int) []byte {
		return join([]byte("\x00asm\x01\x00\x00\x00"), section(4, join(uleb(uint64(n)), repeat(n, op(0x70, 0, 1)))))
	})
	f(rewrite.RefuseTableEntries, int(l.TableEntriesMax), "table 0", func(n int) []byte {
		return build{table: append(op(0x70, 0), uleb(uint64(n))...)}.bytes()
	})
	f(rewrite.RefuseElementSegments, l.ElementSegmentsMax, "the ", func(n int) []byte {
		return join([]byte("\x00asm\x01\x00\x00\x00"), section(9, join(uleb(uint64(n)), repeat(n, op(1, 0, 0)))))
	})
	g(rewrite.RefuseElements, l.ElementsMax, func(n int) build {
		return build{table: op(0x70, 0, 1), elements: make([]byte, n), fns: []fn{{}}}
	})
	g(rewrite.RefuseDataSegments, l.DataSegmentsMax, func(n int) build {
		b := build{}
		for range n {
			b.data = append(b.data, op(1, 0))
		}
		return b
	})
	f(rewrite.RefuseMemories, 1, "the ", func(n int) []byte {
		return join([]byte("\x00asm\x01\x00\x00\x00"), section(5, join(uleb(uint64(n)), repeat(n, op(0, 1)))))
	})
	g(rewrite.RefuseMemoryPages, int(l.MemoryPagesInitialMax), func(n int) build {
		return build{memory: append(op(0), uleb(uint64(n))...)}
	})

	body(rewrite.RefuseBodyBytes, l.BodyBytesMax, func(n int) []byte { return repeat(n-2, nop) }) // no locals, end
	f(rewrite.RefuseLocals, l.LocalsMax, `function 0 ("f")`, func(n int) []byte {
		return one(types(i32, i32), nil, append(append(op(1), uleb(uint64(n-2))...), i64)).bytes()
	})
	body(rewrite.RefuseOperands, l.OperandsMax, func(n int) []byte { return join(repeat(n, i32c(0)), repeat(n, drop)) })
	body(rewrite.RefuseBlocks, l.BlocksMax, func(n int) []byte { return repeat(n, block(none)) })
	body(rewrite.RefuseNesting, l.NestingMax, func(n int) []byte { return join(repeat(n, op(2, none)), repeat(n, end)) })
	body(rewrite.RefuseLoops, l.LoopsMax, func(n int) []byte { return repeat(n, loop(none)) })
	body(rewrite.RefuseBranches, l.BranchesMax, func(n int) []byte { return repeat(n, i32c(0), brIf(0)) })
	body(rewrite.RefuseBulk, l.BulkMax, func(n int) []byte { return repeat(n, i32c(0), i32c(0), i32c(0), fill) })
	body(rewrite.RefuseBulk, l.BulkMax, func(n int) []byte { return repeat(n, i32c(0), grow, drop) })
	body(rewrite.RefuseBranchTargets, l.BranchTargetsMax, func(n int) []byte {
		half := make([]int, n/2+1) // with the default, which is not counted
		return join(block(none, i32c(0), brTable(half...)), i32c(0), brTable(make([]int, n-n/2+1)...))
	})
}

// TestLocalsTimesLoops: the product counts, not the factors alone.
func TestLocalsTimesLoops(t *testing.T) {
	of := func(locals, loops int) []byte {
		return one(nil, nil, append(append(op(1), uleb(uint64(locals))...), i64), repeat(loops, loop(none))).bytes()
	}
	for _, good := range [][2]int{{128, 256}, {512, 64}} {
		if _, _, err := rewrite.Rewrite(of(good[0], good[1]), rewrite.Default()); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, bad := range [][2]int{{129, 256}, {512, 65}} {
		refused(t, fmt.Sprint(bad), rewrite.RefuseLocalsTimesLoops, of(bad[0], bad[1]))
	}
}

// TestFormat: what breaks the binary format is refused, cut short at any byte
// or with a number that is longer than it may be.
func TestFormat(t *testing.T) {
	f := func(name, code string, module []byte) {
		t.Helper()
		refused(t, name, code, module)
	}
	header := []byte("\x00asm\x01\x00\x00\x00")
	of := func(id byte, content ...byte) []byte { return join(header, section(id, content)) }
	f("nothing", rewrite.RefuseNotWasm, nil)
	f("text", rewrite.RefuseNotWasm, []byte("(module)"))
	f("a component", rewrite.RefuseNotWasm, []byte("\x00asm\x0d\x00\x01\x00"))
	f("an unknown section", rewrite.RefuseUnsupported, of(13, 0))
	f("sections out of order", rewrite.RefuseMalformed, join(of(5, 1, 0, 1), section(4, op(1, 0x70, 0, 1))))
	f("a section twice", rewrite.RefuseMalformed, join(of(5, 1, 0, 1), section(5, op(1, 0, 1))))
	f("bytes to spare", rewrite.RefuseMalformed, of(5, 1, 0, 1, 0))
	f("a count of 2^32-1", rewrite.RefuseMalformed, of(1, 0xff, 0xff, 0xff, 0xff, 0x0f))
	f("a number of 33 bits", rewrite.RefuseMalformed, of(1, 0xff, 0xff, 0xff, 0xff, 0x1f))
	f("a number of six bytes", rewrite.RefuseMalformed, of(1, 0x80, 0x80, 0x80, 0x80, 0x80, 0))
	f("a signed number of 33 bits", rewrite.RefuseMalformed, one(nil, nil, nil, op(0x41, 0x80, 0x80, 0x80, 0x80, 0x10), drop).bytes())
	f("a signed number of 65 bits", rewrite.RefuseMalformed,
		one(nil, nil, nil, op(0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02), drop).bytes())
	f("a name that is not UTF-8", rewrite.RefuseMalformed, build{fns: []fn{{name: "\xff"}}}.bytes())
	f("two exports of a name", rewrite.RefuseExportTwice, build{fns: []fn{{name: "a"}, {name: "a"}}}.bytes())
	f("an imported memory", rewrite.RefuseImportKind, of(2, 1, 1, 'a', 1, 'b', 2, 0, 1))
	f("a missing body", rewrite.RefuseMalformed, join(of(1, 1, 0x60, 0, 0), section(3, op(1, 0))))
	f("an else alone", rewrite.RefuseMalformed, one(nil, nil, nil, op(0x05)).bytes())
	f("code behind the end", rewrite.RefuseMalformed, one(nil, nil, nil, end, nop).bytes())
	f("a label too far", rewrite.RefuseUnknownIndex, one(nil, nil, nil, br(1)).bytes())
	f("a function too far", rewrite.RefuseUnknownIndex, one(nil, nil, nil, invoke(1)).bytes())
	f("a type too far", rewrite.RefuseUnknownIndex, one(nil, nil, nil, op(2, 1), end).bytes())
	f("a segment without a count", rewrite.RefuseUnknownIndex,
		build{fns: []fn{{code: op(0xfc, 9, 0)}}, data: [][]byte{op(1, 0)}}.bytes())
	whole := kitchen().bytes()
	if _, _, err := rewrite.Rewrite(whole, rewrite.Default()); err != nil {
		t.Fatal(err)
	}
	accepted := 0
	for n := range whole {
		if _, _, err := rewrite.Rewrite(whole[:n], rewrite.Default()); err == nil {
			accepted++
		}
	}
	if accepted > 4 { // the header, then the custom, type and import sections
		t.Errorf("%d beginnings of a module are taken for modules", accepted)
	}
}

// TestInfo: what the caller is told of a module is what was uploaded.
func TestInfo(t *testing.T) {
	out, info := mustRewrite(t, kitchen().bytes(), rewrite.Default())
	if info.Functions != 4 || info.Start != true || info.TableEntries != 3 || info.MemoryPages != 1 || info.MemoryPagesMax != 256 || info.CodeBytes == 0 {
		t.Errorf("%+v", info)
	}
	if len(info.Imports) != 1 || info.Imports[0].Module != "host" || info.Imports[0].Name != "log" || string(info.Imports[0].Params) != "\x7f" {
		t.Errorf("imports %+v", info.Imports)
	}
	var names []string
	for _, e := range info.Exports {
		names = append(names, fmt.Sprint(e.Name, " ", e.Kind, " ", len(e.Params), " ", len(e.Results)))
	}
	if got, want := strings.Join(names, ", "), "f 0 2 2, g 0 1 1, memory 2 0 0, table 1 0 0, global 3 0 0"; got != want {
		t.Errorf("exports %s, want %s", got, want)
	}
	if again, _ := mustRewrite(t, kitchen().bytes(), rewrite.Default()); string(again) != string(out) {
		t.Error("the same input gave another output")
	}
	refused(t, "the output again", rewrite.RefuseReservedName, out)
}

// kitchen has something in every section.
func kitchen() build {
	return build{
		extra:   []fn{{params: types(i32), results: types(i32)}},
		imports: []fn{{name: "log", params: types(i32)}},
		fns: []fn{
			{name: "f", params: types(i32, i64), results: types(i64, i32), locals: op(1, 2, i32),
				code: join(get(0), invoke(0), get(1), get(0), i32c(0), invokeTable(0), tee(2), op(0x41, 9), add)},
			{name: "g", params: types(i32), results: types(i32), code: join(get(0), i32c(2), mul)},
			{code: join(i32c(0), i32c(0), i32c(3), op(0xfc, 8, 0, 0))},
			{code: join(gget(0), drop)},
		},
		table: op(0x70, 0, 3), elements: op(2, 2, 2),
		globals: [][]byte{join(op(i32, 1), i32c(77), end)},
		exports: [][]byte{join(text("table"), op(1, 0)), join(text("global"), op(3, 0))},
		start:   op(3), count: true,
		data:   [][]byte{join(op(1), text("abc")), join(op(0), i32c(8), end, text("defg"))},
		custom: join(text("producers"), op(0)),
	}
}
