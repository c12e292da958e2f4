package rewrite_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Floors of what the specification's own tests must have checked. A change
// that makes the rewriter refuse more than today falls below them.
const (
	specModulesMin = 2000
	specAssertsMin = 60000
	specInvalidMin = 4000
)

// More pages than a mapper may have, and fuel for a bulk instruction of 4 GiB,
// which has to fail for its addresses.
const (
	specPagesMax = 1024
	specFuel     = 1 << 36
)

type specFile struct {
	Commands []specCommand `json:"commands"`
}

type specCommand struct {
	Type       string      `json:"type"`
	Line       int         `json:"line"`
	Name       string      `json:"name"`
	As         string      `json:"as"`
	Filename   string      `json:"filename"`
	ModuleType string      `json:"module_type"`
	Action     specAction  `json:"action"`
	Expected   []specValue `json:"expected"`
}

type specAction struct {
	Type   string      `json:"type"`
	Module string      `json:"module"`
	Field  string      `json:"field"`
	Args   []specValue `json:"args"`
}

// specRun plays the commands of one file on the originals and on the rewritten
// modules, side by side.
type specRun struct {
	t              *testing.T
	dir            string
	plain, counted wazero.Runtime
	named          map[string]*pair
	last           *pair // nil: refused, its asserts are left out
	partial        bool  // an importer of tables or memories was left out, so what they share differs from the specification

	modules, refused, asserts, invalid int
	codes                              map[string]int
}

type pair struct{ plain, counted api.Module }

// TestSpecification runs the tests of the WebAssembly specification, which are
// in wazero's source, on rewritten modules: results, traps and memory must be
// those of the original, results also those that the specification wants.
func TestSpecification(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(dir)), "internal/integration_test/spectest")
	var files []string
	for _, version := range []string{"v1", "v2"} {
		found, err := filepath.Glob(filepath.Join(root, version, "testdata", "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	total := specRun{codes: map[string]int{}}
	for _, file := range files {
		s := specRun{t: t, codes: total.codes}
		s.play(file)
		total.modules += s.modules
		total.refused += s.refused
		total.asserts += s.asserts
		total.invalid += s.invalid
	}
	t.Logf("%d modules rewritten, %d refused %v, %d asserts, %d invalid modules stayed invalid", total.modules, total.refused, total.codes, total.asserts, total.invalid)
	if total.modules < specModulesMin || total.asserts < specAssertsMin || total.invalid < specInvalidMin {
		t.Errorf("too few: at least %d modules, %d asserts and %d invalid modules are expected", specModulesMin, specAssertsMin, specInvalidMin)
	}
}

func (s *specRun) play(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	var f specFile
	if err := json.Unmarshal(text, &f); err != nil {
		s.t.Fatal(err)
	}
	s.dir = filepath.Dir(file)
	s.named = map[string]*pair{}
	ctx := context.Background()
	s.plain, s.counted = newRuntime(s.t, specPagesMax), newRuntime(s.t, specPagesMax)
	defer s.plain.Close(ctx)
	defer s.counted.Close(ctx)
	for _, r := range []wazero.Runtime{s.plain, s.counted} {
		hostPrints(s.t, r)
	}
	for _, c := range f.Commands {
		where := filepath.Join(filepath.Base(filepath.Dir(s.dir)), filepath.Base(file))
		s.step(where, c)
	}
}

// hostPrints gives a runtime the functions of the module "spectest".
func hostPrints(t *testing.T, r wazero.Runtime) {
	b := r.NewHostModuleBuilder("spectest")
	i32, i64, f32, f64 := api.ValueTypeI32, api.ValueTypeI64, api.ValueTypeF32, api.ValueTypeF64
	for name, params := range map[string][]api.ValueType{"print": {}, "print_i32": {i32}, "print_i64": {i64}, "print_f32": {f32},
		"print_f64": {f64}, "print_i32_f32": {i32, f32}, "print_f64_f64": {f64, f64}} {
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), params, nil).Export(name)
	}
	if _, err := b.Instantiate(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (s *specRun) step(where string, c specCommand) {
	switch c.Type {
	case "module":
		s.load(where, c)
	case "register":
		// A module by that name has to be in both runtimes; originals import from
		// originals. Instances are anonymous here, so importers are left out.
	case "action", "assert_return", "assert_trap", "assert_exhaustion":
		s.act(where, c)
	case "assert_invalid", "assert_malformed":
		if c.ModuleType == "binary" || strings.HasSuffix(c.Filename, ".wasm") {
			s.stayInvalid(where, c)
		}
	}
}

func (s *specRun) read(name string) []byte {
	code, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return code
}

// formatCodes are refusals that no valid module may meet, save one file: it
// writes an opcode's second number in more bytes than it takes, on purpose.
var formatCodes = []string{rewrite.RefuseMalformed, rewrite.RefuseUnsupported, rewrite.RefuseUnknownIndex, rewrite.RefuseNotWasm}

const longOpcodes = "binary-leb128."

func (s *specRun) load(where string, c specCommand) {
	s.last = nil
	if c.Name != "" {
		s.named[c.Name] = nil
	}
	code := s.read(c.Filename)
	out, _, err := rewrite.Rewrite(code, specLimits())
	if err != nil {
		var refusal *rewrite.Refusal
		if !errors.As(err, &refusal) {
			s.t.Fatalf("%s:%d: %v is no Refusal", where, c.Line, err)
		}
		s.refused++
		s.codes[refusal.Code]++
		s.partial = s.partial || refusal.Code == rewrite.RefuseImportKind
		if slices.Contains(formatCodes, refusal.Code) && !strings.HasPrefix(c.Filename, longOpcodes) {
			s.t.Errorf("%s:%d: a valid module was refused: %v", where, c.Line, err)
		}
		return
	}
	plain, plainErr := instantiate(s.plain, code)
	counted, countedErr := instantiate(s.counted, out)
	if (plainErr == nil) != (countedErr == nil) {
		s.t.Errorf("%s:%d: instantiation: original %v, rewritten %v", where, c.Line, plainErr, countedErr)
		return
	}
	if plainErr != nil { // imports from a registered module, not given here
		return
	}
	s.modules++
	s.last = &pair{plain, counted}
	if c.Name != "" {
		s.named[c.Name] = s.last
	}
	if diff := sameMemory(plain, counted); diff != "" {
		s.t.Errorf("%s:%d: memory at first: %s", where, c.Line, diff)
	}
}

// specLimits let in what the specification's tests have by the dozen.
func specLimits() rewrite.Limits {
	l := rewrite.Default()
	l.ResultsMax, l.ParamsMax, l.TablesMax = 1000, 1000, 1000
	l.LocalsMax, l.LocalsTimesLoopsMax = 2000, 1<<20
	l.BranchTargetsMax = 1 << 17
	l.TableEntriesMax = 1 << 20
	l.MemoryPagesMax = specPagesMax
	return l
}

func (s *specRun) act(where string, c specCommand) {
	p := s.last
	if c.Action.Module != "" {
		p = s.named[c.Action.Module]
	}
	if p == nil || c.Action.Type != "invoke" {
		return
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.words()...)
	}
	got := count(p.counted, specFuel, c.Action.Field, args...)
	s.asserts++
	if c.Type == "assert_exhaustion" { // slow in the original: it fills the stack
		if got.trap != "depth" && got.trap != "fuel" {
			s.t.Errorf("%s:%d: %s was not stopped: %q", where, c.Line, c.Action.Field, got.trap)
		}
		return
	}
	want := call(p.plain, c.Action.Field, args...)
	if got.trap != want.trap || !s.partial && (c.Type == "assert_trap") != (got.trap != "") {
		s.t.Errorf("%s:%d: %s: trap %q, in the original %q", where, c.Line, c.Action.Field, got.trap, want.trap)
		return
	}
	if got.trap == "" && got.depth != int64(rewrite.Default().DepthMax) {
		s.t.Errorf("%s:%d: %s: depth %d after the call", where, c.Line, c.Action.Field, got.depth)
	}
	s.compare(where, c, got.results, want.results)
	if diff := sameMemory(p.plain, p.counted); diff != "" {
		s.t.Errorf("%s:%d: %s: memory: %s", where, c.Line, c.Action.Field, diff)
	}
}

func (s *specRun) compare(where string, c specCommand, got, want []uint64) {
	if c.Type != "assert_return" || got == nil && want == nil {
		return
	}
	rest, other := got, want
	for _, e := range c.Expected {
		n := e.width()
		if len(rest) < n || len(other) < n {
			s.t.Errorf("%s:%d: %s: %d results", where, c.Line, c.Action.Field, len(got))
			return
		}
		if !s.partial && !e.matches(rest[:n]) || !e.nan() && !slices.Equal(rest[:n], other[:n]) {
			s.t.Errorf("%s:%d: %s: %x, in the original %x, wanted %v", where, c.Line, c.Action.Field, rest[:n], other[:n], e)
		}
		rest, other = rest[n:], other[n:]
	}
	if len(rest) != 0 || len(other) != 0 {
		s.t.Errorf("%s:%d: %s: too many results", where, c.Line, c.Action.Field)
	}
}

// stayInvalid: what a runtime refuses must not become acceptable by rewriting.
func (s *specRun) stayInvalid(where string, c specCommand) {
	code := s.read(c.Filename)
	ctx := context.Background()
	if original, err := s.plain.CompileModule(ctx, code); err == nil {
		original.Close(ctx) // wazero is more lenient than the specification here
		return
	}
	s.invalid++
	out, _, err := rewrite.Rewrite(code, specLimits())
	if err != nil {
		return
	}
	if _, err := s.counted.CompileModule(ctx, out); err == nil {
		s.t.Errorf("%s:%d: %s: an invalid module became valid", where, c.Line, c.Filename)
	}
}
