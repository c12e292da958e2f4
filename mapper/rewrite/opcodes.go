package rewrite

// Opcodes that the rewriter reads or writes by name.
const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opLocalGet     = 0x20
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opLoadFirst    = 0x28 // i32.load
	opLoadLast     = 0x35 // i64.load32_u
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32LtS       = 0x48
	opI64LtS       = 0x53
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI64Sub       = 0x7d
	opI64ExtendU   = 0xad // i64.extend_i32_u
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd
)

// Second bytes of opMisc and opVector that the rewriter knows by name.
const (
	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17
	vectorConst    = 12
	vectorStore    = 11
)

const (
	typeEmpty   = 0x40
	typeI32     = 0x7f
	typeI64     = 0x7e
	typeV128    = 0x7b
	typeFuncRef = 0x70
	typeExtern  = 0x6f
)

// isValueType knows i32, i64, f32, f64, v128, funcref and externref.
func isValueType(b byte) bool {
	return b >= typeV128 && b <= typeI32 || isRefType(b)
}

func isRefType(b byte) bool { return b == typeFuncRef || b == typeExtern }

// immediate is what follows an opcode.
type immediate uint8

const (
	immUnknown immediate = iota // no opcode of ours: the zero value, so that what is not listed is refused
	immNone
	immBlock // block type
	immElse
	immEnd
	immLabel
	immLabels
	immReturn
	immCall
	immCallIndirect
	immTypes // of select
	immLocal
	immGlobal
	immTable
	immMemory // alignment and offset
	immMemorySize
	immMemoryGrow
	immI32
	immI64
	immF32
	immF64
	immRefType
	immFunction
	immMisc
	immVector
)

// immediates says for each first byte what follows it.
var immediates = func() (t [256]immediate) {
	span := func(from, to byte, i immediate) {
		for b := int(from); b <= int(to); b++ {
			t[b] = i
		}
	}
	span(0x00, 0x01, immNone) // unreachable, nop
	span(opBlock, opIf, immBlock)
	t[opElse], t[opEnd] = immElse, immEnd
	span(opBr, opBrIf, immLabel)
	t[opBrTable], t[opReturn] = immLabels, immReturn
	t[opCall], t[opCallIndirect] = immCall, immCallIndirect
	span(0x1a, 0x1b, immNone) // drop, select
	t[0x1c] = immTypes
	span(opLocalGet, opLocalTee, immLocal)
	span(opGlobalGet, opGlobalSet, immGlobal)
	span(0x25, 0x26, immTable)         // table.get, table.set
	span(opLoadFirst, 0x3e, immMemory) // loads and stores
	t[0x3f], t[opMemoryGrow] = immMemorySize, immMemoryGrow
	t[opI32Const], t[opI64Const], t[opF32Const], t[opF64Const] = immI32, immI64, immF32, immF64
	span(0x45, 0xc4, immNone) // comparisons, arithmetic, conversions, sign extension
	t[opRefNull], t[0xd1], t[opRefFunc] = immRefType, immNone, immFunction
	t[opMisc], t[opVector] = immMisc, immVector
	return t
}()

// vectorGaps are the numbers below 256 that no instruction has.
var vectorGaps = [...]byte{0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6, 0xcf,
	0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee}

// Units of fuel of what is not as fast as the 1 unit that other instructions cost.
const (
	// SlowFuel is what a division, remainder, square root, load, indirect call or
	// bulk memory instruction costs at least. A load is dear because it may have to wait for main memory.
	SlowFuel = 4
	// ImportFuel is what the call of an imported function costs: the host works for it.
	ImportFuel = 100
	// GrowFuel is what memory.grow costs when it is reached.
	GrowFuel = 5000
)

// units is what an instruction costs, without what is told by more than its first byte.
func units(op byte) int64 {
	switch op {
	case 0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, 0x91, 0x95, 0x9f, 0xa3, // div, rem, sqrt
		opCallIndirect:
		return SlowFuel
	}
	if op >= opLoadFirst && op <= opLoadLast {
		return SlowFuel
	}
	return 1
}

// vectorUnits is what a vector instruction costs.
func vectorUnits(op byte) int64 {
	switch op {
	case 0xe3, 0xe7, 0xef, 0xf3: // sqrt, div of f32x4 and f64x2
		return SlowFuel
	}
	if op <= 10 || op >= 84 && op <= 87 || op == 92 || op == 93 { // loads
		return SlowFuel
	}
	return 1
}
