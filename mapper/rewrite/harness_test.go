package rewrite_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// fuelPerCall is what tests give a call unless they are about fuel.
const fuelPerCall = 200_000_000

func newRuntime(t testing.TB, pagesMax uint32) wazero.Runtime {
	t.Helper()
	cfg := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).WithDebugInfoEnabled(false).WithMemoryLimitPages(pagesMax)
	r := wazero.NewRuntimeWithConfig(context.Background(), cfg)
	t.Cleanup(func() { r.Close(context.Background()) })
	return r
}

func instantiate(r wazero.Runtime, code []byte) (api.Module, error) {
	ctx := context.Background()
	compiled, err := r.CompileModule(ctx, code)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	return r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
}

func mustRewrite(t testing.TB, code []byte, l rewrite.Limits) ([]byte, rewrite.Info) {
	t.Helper()
	out, info, err := rewrite.Rewrite(code, l)
	if err != nil {
		t.Fatalf("refused: %v", err)
	}
	return out, info
}

func mustRun(t testing.TB, code []byte) api.Module {
	t.Helper()
	m, err := instantiate(newRuntime(t, 256), code)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// outcome is how a call ended.
type outcome struct {
	results     []uint64
	trap        string // the runtime's words, "fuel" or "depth"
	fuel, depth int64
}

func call(m api.Module, name string, args ...uint64) outcome {
	f := m.ExportedFunction(name)
	if f == nil {
		return outcome{trap: "no function " + name}
	}
	results, err := f.Call(context.Background(), args...)
	return outcome{results: results, trap: trapOf(err)}
}

func trapOf(err error) string {
	if err == nil {
		return ""
	}
	for errors.Unwrap(err) != nil {
		err = errors.Unwrap(err)
	}
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// count calls a function of a rewritten module with so much fuel and the
// default depth, and says why it was ended.
func count(m api.Module, fuel int64, name string, args ...uint64) outcome {
	f := m.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
	d := m.ExportedGlobal(rewrite.DepthExport).(api.MutableGlobal)
	f.Set(uint64(fuel))
	d.Set(uint64(uint32(rewrite.Default().DepthMax)))
	o := call(m, name, args...)
	o.fuel, o.depth = fuel-int64(f.Get()), int64(int32(d.Get()))
	switch {
	case int64(f.Get()) < 0:
		o.trap = "fuel"
	case o.depth < 0:
		o.trap = "depth"
	}
	return o
}

// memoryOf gives a view of an instance's memory, nil if it has none (which the
// runtime says with a nil pointer in an interface).
func memoryOf(m api.Module) []byte {
	memory := m.Memory()
	if reflect.ValueOf(memory).IsNil() {
		return nil
	}
	view, _ := memory.Read(0, memory.Size())
	return view
}

// sameMemory says where two instances' memories differ, "" when they do not.
func sameMemory(a, b api.Module) string {
	p, q := memoryOf(a), memoryOf(b)
	if len(p) != len(q) {
		return fmt.Sprintf("sizes %d and %d", len(p), len(q))
	}
	if bytes.Equal(p, q) {
		return ""
	}
	for i := range p {
		if p[i] != q[i] {
			return fmt.Sprintf("byte %d is %d and %d", i, p[i], q[i])
		}
	}
	return ""
}

func sameGlobals(a, b api.Module, names []string) string {
	for _, n := range names {
		if x, y := a.ExportedGlobal(n).Get(), b.ExportedGlobal(n).Get(); x != y {
			return fmt.Sprintf("global %s is %d and %d", n, x, y)
		}
	}
	return ""
}
