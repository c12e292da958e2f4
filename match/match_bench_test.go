package match

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

func BenchmarkDecide(b *testing.B) {
	f := func(name string, r event.Report, n int) {
		b.Run(name, func(b *testing.B) {
			cands := make([]event.Candidate, 0, n)
			for i := range n {
				cands = append(cands, candidate(int64(i+1), started(-time.Duration(i)*time.Hour), ref(strconv.Itoa(i))))
			}
			p := policy()
			b.ReportAllocs()
			for b.Loop() {
				if d := Decide(&r, p, noon, cands); d.Pick < 0 {
					b.Fatal(d.Reason)
				}
			}
		})
	}
	f("ref_id of 1", event.Report{RefID: "0"}, 1)
	f("caller of 1", event.Report{Caller: alice, Duration: lasting(100)}, 1)
	f("caller of 64", event.Report{Caller: alice, Duration: lasting(100)}, 64)
}

const (
	benchBatch   = 500
	benchBatches = 400
)

// BenchmarkFind asks an index of that many calls, with four names each, for
// calls by one name, 500 at a time. The largest takes 2 GB and half a minute
// to fill: TALLYHOOK_BENCH_10M=1 asks for it.
func BenchmarkFind(b *testing.B) {
	sizes := []int{10_000, 1_000_000}
	if os.Getenv("TALLYHOOK_BENCH_10M") != "" {
		sizes = append(sizes, 10_000_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := heap()
			m := filled(b, n)
			perCall := float64(heap()-before) / float64(n)
			rng := rand.New(rand.NewPCG(1, 2))
			wants := make([]Want, benchBatch*benchBatches)
			for i := range wants {
				var room [4]event.CallKey
				c := benchCall(int64(1 + rng.IntN(n)))
				wants[i] = by(c.AppendKeys(room[:0])[i%4])
			}
			out := make([][]int64, benchBatch)
			ctx := b.Context()
			var took []time.Duration
			for b.Loop() {
				at := len(took) % benchBatches * benchBatch
				for i := range out {
					out[i] = out[i][:0]
				}
				start := time.Now()
				if _, err := m.Find(ctx, wants[at:at+benchBatch], out); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			for i := range out {
				if len(out[i]) == 0 {
					b.Fatal("a call that was put is not found")
				}
			}
			slices.Sort(took)
			each := func(q float64) float64 {
				return float64(took[int(q*float64(len(took)-1))].Nanoseconds()) / benchBatch
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(each(0.50), "p50-ns/find")
			b.ReportMetric(each(0.99), "p99-ns/find")
			b.ReportMetric(perCall, "B/call")
		})
	}
}

// BenchmarkPut updates an index of a million calls, 500 at a time.
func BenchmarkPut(b *testing.B) {
	m := filled(b, 1_000_000)
	calls := make([]event.Call, benchBatch)
	n, ctx := int64(0), b.Context()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range calls {
			calls[i] = benchCall(1_000_001 + n)
			n++
		}
		b.StartTimer()
		if err := m.Put(ctx, calls, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/call")
}

// BenchmarkClaim claims new identities, 500 at a time, beside four million.
func BenchmarkClaim(b *testing.B) {
	d := NewMemoryDeduper(MemoryDeduperConfig{})
	rng := rand.New(rand.NewPCG(1, 2))
	keys, ids, owners := make([]event.Digest, benchBatch), make([]event.ID, benchBatch), make([]event.ID, benchBatch)
	n, ctx := uint64(0), b.Context()
	batch := func() {
		for i := range keys {
			n++
			ids[i] = eventID(n)
			binary.LittleEndian.PutUint64(keys[i][:], rng.Uint64())
			binary.LittleEndian.PutUint64(keys[i][8:], n)
		}
	}
	for n < 4_000_000 {
		if batch(); d.Claim(ctx, keys, ids, owners) != nil {
			b.Fatal("claim")
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		batch()
		b.StartTimer()
		if err := d.Claim(ctx, keys, ids, owners); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*benchBatch), "ns/claim")
}

// benchCall is call no, with four names; two calls share a caller.
func benchCall(no int64) event.Call {
	n := strconv.FormatInt(no, 10)
	return event.Call{No: no, CallID: "call-" + n, RefID: "ref-" + n, NetworkIDs: []event.Pair{{Name: "ringba", Value: "net-" + n}},
		Caller: "+1" + strconv.FormatInt(2_000_000_000+no/2, 10), StartedAt: at(-time.Duration(no%4000) * time.Minute)}
}

func filled(b *testing.B, n int) *MemoryIndex {
	b.Helper()
	m := NewMemoryIndex(MemoryIndexConfig{Now: new(clock).now})
	calls := make([]event.Call, 0, 1000)
	for no := int64(1); no <= int64(n); no++ {
		if calls = append(calls, benchCall(no)); len(calls) == cap(calls) || no == int64(n) {
			if err := m.Put(b.Context(), calls, no); err != nil {
				b.Fatal(err)
			}
			calls = calls[:0]
		}
	}
	return m
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
