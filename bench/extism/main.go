// Command extism measures Extism's go-sdk on the mapping that package mappers
// measures: the same input, the same logic in C, the same output. It stands in a
// module of its own, so that nothing else of the project depends on the SDK, and
// prints one line of JSON.
package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"
)

//go:generate plugin/build

//go:embed plugin/pairs.wasm
var plugin []byte

// found is what one run says.
type found struct {
	SDK    string `json:"sdk"`
	Wazero string `json:"wazero"`
	Output []byte `json:"output"` // of the input

	Map     cost `json:"map"`     // one call with the input, output taken
	Nothing cost `json:"nothing"` // one call of a function that does nothing, the input set too

	InstanceHeap float64 `json:"instance_heap"` // bytes of each further instance of the plugin
}

// cost is that of one call.
type cost struct {
	Nanos  float64   `json:"cpu_ns"` // of the cheapest turn
	Median float64   `json:"cpu_ns_median"`
	Rounds []float64 `json:"cpu_ns_rounds"`
	Allocs float64   `json:"allocs"`
	Bytes  float64   `json:"bytes"`
}

func main() {
	file := flag.String("input", "", "`file` with what the plugin is called with")
	round := flag.Duration("round", 20*time.Millisecond, "processor time of a turn")
	rounds := flag.Int("rounds", 10, "turns of each")
	flag.Parse()
	if err := run(*file, *round, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "extism:", err)
		os.Exit(1)
	}
}

func run(file string, round time.Duration, rounds int) error {
	input, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	ctx := context.Background()
	// No timeout: with one, every call is many times slower still.
	compiled, err := extism.NewCompiledPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmData{Data: plugin}}},
		extism.PluginConfig{RuntimeConfig: wazero.NewRuntimeConfig().WithDebugInfoEnabled(false)}, nil)
	if err != nil {
		return fmt.Errorf("compile the plugin: %w", err)
	}
	defer compiled.Close(ctx)
	p, err := compiled.Instance(ctx, extism.PluginInstanceConfig{})
	if err != nil {
		return fmt.Errorf("make an instance: %w", err)
	}
	f := found{SDK: versionOf("github.com/extism/go-sdk"), Wazero: versionOf("github.com/tetratelabs/wazero")}
	call := func(name string) ([]byte, error) {
		code, out, err := p.CallWithContext(ctx, name, input)
		if err == nil && code != 0 {
			err = fmt.Errorf("%s gives code %d", name, code)
		}
		return out, err
	}
	if f.Output, err = call("map"); err != nil {
		return err
	}
	// The two take turns.
	for turn := range rounds + 1 {
		for _, one := range []struct {
			name string
			cost *cost
		}{{"map", &f.Map}, {"nothing", &f.Nothing}} {
			err := one.cost.turn(turn > 0, round, func() error { _, err := call(one.name); return err })
			if err != nil {
				return err
			}
		}
	}
	if f.InstanceHeap, err = instanceHeap(ctx, compiled, input); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// turn calls for so much processor time. The first turn warms up and counts for
// nothing.
func (c *cost) turn(counts bool, round time.Duration, call func() error) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin, calls, took := processorTime(), 0, time.Duration(0)
	for took < round {
		for range 100 {
			if err := call(); err != nil {
				return err
			}
		}
		calls += 100
		took = processorTime() - begin
	}
	runtime.ReadMemStats(&after)
	if !counts {
		return nil
	}
	c.Rounds = append(c.Rounds, float64(took)/float64(calls))
	sorted := slices.Sorted(slices.Values(c.Rounds))
	c.Nanos, c.Median = sorted[0], sorted[len(sorted)/2]
	c.Allocs, c.Bytes = float64(after.Mallocs-before.Mallocs)/float64(calls), float64(after.TotalAlloc-before.TotalAlloc)/float64(calls)
	return nil
}

// instanceHeap makes some instances, calls each, and tells what they hold.
func instanceHeap(ctx context.Context, compiled *extism.CompiledPlugin, input []byte) (float64, error) {
	const instances = 20
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, list := heap(), []*extism.Plugin{}
	for range instances {
		p, err := compiled.Instance(ctx, extism.PluginInstanceConfig{})
		if err != nil {
			return 0, err
		}
		if _, _, err := p.CallWithContext(ctx, "map", input); err != nil {
			return 0, err
		}
		list = append(list, p)
	}
	each := float64(heap()-before) / instances
	for _, p := range list {
		if err := p.CloseWithContext(ctx); err != nil {
			return 0, err
		}
	}
	return each, nil
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("bug: a process cannot read its own usage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// versionOf a module that this binary holds.
func versionOf(path string) string {
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return "unknown"
}
