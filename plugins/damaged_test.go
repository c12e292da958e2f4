//go:build !race

package plugins

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/abi"
)

// Whatever stands in the buffer, the SDK of every language neither traps nor
// gives an output that breaks a rule. No host writes such inputs; a value that
// is too long or no UTF-8 every sender can.
func TestDamagedInput(t *testing.T) {
	const inputs = 3000
	for lang, code := range modules(t, "pairs") {
		t.Run(lang, func(t *testing.T) {
			g := open(t, "pairs-"+lang, code)
			r := rand.New(rand.NewPCG(1, 2))
			var read int
			for range inputs {
				i := g.instance(t)
				n := damaged(r, i.Input())
				input := append([]byte(nil), i.Input()[:n]...)
				out, _, err := i.Map(context.Background(), n)
				if err != nil {
					t.Fatalf("%v\ninput %q", err, input)
				}
				walk := abi.Read(out)
				for _, ok := walk.Next(); ok; _, ok = walk.Next() {
					read++
				}
				if walk.Err() != nil {
					t.Fatalf("%v\ninput %q", walk.Err(), input)
				}
			}
			if read == 0 {
				t.Error("no input gave any field: none was whole")
			}
		})
	}
}

// damaged writes an input with odd values and then spoils some bytes of it, or
// its length.
func damaged(r *rand.Rand, buf []byte) (n int) {
	names := []string{"ref_id", "payout", "caller", "0.payout", "1.ref_id", "zip", "", "\xff"}
	values := []string{"1", "", "\xff\xfe", "é", "\xed\xa0\x80", "\xf4\x90\x80\x80", string(make([]byte, 257)), string(make([]byte, 1100))}
	e := abi.Begin(buf, uint16(r.Uint32()), r.Int64())
	for range r.IntN(12) {
		e.Pair(abi.Kind(r.IntN(5)), names[r.IntN(len(names))], values[r.IntN(len(values))])
	}
	n, _ = e.End([]byte([]string{"", "[", "{}", "\xff"}[r.IntN(4)]))
	if r.IntN(2) == 0 {
		return n
	}
	for range 1 + r.IntN(3) {
		buf[r.IntN(min(n, 64))] = byte(r.Uint32())
	}
	if r.IntN(4) == 0 {
		return r.IntN(len(buf))
	}
	return n
}
