// Package moduletest builds small WebAssembly modules in tests: hostile ones, and
// mappers that do one thing. Code is a list of opcodes (the Op constants) and of
// functions that give an instruction's bytes; nothing of it is checked, for a
// test may want a module that is wrong. Tests with much code import the package
// with a dot.
//
//	m := moduletest.Mapper(moduletest.Endless())
//	code := m.Bytes()
package moduletest

import (
	"bytes"
	"slices"
)

// Header begins every module: the magic and version 1.
const Header = "\x00asm\x01\x00\x00\x00"

// Builder is a module under construction; sections are lists of encoded entries.
type Builder struct {
	Types, Imports, Functions, Tables, Memories, Globals, Exports, Elements, Codes, Datas [][]byte

	Start     []byte // content of the start section
	Custom    []byte // content of a custom section in front of the others
	DataCount bool   // with a data count section, which memory.init asks for
	Raw       []byte // when set, all of it

	funcs int // imported and own
}

// Type is the index of a function type, which is added unless it is there.
// Letters name value types: i and I are the integers of 32 and 64 bits, f and F
// the floats.
func (m *Builder) Type(params, results string) int {
	t := FuncType(params, results)
	if i := slices.IndexFunc(m.Types, func(u []byte) bool { return bytes.Equal(t, u) }); i >= 0 {
		return i
	}
	m.Types = append(m.Types, t)
	return len(m.Types) - 1
}

// Imported adds an imported function and gives its index. It has to come before
// the first own one.
func (m *Builder) Imported(from, name, params, results string) int {
	return m.ImportedType(from, name, m.Type(params, results))
}

// ImportedType is Imported with the index of a type.
func (m *Builder) ImportedType(from, name string, t int) int {
	m.Imports = append(m.Imports, Cat(from, name, 0, Uleb(uint64(t))))
	m.funcs++
	return m.funcs - 1
}

// Function adds a function with some i64 locals and exports it unless name is
// empty. It gives the function's index.
func (m *Builder) Function(name, params, results string, locals int, code ...any) int {
	groups := Locals()
	if locals > 0 {
		groups = Locals(Group(locals, I64))
	}
	return m.Body(name, m.Type(params, results), groups, code...)
}

// Body is Function with the index of a type and any locals (see Locals).
func (m *Builder) Body(name string, t int, locals []byte, code ...any) int {
	m.Functions = append(m.Functions, Uleb(uint64(t)))
	m.Codes = append(m.Codes, Sized(locals, Cat(code...), OpEnd))
	m.funcs++
	if name != "" {
		m.Exports = append(m.Exports, Cat(name, 0, Uleb(uint64(m.funcs-1))))
	}
	return m.funcs - 1
}

// Starting adds a start function.
func (m *Builder) Starting(code ...any) {
	m.Start = Uleb(uint64(m.Function("", "", "", 0, code...)))
}

// Memory adds a memory of so many pages, which can grow to most, and exports it.
func (m *Builder) Memory(pages, most uint32) {
	m.MemoryLimits(Cat(1, Uleb(uint64(pages)), Uleb(uint64(most))))
}

// MemoryLimits is Memory with the encoded limits.
func (m *Builder) MemoryLimits(limits []byte) {
	m.Memories = append(m.Memories, limits)
	m.Exports = append(m.Exports, Cat("memory", 2, 0))
}

// Global adds a global that can be set, of type t, and the code of its first value.
func (m *Builder) Global(t int, first ...any) {
	m.Globals = append(m.Globals, Cat(t, 1, Cat(first...), OpEnd))
}

// Data adds bytes that lie in memory at the start.
func (m *Builder) Data(at int32, bytes string) {
	m.Datas = append(m.Datas, Cat(0, I32Const(at), OpEnd, bytes))
}

// Counted adds counters as the rewriter would, for modules that do not go
// through it.
func (m *Builder) Counted() {
	n := len(m.Globals)
	m.Global(I64, I64Const(30_000_000))
	m.Global(I32, I32Const(512))
	m.Exports = append(m.Exports, Cat("tallyhook_fuel", 3, Uleb(uint64(n))), Cat("tallyhook_depth", 3, Uleb(uint64(n+1))))
}

// Bytes is the module; sections without entries are left out.
func (m *Builder) Bytes() []byte {
	if m.Raw != nil {
		return m.Raw
	}
	p := []byte(Header)
	section := func(id int, entries [][]byte) {
		if len(entries) > 0 {
			p = append(p, Section(id, List(entries...))...)
		}
	}
	if m.Custom != nil {
		p = append(p, Section(0, m.Custom)...)
	}
	section(1, m.Types)
	section(2, m.Imports)
	section(3, m.Functions)
	section(4, m.Tables)
	section(5, m.Memories)
	section(6, m.Globals)
	section(7, m.Exports)
	if m.Start != nil {
		p = append(p, Section(8, m.Start)...)
	}
	section(9, m.Elements)
	if m.DataCount {
		p = append(p, Section(12, Uleb(uint64(len(m.Datas))))...)
	}
	section(10, m.Codes)
	section(11, m.Datas)
	return p
}
