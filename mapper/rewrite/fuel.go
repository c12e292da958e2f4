package rewrite

// What is inserted, as text; F and D are the two globals, n and u are locals
// that no instruction of the module can name.
//
//	pay k units           pay a length              one level deeper          one level back
//	-----------           ------------              ----------------          --------------
//	global.get F          local.tee n               global.get D              global.get D
//	i64.const k           global.get F              i32.const 1               i32.const 1
//	i64.sub               local.get n               i32.sub                   i32.add
//	local.tee u           i64.extend_i32_u          local.tee n               global.set D
//	global.set F          i64.sub                   global.set D
//	local.get u           local.tee u               local.get n
//	i64.const 0           global.set F              i32.const 0
//	i64.lt_s              local.get u …             i32.lt_s
//	if unreachable end    (as to the left)          if unreachable end
//
// Why this bounds every run: code runs twice only by a branch back, which leads
// to the head of a loop, or by a call, which leads to a function's entry; both
// pay for all that can follow until the next of them. A payment is below 2^33,
// so a balance that was not negative cannot wrap around, and whoever finds it
// negative knows that it ended the run. Depth is counted in functions that
// call; a chain of frames holds at most one function that does not, the last.
//
// The tariff: 1 unit for an instruction; SlowFuel, ImportFuel or GrowFuel for
// those that can take much longer; 1 unit for a byte that a bulk instruction writes; at a
// function's entry 1 unit for each 4 locals, which have to be zeroed.

const localsPerUnit = 4

// writer emits one function's code.
type writer struct {
	out           []byte
	fuel, depth   uint32 // globals
	number, units uint32 // locals, i32 and i64
}

func (w *writer) op(op byte, index uint32) { w.out = appendU32(append(w.out, op), index) }

// pay takes a fixed number of units.
func (w *writer) pay(units int64) {
	w.op(opGlobalGet, w.fuel)
	w.out = appendSigned(append(w.out, opI64Const), units)
	w.settle()
}

// payLength takes as many units as the number on the stack, as unsigned, which stays there.
func (w *writer) payLength() {
	w.op(opLocalTee, w.number)
	w.op(opGlobalGet, w.fuel)
	w.op(opLocalGet, w.number)
	w.out = append(w.out, opI64ExtendU)
	w.settle()
}

func (w *writer) settle() {
	w.out = append(w.out, opI64Sub)
	w.op(opLocalTee, w.units)
	w.op(opGlobalSet, w.fuel)
	w.op(opLocalGet, w.units)
	w.out = append(w.out, opI64Const, 0, opI64LtS, opIf, typeEmpty, opUnreachable, opEnd)
}

func (w *writer) descend() {
	w.op(opGlobalGet, w.depth)
	w.out = append(w.out, opI32Const, 1, opI32Sub)
	w.op(opLocalTee, w.number)
	w.op(opGlobalSet, w.depth)
	w.op(opLocalGet, w.number)
	w.out = append(w.out, opI32Const, 0, opI32LtS, opIf, typeEmpty, opUnreachable, opEnd)
}

func (w *writer) ascend() {
	w.op(opGlobalGet, w.depth)
	w.out = append(w.out, opI32Const, 1, opI32Add)
	w.op(opGlobalSet, w.depth)
}

// writeBody appends the function that was just read to the new code section.
//
// A function that calls is wrapped in a block of its own, so that every way
// out leads past the ascent. The block takes the place of the function's label:
// branches keep their numbers, and return becomes the branch to it.
func (m *module) writeBody() {
	b := &m.body
	w := writer{
		out:    m.scratch[:0],
		fuel:   uint32(m.globals),
		depth:  uint32(m.globals + 1),
		units:  uint32(b.locals),
		number: uint32(b.locals + 1),
	}
	m.writeLocals(&w)
	w.pay(b.entry + int64(b.locals/localsPerUnit))
	if b.calls {
		w.descend()
		w.out = m.appendBlockType(append(w.out, opBlock), b.results)
	}
	at := b.code.from
	for _, e := range b.edits {
		if e.kind == editReturn && !b.calls {
			continue
		}
		w.out = append(w.out, m.code[at:e.at]...)
		at = e.at
		switch e.kind {
		case editCharge:
			w.pay(e.units)
		case editLength:
			w.payLength()
		case editReturn:
			w.op(opBr, uint32(e.units))
			at++
		}
	}
	w.out = append(w.out, m.code[at:b.code.to]...)
	if b.calls {
		w.ascend()
		w.out = append(w.out, opEnd)
	}
	m.bodies = appendU32(m.bodies, uint32(len(w.out)))
	m.bodies = append(m.bodies, w.out...)
	m.scratch = w.out
}

func (m *module) writeLocals(w *writer) {
	b := &m.body
	own := []byte{1, typeI64}
	if b.calls || b.lengths {
		own = []byte{1, typeI64, 1, typeI32}
	}
	w.out = appendU32(w.out, uint32(b.groupCount+len(own)/2))
	w.out = append(w.out, m.view(b.groups)...)
	w.out = append(w.out, own...)
}

// appendBlockType writes the type of a block without parameters. More than one
// result takes a function type of its own, added behind the module's types.
func (m *module) appendBlockType(dst []byte, results []byte) []byte {
	switch len(results) {
	case 0:
		return append(dst, typeEmpty)
	case 1:
		return append(dst, results[0])
	}
	return appendSigned(dst, int64(len(m.types)+m.wrapper(results)))
}

func (m *module) wrapper(results []byte) int {
	for i, have := range m.wrappers {
		if string(have) == string(results) {
			return i
		}
	}
	m.wrappers = append(m.wrappers, results)
	return len(m.wrappers) - 1
}
