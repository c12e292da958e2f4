package rewrite_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tetratelabs/wazero/api"
)

// compileC makes a module of a C file in testdata.
func compileC(t testing.TB, file string) []byte {
	t.Helper()
	dir := t.TempDir()
	object, module := filepath.Join(dir, "m.o"), filepath.Join(dir, "m.wasm")
	for _, args := range [][]string{
		{"clang", "--target=wasm32", "-O2", "-nostdlib", "-ffreestanding", "-c", "-o", object, filepath.Join("testdata", file)},
		{"wasm-ld", "--no-entry", "--strip-all", "-z", "stack-size=16384", "-o", module, object},
	} {
		if text, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
	code, err := os.ReadFile(module)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// samplePairs are sixteen, of about 500 bytes.
func samplePairs() []byte {
	pairs := [][2]string{{"host", "pb.example.com"}, {"user-agent", "Buyer-Postback/2.1 (+https://buyer.example)"}, {"accept", "*/*"},
		{"x-request-id", "7f0d2e7c-9d0b-4a6e-8a3f-2b1f4b7c1d2e"}, {"clickid", "ref-20261121-000184"}, {"campaign", "auto insurance west"},
		{"buyer", "acme"}, {"payout", "42.50"}, {"currency", "USD"}, {"caller_id", "+13105550142"}, {"duration", "187"},
		{"started", "2026-11-21T07:54:03Z"}, {"status", "converted"}, {"recording", "https://rec.buyer.example/2026/11/21/184.mp3"},
		{"agent", "1182"}, {"note", "caller asked for a call back on Monday"}}
	b := binary.LittleEndian.AppendUint16(nil, uint16(len(pairs)))
	for _, p := range pairs {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p[0])))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(p[1])))
		b = append(append(b, p[0]...), p[1]...)
	}
	return b
}

// BenchmarkCall measures a mapper's call in the original and rewritten, with
// the input written and the counters set each time.
func BenchmarkCall(b *testing.B) {
	code := compileC(b, "pairs.c")
	out, _ := mustRewrite(b, code, rewrite.Default())
	input := samplePairs()
	for name, module := range map[string][]byte{"original": code, "rewritten": out} {
		b.Run(name, func(b *testing.B) {
			ctx := context.Background()
			m := mustRun(b, module)
			at := uint32(call(m, "buffer").results[0])
			f := m.ExportedFunction("map")
			fuel, counts := m.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
			stack := make([]uint64, 1)
			b.ReportAllocs()
			for b.Loop() {
				if counts {
					fuel.Set(fuelPerCall)
				}
				m.Memory().Write(at, input)
				stack[0] = uint64(len(input))
				if err := f.CallWithStack(ctx, stack); err != nil {
					b.Fatal(err)
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
	f := one(types(i32), types(i32), nil, get(0), repeat(5000, get(0), add))
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
