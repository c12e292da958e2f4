package wasm

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// BadModule says what keeps a module from being a mapper, and what its author
// can do about it.
type BadModule struct {
	Code string // a Bad… word
	Text string
}

func (b *BadModule) Error() string { return b.Text }

// Codes of BadModule. They are part of the admission's verdict: never renamed.
const (
	BadCode        = "invalid_wasm"     // wazero refuses it
	BadUncounted   = "not_rewritten"    // without the exports of mapper/rewrite
	BadMemory      = "memory_export"    // no memory of its own, or not exported
	BadExport      = "export_missing"   // one of the functions is not there
	BadSignature   = "export_signature" // or takes and gives other types
	BadImport      = "import_unknown"   // an import that nobody provides
	BadImportType  = "import_signature" // or that has other types
	BadConfig      = "config_unused"    // a configuration for a module that takes none
	BadConfigBytes = "config_too_long"  // longer than the buffer
	BadConfigValue = "config_refused"   // mapper_v1_init did not give 0
	BadBuffer      = "buffer"           // too small, or outside memory
	BadStart       = "start_up"         // it cannot be instantiated: data or table entries out of bounds
)

func bad(code, format string, args ...any) *BadModule {
	return &BadModule{Code: code, Text: fmt.Sprintf(format, args...)}
}

const (
	i32 = api.ValueTypeI32
	i64 = api.ValueTypeI64
)

// checkExports looks for what the host calls, by name and signature.
func checkExports(m wazero.CompiledModule) error {
	if len(m.ImportedMemories()) > 0 {
		return bad(BadMemory, "the module imports its memory; a mapper defines its own and exports it as %q", abi.ExportMemory)
	}
	if _, ok := m.ExportedMemories()[abi.ExportMemory]; !ok {
		return bad(BadMemory, "the module does not export a memory as %q; most linkers do so unless told otherwise", abi.ExportMemory)
	}
	exported := m.ExportedFunctions()
	for _, want := range [...]struct {
		name            string
		params, results []api.ValueType
		required        bool
	}{
		{abi.ExportMap, []api.ValueType{i32}, []api.ValueType{i64}, true},
		{abi.ExportBuffer, nil, []api.ValueType{i64}, true},
		{abi.ExportInit, []api.ValueType{i32}, []api.ValueType{i32}, false},
		{abi.ExportInitialize, nil, nil, false},
	} {
		f, ok := exported[want.name]
		switch {
		case !ok && want.required:
			return bad(BadExport, "the module does not export a function %s%s", want.name, signature(want.params, want.results))
		case ok && (!slices.Equal(f.ParamTypes(), want.params) || !slices.Equal(f.ResultTypes(), want.results)):
			return bad(BadSignature, "the module's %s is %s; it has to be %s",
				want.name, signature(f.ParamTypes(), f.ResultTypes()), signature(want.params, want.results))
		}
	}
	return nil
}

// signature is a function type as text: (i32, i32) -> i64.
func signature(params, results []api.ValueType) string {
	names := func(types []api.ValueType) string {
		var list []string
		for _, t := range types {
			list = append(list, api.ValueTypeName(t))
		}
		return strings.Join(list, ", ")
	}
	switch len(results) {
	case 0:
		return "(" + names(params) + ")"
	case 1:
		return "(" + names(params) + ") -> " + names(results)
	}
	return "(" + names(params) + ") -> (" + names(results) + ")"
}

// checkImports refuses what bindImports could not bind.
func checkImports(m wazero.CompiledModule) error {
	for _, f := range m.ImportedFunctions() {
		module, name, _ := f.Import()
		host, ok := hostFunctions[module][name]
		switch {
		case !ok:
			return bad(BadImport, "the module imports %s.%s; a mapper needs no imports, and only %s and %s.%s are provided",
				module, name, wasiModule, abi.ImportModule, abi.ImportLog)
		case !slices.Equal(f.ParamTypes(), host.params) || !slices.Equal(f.ResultTypes(), host.results):
			return bad(BadImportType, "the module imports %s.%s as %s; it is %s", module, name,
				signature(f.ParamTypes(), f.ResultTypes()), signature(host.params, host.results))
		}
	}
	return nil
}

// checkCounted refuses a module that does not count its work: once started it
// could not be stopped. That the exports are the rewriter's is its business, it
// refuses modules that bring their own.
func checkCounted(code []byte) error {
	globals := exportedGlobals(code)
	if slices.Contains(globals, rewrite.FuelExport) && slices.Contains(globals, rewrite.DepthExport) {
		return nil
	}
	return bad(BadUncounted, "the module has not been rewritten to count its work, so nothing could stop it: run it through mapper/rewrite first")
}

// exportedGlobals lists the names in the export section (7) of a module that
// has been found valid:
//
//	magic, version │ section: id u8, size │ …   exports: count, then name length, name, kind u8, index
//
// wazero tells of exported functions and memories, but of globals only once the
// module is instantiated, and then its start function has run.
func exportedGlobals(code []byte) (names []string) {
	const exportSection, kindGlobal = 7, 3
	number := func(p []byte) (int, []byte) {
		v, n := binary.Uvarint(p)
		if n <= 0 || v > uint64(len(p)) && v > 1<<31 {
			return 0, nil
		}
		return int(v), p[n:]
	}
	if len(code) < 8 {
		return nil
	}
	for rest := code[8:]; len(rest) > 1; {
		id := rest[0]
		size, body := number(rest[1:])
		if size > len(body) {
			return nil
		}
		rest = body[size:]
		if id != exportSection {
			continue
		}
		count, body := number(body[:size])
		for range count {
			var n int
			if n, body = number(body); n+1 >= len(body) {
				return nil
			}
			if body[n] == kindGlobal {
				names = append(names, string(body[:n]))
			}
			_, body = number(body[n+1:])
		}
		return names
	}
	return nil
}
