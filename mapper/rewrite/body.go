package rewrite

import "fmt"

// body is what one reading of a function's code found out; what the writing of
// it needs.
type body struct {
	groups     span // of local declarations
	groupCount int
	locals     int  // parameters included
	code       span // to the last end, included
	results    []byte

	height int     // of the operand stack, at most
	entry  int64   // units of the instructions outside loops
	edits  []edit  // by place
	frames []frame // blocks that are open; the function's own is the first

	blocks, loops, branches, targets, bulk int

	calls   bool // functions of the module or through the table: it can be part of a recursion
	lengths bool // has bulk memory instructions
}

// frame is an open block. Its instructions are paid for by region: the edit of
// the innermost loop around them, or the function's entry (-1).
type frame struct {
	op     byte
	region int

	floor, params, results int // operands below the block, of it and left by it
}

// edit is a change at a place in the code.
type edit struct {
	at    int
	kind  editKind
	units int64 // of a charge; of a return the label that leaves the function
}

type editKind uint8

const (
	editCharge editKind = iota // insert: pay units
	editLength                 // insert: pay as many units as the number on the stack
	editReturn                 // return becomes a branch
)

func (m *module) readBodies() {
	n := m.count(2)
	if want := len(m.functions) - len(m.imports); m.ok() && n != want {
		m.malformed(fmt.Sprintf("%d bodies for %d functions", n, want))
	}
	m.bodyCount = n
	m.bodies = make([]byte, 0, m.left()+m.left()/3)
	sectionEnd := m.end
	for i := 0; i < n && m.ok(); i++ {
		size := m.count(1)
		m.function = len(m.imports) + i
		m.name = m.names[m.function]
		m.atMost(RefuseBodyBytes, size, m.limits.BodyBytesMax, "bytes of code", "split it into smaller functions")
		if !m.ok() {
			return
		}
		m.bodyBytes += size
		m.end = m.at + size
		m.readBody(m.types[m.functions[m.function]])
		if !m.ok() {
			return
		}
		m.end = sectionEnd
		m.writeBody()
	}
	m.function = -1
}

func (m *module) readBody(t functionType) {
	b := &m.body
	*b = body{results: t.results, edits: b.edits[:0], frames: b.frames[:0]}
	m.readLocals(len(t.params))
	b.code.from = m.at
	b.frames = append(b.frames, frame{op: opBlock, region: -1, results: len(t.results)})
	for len(b.frames) > 0 && m.ok() {
		m.readInstruction()
	}
	b.code.to = m.at
	if m.ok() && m.at != m.end {
		m.malformed("code behind the function's end")
	}
	if m.ok() && b.locals*b.loops > m.limits.LocalsTimesLoopsMax {
		m.refuse(RefuseLocalsTimesLoops, "%s has %d locals and %d loops; their product may be %d at most: split it into smaller functions",
			m.place(), b.locals, b.loops, m.limits.LocalsTimesLoopsMax)
	}
}

func (m *module) readLocals(params int) {
	b := &m.body
	b.groupCount = m.count(2)
	b.groups.from = m.at
	total := uint64(params)
	for i := 0; i < b.groupCount && m.ok(); i++ {
		total += uint64(m.u32())
		if t := m.byte(); m.ok() && !isValueType(t) {
			m.unsupported(fmt.Sprintf("the value type %#x", t))
		}
		m.atMost(RefuseLocals, int(min(total, 1<<31-1)), m.limits.LocalsMax, "locals and parameters", "keep arrays in memory, or split it into smaller functions")
	}
	b.groups.to = m.at
	b.locals = int(total)
}

// pay puts units on the bill of the region that is being read.
func (b *body) pay(units int64) {
	if region := b.frames[len(b.frames)-1].region; region >= 0 {
		b.edits[region].units += units
	} else {
		b.entry += units
	}
}

func (b *body) edit(at int, kind editKind, units int64) {
	b.edits = append(b.edits, edit{at, kind, units})
}

// open enters a block, loop or if.
func (m *module) open(op byte) {
	b := &m.body
	t := m.blockType()
	if op == opIf {
		m.push(-1)
	}
	b.blocks++
	m.atMost(RefuseBlocks, b.blocks, m.limits.BlocksMax, "blocks (block, loop, if)", "split it into smaller functions")
	m.atMost(RefuseNesting, len(b.frames), m.limits.NestingMax, "blocks inside one another", "split it into smaller functions")
	around := b.frames[len(b.frames)-1]
	f := frame{op: op, region: around.region, params: len(t.params), results: len(t.results)}
	f.floor = max(around.floor, b.height-f.params)
	if op == opLoop {
		b.loops++
		m.atMost(RefuseLoops, b.loops, m.limits.LoopsMax, "loops", "split it into smaller functions")
		f.region = len(b.edits)
		b.edit(m.at, editCharge, 0)
	}
	b.frames = append(b.frames, f)
	b.height = f.floor
	m.push(f.params)
}

// blockType reads nothing, one value type, or the index of a function type.
func (m *module) blockType() functionType {
	if m.left() > 0 {
		switch t := m.code[m.at]; {
		case t == typeEmpty:
			m.at++
			return functionType{}
		case isValueType(t):
			return functionType{results: m.skip(1)}
		}
	}
	t := m.signed(33)
	switch {
	case !m.ok():
	case t < 0:
		m.unsupported(fmt.Sprintf("the block type %d", t))
	case t >= int64(len(m.types)):
		m.unknown("type", uint32(t), len(m.types))
	default:
		return m.types[t]
	}
	return functionType{}
}

func (m *module) elseArm() {
	top := &m.body.frames[len(m.body.frames)-1]
	if top.op != opIf {
		m.malformed("an else without its if")
	}
	top.op = opElse
	m.body.height = top.floor
	m.push(top.params)
}

// label reads the target of a branch.
func (m *module) label() { m.index("label", len(m.body.frames)) }

// branch counts an instruction that cuts straight code into two.
func (m *module) branch() {
	m.body.branches++
	m.atMost(RefuseBranches, m.body.branches, m.limits.BranchesMax, "branches (br, br_if, br_table)", "split it into smaller functions")
}

// bulkEdit puts a payment before an instruction whose cost is not known from the code.
func (m *module) bulkEdit(at int, kind editKind, units int64) {
	m.body.edit(at, kind, units)
	m.body.bulk++
	m.atMost(RefuseBulk, m.body.bulk, m.limits.BulkMax, "bulk memory instructions (memory.fill, copy, init, grow)", "split it into smaller functions, or call memcpy and memset instead of inlining them")
}

func (m *module) labels() {
	b := &m.body
	n := m.count(1)
	b.targets = min(b.targets+n, 1<<31-1)
	m.atMost(RefuseBranchTargets, b.targets, m.limits.BranchTargetsMax, "targets in its br_table instructions", "split the switch, or look values up in a table in memory")
	for i := 0; i <= n && m.ok(); i++ { // the last is the default
		m.label()
	}
}
