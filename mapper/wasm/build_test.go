package wasm

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A builder of small modules. Code is written as a list of opcodes (byte
// constants below) and helpers that give bytes.

const (
	opUnreachable = 0x00
	opBlock       = 0x02
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
	opReturn      = 0x0f
	opDrop        = 0x1a
	opI32Add      = 0x6a
	opI64Or       = 0x84
	opI64Shl      = 0x86
	opI64Extend   = 0xad // i64.extend_i32_u
	noResult      = 0x40
)

// module is a module under construction; sections are lists of encoded entries.
type module struct {
	types, imports, functions, tables, memories, globals, exports, elements, codes, datas [][]byte
	start                                                                                 []byte
	custom                                                                                []byte
	raw                                                                                   []byte // when set, all of it
	funcs                                                                                 int    // imported and own
}

func uleb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) (p []byte) {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if (v == 0 && b&0x40 == 0) || (v == -1 && b&0x40 != 0) {
			return append(p, b)
		}
		p = append(p, b|0x80)
	}
}

// cat joins bytes, opcodes (int) and texts.
func cat(parts ...any) (p []byte) {
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			p = append(p, byte(part))
		case []byte:
			p = append(p, part...)
		case string:
			p = append(append(p, uleb(uint64(len(part)))...), part...)
		}
	}
	return p
}

func repeat(n int, p ...any) []byte { return bytes.Repeat(cat(p...), n) }

func i32Const(v int32) []byte  { return cat(0x41, sleb(int64(v))) }
func i64Const(v int64) []byte  { return cat(0x42, sleb(v)) }
func localGet(i uint64) []byte { return cat(0x20, uleb(i)) }
func call(f int) []byte        { return cat(0x10, uleb(uint64(f))) }
func br(depth uint64) []byte   { return cat(0x0c, uleb(depth)) }

// place is a result word.
func place(ptr, n uint32) []byte { return i64Const(int64(uint64(ptr)<<32 | uint64(n))) }

func valueTypes(letters string) []byte {
	p := uleb(uint64(len(letters)))
	for _, c := range letters {
		p = append(p, map[rune]byte{'i': 0x7f, 'I': 0x7e}[c])
	}
	return p
}

func (m *module) typ(params, results string) int {
	t := cat(0x60, valueTypes(params), valueTypes(results))
	if i := slices.IndexFunc(m.types, func(u []byte) bool { return bytes.Equal(t, u) }); i >= 0 {
		return i
	}
	m.types = append(m.types, t)
	return len(m.types) - 1
}

// imported adds an imported function. It has to come before the first own one.
func (m *module) imported(from, name, params, results string) int {
	m.imports = append(m.imports, cat(from, name, 0, uleb(uint64(m.typ(params, results)))))
	m.funcs++
	return m.funcs - 1
}

// function adds a function with some i64 locals and exports it unless name is empty.
func (m *module) function(name, params, results string, locals int, code ...any) int {
	t := m.typ(params, results)
	m.functions = append(m.functions, uleb(uint64(t)))
	body := []byte{0}
	if locals > 0 {
		body = cat(1, uleb(uint64(locals)), 0x7e)
	}
	body = cat(body, cat(code...), opEnd)
	m.codes = append(m.codes, cat(uleb(uint64(len(body))), body))
	m.funcs++
	if name != "" {
		m.exports = append(m.exports, cat(name, 0, uleb(uint64(m.funcs-1))))
	}
	return m.funcs - 1
}

func (m *module) memory(pages, most uint32) {
	m.memories = append(m.memories, cat(1, uleb(uint64(pages)), uleb(uint64(most))))
	m.exports = append(m.exports, cat("memory", 2, 0))
}

func (m *module) data(at int32, text string) {
	m.datas = append(m.datas, cat(0, i32Const(at), opEnd, text))
}

// counted adds counters as the rewriter would, for modules that do not go
// through it.
func (m *module) counted() {
	n := len(m.globals)
	m.globals = append(m.globals, cat(0x7e, 1, i64Const(100_000_000), opEnd), cat(0x7f, 1, i32Const(512), opEnd))
	m.exports = append(m.exports, cat("tallyhook_fuel", 3, uleb(uint64(n))), cat("tallyhook_depth", 3, uleb(uint64(n+1))))
}

func (m *module) bytes() []byte {
	if m.raw != nil {
		return m.raw
	}
	p := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, entries [][]byte) {
		if len(entries) == 0 {
			return
		}
		body := uleb(uint64(len(entries)))
		for _, e := range entries {
			body = append(body, e...)
		}
		p = cat(p, int(id), uleb(uint64(len(body))), body)
	}
	if m.custom != nil {
		p = cat(p, 0, uleb(uint64(len(m.custom))), m.custom)
	}
	section(1, m.types)
	section(2, m.imports)
	section(3, m.functions)
	section(4, m.tables)
	section(5, m.memories)
	section(6, m.globals)
	section(7, m.exports)
	if m.start != nil {
		p = cat(p, 8, uleb(uint64(len(m.start))), m.start)
	}
	section(9, m.elements)
	section(10, m.codes)
	section(11, m.datas)
	return p
}

const (
	bufferAt    = 1024
	bufferBytes = 32 << 10
)

// mapper is a module whose mapper_v1_map runs code.
func mapper(code ...any) *module {
	m := new(module)
	m.memory(2, 256)
	m.complete(code...)
	return m
}

// complete adds the two functions that every mapper exports.
func (m *module) complete(code ...any) {
	m.function("mapper_v1_buffer", "", "I", 0, place(bufferAt, bufferBytes))
	m.function("mapper_v1_map", "i", "I", 1, code...)
}

// answering gives the record ref_id = text whatever it is asked.
func answering(text string) *module {
	rec := "\x01\x00" + string([]byte{byte(len(text)), 0}) + text
	m := mapper(place(65536, uint32(len(rec))))
	m.data(65536, rec)
	return m
}

// echo gives its input as output.
func echo() *module {
	return mapper(i64Const(bufferAt), i64Const(32), opI64Shl, localGet(0), opI64Extend, opI64Or)
}

// endless is a loop that does not end.
func endless() []byte { return cat(opLoop, noResult, br(0), opEnd) }
