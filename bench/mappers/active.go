package mappers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

// MeasureActive makes many mappers ready as a node does at its start, and then
// an instance of each. It compiles what the cache folder does not hold, so the
// first of several runs on one folder does not count.
func MeasureActive(ctx context.Context, c Config) (a Active, err error) {
	c.defaults()
	a = Active{Langs: c.Langs, Mappers: c.Count}
	var pushed [][]byte
	for i := range c.Count {
		code, err := c.module(c.Langs[i%len(c.Langs)])
		if err == nil {
			code, err = Variant(code, i)
		}
		if err != nil {
			return a, err
		}
		pushed = append(pushed, code)
		a.ModuleBytes += len(code)
	}
	before, err := settled()
	if err != nil {
		return a, err
	}
	engine, programs, err := a.ready(ctx, c.Cache, pushed)
	if engine != nil {
		defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
	}
	if err != nil {
		return a, err
	}
	clear(pushed) // a node does not keep them
	loaded, err := settled()
	if err != nil {
		return a, err
	}
	each := float64(c.Count)
	a.HeapBytes, a.RSSBytes = float64(loaded.heap-before.heap)/each, float64(loaded.rss-before.rss)/each

	worker := engine.Worker()
	defer worker.Close(ctx)
	begin, input := time.Now(), shapes[0].input(0)
	for _, p := range programs {
		i, err := worker.Instance(ctx, p)
		if err != nil {
			return a, err
		}
		copy(i.Input(), input)
		if out, code, err := i.Map(ctx, len(input)); err != nil || len(out) == 0 {
			return a, fmt.Errorf("%s: %d bytes, code %d: %w", p.Name(), len(out), code, err)
		}
	}
	a.InstanceMs = milliseconds(time.Since(begin))
	full, err := settled()
	if err != nil {
		return a, err
	}
	a.InstanceHeap, a.InstanceRSS = float64(full.heap-loaded.heap)/each, float64(full.rss-loaded.rss)/each
	a.Charged, a.ProcessRSS = float64(worker.Bytes())/each, full.rss
	if n := worker.Instances(); n != c.Count {
		return a, fmt.Errorf("%d of %d instances were kept", n, c.Count)
	}
	return a, nil
}

// instancesAll is more than the instances of any crowd may take.
const instancesAll = 1 << 40

// ready goes through what a node does for each module of its registry. The
// engine is to be closed after an error too, unless it is nil.
func (a *Active) ready(ctx context.Context, cache string, pushed [][]byte) (engine *wasm.Engine, programs []*wasm.Program, err error) {
	cpu, err := processorTime()
	if err != nil {
		return nil, nil, err
	}
	begin := time.Now()
	if engine, err = wasm.Open(ctx, wasm.Config{CacheDir: cache, InstanceBytesMax: instancesAll}); err != nil {
		return nil, nil, err
	}
	last := begin
	lap := func(sum *float64) {
		now := time.Now()
		*sum += milliseconds(now.Sub(last))
		last = now
	}
	lap(&a.OpenMs)
	for i, module := range pushed {
		code, err := counted(module)
		if err != nil {
			return engine, programs, err
		}
		lap(&a.RewriteMs)
		if _, err := engine.Cached(code); err != nil {
			return engine, programs, err
		}
		lap(&a.CheckMs)
		p, err := engine.Load(ctx, wasm.Module{Name: fmt.Sprintf("pairs-%d", i), Code: code, FuelPerCall: fuelPerCall})
		if err != nil {
			return engine, programs, err
		}
		programs = append(programs, p)
		lap(&a.LoadMs)
	}
	a.ReadyMs = milliseconds(last.Sub(begin))
	after, err := processorTime()
	a.ReadyCPUMs = milliseconds(after - cpu)
	return engine, programs, err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

type footprint struct{ heap, rss int64 }

// settled is the memory of this process once garbage has gone back to the system.
func settled() (f footprint, err error) {
	runtime.GC() // a second one, for what finalizers let go of
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	u, err := load.ReadUsage(os.Getpid())
	return footprint{int64(m.HeapAlloc), u.RSS}, err
}
