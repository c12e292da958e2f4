// Package rewrite makes an uploaded WebAssembly module safe to run in a process
// that cannot interrupt it. It reads the binary format strictly, refuses what
// is out of bounds (Limits), and gives a module that does the same but counts:
//
//   - fuel, in a global exported as FuelExport: every function entry, every turn
//     of a loop and every bulk memory instruction pays before it works, and
//     traps once the balance is negative;
//   - depth, in a global exported as DepthExport: calls inside one another.
//
// One unit of fuel pays for one WebAssembly instruction of the region that is
// entered (fuel.go has the tariff). It does not check types: the runtime's own
// validation follows, and accepts the rewritten module if it would accept the
// original. Nothing here runs or compiles code; time and memory are linear in the input.
package rewrite

// Version is that of the output: it is raised whenever the same input gives
// other bytes, so that stored modules are known to be old.
const Version = 1

// Names of the counters' exports. A module that uses them itself is refused.
//
// The host sets both before each call: a trap leaves depth where it was. After
// the call, fuel used is what was set less what is left; a negative fuel says
// that fuel ended the call, a negative depth that depth did, never both.
const (
	FuelExport  = "tallyhook_fuel"  // mutable i64, at first Limits.FuelInit
	DepthExport = "tallyhook_depth" // mutable i32, at first Limits.DepthMax
)

// Info is what the caller may want to know of a module that was accepted.
type Info struct {
	Functions      int    // the module's own
	CodeBytes      int    // of their bodies as uploaded
	MemoryPages    uint32 // at first; both are 0 when there is no memory
	MemoryPagesMax uint32 // as written into the output
	TableEntries   uint32
	Start          bool // it has a start function, which runs when it is instantiated
	Imports        []Import
	Exports        []Export // as uploaded: without the counters
}

// Import is an imported function. Value types are those of the binary format.
type Import struct {
	Module, Name    string
	Params, Results []byte
}

// Kinds of exports, as in the binary format.
const (
	KindFunction byte = iota
	KindTable
	KindMemory
	KindGlobal
)

// Export is an export; Params and Results are those of a function.
type Export struct {
	Name            string
	Kind            byte
	Params, Results []byte
}

// Rewrite gives the counting module. The output is new memory, and code is not
// kept; the output depends on code and l alone. err is a *Refusal.
func Rewrite(code []byte, l Limits) (out []byte, info Info, err error) {
	m := module{reader: reader{code: code, end: len(code), section: "module", function: -1}, limits: l}
	m.read()
	if m.fault != nil {
		return nil, Info{}, m.fault
	}
	return m.assemble(), m.info(), nil
}

func (m *module) info() Info {
	info := Info{
		Functions: len(m.functions) - len(m.imports),
		CodeBytes: m.bodyBytes,
		Start:     m.start.bytes() > 0,
		Imports:   m.imports,
		Exports:   m.exports,
	}
	if len(m.memories) > 0 {
		info.MemoryPages, info.MemoryPagesMax = m.memories[0].min, m.memories[0].max
	}
	if len(m.tables) > 0 {
		info.TableEntries = m.tables[0].min
	}
	return info
}
