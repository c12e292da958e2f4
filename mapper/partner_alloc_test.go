//go:build !race

package mapper

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// The host's side of a call allocates nothing.
func TestPartnerAllocatesNothingPerEvent(t *testing.T) {
	code, err := os.ReadFile(filepath.Join("..", "plugins", "examples", "pairs", "pairs-c.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t, source.Spec{ID: "own", Mapper: "acme"})
	h.version("acme", 1, code)
	b := func(n int) float64 {
		var list []event.Record
		for i := range n {
			list = append(list, h.record("own", fmt.Sprintf("ref_id=r%d&payout=12.50&currency=USD&duration=90&status=paid", i)))
		}
		h.told(list...)
		return testing.AllocsPerRun(20, func() {
			b := &h.b
			b.Reset()
			b.Records = append(b.Records, list...)
			if err := h.m.Map(t.Context(), b); err != nil {
				t.Fatal(err)
			}
		})
	}
	if few, many := b(10), b(410); many-few > 20 {
		t.Fatalf("a batch of 10 allocates %v times, one of 410 %v times", few, many)
	}
}
