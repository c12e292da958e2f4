//go:build !race

package plugins

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/admission"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// Every example, and a new project in Go, whose runtime starts dearest, is
// admitted in the standard tier.
func TestAdmitted(t *testing.T) {
	f := func(name string, code []byte, dir string) {
		t.Helper()
		cases, err := vectors.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		v, err := admission.Run(context.Background(), self, admission.Request{Code: code, Vectors: vectors.Archive(cases),
			FuelMax: admission.FuelMaxStandard, CacheDir: cacheDir, Limits: rewrite.Default()})
		if err != nil {
			t.Fatal(err)
		}
		if !v.Admitted {
			t.Errorf("%s: %+v", name, v.Reasons)
		}
		t.Logf("%-14s start %8d units, dearest vector %6d, limit %d", name, v.InitFuel, v.WorstFuel, v.FuelLimit)
	}
	n := 0
	for example := range examples {
		for lang, code := range modules(t, example) {
			f(example+"-"+lang, code, filepath.Join("examples", example, "vectors"))
			n++
		}
	}
	if n != 14 {
		t.Errorf("%d examples", n)
	}
	dir := project(t, "go")
	cmd := exec.Command("make", "mapper.wasm")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, out)
	}
	f("template-go", read(t, filepath.Join(dir, "mapper.wasm")), filepath.Join(dir, "vectors"))
}
