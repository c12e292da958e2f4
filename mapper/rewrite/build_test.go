package rewrite_test

import "encoding/binary"

// A small assembler of modules: text would need a parser, bytes need only these.

func uleb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func join(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

func repeat(n int, parts ...[]byte) []byte {
	one, b := join(parts...), []byte(nil)
	for ; n > 0; n-- {
		b = append(b, one...)
	}
	return b
}

func op(b ...byte) []byte { return b }

func i32c(v int32) []byte                 { return append([]byte{0x41}, sleb(int64(v))...) }
func i64c(v int64) []byte                 { return append([]byte{0x42}, sleb(v)...) }
func get(i int) []byte                    { return append([]byte{0x20}, uleb(uint64(i))...) }
func set(i int) []byte                    { return append([]byte{0x21}, uleb(uint64(i))...) }
func tee(i int) []byte                    { return append([]byte{0x22}, uleb(uint64(i))...) }
func gget(i int) []byte                   { return append([]byte{0x23}, uleb(uint64(i))...) }
func gset(i int) []byte                   { return append([]byte{0x24}, uleb(uint64(i))...) }
func br(i int) []byte                     { return append([]byte{0x0c}, uleb(uint64(i))...) }
func brIf(i int) []byte                   { return append([]byte{0x0d}, uleb(uint64(i))...) }
func invoke(i int) []byte                 { return append([]byte{0x10}, uleb(uint64(i))...) }
func invokeTable(t int) []byte            { return append(append([]byte{0x11}, uleb(uint64(t))...), 0) }
func block(t byte, code ...[]byte) []byte { return join([]byte{0x02, t}, join(code...), end) }
func loop(t byte, code ...[]byte) []byte  { return join([]byte{0x03, t}, join(code...), end) }
func when(t byte, then, otherwise []byte) []byte {
	if otherwise == nil {
		return join([]byte{0x04, t}, then, end)
	}
	return join([]byte{0x04, t}, then, []byte{0x05}, otherwise, end)
}

func brTable(labels ...int) []byte {
	b := append([]byte{0x0e}, uleb(uint64(len(labels)-1))...)
	for _, l := range labels {
		b = append(b, uleb(uint64(l))...)
	}
	return b
}

var (
	end         = op(0x0b)
	ret         = op(0x0f)
	drop        = op(0x1a)
	unreachable = op(0x00)
	nop         = op(0x01)
	add         = op(0x6a)
	sub         = op(0x6b)
	mul         = op(0x6c)
	eqz         = op(0x45)
	lts         = op(0x48)
	load8       = op(0x2d, 0, 0)
	load32      = op(0x28, 2, 0)
	store32     = op(0x36, 2, 0)
	grow        = op(0x40, 0)
	fill        = op(0xfc, 11, 0)
	copyBytes   = op(0xfc, 10, 0, 0)
	tableGrow   = op(0xfc, 15, 0)
)

const (
	none byte = 0x40
	i32  byte = 0x7f
	i64  byte = 0x7e
	f64  byte = 0x7c
)

func types(t ...byte) []byte { return t }

// fn is a function of a built module; it is exported under its name if it has one.
type fn struct {
	params, results []byte
	locals          []byte // groups with their count; nil is none
	code            []byte // without the last end
	name            string
}

// build is a module to be. Functions get a type each, number for number behind
// extra and the imports' types.
type build struct {
	extra    []fn // types alone, for blocks and indirect calls: numbers from 0
	imports  []fn // of module "host"
	fns      []fn
	memory   []byte // limits, nil: one page; empty: none
	table    []byte // whole entry
	elements []byte // functions, placed at 0
	globals  [][]byte
	exports  [][]byte // besides the functions
	start    []byte
	data     [][]byte // whole segments
	count    bool     // a data count section
	shared   int      // so many empty functions of type 0 behind the others
	custom   []byte   // content of a custom section, at the front
}

func vector(items ...[]byte) []byte { return append(uleb(uint64(len(items))), join(items...)...) }

func section(id byte, content []byte) []byte {
	return append(append([]byte{id}, uleb(uint64(len(content)))...), content...)
}

func text(s string) []byte { return append(uleb(uint64(len(s))), s...) }

func (b build) bytes() []byte {
	var ts, imports, funcs, exports, bodies [][]byte
	typeOf := func(f fn) []byte {
		ts = append(ts, join([]byte{0x60}, uleb(uint64(len(f.params))), f.params, uleb(uint64(len(f.results))), f.results))
		return uleb(uint64(len(ts) - 1))
	}
	for _, f := range b.extra {
		typeOf(f)
	}
	for _, f := range b.imports {
		imports = append(imports, join(text("host"), text(f.name), op(0), typeOf(f)))
	}
	for i, f := range b.fns {
		funcs = append(funcs, typeOf(f))
		if f.name != "" {
			exports = append(exports, join(text(f.name), op(0), uleb(uint64(i+len(b.imports)))))
		}
		locals := f.locals
		if locals == nil {
			locals = op(0)
		}
		body := join(locals, f.code, end)
		bodies = append(bodies, append(uleb(uint64(len(body))), body...))
	}
	for range b.shared {
		funcs = append(funcs, op(0))
		bodies = append(bodies, op(2, 0, 0x0b))
	}
	memory := b.memory
	if memory == nil {
		memory = op(0, 1)
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	put := func(id byte, items ...[]byte) {
		if len(items) > 0 {
			out = append(out, section(id, vector(items...))...)
		}
	}
	if b.custom != nil {
		out = append(out, section(0, b.custom)...)
	}
	put(1, ts...)
	put(2, imports...)
	put(3, funcs...)
	if b.table != nil {
		put(4, b.table)
	}
	if len(memory) > 0 {
		put(5, memory)
		exports = append(exports, join(text("memory"), op(2, 0)))
	}
	put(6, b.globals...)
	put(7, append(exports, b.exports...)...)
	if b.start != nil {
		out = append(out, section(8, b.start)...)
	}
	if b.elements != nil {
		items := make([][]byte, len(b.elements))
		for i, e := range b.elements {
			items[i] = uleb(uint64(e))
		}
		put(9, join(op(0), i32c(0), end, vector(items...)))
	}
	if b.count {
		out = append(out, section(12, uleb(uint64(len(b.data))))...)
	}
	put(10, bodies...)
	put(11, b.data...)
	return out
}

// one is a module of one exported function.
func one(params, results, locals []byte, code ...[]byte) build {
	return build{fns: []fn{{params: params, results: results, locals: locals, code: join(code...), name: "f"}}}
}
