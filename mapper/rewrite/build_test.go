package rewrite_test

import . "github.com/tallyhook/tallyhook/mapper/moduletest"

// fn is a function of a built module; it is exported under its name if it has one.
type fn struct {
	name            string
	params, results string // letters, see Builder.Type
	locals          []byte // nil is none
	code            []byte // without the last end
}

// build is a module to be. Functions get a type each, number for number behind
// extra and the imports' types.
type build struct {
	extra    []fn // types alone, for blocks and indirect calls: numbers from 0
	imports  []fn // of module "host"
	fns      []fn
	memory   []byte // limits, nil: one page
	table    []byte // whole entry
	elements []byte // functions, placed at 0
	globals  [][]byte
	exports  [][]byte // besides the functions and the memory
	start    []byte
	data     [][]byte // whole segments
	count    bool     // a data count section
	shared   int      // so many empty functions of type 0 behind the others
	custom   []byte   // content of a custom section, at the front
}

func (b build) bytes() []byte {
	m := &Builder{Globals: b.globals, Start: b.start, Datas: b.data, DataCount: b.count, Custom: b.custom}
	typeOf := func(f fn) int {
		m.Types = append(m.Types, FuncType(f.params, f.results))
		return len(m.Types) - 1
	}
	for _, f := range b.extra {
		typeOf(f)
	}
	for _, f := range b.imports {
		m.ImportedType("host", f.name, typeOf(f))
	}
	for _, f := range b.fns {
		if f.locals == nil {
			f.locals = Locals()
		}
		m.Body(f.name, typeOf(f), f.locals, f.code)
	}
	for range b.shared {
		m.Body("", 0, Locals())
	}
	if b.memory == nil {
		b.memory = Cat(0, 1)
	}
	m.MemoryLimits(b.memory)
	m.Exports = append(m.Exports, b.exports...)
	if b.table != nil {
		m.Tables = [][]byte{b.table}
	}
	if b.elements != nil {
		items := make([][]byte, len(b.elements))
		for i, e := range b.elements {
			items[i] = Uleb(uint64(e))
		}
		m.Elements = [][]byte{Cat(0, I32Const(0), OpEnd, List(items...))}
	}
	return m.Bytes()
}

// one is a module of one exported function.
func one(params, results string, locals []byte, code ...any) build {
	return build{fns: []fn{{params: params, results: results, locals: locals, code: Cat(code...), name: "f"}}}
}
