package rewrite_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// fuzzLimits keep what is compiled in the fuzzing process small.
func fuzzLimits() rewrite.Limits {
	l := rewrite.Default()
	l.ModuleBytesMax, l.BodyBytesMax, l.FunctionsMax = 16<<10, 2<<10, 64
	l.BlocksMax, l.LoopsMax, l.BranchesMax, l.LocalsTimesLoopsMax = 128, 32, 256, 2048
	l.MemoryPagesInitialMax, l.MemoryPagesMax = 4, 8
	l.FuelInit = fuzzFuel
	return l
}

const fuzzFuel = 100_000

// FuzzRewrite: no input panics; what is accepted and was valid stays valid, what
// was invalid stays invalid; every function ends within its fuel, and if it
// ends by itself, then as the original does.
func FuzzRewrite(f *testing.F) {
	f.Add(kitchen().bytes())
	f.Add(callTree(3).bytes())
	for seed := range uint64(20) {
		g := generator{r: rand.New(rand.NewPCG(seed, 8))}
		f.Add(g.module().bytes())
	}
	f.Fuzz(fuzzed)
}

// FuzzBody is FuzzRewrite for the code of one function among others that it can
// use: far more of the inputs are valid.
func FuzzBody(f *testing.F) {
	for seed := range uint64(40) {
		g := generator{r: rand.New(rand.NewPCG(seed, 9))}
		f.Add(g.module().fns[0].code)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		g := generator{r: rand.New(rand.NewPCG(1, 1))}
		b := g.module()
		b.fns[0].code, b.fns[0].results = code, "i"
		fuzzed(t, b.bytes())
		b.fns[0].results = ""
		fuzzed(t, b.bytes())
	})
}

func fuzzed(t *testing.T, code []byte) {
	out, info, err := rewrite.Rewrite(code, fuzzLimits())
	if err != nil {
		var refusal *rewrite.Refusal
		if !errors.As(err, &refusal) || refusal.Text == "" || out != nil {
			t.Fatalf("%v is no Refusal", err)
		}
		return
	}
	ctx := context.Background()
	plain, counted := newRuntime(t, 8), newRuntime(t, 8)
	defer plain.Close(ctx)
	defer counted.Close(ctx)
	original, originalErr := plain.CompileModule(ctx, code)
	rewritten, err := counted.CompileModule(ctx, out)
	if (originalErr == nil) != (err == nil) {
		t.Fatalf("compile: original %v, rewritten %v", originalErr, err)
	}
	if err != nil || len(info.Imports) > 0 {
		return
	}
	runFuzzed(t, plain, counted, original, rewritten, info)
}

func runFuzzed(t *testing.T, plain, counted wazero.Runtime, original, rewritten wazero.CompiledModule, info rewrite.Info) {
	ctx := context.Background()
	cfg := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	b, err := counted.InstantiateModule(ctx, rewritten, cfg)
	if err != nil {
		return // a start function that trapped, or was ended: the original is not safe to run
	}
	a, err := plain.InstantiateModule(ctx, original, cfg)
	if err != nil {
		t.Fatalf("the original is not instantiated: %v", err)
	}
	for _, e := range info.Exports {
		if e.Kind != rewrite.KindFunction || slices.ContainsFunc(append(e.Params, e.Results...), func(t byte) bool { return t < 0x7c }) {
			continue // vectors and references
		}
		args := make([]uint64, len(e.Params))
		for i := range args {
			args[i] = uint64(i + 3)
		}
		got := count(b, fuzzFuel, e.Name, args...)
		if got.trap == "fuel" || got.trap == "depth" {
			return // the original is not safe to run, and memories differ from here
		}
		want := call(a, e.Name, args...)
		if got.trap != want.trap || len(got.results) != len(want.results) {
			t.Fatalf("%s: %v %q, the original %v %q", e.Name, got.results, got.trap, want.results, want.trap)
		}
		if !slices.ContainsFunc(e.Results, func(t byte) bool { return t == api.ValueTypeF32 || t == api.ValueTypeF64 }) && !slices.Equal(got.results, want.results) {
			t.Fatalf("%s: %v, the original %v", e.Name, got.results, want.results)
		}
	}
}
