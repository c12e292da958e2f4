//go:build linux

package admission

import (
	"encoding/binary"
	"slices"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
)

const outputAt = 65536 // where a guest's data lies

// guest is a mapper module; zero parts are left out or have a good default.
type guest struct {
	data    []byte // at outputAt
	mapping []byte // body of mapper_v1_map; else it gives data
	result  string // its result, when not the right one
	start   []byte
	init    []byte
	without string         // an export that is left out
	asks    string         // a function of env that it imports
	more    func(*Builder) // adds to it
}

// gives is the result word of data at outputAt.
func gives(data []byte) []byte { return Place(outputAt, uint32(len(data))) }

// counting counts global 0 up to n, at some units of fuel a turn.
func counting(n int32) []byte {
	return Loop(NoResult, GlobalGet(0), I32Const(1), OpI32Add, GlobalSet(0), GlobalGet(0), I32Const(n), OpI32LtS, BrIf(0))
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

func (g guest) bytes() []byte {
	if g.mapping == nil {
		g.mapping = gives(g.data)
	}
	if g.result == "" {
		g.result = "I"
	}
	m := new(Builder)
	if g.asks != "" {
		m.Imported("env", g.asks, "", "")
	}
	m.Memory(2, 256)
	m.Global(I32, I32Const(0))
	m.Function("mapper_v1_buffer", "", "I", 0, Place(BufferAt, BufferBytes))
	m.Function("mapper_v1_map", "i", g.result, 0, g.mapping)
	if g.init != nil {
		m.Function("mapper_v1_init", "i", "i", 0, g.init)
	}
	if g.start != nil {
		m.Starting(g.start)
	}
	if g.data != nil {
		m.Data(outputAt, string(g.data))
	}
	if g.more != nil {
		g.more(m)
	}
	m.Exports = slices.DeleteFunc(m.Exports, func(e []byte) bool { return g.without != "" && string(e[1:1+e[0]]) == g.without })
	return m.Bytes()
}
