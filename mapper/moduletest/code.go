package moduletest

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Opcodes without operands, and those that begin a block.
const (
	OpUnreachable = 0x00
	OpNop         = 0x01
	OpBlock       = 0x02
	OpLoop        = 0x03
	OpIf          = 0x04
	OpElse        = 0x05
	OpEnd         = 0x0b
	OpReturn      = 0x0f
	OpDrop        = 0x1a
	OpI32Eqz      = 0x45
	OpI32Ne       = 0x47
	OpI32LtS      = 0x48
	OpI32GtS      = 0x4a
	OpI32GtU      = 0x4b
	OpI32Add      = 0x6a
	OpI32Sub      = 0x6b
	OpI32Mul      = 0x6c
	OpI32DivS     = 0x6d
	OpI32RemS     = 0x6f
	OpI32RemU     = 0x70
	OpI32And      = 0x71
	OpI64Add      = 0x7c
	OpI64DivS     = 0x7f
	OpI64Or       = 0x84
	OpI64Shl      = 0x86
	OpF64Sqrt     = 0x9f
	OpI32Wrap     = 0xa7 // i32.wrap_i64
	OpI64Extend   = 0xad // i64.extend_i32_u
)

// Types of values and of blocks.
const (
	I32      = 0x7f
	I64      = 0x7e
	F32      = 0x7d
	F64      = 0x7c
	NoResult = 0x40 // of a block
)

// Uleb is an unsigned number as modules have it.
func Uleb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

// Sleb is a signed number as modules have it.
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

// Cat joins bytes, opcodes (int, one byte each) and texts, which get their
// length in front.
func Cat(parts ...any) (p []byte) {
	for _, part := range parts {
		switch part := part.(type) {
		case int:
			p = append(p, byte(part))
		case []byte:
			p = append(p, part...)
		case string:
			p = append(append(p, Uleb(uint64(len(part)))...), part...)
		default:
			panic("bug: moduletest.Cat takes ints, bytes and strings")
		}
	}
	return p
}

// Repeat is Cat of the parts n times.
func Repeat(n int, parts ...any) []byte { return bytes.Repeat(Cat(parts...), n) }

// Sized is Cat of the parts with their size in bytes in front.
func Sized(parts ...any) []byte {
	p := Cat(parts...)
	return append(Uleb(uint64(len(p))), p...)
}

// List is a list of encoded items with their number in front.
func List(items ...[]byte) []byte {
	return append(Uleb(uint64(len(items))), slices.Concat(items...)...)
}

// Section is a section of a module.
func Section(id int, content ...any) []byte { return Cat(id, Sized(content...)) }

// ValueTypes lists the types that letters name (see Builder.Type).
func ValueTypes(letters string) []byte {
	p := Uleb(uint64(len(letters)))
	for _, c := range letters {
		p = append(p, map[rune]byte{'i': I32, 'I': I64, 'f': F32, 'F': F64}[c])
	}
	return p
}

// FuncType is an entry of the type section.
func FuncType(params, results string) []byte {
	return Cat(0x60, ValueTypes(params), ValueTypes(results))
}

// Locals are a function's locals in groups (see Group).
func Locals(groups ...[]byte) []byte { return List(groups...) }

// Group is n locals of one type.
func Group(n, t int) []byte { return Cat(Uleb(uint64(n)), t) }

// Instructions with operands.

func I32Const(v int32) []byte { return Cat(0x41, Sleb(int64(v))) }
func I64Const(v int64) []byte { return Cat(0x42, Sleb(v)) }
func LocalGet(i int) []byte   { return Cat(0x20, Uleb(uint64(i))) }
func LocalSet(i int) []byte   { return Cat(0x21, Uleb(uint64(i))) }
func LocalTee(i int) []byte   { return Cat(0x22, Uleb(uint64(i))) }
func GlobalGet(i int) []byte  { return Cat(0x23, Uleb(uint64(i))) }
func GlobalSet(i int) []byte  { return Cat(0x24, Uleb(uint64(i))) }
func Call(f int) []byte       { return Cat(0x10, Uleb(uint64(f))) }
func Br(depth int) []byte     { return Cat(0x0c, Uleb(uint64(depth))) }
func BrIf(depth int) []byte   { return Cat(0x0d, Uleb(uint64(depth))) }

// CallIndirect calls a function of type t through table 0.
func CallIndirect(t int) []byte { return Cat(0x11, Uleb(uint64(t)), 0) }

// BrTable branches to the label that the operand numbers, else to the last.
func BrTable(labels ...int) []byte {
	p := Cat(0x0e, Uleb(uint64(len(labels)-1)))
	for _, l := range labels {
		p = append(p, Uleb(uint64(l))...)
	}
	return p
}

// Block, Loop and If are whole blocks of the type t; an If without an otherwise
// has no else.

func Block(t int, code ...any) []byte { return Cat(OpBlock, t, Cat(code...), OpEnd) }
func Loop(t int, code ...any) []byte  { return Cat(OpLoop, t, Cat(code...), OpEnd) }
func If(t int, then, otherwise []byte) []byte {
	if otherwise == nil {
		return Cat(OpIf, t, then, OpEnd)
	}
	return Cat(OpIf, t, then, OpElse, otherwise, OpEnd)
}

// Memory at the address on the stack.

func I32Load() []byte    { return Cat(0x28, 2, 0) }
func I32Load8U() []byte  { return Cat(0x2d, 0, 0) }
func I32Store() []byte   { return Cat(0x36, 2, 0) }
func I64Load() []byte    { return Cat(0x29, 0, 0) }
func I64Load8U() []byte  { return Cat(0x31, 0, 0) }
func I64Store() []byte   { return Cat(0x37, 0, 0) }
func MemorySize() []byte { return Cat(0x3f, 0) }
func MemoryGrow() []byte { return Cat(0x40, 0) }
func MemoryFill() []byte { return Cat(0xfc, 11, 0) }
func MemoryCopy() []byte { return Cat(0xfc, 10, 0, 0) }

// MemoryInit copies from a data segment, DataDrop gives it up.

func MemoryInit(segment int) []byte { return Cat(0xfc, 8, Uleb(uint64(segment)), 0) }
func DataDrop(segment int) []byte   { return Cat(0xfc, 9, Uleb(uint64(segment))) }

func TableGrow() []byte { return Cat(0xfc, 15, 0) }

// Endless is a loop that does not end.
func Endless() []byte { return Loop(NoResult, Br(0)) }
