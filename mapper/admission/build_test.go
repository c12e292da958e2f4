//go:build linux

package admission

import (
	"encoding/binary"
	"slices"
)

// A small assembler of mapper modules.

const (
	bufferAt = 4096  // of 16 KiB
	outputAt = 32768 // where the data segment lies
)

var (
	end         = []byte{0x0b}
	drop        = []byte{0x1a}
	unreachable = []byte{0x00}
	add         = []byte{0x6a}
	forever     = cat(op(0x03, 0x40), op(0x0c, 0), end) // loop br 0 end
)

func op(b ...byte) []byte              { return b }
func cat(parts ...[]byte) []byte       { return slices.Concat(parts...) }
func uleb(n int) []byte                { return binary.AppendUvarint(nil, uint64(n)) }
func vec(items ...[]byte) []byte       { return cat(uleb(len(items)), cat(items...)) }
func sized(p []byte) []byte            { return cat(uleb(len(p)), p) }
func text(s string) []byte             { return sized([]byte(s)) }
func i32(n int64) []byte               { return cat(op(0x41), sleb(n)) }
func i64(n int64) []byte               { return cat(op(0x42), sleb(n)) }
func get(n int) []byte                 { return cat(op(0x20), uleb(n)) }
func place(ptr, n int) []byte          { return i64(int64(ptr)<<32 | int64(n)) }
func section(id byte, p []byte) []byte { return cat(op(id), sized(p)) }

func repeat(n int, parts ...[]byte) []byte { return slices.Repeat(cat(parts...), n) }

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

// counting counts global 0 up to n, at some units of fuel a turn.
func counting(n int64) []byte {
	return cat(op(0x03, 0x40, 0x23, 0), i32(1), add, op(0x24, 0, 0x23, 0), i32(n), op(0x48, 0x0d, 0), end)
}

// out encodes a report as the ABI has it: field ids and values.
func out(fields ...any) []byte {
	var p []byte
	for i := 0; i < len(fields); i += 2 {
		value := fields[i+1].(string)
		p = binary.LittleEndian.AppendUint16(p, uint16(fields[i].(int)))
		p = binary.LittleEndian.AppendUint16(p, uint16(len(value)))
		p = append(p, value...)
	}
	return p
}

// guest is a mapper module; zero parts are left out or have a good default.
type guest struct {
	data    []byte // at outputAt
	mapping []byte // body of mapper_v1_map; else it gives data
	mapType byte   // its type, when not the right one
	start   []byte
	init    []byte
	without string   // an export that is left out
	imports []byte   // one function
	more    [][]byte // bodies of functions beside, locals and end included
}

// Types of functions: () -> (), () -> i64, (i32) -> i64, (i32) -> i32.
var types = section(1, vec(op(0x60, 0, 0), op(0x60, 0, 1, 0x7e), op(0x60, 1, 0x7f, 1, 0x7e), op(0x60, 1, 0x7f, 1, 0x7f)))

func (g guest) bytes() []byte {
	if g.mapping == nil {
		g.mapping = place(outputAt, len(g.data))
	}
	if g.mapType == 0 {
		g.mapType = 2
	}
	first := 0 // of its own functions
	if g.imports != nil {
		first = 1
	}
	functions := [][]byte{op(1), op(g.mapType)}
	bodies := [][]byte{sized(cat(vec(), place(bufferAt, 16384), end)), sized(cat(vec(), g.mapping, end))}
	exports := [][]byte{cat(text("memory"), op(2, 0)), cat(text("mapper_v1_buffer"), op(0), uleb(first)), cat(text("mapper_v1_map"), op(0), uleb(first+1))}
	function := func(kind byte, body []byte) int {
		functions, bodies = append(functions, op(kind)), append(bodies, sized(cat(vec(), body, end)))
		return first + len(functions) - 1
	}
	var start []byte
	if g.init != nil {
		exports = append(exports, cat(text("mapper_v1_init"), op(0), uleb(function(3, g.init))))
	}
	if g.start != nil {
		start = section(8, uleb(function(0, g.start)))
	}
	exports = slices.DeleteFunc(exports, func(e []byte) bool { return g.without != "" && string(e[1:1+e[0]]) == g.without })
	for _, body := range g.more {
		functions, bodies = append(functions, op(0)), append(bodies, sized(body))
	}
	m := cat([]byte("\x00asm\x01\x00\x00\x00"), types, g.imports, section(3, vec(functions...)), section(5, op(1, 0, 2)),
		section(6, vec(cat(op(0x7f, 1), i32(0), end))), section(7, vec(exports...)), start, section(10, vec(bodies...)))
	if g.data != nil {
		m = cat(m, section(11, vec(cat(op(0), i32(outputAt), end, sized(g.data)))))
	}
	return m
}
