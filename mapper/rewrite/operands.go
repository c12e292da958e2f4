package rewrite

// Values that are kept on the operand stack live in the frame, and a recursion
// has as many frames as depth allows. So their number is bounded, like that of
// locals. What is counted is never less than what is there: types are not
// known, and a vector instruction counts as if it took one operand at most.

// binaries are the ranges of opcodes that take two operands and give one.
var binaries = [...][2]byte{{0x46, 0x4f}, {0x51, 0x66}, {0x6a, 0x78}, {0x7c, 0x8a}, {0x92, 0x98}, {0xa0, 0xa6}}

// gains says for each opcode by how much the stack grows. Control and calls are
// not in it.
var gains = func() (g [256]int8) {
	span := func(from, to byte, gain int8) {
		for b := int(from); b <= int(to); b++ {
			g[b] = gain
		}
	}
	for _, r := range binaries {
		span(r[0], r[1], -1)
	}
	g[opBrIf] = -1
	g[0x1a], g[0x1b], g[0x1c] = -1, -2, -2 // drop, select
	g[opLocalGet], g[0x21] = 1, -1
	g[opGlobalGet], g[opGlobalSet] = 1, -1
	g[0x26] = -2         // table.set
	span(0x36, 0x3e, -2) // stores
	g[0x3f] = 1          // memory.size
	span(0x41, 0x44, 1)  // constants
	g[opRefNull], g[opRefFunc] = 1, 1
	return g
}()

// push changes the height of the stack, which does not go below its block's floor.
func (m *module) push(n int) {
	b := &m.body
	floor := 0
	if len(b.frames) > 0 {
		floor = b.frames[len(b.frames)-1].floor
	}
	b.height = max(b.height+n, floor)
	m.atMost(RefuseOperands, b.height, m.limits.OperandsMax, "values on its operand stack at once", "split long expressions and straight code into smaller functions")
}

// pushCall takes a function's arguments and puts its results.
func (m *module) pushCall(t functionType) { m.push(len(t.results) - len(t.params)) }

// dead is behind an instruction that does not go on: the block's stack is empty.
func (m *module) dead() {
	m.body.height = m.body.frames[len(m.body.frames)-1].floor
}

// close leaves a block: its results are on the stack of the one around it.
func (m *module) close() {
	b := &m.body
	f := b.frames[len(b.frames)-1]
	b.frames = b.frames[:len(b.frames)-1]
	b.height = f.floor
	m.push(f.results)
}
