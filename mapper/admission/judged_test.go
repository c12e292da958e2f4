// Not with the race detector: what is tested is said by a child, which does one
// thing after the other, and many children take long under it.

//go:build !race && linux

package admission

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// A call may take twenty times what the worst vector took, up to the tier.
func TestFuelLimit(t *testing.T) {
	f := func(instructions int, tier int64, want func(worst int64) int64) {
		t.Helper()
		r := request(guest{data: sold, mapping: Cat(Repeat(instructions, I32Const(1), OpDrop), gives(sold))})
		r.FuelMax = tier
		if v := admit(t, r); !v.Admitted || v.WorstFuel < 2*int64(instructions) || v.FuelLimit != want(v.WorstFuel) {
			t.Errorf("%d instructions, tier %d: %+v", instructions, tier, v)
		}
	}
	f(1000, FuelMaxStandard, func(int64) int64 { return FuelMin })
	f(10_000, FuelMaxStandard, func(worst int64) int64 { return 20 * worst })
	f(10_000, 300_000, func(int64) int64 { return 300_000 })
}

func TestRefused(t *testing.T) {
	f := func(code, word string, r Request) *Verdict {
		t.Helper()
		r.CacheDir = filepath.Join(t.TempDir(), "cache")
		v := admit(t, r)
		if v.Admitted || v.FuelLimit != 0 || len(v.Reasons) == 0 || v.Reasons[0].Code != code || !strings.Contains(v.Reasons[0].Text, word) {
			t.Errorf("want %s with %q, got %+v", code, word, v)
		}
		if left := files(t, r.CacheDir); len(left) > 0 {
			t.Errorf("%s leaves %v", code, left)
		}
		return v
	}
	with := func(change func(*Request)) Request {
		r := request(guest{data: sold})
		change(&r)
		return r
	}
	f("not_wasm", "", with(func(r *Request) { r.Code = []byte("#!/bin/sh") }))
	f("module_bytes", "at most 4194304", with(func(r *Request) { r.Code = make([]byte, 5<<20) }))
	f(CodeConfigBytes, "at most 16384", with(func(r *Request) { r.Config = make([]byte, 17<<10) }))
	f(CodeVectorsBytes, "at most 1048576", with(func(r *Request) { r.Vectors = make([]byte, 2<<20) }))
	f(CodeNoVectors, "tallyhook mapper vectors", with(func(r *Request) { r.Vectors = nil }))
	f(CodeVectorsBad, "vector one", with(func(r *Request) { r.Vectors = []byte("-- one/request --\nGET\n") }))
	f("config_unused", "mapper_v1_init", with(func(r *Request) { r.Config = []byte("x") }))

	f("export_missing", "mapper_v1_map", request(guest{data: sold, without: "mapper_v1_map"}))
	f("memory_export", "memory", request(guest{data: sold, without: "memory"}))
	f("export_signature", "(i32) -> i64", request(guest{data: sold, result: "i", mapping: I32Const(0)}))
	f("import_unknown", "env.abort", request(guest{data: sold, asks: "abort"}))
	f("invalid_wasm", "not valid", request(guest{data: sold, mapping: I32Const(0)}))
	f("config_refused", "code 1", request(guest{data: sold, init: I32Const(1)}))
	f(CodeStartFailed, "start", request(guest{data: sold, start: Cat(OpUnreachable)}))
	f(CodeStartFailed, grouped(rewrite.Default().FuelInit), request(guest{data: sold, start: Endless()}))
	f(CodeStartFailed, "mapper_v1_init", request(guest{data: sold, init: Cat(Endless(), I32Const(0))}))

	v := f(CodeVectorDiffers, "one", request(guest{data: out(2, "c1", 6, "1250")}))
	if len(v.Vectors) != 1 || v.Vectors[0].OK || !reflect.DeepEqual(v.Vectors[0].Diff, []string{"report 1: payout: want 12.50, got 1250.00"}) {
		t.Errorf("%+v", v.Vectors)
	}
	f(CodeVectorDiffers, "one", request(guest{mapping: I64Const(0)}))
	f(CodeVectorBroke, "mapper_trapped", request(guest{mapping: Cat(OpUnreachable, I64Const(0))}))
	f(CodeVectorBroke, "mapper_result_bad", request(guest{data: out(77, "x")}))
	f(CodeVectorBroke, "one", request(guest{mapping: Place(0x7fffffff, 9)}))
	f(CodeVectorBroke, "one", request(guest{mapping: Place(outputAt, 30000)}))
	f(CodeVectorBroke, "mapper_too_deep", request(guest{mapping: Cat(LocalGet(0), Call(1))}))

	v = f(CodeNeedsMoreFuel, "more than 50,000,000", request(guest{mapping: Cat(Endless(), I64Const(0))}))
	if strings.Contains(v.Reasons[0].Text, "tier large") {
		t.Errorf("an endless loop is sent to the larger tier: %s", v.Reasons[0].Text)
	}
	slow := request(guest{data: sold, mapping: Cat(I32Const(0), GlobalSet(0), counting(3_000_000), gives(sold))})
	f(CodeNeedsMoreFuel, "tier large", slow)
	slow.FuelMax = FuelMaxLarge
	if v := admit(t, slow); !v.Admitted || v.FuelLimit != FuelMaxLarge {
		t.Errorf("in tier large: %+v", v)
	}
}

// A mapper that breaks on everything is asked no more than it takes to say so.
func TestManyVectors(t *testing.T) {
	many := func(n int, g guest) Request {
		r := request(g)
		r.Vectors = nil
		for i := range n {
			r.Vectors = append(r.Vectors, strings.ReplaceAll(wantsSold, "one", fmt.Sprintf("c%d", i))...)
		}
		return r
	}
	v := admit(t, many(500, guest{mapping: Cat(Endless(), I64Const(0))}))
	if len(v.Reasons) != 1 || v.Reasons[0].Code != CodeNeedsMoreFuel || !strings.HasPrefix(v.Reasons[0].Text, "c0, c1, c2, c3, c4 and 5 more: ") || len(v.Vectors) != 10 {
		t.Errorf("%+v", v)
	}
	v = admit(t, many(500, guest{data: out(2, "c2", 6, "1")}))
	told := 0
	for _, x := range v.Vectors {
		told += len(x.Diff)
	}
	if len(v.Reasons) != 1 || v.Reasons[0].Code != CodeVectorDiffers || len(v.Vectors) != 500 || told < 200 || told > 200+500 {
		t.Errorf("%d vectors, %d differences, %+v", len(v.Vectors), told, v.Reasons)
	}
	if v := admit(t, many(500, guest{data: sold})); !v.Admitted || len(v.Vectors) != 500 {
		t.Errorf("%+v", v)
	}
	// Each of the fresh instances counts far before it begins: further than a
	// node's limit lets it, so that 500 take more than a second.
	slow := many(500, guest{data: sold, start: counting(9_000_000)})
	slow.Limits.FuelInit = 100_000_000
	short := defaultBounds
	short.CPUSeconds, short.wall = 1, 2*time.Minute
	v, err := run(context.Background(), self, slow, short)
	if err != nil || len(v.Reasons) != 1 || v.Reasons[0].Code != CodeVectorsSlow {
		t.Errorf("%+v, %v", v.Reasons, err)
	}
}

// A mapper that remembers what came before is found out, whether the memory
// shows at once or in the second call only, with one vector or with many.
func TestKeepsState(t *testing.T) {
	sells := func(when ...any) []byte { // the report while the condition holds, else a drop
		return Cat(Cat(when...), If(I64, gives(sold), I64Const(0)))
	}
	count := Cat(GlobalGet(0), I32Const(1), OpI32Add, GlobalSet(0), GlobalGet(0)) // of calls, in a global
	f := func(g guest, names ...string) {
		t.Helper()
		g.data = sold
		r := request(g)
		r.Vectors = nil
		for _, n := range names {
			r.Vectors = append(r.Vectors, strings.ReplaceAll(wantsSold, "one", n)...)
		}
		v := admit(t, r)
		if v.Admitted || len(v.Reasons) != 1 || v.Reasons[0].Code != CodeKeepsState || v.Vectors[0].Diff != nil {
			t.Errorf("%+v", v)
		}
	}
	f(guest{mapping: sells(count, I32Const(2), OpI32LtS)}, "one")                                           // the first call only
	f(guest{mapping: sells(count, I32Const(2), OpI32Ne)}, "one")                                            // all but the second
	f(guest{mapping: sells(count, I32Const(4), OpI32LtS)}, "one", "two")                                    // three calls
	f(guest{mapping: sells(I32Const(0), I32Load(), OpI32Eqz, I32Const(0), I32Const(1), I32Store())}, "one") // in memory
}
