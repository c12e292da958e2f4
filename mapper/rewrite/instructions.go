package rewrite

import "fmt"

// readInstruction reads one instruction with all that follows its opcode, puts
// it on its region's bill and notes where the code has to change.
func (m *module) readInstruction() {
	b := &m.body
	at := m.at
	op := m.byte()
	if !m.ok() {
		return
	}
	b.pay(units(op))
	m.push(int(gains[op]))
	switch immediates[op] {
	case immNone:
		if op == opUnreachable {
			m.dead()
		}
	case immBlock:
		m.open(op)
	case immElse:
		m.elseArm()
	case immEnd:
		m.close()
	case immLabel:
		m.branch()
		m.label()
		if op == opBr {
			m.dead()
		}
	case immLabels:
		m.branch()
		m.labels()
		m.dead()
	case immReturn:
		b.edit(at, editReturn, int64(len(b.frames)-1))
		m.dead()
	case immCall:
		m.call()
	case immCallIndirect:
		b.calls = true
		if t := m.index("type", len(m.types)); m.ok() {
			m.push(-1)
			m.pushCall(m.types[t])
		}
		m.index("table", len(m.tables))
	case immLocal:
		m.index("local", b.locals)
	case immGlobal:
		m.index("global", m.globals)
	case immMisc:
		m.readMisc(at)
	case immVector:
		m.readVector()
	case immMemoryGrow:
		m.bulkEdit(at, editCharge, GrowFuel)
		m.zero("memory")
	default:
		m.readImmediate(immediates[op], op)
	}
}

// readImmediate reads what follows an opcode that changes nothing in the code:
// it has to be right, and to be passed over.
func (m *module) readImmediate(i immediate, op byte) {
	switch i {
	case immTable:
		m.index("table", len(m.tables))
	case immFunction:
		m.functionPointer()
	case immTypes:
		if m.u32() != 1 {
			m.malformed("a select of other than one type")
		}
		if t := m.byte(); m.ok() && !isValueType(t) {
			m.unsupported(fmt.Sprintf("the value type %#x", t))
		}
	case immMemory:
		m.address()
	case immMemorySize:
		m.zero("memory")
	case immI32:
		m.signed(32)
	case immI64:
		m.signed(64)
	case immF32:
		m.skip(4)
	case immF64:
		m.skip(8)
	case immRefType:
		m.refType()
	default:
		m.unsupported(fmt.Sprintf("the opcode %#x", op))
	}
}

func (m *module) call() {
	i := m.functionIndex()
	if !m.ok() {
		return
	}
	m.pushCall(m.types[m.functions[i]])
	if int(i) < len(m.imports) {
		m.body.pay(ImportFuel)
	} else {
		m.body.calls = true
	}
}

// address reads the alignment and offset of a load or store. A sixth bit in
// the alignment would name another memory.
func (m *module) address() {
	if align := m.u32(); align > 4 {
		m.malformed(fmt.Sprintf("an alignment of 2^%d bytes", align))
	}
	m.u32()
}

// zero reads the place of a memory's number, which is one zero byte.
func (m *module) zero(what string) {
	if b := m.byte(); m.ok() && b != 0 {
		m.unsupported(fmt.Sprintf("%s %d", what, b))
	}
}

// readMisc reads conversions and bulk instructions. Their numbers are below
// 128; a longer way to write them is refused, as runtimes read it differently.
func (m *module) readMisc(at int) {
	b := &m.body
	op := m.byte()
	if op >= miscMemoryInit && op <= miscMemoryFill && op != miscDataDrop {
		m.bulkEdit(at, editLength, 0)
		b.lengths = true
		b.pay(SlowFuel - 1)
		m.push(-3)
	}
	switch op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case miscMemoryInit:
		m.index("data segment", m.data)
		m.zero("memory")
	case miscDataDrop:
		m.index("data segment", m.data)
	case miscMemoryCopy:
		m.zero("memory")
		m.zero("memory")
	case miscMemoryFill:
		m.zero("memory")
	case miscElemDrop:
		m.index("element segment", m.elements)
	case miscTableSize:
		m.push(1)
		m.index("table", len(m.tables))
	case miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
		m.refuse(RefuseTableChange, "%s at offset %#x changes a table as a whole (table.grow, fill, copy or init), which is not allowed: build without reference types and without dynamic linking",
			m.place(), at)
	default:
		m.unsupported(fmt.Sprintf("the opcode %#x %#x", opMisc, op))
	}
}

// readVector reads a SIMD instruction. From 128 on its number takes a second
// byte, which is 1; any other way to write it is refused, as runtimes that look
// at the first byte alone would read other instructions than these.
func (m *module) readVector() {
	op := m.byte()
	if op >= 0x80 && m.byte() != 1 {
		m.unsupported("a vector instruction beyond the first 256")
		return
	}
	for _, gap := range vectorGaps {
		if op == gap {
			m.unsupported(fmt.Sprintf("the opcode %#x %#x", opVector, op))
		}
	}
	m.body.pay(vectorUnits(op) - 1)
	if op == vectorConst {
		m.push(1)
	} else if op == vectorStore {
		m.push(-2)
	}
	switch {
	case op <= 11, op == 92, op == 93: // loads and stores
		m.address()
	case op == vectorConst, op == vectorConst+1: // constant, shuffle
		m.skip(16)
	case op >= 21 && op <= 34: // lanes
		m.byte()
	case op >= 84 && op <= 91: // loads and stores of one lane
		m.address()
		m.byte()
	}
}
