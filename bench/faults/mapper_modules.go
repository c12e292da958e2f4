package faults

import (
	"strings"

	op "github.com/tallyhook/tallyhook/mapper/moduletest"
)

// Mappers of partners who mean ill, or know no better. Each is well while it is
// looked at: its vector has a body that begins with g, and burns enough for the
// highest limit of fuel. From then on the body says how it behaves.
const (
	wellBody = "g=1"
	illBody  = "x=1"

	wellTurns = 100_000   // of a loop of about seven units: twenty times that is more than any mapper is given
	slowTurns = 1_200_000 // most of what it is given

	bodySizeMax = 40 // bytes, above which the one that traps does

	answerAt  = 64 << 10 // behind the buffer
	garbageAt = answerAt + 1024
)

// wellVectors is what all of them are admitted by.
const wellVectors = `-- request --
POST
Content-Type: application/x-www-form-urlencoded

g=1
-- reports --
{"ref_id":"nobody","payout":"1.00"}
`

const (
	opBrIf       = 0x0d
	opLocalGet   = 0x20
	opLocalTee   = 0x22
	opI32Load    = 0x28
	opI32LoadU8  = 0x2d
	opI32Eq      = 0x46
	opI32GtU     = 0x4b
	opI64LtU     = 0x54
	opI64Add     = 0x7c
	counterLocal = 1
	bodyOffsetAt = op.BufferAt + 16 // in the input
	bodyBytesAt  = op.BufferAt + 20
)

// input gives a u32 of the input's head.
func input(at uint64) []byte { return op.Cat(op.I32Const(0), opI32Load, 2, op.Uleb(at)) }

// when runs code if the body begins with a letter.
func when(letter byte, code ...any) []byte {
	first := op.Cat(input(bodyOffsetAt), opI32LoadU8, 0, op.Uleb(op.BufferAt), op.I32Const(int32(letter)), opI32Eq)
	return op.Cat(first, op.OpIf, op.NoResult, op.Cat(code...), op.OpEnd)
}

// turning turns a loop so many times.
func turning(turns int64) []byte {
	return op.Cat(op.OpLoop, op.NoResult, opLocalGet, counterLocal, op.I64Const(1), opI64Add, opLocalTee, counterLocal, op.I64Const(turns), opI64LtU, opBrIf, 0, op.OpEnd)
}

// record is one field of an output.
func record(id uint16, value string) string {
	return string([]byte{byte(id), byte(id >> 8), byte(len(value)), byte(len(value) >> 8)}) + value
}

// behaving is a mapper that does something first and then reports one postback,
// always the same, unless it has returned or trapped.
func behaving(ill ...any) []byte {
	answer := record(1, "nobody") + record(6, "1")
	m := op.Mapper(op.Cat(ill...), turning(wellTurns), op.Place(answerAt, uint32(len(answer))))
	m.Data(answerAt, answer)
	m.Data(garbageAt, record(99, "an unknown field"))
	return m.Bytes()
}

// hostile are the mappers by name, and the body that brings out what they are.
var hostile = map[string]struct {
	code func() []byte
	body string
}{
	"burns":   {func() []byte { return behaving(when('x', op.Endless())) }, illBody},
	"crawls":  {func() []byte { return behaving(when('x', turning(slowTurns))) }, illBody},
	"traps":   {func() []byte { return behaving(tooLarge()) }, "g=" + strings.Repeat("1", bodySizeMax)},
	"garbles": {func() []byte { return behaving(when('x', op.Place(garbageAt, 20), op.OpReturn)) }, illBody},
	"strays":  {func() []byte { return behaving(when('x', op.Place(0x7fffffff, 100), op.OpReturn)) }, illBody},
}

// crawling needs most of its fuel for whatever it is given.
func crawling() []byte { return behaving(turning(slowTurns)) }

// mended is what their partners push in the end.
func mended() []byte { return behaving() }

// tooLarge traps on bodies above a size.
func tooLarge() []byte {
	return op.Cat(input(bodyBytesAt), op.I32Const(bodySizeMax), opI32GtU, op.OpIf, op.NoResult, op.OpUnreachable, op.OpEnd)
}
