// Not with the race detector: nothing here runs beside anything else, and
// compiling modules takes ten times as long under it.

//go:build !race

package plugins

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/admission"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

const childArgument = "run-as-admission-child"

// self is the command line of a child that admits a module.
var self = []string{"/proc/self/exe", childArgument}

// cacheDir is where native code is kept while the tests run: a module is
// compiled once, whoever asks for it.
var cacheDir string

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childArgument {
		if err := admission.Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(withCache(m.Run))
}

func withCache(run func() int) int {
	dir, err := os.MkdirTemp("", "tallyhook-plugins-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	cacheDir = filepath.Join(dir, "cache")
	return run()
}

// guest is one module, rewritten and running as on a node.
type guest struct {
	program *wasm.Program
	worker  *wasm.Worker
}

func open(t testing.TB, name string, code []byte) *guest {
	t.Helper()
	return openWith(t, name, code, nil)
}

// openWith is open with a configuration.
func openWith(t testing.TB, name string, code, config []byte) *guest {
	t.Helper()
	ctx := context.Background()
	rewritten, info, err := rewrite.Rewrite(code, rewrite.Default())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	t.Logf("%s: %d bytes, rewritten %d, %d functions, %d pages", name, len(code), len(rewritten), info.Functions, info.MemoryPages)
	e, err := wasm.Open(ctx, wasm.Config{CacheDir: cacheDir})
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Load(ctx, wasm.Module{Name: name + "@1", Code: rewritten, Config: config, FuelPerCall: admission.FuelMaxStandard})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	g := &guest{program: p, worker: e.Worker()}
	t.Cleanup(func() {
		g.worker.Close(ctx)
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return g
}

// instance gives the guest's instance, ready to be called.
func (g *guest) instance(t testing.TB) *wasm.Instance {
	t.Helper()
	i, err := g.worker.Instance(context.Background(), g.program)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// mapOne gives the events that the guest makes of rec, and the fuel that it took.
func (g *guest) mapOne(t testing.TB, src *source.Source, rec *event.Record) (events []event.Event, fuel int64) {
	t.Helper()
	i := g.instance(t)
	b := new(event.Batch)
	if err := mapper.MapOne(context.Background(), i, g.program, src, rec, b); err != nil {
		t.Fatal(err)
	}
	return b.Events, i.Fuel()
}

// toolchains has the compilers found or installed.
var toolchains = sync.OnceValues(func() ([]byte, error) {
	return exec.Command("../scripts/toolchains").CombinedOutput()
})

// needToolchains ends a test that cannot have them: a failure where CI runs it.
func needToolchains(t *testing.T) {
	t.Helper()
	out, err := toolchains()
	switch {
	case err == nil:
		t.Logf("%s", out)
	case os.Getenv("CI") == "true":
		t.Fatalf("scripts/toolchains: %v\n%s", err, out)
	default:
		t.Skipf("SKIPPED: scripts/toolchains cannot get the compilers: %v\n%s", err, out)
	}
}

// buildGo builds a Go mapper in dir and gives its bytes.
func buildGo(t testing.TB, dir string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "mapper.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build in %s: %v\n%s", dir, err, text)
	}
	return read(t, out)
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	p, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// modules gives the modules of an example by language: the committed ones, and
// that in Go, built.
func modules(t testing.TB, example string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, lang := range []string{"c", "rust", "as"} {
		file := filepath.Join("examples", example, example+"-"+lang+".wasm")
		if _, err := os.Stat(file); err == nil {
			all[lang] = read(t, file)
		}
	}
	if dir := filepath.Join("examples", example, "go"); exists(dir) {
		all["go"] = buildGo(t, dir)
	}
	return all
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
