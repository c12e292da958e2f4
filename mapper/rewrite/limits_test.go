package rewrite_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// wantCap: a module with limit of something is let in, and one more is refused
// under the cap's code, with a sentence that names the offender, what it has, the
// limit and a way out.
func wantCap(t *testing.T, code string, limit int, offender string, of func(n int) []byte) {
	t.Helper()
	if _, _, err := rewrite.Rewrite(of(limit), rewrite.Default()); err != nil {
		t.Errorf("%s: %d is refused: %v", code, limit, err)
	}
	_, _, err := rewrite.Rewrite(of(limit+1), rewrite.Default())
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

// TestModuleLimits: every cap on a module lets its own number in and no more.
func TestModuleLimits(t *testing.T) {
	l := rewrite.Default()
	f := func(code string, limit int, of func(n int) build) {
		t.Helper()
		wantCap(t, code, limit, "the ", func(n int) []byte { return of(n).bytes() })
	}
	plain := len(build{custom: Cat(""), fns: []fn{{}}}.bytes()) + 3 // the section's size takes 4 bytes then
	wantCap(t, rewrite.RefuseModuleBytes, l.ModuleBytesMax, "the module", func(n int) []byte {
		return build{custom: make([]byte, n-plain+1), fns: []fn{{}}}.bytes()
	})
	f(rewrite.RefuseNameBytes, l.NameBytesMax, func(n int) build { return build{fns: []fn{{name: strings.Repeat("n", n)}}} })
	f(rewrite.RefuseTypes, l.TypesMax, func(n int) build { return build{extra: make([]fn, n)} })
	f(rewrite.RefuseImports, l.ImportsMax, func(n int) build { return build{imports: make([]fn, n)} })
	f(rewrite.RefuseFunctions, l.FunctionsMax, func(n int) build { return build{extra: []fn{{}}, shared: n} })
	f(rewrite.RefuseGlobals, l.GlobalsMax, func(n int) build {
		b := build{}
		for range n {
			b.globals = append(b.globals, Cat(I32, 1, I32Const(0), OpEnd))
		}
		return b
	})
	f(rewrite.RefuseExports, l.ExportsMax, func(n int) build {
		b := build{}
		for i := range n - 1 { // the memory is the last
			b.exports = append(b.exports, Cat(fmt.Sprint("e", i), 2, 0))
		}
		return b
	})
	f(rewrite.RefuseParams, l.ParamsMax, func(n int) build { return build{extra: []fn{{params: strings.Repeat("I", n)}}} })
	f(rewrite.RefuseResults, l.ResultsMax, func(n int) build { return build{extra: []fn{{results: strings.Repeat("I", n)}}} })
	wantCap(t, rewrite.RefuseTables, l.TablesMax, "the ", func(n int) []byte {
		return Cat([]byte(Header), Section(4, Uleb(uint64(n)), Repeat(n, 0x70, 0, 1)))
	})
	wantCap(t, rewrite.RefuseTableEntries, int(l.TableEntriesMax), "table 0", func(n int) []byte {
		return build{table: Cat(0x70, 0, Uleb(uint64(n)))}.bytes()
	})
	wantCap(t, rewrite.RefuseElementSegments, l.ElementSegmentsMax, "the ", func(n int) []byte {
		return Cat([]byte(Header), Section(9, Uleb(uint64(n)), Repeat(n, 1, 0, 0)))
	})
	f(rewrite.RefuseElements, l.ElementsMax, func(n int) build {
		return build{table: Cat(0x70, 0, 1), elements: make([]byte, n), fns: []fn{{}}}
	})
	f(rewrite.RefuseDataSegments, l.DataSegmentsMax, func(n int) build {
		b := build{}
		for range n {
			b.data = append(b.data, Cat(1, 0))
		}
		return b
	})
	wantCap(t, rewrite.RefuseMemories, 1, "the ", func(n int) []byte {
		return Cat([]byte(Header), Section(5, Uleb(uint64(n)), Repeat(n, 0, 1)))
	})
	f(rewrite.RefuseMemoryPages, int(l.MemoryPagesInitialMax), func(n int) build {
		return build{memory: Cat(0, Uleb(uint64(n)))}
	})
}

// TestFunctionLimits: so does every cap on a function.
func TestFunctionLimits(t *testing.T) {
	l := rewrite.Default()
	f := func(code string, limit int, of func(n int) []byte) {
		t.Helper()
		wantCap(t, code, limit, `function 0 ("f")`, func(n int) []byte { return one("", "", nil, of(n)).bytes() })
	}
	f(rewrite.RefuseBodyBytes, l.BodyBytesMax, func(n int) []byte { return Repeat(n-2, OpNop) }) // no locals, end
	wantCap(t, rewrite.RefuseLocals, l.LocalsMax, `function 0 ("f")`, func(n int) []byte {
		return one("ii", "", Locals(Group(n-2, I64))).bytes()
	})
	f(rewrite.RefuseOperands, l.OperandsMax, func(n int) []byte { return Cat(Repeat(n, I32Const(0)), Repeat(n, OpDrop)) })
	f(rewrite.RefuseBlocks, l.BlocksMax, func(n int) []byte { return Repeat(n, Block(NoResult)) })
	f(rewrite.RefuseNesting, l.NestingMax, func(n int) []byte { return Cat(Repeat(n, OpBlock, NoResult), Repeat(n, OpEnd)) })
	f(rewrite.RefuseLoops, l.LoopsMax, func(n int) []byte { return Repeat(n, Loop(NoResult)) })
	f(rewrite.RefuseBranches, l.BranchesMax, func(n int) []byte { return Repeat(n, I32Const(0), BrIf(0)) })
	f(rewrite.RefuseBulk, l.BulkMax, func(n int) []byte { return Repeat(n, I32Const(0), I32Const(0), I32Const(0), MemoryFill()) })
	f(rewrite.RefuseBulk, l.BulkMax, func(n int) []byte { return Repeat(n, I32Const(0), MemoryGrow(), OpDrop) })
	f(rewrite.RefuseBranchTargets, l.BranchTargetsMax, func(n int) []byte {
		half := make([]int, n/2+1) // with the default, which is not counted
		return Cat(Block(NoResult, I32Const(0), BrTable(half...)), I32Const(0), BrTable(make([]int, n-n/2+1)...))
	})
}

// TestLocalsTimesLoops: the product counts, not the factors alone.
func TestLocalsTimesLoops(t *testing.T) {
	of := func(locals, loops int) []byte {
		return one("", "", Locals(Group(locals, I64)), Repeat(loops, Loop(NoResult))).bytes()
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
	header := []byte(Header)
	of := func(id int, content ...byte) []byte { return Cat(header, Section(id, content)) }
	f("nothing", rewrite.RefuseNotWasm, nil)
	f("text", rewrite.RefuseNotWasm, []byte("(module)"))
	f("a component", rewrite.RefuseNotWasm, []byte("\x00asm\x0d\x00\x01\x00"))
	f("an unknown section", rewrite.RefuseUnsupported, of(13, 0))
	f("sections out of order", rewrite.RefuseMalformed, Cat(of(5, 1, 0, 1), Section(4, 1, 0x70, 0, 1)))
	f("a section twice", rewrite.RefuseMalformed, Cat(of(5, 1, 0, 1), Section(5, 1, 0, 1)))
	f("bytes to spare", rewrite.RefuseMalformed, of(5, 1, 0, 1, 0))
	f("a count of 2^32-1", rewrite.RefuseMalformed, of(1, 0xff, 0xff, 0xff, 0xff, 0x0f))
	f("a number of 33 bits", rewrite.RefuseMalformed, of(1, 0xff, 0xff, 0xff, 0xff, 0x1f))
	f("a number of six bytes", rewrite.RefuseMalformed, of(1, 0x80, 0x80, 0x80, 0x80, 0x80, 0))
	f("a signed number of 33 bits", rewrite.RefuseMalformed, one("", "", nil, 0x41, 0x80, 0x80, 0x80, 0x80, 0x10, OpDrop).bytes())
	f("a signed number of 65 bits", rewrite.RefuseMalformed,
		one("", "", nil, 0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02, OpDrop).bytes())
	f("a name that is not UTF-8", rewrite.RefuseMalformed, build{fns: []fn{{name: "\xff"}}}.bytes())
	f("two exports of a name", rewrite.RefuseExportTwice, build{fns: []fn{{name: "a"}, {name: "a"}}}.bytes())
	f("an imported memory", rewrite.RefuseImportKind, of(2, 1, 1, 'a', 1, 'b', 2, 0, 1))
	f("a missing body", rewrite.RefuseMalformed, Cat(of(1, 1, 0x60, 0, 0), Section(3, 1, 0)))
	f("an else alone", rewrite.RefuseMalformed, one("", "", nil, 0x05).bytes())
	f("code behind the end", rewrite.RefuseMalformed, one("", "", nil, OpEnd, OpNop).bytes())
	f("a label too far", rewrite.RefuseUnknownIndex, one("", "", nil, Br(1)).bytes())
	f("a function too far", rewrite.RefuseUnknownIndex, one("", "", nil, Call(1)).bytes())
	f("a type too far", rewrite.RefuseUnknownIndex, one("", "", nil, 2, 1, OpEnd).bytes())
	f("a segment without a count", rewrite.RefuseUnknownIndex,
		build{fns: []fn{{code: DataDrop(0)}}, data: [][]byte{Cat(1, 0)}}.bytes())
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
		extra:   []fn{{params: "i", results: "i"}},
		imports: []fn{{name: "log", params: "i"}},
		fns: []fn{
			{name: "f", params: "iI", results: "Ii", locals: Locals(Group(2, I32)),
				code: Cat(LocalGet(0), Call(0), LocalGet(1), LocalGet(0), I32Const(0), CallIndirect(0), LocalTee(2), 0x41, 9, OpI32Add)},
			{name: "g", params: "i", results: "i", code: Cat(LocalGet(0), I32Const(2), OpI32Mul)},
			{code: Cat(I32Const(0), I32Const(0), I32Const(3), MemoryInit(0))},
			{code: Cat(GlobalGet(0), OpDrop)},
		},
		table: Cat(0x70, 0, 3), elements: Cat(2, 2, 2),
		globals: [][]byte{Cat(I32, 1, I32Const(77), OpEnd)},
		exports: [][]byte{Cat("table", 1, 0), Cat("global", 3, 0)},
		start:   Cat(3), count: true,
		data:   [][]byte{Cat(1, "abc"), Cat(0, I32Const(8), OpEnd, "defg")},
		custom: Cat("producers", 0),
	}
}
