package rewrite

import "fmt"

// Refusal says why a module may not run and what its author can do about it.
type Refusal struct {
	Code string // a Refuse… word
	Text string // a sentence: the offender, what it has, what is allowed, the way out
}

func (f *Refusal) Error() string { return f.Text }

// Codes of refusals. They are part of the admission's verdict: never renamed.
const (
	RefuseNotWasm       = "not_wasm"       // no WebAssembly core module, version 1
	RefuseMalformed     = "malformed"      // breaks the binary format
	RefuseUnsupported   = "unsupported"    // a feature outside WebAssembly 2.0: threads, exceptions, tail calls, memory64, …
	RefuseUnknownIndex  = "unknown_index"  // a reference to something that the module does not have
	RefuseReservedName  = "reserved_name"  // exports FuelExport or DepthExport
	RefuseExportTwice   = "export_twice"   // two exports of one name
	RefuseImportKind    = "import_kind"    // imports a memory, table or global
	RefuseImportPointer = "import_pointer" // takes the address of an imported function
	RefuseTableChange   = "table_change"   // table.grow, table.fill, table.copy, table.init

	RefuseModuleBytes     = "module_bytes"
	RefuseNameBytes       = "name_bytes"
	RefuseTypes           = "types"
	RefuseImports         = "imports"
	RefuseFunctions       = "functions"
	RefuseGlobals         = "globals"
	RefuseExports         = "exports"
	RefuseParams          = "params"
	RefuseResults         = "results"
	RefuseTables          = "tables"
	RefuseTableEntries    = "table_entries"
	RefuseElementSegments = "element_segments"
	RefuseElements        = "elements"
	RefuseDataSegments    = "data_segments"
	RefuseMemories        = "memories"
	RefuseMemoryPages     = "memory_pages"

	RefuseBodyBytes        = "body_bytes"
	RefuseLocals           = "locals"
	RefuseOperands         = "operands"
	RefuseBlocks           = "blocks"
	RefuseNesting          = "nesting"
	RefuseLoops            = "loops"
	RefuseLocalsTimesLoops = "locals_times_loops"
	RefuseBranches         = "branches"
	RefuseBulk             = "bulk"
	RefuseBranchTargets    = "branch_targets"
)

// refuse notes the first fault and ends the reading: everything read after it
// is zero and the reader stands at its end.
func (r *reader) refuse(code, format string, args ...any) {
	if r.fault == nil {
		r.fault = &Refusal{Code: code, Text: fmt.Sprintf(format, args...)}
	}
	r.at, r.end = len(r.code), len(r.code)
}

func (r *reader) malformed(what string) {
	r.refuse(RefuseMalformed, "%s at offset %#x: %s; the file is damaged or no WebAssembly core module: build it again", r.place(), r.at, what)
}

func (r *reader) unsupported(what string) {
	r.refuse(RefuseUnsupported, "%s at offset %#x uses %s; mappers may use WebAssembly 2.0 without threads, exceptions and tail calls: build without that feature", r.place(), r.at, what)
}

func (r *reader) unknown(what string, index uint32, count int) {
	r.refuse(RefuseUnknownIndex, "%s at offset %#x refers to %s %d, but the module has only %d of them there: build it again", r.place(), r.at, what, index, count)
}

// atMost refuses a count above its limit.
func (r *reader) atMost(code string, got, limit int, what, wayOut string) bool {
	if got <= limit {
		return r.fault == nil
	}
	r.refuse(code, "%s has %d %s; at most %d are allowed: %s", r.place(), got, what, limit, wayOut)
	return false
}
