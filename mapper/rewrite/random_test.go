//go:build !race

package rewrite_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

const randomModules = 400

// TestRandom runs random valid modules beside their rewritten forms: results,
// traps, memory and globals must be the same.
func TestRandom(t *testing.T) {
	ran, trapped := 0, 0
	for seed := range uint64(randomModules) {
		g := generator{r: rand.New(rand.NewPCG(seed, 4))}
		p, err := both(t, g.module().bytes())
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range uint64(4) {
			args := []uint64{seed * i & 0xffff, i << 30}
			want, got := call(p.plain, "f", args...), count(p.counted, fuelPerCall, "f", args...)
			if got.trap != want.trap || !slices.Equal(got.results, want.results) {
				t.Errorf("seed %d %v: %v %q, the original %v %q", seed, args, got.results, got.trap, want.results, want.trap)
			}
			if diff := sameMemory(p.plain, p.counted) + sameGlobals(p.plain, p.counted, []string{"a", "b"}); diff != "" {
				t.Errorf("seed %d %v: %s", seed, args, diff)
			}
			if got.trap == "" && got.depth != int64(rewrite.Default().DepthMax) {
				t.Errorf("seed %d %v: depth %d afterwards", seed, args, got.depth)
			}
			ran++
			if want.trap != "" {
				trapped++
				break
			}
		}
	}
	t.Logf("%d calls, %d of them trapped", ran, trapped)
	if ran-trapped < randomModules/2 || trapped == 0 {
		t.Errorf("%d calls, %d trapped: the generator makes nothing of use", ran, trapped)
	}
}
