//go:build !race

package wasm

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/mapper/abi"
	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// pairsInC is a mapper that reads all pairs, as plugins/build makes it.
func pairsInC(b *testing.B) []byte {
	b.Helper()
	code, err := os.ReadFile("../../plugins/examples/pairs/pairs-c.wasm")
	if err != nil {
		b.Fatal(err)
	}
	return code
}

// event is about 500 bytes of input in 16 pairs.
func event(buf []byte) int {
	e := abi.Begin(buf, 0, 1_700_000_000_000)
	e.Pair(abi.KindRequest, "method", "POST")
	for _, p := range [...][2]string{
		{"campaign", "8c1f7d20"}, {"ref", "RGB-4F2A-77E1-90CD"}, {"payout", "12.50"}, {"caller", "+14155550123"},
		{"duration", "184"}, {"status", "converted"}, {"publisher", "pub-2291"}, {"zip", "94107"}, {"state", "CA"},
	} {
		e.Pair(abi.KindQuery, p[0], p[1])
	}
	for _, p := range [...][2]string{
		{"content-type", "application/x-www-form-urlencoded"}, {"user-agent", "Network-Postback/2.11 (+https://example.com)"},
		{"accept", "*/*"}, {"host", "hooks.example.com"}, {"x-request-id", "b9c1e2f0a1d34c7f9f1f5c9a8b7d6e5f"}, {"content-length", "0"},
	} {
		e.Pair(abi.KindHeader, p[0], p[1])
	}
	n, _ := e.End(nil)
	return n
}

// BenchmarkMap is a whole event on the host's side: write, call, read.
func BenchmarkMap(b *testing.B) {
	e := openEngine(b, Config{})
	run := func(name string, code []byte) {
		b.Run(name, func(b *testing.B) {
			limits := rewrite.Default()
			limits.DataSegmentsMax = max(limits.DataSegmentsMax, 1<<16)
			counted, _, err := rewrite.Rewrite(code, limits)
			if err != nil {
				b.Fatal(err)
			}
			p, err := e.Load(context.Background(), Module{Name: name, Code: counted, FuelPerCall: fuelPerCall})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close(context.Background())
			w := newWorker(b, e)
			ctx := context.Background()
			fields, fuel := 0, int64(0)
			b.ReportAllocs()
			for b.Loop() {
				i, err := w.Instance(ctx, p)
				if err != nil {
					b.Fatal(err)
				}
				out, _, err := i.Map(ctx, event(i.Input()))
				if err != nil {
					b.Fatal(err)
				}
				fuel += i.Fuel()
				r := abi.Read(out)
				for _, ok := r.Next(); ok; _, ok = r.Next() {
					fields++
				}
				if r.Err() != nil {
					b.Fatal(r.Err())
				}
			}
			b.ReportMetric(float64(fuel)/float64(b.N), "fuel/op")
			b.ReportMetric(float64(fields)/float64(b.N), "fields/op")
		})
	}
	run("constant", Answering("r1").Bytes())
	run("C", pairsInC(b))
	run("Go", buildGo(b, goMapper))
}

// BenchmarkHostile reports what one call with 10 M units costs in wall time,
// and how long a collection of garbage had to wait for it; of modules that are
// refused, what the refusal costs.
func BenchmarkHostile(b *testing.B) {
	e := openEngine(b, Config{})
	for _, h := range hostiles() {
		b.Run(h.name, func(b *testing.B) {
			upload := h.make().Bytes()
			code, _, err := rewrite.Rewrite(upload, rewrite.Default())
			if h.refused != "" {
				underCollection(b, func() time.Time {
					begun := time.Now()
					rewrite.Rewrite(upload, rewrite.Default())
					return begun
				})
				return
			}
			if err != nil {
				b.Fatal(err)
			}
			p, err := e.Load(context.Background(), Module{Name: h.name, Code: code, FuelPerCall: fuelPerCall})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close(context.Background())
			w := newWorker(b, e)
			underCollection(b, func() time.Time {
				begun := time.Now()
				if i, err := w.Instance(context.Background(), p); err == nil {
					begun = time.Now() // its start-up is done, and is not what is measured
					i.Map(context.Background(), 0)
				}
				return begun
			})
		})
	}
}

// underCollection runs one thing while garbage is collected all the time. run
// returns when it began what is to be measured.
func underCollection(b *testing.B, run func() time.Time) {
	quit := collectGarbage()
	before := stopsBelow()
	var worst time.Duration
	for b.Loop() {
		worst = max(worst, time.Since(run()))
	}
	quit()
	b.ReportMetric(float64(worst)/1e6, "worst-ms")
	b.ReportMetric(worstStop(before)*1000, "gc-stop-ms")
}

// collectGarbage collects all the time until the returned function is called.
func collectGarbage() (quit func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	return func() { close(stop); <-done }
}

// stopsBelow is the runtime's histogram of how long it took to stop the world.
func stopsBelow() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/pauses/stopping/gc:seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64Histogram()
}

// worstStop is the upper end of the highest bucket that has grown since before.
func worstStop(before *metrics.Float64Histogram) float64 {
	after := stopsBelow()
	for i := len(after.Counts) - 1; i >= 0; i-- {
		if after.Counts[i] > before.Counts[i] {
			return after.Buckets[min(i+1, len(after.Buckets)-2)]
		}
	}
	return 0
}

// BenchmarkThousandPrograms loads 1,000 different programs from a warm disk
// cache and calls each once.
func BenchmarkThousandPrograms(b *testing.B) {
	dir := privateDir(b)
	modules := make([]Module, 1000)
	for i := range modules {
		modules[i] = Module{Name: fmt.Sprint("m", i), Code: rewritten(b, Answering(fmt.Sprint("a", i))), FuelPerCall: fuelPerCall}
	}
	round := func(e *Engine, w *Worker) (loaded, called time.Duration) {
		begun := time.Now()
		programs := make([]*Program, len(modules))
		for i, m := range modules {
			var err error
			if programs[i], err = e.Load(context.Background(), m); err != nil {
				b.Fatal(err)
			}
		}
		loaded = time.Since(begun)
		for i, p := range programs {
			wantAnswer(b, w, p, fmt.Sprint("a", i))
		}
		return loaded, time.Since(begun) - loaded
	}
	var loaded, called time.Duration
	var heap, instances uint64
	first := time.Now()
	e := openEngine(b, Config{CacheDir: dir})
	round(e, newWorker(b, e))
	cold := time.Since(first)
	for b.Loop() {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		e, err := Open(context.Background(), Config{CacheDir: dir, InstanceBytesMax: 1 << 30})
		if err != nil {
			b.Fatal(err)
		}
		w := e.Worker()
		l, c := round(e, w)
		loaded, called = loaded+l, called+c
		runtime.GC()
		runtime.ReadMemStats(&after)
		heap, instances = heap+after.HeapAlloc-before.HeapAlloc, instances+uint64(w.Bytes())
		w.Close(context.Background())
		if err := e.Close(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N)
	b.ReportMetric(float64(cold.Milliseconds()), "cold-ms")
	b.ReportMetric(float64(loaded.Milliseconds())/n, "load-ms")
	b.ReportMetric(float64(called.Milliseconds())/n, "instances-ms")
	b.ReportMetric(float64(heap)/n/1000/1024, "heap-KiB/program")
	b.ReportMetric(float64(instances)/n/1000/1024, "charged-KiB/program")
}
