package match

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
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

// benchSizes are how many calls an index is measured with. The largest takes
// 2 GB and some minutes to fill: BENCH_BIG=1 asks for it.
func benchSizes() []int {
	if os.Getenv("BENCH_BIG") == "1" {
		return []int{10_000, 1_000_000, 10_000_000}
	}
	return []int{10_000, 1_000_000}
}

// BenchmarkFind asks an index of that many calls, with four names each, for
// calls by one name, 500 at a time, and measures what a call takes: of the heap,
// or of the server's used_memory.
func BenchmarkFind(b *testing.B) {
	for _, n := range benchSizes() {
		b.Run(fmt.Sprintf("memory/%d", n), func(b *testing.B) {
			before := heap()
			m := filled(b, n)
			measureFind(b, m, n, float64(heap()-before)/float64(n))
		})
		b.Run(fmt.Sprintf("redis/%d", n), func(b *testing.B) {
			client := redisClient(b, services.Redis(b).URL)
			before := usedMemory(b, client)
			x := filledRedis(b, client, n)
			measureFind(b, x, n, float64(usedMemory(b, client)-before)/float64(n))
		})
	}
}

func measureFind(b *testing.B, x Index, n int, perCall float64) {
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
		if _, err := x.Find(ctx, wants[at:at+benchBatch], out); err != nil {
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
}

// BenchmarkPut updates an index of a million calls, 500 at a time.
func BenchmarkPut(b *testing.B) {
	b.Run("memory", func(b *testing.B) { measurePut(b, filled(b, 1_000_000)) })
	b.Run("redis", func(b *testing.B) {
		measurePut(b, filledRedis(b, redisClient(b, services.Redis(b).URL), 1_000_000))
	})
}

func measurePut(b *testing.B, x Index) {
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
		if err := x.Put(ctx, calls, 0, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/call")
}

// BenchmarkClaim claims new identities, 500 at a time, beside those that are
// remembered already, and measures what a claim takes.
func BenchmarkClaim(b *testing.B) {
	b.Run("memory", func(b *testing.B) {
		before := heap()
		measureClaim(b, NewMemoryDeduper(MemoryDeduperConfig{}), 4_000_000, func() float64 { return float64(heap() - before) })
	})
	b.Run("redis", func(b *testing.B) {
		client := redisClient(b, services.Redis(b).URL)
		before := usedMemory(b, client)
		measureClaim(b, redisDeduper(client), 1_000_000, func() float64 { return float64(usedMemory(b, client) - before) })
	})
}

func measureClaim(b *testing.B, d Deduper, remembered uint64, size func() float64) {
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
	for n < remembered {
		batch()
		if err := d.Claim(ctx, keys, ids, owners); err != nil {
			b.Fatal(err)
		}
	}
	perClaim := size() / float64(n)
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
	b.ReportMetric(perClaim, "B/claim")
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
			if err := m.Put(b.Context(), calls, 0, no); err != nil {
				b.Fatal(err)
			}
			calls = calls[:0]
		}
	}
	return m
}

// filledRedis is a rebuilt index on an empty server.
func filledRedis(b testing.TB, client redis.UniversalClient, n int) *RedisIndex {
	b.Helper()
	x := redisIndex(client, new(clock))
	if err := x.Rebuild(b.Context(), scanCalls(n), int64(n), nil); err != nil {
		b.Fatal(err)
	}
	return x
}

// scanCalls gives benchCall 1 to n.
func scanCalls(n int) Scan {
	return func(_ context.Context, yield func([]event.Call) error) error {
		calls := make([]event.Call, 0, 1000)
		for no := int64(1); no <= int64(n); no++ {
			if calls = append(calls, benchCall(no)); len(calls) == cap(calls) || no == int64(n) {
				if err := yield(calls); err != nil {
					return err
				}
				calls = calls[:0]
			}
		}
		return nil
	}
}

func usedMemory(t testing.TB, client *redis.Client) int64 {
	t.Helper()
	info, err := client.Info(t.Context(), "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(infoField(info, "used_memory"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
