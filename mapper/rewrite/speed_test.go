package rewrite_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/abi"
	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tetratelabs/wazero/api"
)

// request writes sixteen pairs, about 500 bytes.
func request(buf []byte) (n int) {
	e := abi.Begin(buf, 0, 1_700_000_000_000)
	for i, p := range [...][2]string{{"host", "pb.example.com"}, {"user-agent", "Buyer-Postback/2.1 (+https://buyer.example)"}, {"accept", "*/*"},
		{"x-request-id", "7f0d2e7c-9d0b-4a6e-8a3f-2b1f4b7c1d2e"}, {"ref_id", "ref-20261121-000184"}, {"campaign", "auto insurance west"},
		{"buyer", "acme"}, {"payout", "42.50"}, {"currency", "USD"}, {"caller_id", "+13105550142"}, {"duration", "187"},
		{"started", "2026-11-21T07:54:03Z"}, {"status", "converted"}, {"recording", "https://rec.buyer.example/2026/11/21/184.mp3"},
		{"agent", "1182"}, {"note", "caller asked for a call back on Monday"}} {
		kind := abi.KindHeader
		if i >= 4 {
			kind = abi.KindQuery
		}
		e.Pair(kind, p[0], p[1])
	}
	n, _ = e.End(nil)
	return n
}

// BenchmarkCall measures a mapper's call in the original and rewritten, with
// the input written and the counters set each time.
func BenchmarkCall(b *testing.B) {
	code, err := os.ReadFile("../../plugins/examples/pairs/pairs-c.wasm")
	if err != nil {
		b.Fatal(err)
	}
	out, _ := mustRewrite(b, code, rewrite.Default())
	for name, module := range map[string][]byte{"original": code, "rewritten": out} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			m := mustRun(b, module)
			buffer := call(m, abi.ExportBuffer).results[0]
			f := m.ExportedFunction(abi.ExportMap)
			fuel, counts := m.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
			stack := make([]uint64, 1)
			b.ReportAllocs()
			for b.Loop() {
				if counts {
					fuel.Set(fuelPerCall)
				}
				buf, _ := m.Memory().Read(uint32(buffer>>32), uint32(buffer))
				stack[0] = uint64(request(buf))
				if err := f.CallWithStack(ctx, stack); err != nil {
					b.Fatal(err)
				}
				if _, _, ok := abi.Result(stack[0]).Place(); !ok {
					b.Fatalf("no report: %#x", stack[0])
				}
			}
			if counts {
				b.ReportMetric(float64(fuelPerCall-int64(fuel.Get())), "units/op")
			}
		})
	}
}

// BenchmarkRewrite measures the rewriting of a large module.
func BenchmarkRewrite(b *testing.B) {
	f := one("i", "i", nil, LocalGet(0), Repeat(5000, LocalGet(0), OpI32Add))
	many := build{}
	for i := range 200 {
		f.fns[0].name = fmt.Sprint(i)
		many.fns = append(many.fns, f.fns[0])
	}
	code := many.bytes()
	b.SetBytes(int64(len(code)))
	for b.Loop() {
		if _, _, err := rewrite.Rewrite(code, rewrite.Default()); err != nil {
			b.Fatal(err)
		}
	}
}
