// Package moduletest builds small WebAssembly modules in tests: hostile ones, and
// mappers that do one thing. Code is written as a list of opcodes (the Op
// constants) and helpers that give bytes; nothing of it is checked, for a test
// may want a module that is wrong.
//
//	m := moduletest.Mapper(moduletest.Endless())
//	code := m.Bytes()
package moduletest

import (
	"bytes"
	"encoding/binary"
	"slices"
)

const (
	OpUnreachable = 0x00
	OpBlock       = 0x02
	OpLoop        = 0x03
	OpIf          = 0x04
	OpEnd         = 0x0b
	OpReturn      = 0x0f
	OpDrop        = 0x1a
	OpI32Add      = 0x6a
	OpI64Or       = 0x84
	OpI64Shl      = 0x86
	OpI64Extend   = 0xad // i64.extend_i32_u
	NoResult      = 0x40
)

// Module is a module under construction; sections are lists of encoded entries.
type Module struct {
	Types, Imports, Functions, Tables, Memories, Globals, Exports, Elements, Codes, Datas [][]byte

	Start  []byte
	Custom []byte // a custom section
	Raw    []byte // when set, all of it
	funcs  int    // imported and own
}

func Uleb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func Sleb(v int64) (p []byte) {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(p, b)
		}
		p = append(p, b|0x80)
	}
}

// Cat joins bytes, opcodes (int) and texts.
func Cat(parts ...any) (p []byte) {
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			p = append(p, byte(part))
		case []byte:
			p = append(p, part...)
		case string:
			p = append(append(p, Uleb(uint64(len(part)))...), part...)
		}
	}
	return p
}

func Repeat(n int, p ...any) (all []byte) {
	one := Cat(p...)
	for range n {
		all = append(all, one...)
	}
	return all
}

func I32Const(v int32) []byte  { return Cat(0x41, Sleb(int64(v))) }
func I64Const(v int64) []byte  { return Cat(0x42, Sleb(v)) }
func LocalGet(i uint64) []byte { return Cat(0x20, Uleb(i)) }
func Call(f int) []byte        { return Cat(0x10, Uleb(uint64(f))) }
func Br(depth uint64) []byte   { return Cat(0x0c, Uleb(depth)) }

// Place is a result word.
func Place(ptr, n uint32) []byte { return I64Const(int64(uint64(ptr)<<32 | uint64(n))) }

func ValueTypes(letters string) []byte {
	p := Uleb(uint64(len(letters)))
	for _, c := range letters {
		p = append(p, map[rune]byte{'i': 0x7f, 'I': 0x7e}[c])
	}
	return p
}

func (m *Module) Type(params, results string) int {
	t := Cat(0x60, ValueTypes(params), ValueTypes(results))
	if i := slices.IndexFunc(m.Types, func(u []byte) bool { return bytes.Equal(t, u) }); i >= 0 {
		return i
	}
	m.Types = append(m.Types, t)
	return len(m.Types) - 1
}

// imported adds an imported function. It has to come before the first own one.
func (m *Module) Imported(from, name, params, results string) int {
	m.Imports = append(m.Imports, Cat(from, name, 0, Uleb(uint64(m.Type(params, results)))))
	m.funcs++
	return m.funcs - 1
}

// function adds a function with some i64 locals and exports it unless name is empty.
func (m *Module) Function(name, params, results string, locals int, code ...any) int {
	t := m.Type(params, results)
	m.Functions = append(m.Functions, Uleb(uint64(t)))
	body := []byte{0}
	if locals > 0 {
		body = Cat(1, Uleb(uint64(locals)), 0x7e)
	}
	body = Cat(body, Cat(code...), OpEnd)
	m.Codes = append(m.Codes, Cat(Uleb(uint64(len(body))), body))
	m.funcs++
	if name != "" {
		m.Exports = append(m.Exports, Cat(name, 0, Uleb(uint64(m.funcs-1))))
	}
	return m.funcs - 1
}

func (m *Module) Memory(pages, most uint32) {
	m.Memories = append(m.Memories, Cat(1, Uleb(uint64(pages)), Uleb(uint64(most))))
	m.Exports = append(m.Exports, Cat("memory", 2, 0))
}

func (m *Module) Data(at int32, text string) {
	m.Datas = append(m.Datas, Cat(0, I32Const(at), OpEnd, text))
}

// counted adds counters as the rewriter would, for modules that do not go
// through it.
func (m *Module) Counted() {
	n := len(m.Globals)
	m.Globals = append(m.Globals, Cat(0x7e, 1, I64Const(100_000_000), OpEnd), Cat(0x7f, 1, I32Const(512), OpEnd))
	m.Exports = append(m.Exports, Cat("tallyhook_fuel", 3, Uleb(uint64(n))), Cat("tallyhook_depth", 3, Uleb(uint64(n+1))))
}

func (m *Module) Bytes() []byte {
	if m.Raw != nil {
		return m.Raw
	}
	p := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, entries [][]byte) {
		if len(entries) == 0 {
			return
		}
		body := Uleb(uint64(len(entries)))
		for _, e := range entries {
			body = append(body, e...)
		}
		p = Cat(p, int(id), Uleb(uint64(len(body))), body)
	}
	if m.Custom != nil {
		p = Cat(p, 0, Uleb(uint64(len(m.Custom))), m.Custom)
	}
	section(1, m.Types)
	section(2, m.Imports)
	section(3, m.Functions)
	section(4, m.Tables)
	section(5, m.Memories)
	section(6, m.Globals)
	section(7, m.Exports)
	if m.Start != nil {
		p = Cat(p, 8, Uleb(uint64(len(m.Start))), m.Start)
	}
	section(9, m.Elements)
	section(10, m.Codes)
	section(11, m.Datas)
	return p
}

const (
	BufferAt    = 1024
	BufferBytes = 32 << 10
)

// Mapper is a module whose mapper_v1_map runs code.
func Mapper(code ...any) *Module {
	m := new(Module)
	m.Memory(2, 256)
	m.Complete(code...)
	return m
}

// complete adds the two functions that every mapper exports.
func (m *Module) Complete(code ...any) {
	m.Function("mapper_v1_buffer", "", "I", 0, Place(BufferAt, BufferBytes))
	m.Function("mapper_v1_map", "i", "I", 1, code...)
}

// Answering gives the record ref_id = text whatever it is asked.
func Answering(text string) *Module {
	rec := "\x01\x00" + string([]byte{byte(len(text)), 0}) + text
	m := Mapper(Place(65536, uint32(len(rec))))
	m.Data(65536, rec)
	return m
}

// Echo gives its input as output.
func Echo() *Module {
	return Mapper(I64Const(BufferAt), I64Const(32), OpI64Shl, LocalGet(0), OpI64Extend, OpI64Or)
}

// Endless is a loop that does not end.
func Endless() []byte { return Cat(OpLoop, NoResult, Br(0), OpEnd) }
