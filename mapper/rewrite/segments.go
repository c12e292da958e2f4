package rewrite

import "fmt"

// constant reads an initial value or offset: one constant and its end. As no
// global may be imported, there is none that it could read.
func (m *module) constant() {
	switch op := m.byte(); op {
	case opI32Const:
		m.signed(32)
	case opI64Const:
		m.signed(64)
	case opF32Const:
		m.skip(4)
	case opF64Const:
		m.skip(8)
	case opVector:
		if m.byte() != vectorConst {
			m.malformed("an initial value that is no constant")
		}
		m.skip(16)
	case opRefNull:
		m.refType()
	case opRefFunc:
		m.functionPointer()
	case opGlobalGet:
		m.unknown("imported global", m.u32(), 0)
	default:
		m.malformed(fmt.Sprintf("an initial value that is no constant (opcode %#x)", op))
	}
	if m.byte() != opEnd {
		m.malformed("an initial value that is more than one constant")
	}
}

func (m *module) refType() {
	if t := m.byte(); m.ok() && !isRefType(t) {
		m.unsupported(fmt.Sprintf("the reference type %#x", t))
	}
}

// functionPointer reads a function whose address is taken. Imported functions
// are refused there: behind an address, a call could not be charged what the
// host's work costs.
func (m *module) functionPointer() {
	i := m.functionIndex()
	if m.ok() && int(i) < len(m.imports) {
		m.refuse(RefuseImportPointer, "%s takes the address of the imported function %q: wrap it in a function of the module",
			m.place(), m.imports[i].Name)
	}
}

// readElements reads segments of this form; bits of the kind say what is there:
//
//	kind u32   1 passive or declarative   2 a table (or, passive: declarative)   4 expressions
//	[table u32] [offset] [element kind or type] count u32, functions or expressions
func (m *module) readElements() {
	n := m.count(2)
	if !m.atMost(RefuseElementSegments, n, m.limits.ElementSegmentsMax, "segments", "merge them") {
		return
	}
	m.elements = n
	for i, total := 0, 0; i < n && m.ok(); i++ {
		kind := m.u32()
		if kind > 7 {
			m.malformed(fmt.Sprintf("an element segment of unknown kind %d", kind))
		}
		if kind&1 == 0 {
			m.offset("table", kind&2 != 0, len(m.tables))
		}
		if kind&3 != 0 {
			m.elementType(kind&4 != 0)
		}
		items := m.count(1)
		total += items
		if !m.atMost(RefuseElements, total, m.limits.ElementsMax, "entries in its segments", "take the address of fewer functions") {
			return
		}
		for ; items > 0 && m.ok(); items-- {
			if kind&4 != 0 {
				m.constant()
			} else {
				m.functionPointer()
			}
		}
	}
}

func (m *module) elementType(expressions bool) {
	if expressions {
		m.refType()
	} else if m.byte() != 0 {
		m.malformed("an element segment of something other than functions")
	}
}

// offset reads where an active segment goes: into the first table or memory
// unless it is named.
func (m *module) offset(what string, named bool, count int) {
	if named {
		m.index(what, count)
	} else if m.ok() && count == 0 {
		m.unknown(what, 0, 0)
	}
	m.constant()
}

func (m *module) readData() {
	n := m.count(2)
	if !m.atMost(RefuseDataSegments, n, m.limits.DataSegmentsMax, "segments", "merge them") {
		return
	}
	if m.dataCount.bytes() > 0 && n != m.data {
		m.malformed(fmt.Sprintf("%d segments where %d were announced", n, m.data))
	}
	for i := 0; i < n && m.ok(); i++ {
		switch kind := m.u32(); kind {
		case 0, 2:
			m.offset("memory", kind == 2, len(m.memories))
		case 1:
		default:
			m.malformed(fmt.Sprintf("a data segment of unknown kind %d", kind))
		}
		m.skip(m.count(1))
	}
}
