//go:build !race

package rewrite_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
