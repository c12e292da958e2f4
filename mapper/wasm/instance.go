package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

const pageBytes = 64 << 10

// Instance is one running module. It belongs to the goroutine of its Worker and
// lives until the next call of one of the Worker's methods that needs its place.
type Instance struct {
	program *Program
	guest   guest
	space   reservation
	module  api.Module

	run    api.Function // mapper_v1_map
	memory api.Memory
	fuel   api.MutableGlobal
	depth  api.MutableGlobal
	stack  [1]uint64

	buffer, capacity uint32 // of the input, in the module's memory
	pagesAtFirst     uint32
	initFuelLeft     int64
	calls            int
	used             int64
	spent            bool // after a trap

	charged      int64 // bytes that the Worker counts for it
	newer, older *Instance
}

// instantiate makes an instance and runs its start-up, all of it on the fuel
// that mapper/rewrite wrote into the module.
func (p *Program) instantiate(ctx context.Context) (*Instance, error) {
	if err := p.acquire(); err != nil {
		return nil, err
	}
	p.made.Add(1)
	i := &Instance{program: p}
	i.guest.module, i.guest.sink = p.name, p.engine.config.Log
	i.guest.Context = experimental.WithMemoryAllocator(context.Background(), &i.space)
	err := i.create()
	if err == nil {
		err = i.startUp()
	}
	if err != nil {
		return nil, errors.Join(err, i.close(ctx))
	}
	// The allocator has done its part, and every call looks into its context.
	i.guest.Context = context.Background()
	return i, nil
}

// create instantiates the module, which runs its start function if it has one.
func (i *Instance) create() (err error) {
	defer func() {
		if p := recover(); p != nil { // wazero's way to say that an allocator gave nothing
			err = fmt.Errorf("make an instance: %v", p)
		}
	}()
	config := wazero.NewModuleConfig().WithName("").WithStartFunctions()
	i.module, err = i.program.runtime.InstantiateModule(&i.guest, i.program.compiled, config)
	if err != nil {
		return startFault(err)
	}
	i.memory = i.module.Memory()
	i.run = i.module.ExportedFunction(abi.ExportMap)
	var ok, ok2 bool
	i.fuel, ok = i.module.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
	i.depth, ok2 = i.module.ExportedGlobal(rewrite.DepthExport).(api.MutableGlobal)
	if !ok || !ok2 || i.fuel.Type() != i64 || i.depth.Type() != i32 {
		return bad(BadUncounted, "the module's counters of work are not what mapper/rewrite writes: run it through mapper/rewrite first")
	}
	return nil
}

// startFault tells a start function that trapped from segments that do not fit.
// The counters of an instance that failed cannot be read, so fuel and crash look
// alike here.
func startFault(err error) error {
	text := err.Error()
	if _, cause, ok := strings.Cut(text, " failed: "); ok {
		place, reason := origin(cause)
		if reason == "unreachable" {
			reason += ", or its fuel for start-up or its depth of calls ran out"
		}
		return &Trap{Class: Crash, Text: fmt.Sprintf("the module's start function crashed%s: %s", place, reason)}
	}
	return bad(BadStart, "the module cannot be started: %.300s; build it again", text)
}

// startUp calls _initialize, asks for the buffer and hands the configuration over.
func (i *Instance) startUp() error {
	exported := i.program.compiled.ExportedFunctions()
	if _, ok := exported[abi.ExportInitialize]; ok {
		if _, err := i.once(abi.ExportInitialize); err != nil {
			return err
		}
	}
	word, err := i.once(abi.ExportBuffer)
	if err != nil {
		return err
	}
	i.buffer, i.capacity = uint32(word>>32), uint32(word)
	switch end := uint64(i.buffer) + uint64(i.capacity); {
	case i.capacity < abi.BufferBytesMin:
		return bad(BadBuffer, "%s gave a buffer of %d bytes; at least %d are needed", abi.ExportBuffer, i.capacity, abi.BufferBytesMin)
	case end > uint64(i.memory.Size()):
		return bad(BadBuffer, "%s gave a buffer of %d bytes at %d, which ends outside the %d bytes of memory; return address << 32 | capacity",
			abi.ExportBuffer, i.capacity, i.buffer, i.memory.Size())
	}
	if _, ok := exported[abi.ExportInit]; ok {
		if err := i.configure(); err != nil {
			return err
		}
	}
	i.pagesAtFirst = i.Pages()
	i.initFuelLeft = int64(i.fuel.Get())
	return nil
}

func (i *Instance) configure() error {
	config := i.program.config
	if len(config) > int(i.capacity) {
		return bad(BadConfigBytes, "the configuration has %d bytes and the module's buffer takes %d; make the one shorter or the other larger", len(config), i.capacity)
	}
	copy(i.Input(), config)
	word, err := i.once(abi.ExportInit, uint64(len(config)))
	if err != nil {
		return err
	}
	if code := int32(uint32(word)); code != 0 {
		return bad(BadConfigValue, "the module refuses its configuration with code %d; 0 would be good", code)
	}
	return nil
}

// once calls a function of the start-up.
func (i *Instance) once(name string, params ...uint64) (uint64, error) {
	given := int64(i.fuel.Get())
	results, err := i.module.ExportedFunction(name).Call(&i.guest, params...)
	if err != nil {
		t := trap(err, given, int64(i.fuel.Get()), int32(uint32(i.depth.Get())))
		t.Text = "in start-up, " + name + ": " + t.Text
		return 0, t
	}
	if len(results) == 0 {
		return 0, nil
	}
	return results[0], nil
}

// Input is the module's buffer, a live view: write the input here, then Map.
// It is gone after Map; ask again. Nil when the instance is closed.
func (i *Instance) Input() []byte {
	if i.memory == nil {
		return nil
	}
	p, ok := i.memory.Read(i.buffer, i.capacity)
	if !ok {
		panic("bug: the buffer was checked, and memory does not shrink")
	}
	return p
}

// Map has the module map the first n bytes of its buffer. out is its output, a
// view into its memory until the next call of anything here: read or copy it
// first. Without an output, out is nil and code tells why (abi.CodeDrop, …).
//
// The error is a *Trap when the module is at fault; the instance is then spent,
// and every later call gives the same. ErrClosed and the error of ctx, which is
// looked at before the call only, are no traps.
func (i *Instance) Map(ctx context.Context, n int) (out []byte, code uint32, err error) {
	if i.spent || i.memory == nil || i.program.closed.Load() {
		return nil, 0, i.unfit()
	}
	if n < 0 || n > int(i.capacity) {
		panic("bug: an input longer than the buffer it was written to")
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	given := i.program.fuel
	i.fuel.Set(uint64(given))
	i.guest.lines = 0
	i.stack[0] = uint64(n)
	err = i.run.CallWithStack(&i.guest, i.stack[:])
	left := int64(i.fuel.Get())
	i.used = given - left
	i.calls++
	if err != nil {
		i.spent = true
		return nil, 0, trap(err, given, left, int32(uint32(i.depth.Get())))
	}
	result := abi.Result(i.stack[0])
	ptr, length, ok := result.Place()
	if !ok {
		return nil, result.Code(), nil
	}
	if length <= abi.OutputBytesMax {
		if out, ok = i.memory.Read(ptr, length); ok {
			return out, 0, nil
		}
	}
	i.spent = true
	return nil, 0, i.misplaced(ptr, length)
}

func (i *Instance) misplaced(ptr, length uint32) *Trap {
	t := &Trap{Class: Memory, Fuel: i.used}
	if length > abi.OutputBytesMax {
		t.Text = fmt.Sprintf("%s gave an output of %d bytes; at most %d are taken", abi.ExportMap, length, abi.OutputBytesMax)
	} else {
		t.Text = fmt.Sprintf("%s gave an output of %d bytes at %#x, outside the %d bytes of memory; return address << 32 | length",
			abi.ExportMap, length, ptr, i.memory.Size())
	}
	return t
}

// unfit is why Map cannot be called.
func (i *Instance) unfit() error {
	if i.memory == nil || i.program.closed.Load() {
		return ErrClosed
	}
	return &Trap{Class: Crash, Text: "the instance trapped in an earlier call; ask the worker for a new one"}
}

// Fuel is what the last call of Map used, units. It may be a little more than
// it was given when it ran out.
func (i *Instance) Fuel() int64 { return i.used }

// InitFuelLeft is what the start-up left of the fuel that mapper/rewrite wrote
// into the module (rewrite.Limits.FuelInit).
func (i *Instance) InitFuelLeft() int64 { return i.initFuelLeft }

// Pages is the size of its memory now, in pages of 64 KiB.
func (i *Instance) Pages() uint32 {
	if i.memory == nil {
		return 0
	}
	return i.memory.Size() / pageBytes
}

// fit reports whether it may be called again: a trap leaves the module's state
// in doubt, and what grows for ever is better begun anew.
func (i *Instance) fit() bool {
	return !i.spent && i.calls < i.program.engine.config.CallsPerInstanceMax && i.Pages() <= 2*max(i.pagesAtFirst, 1)
}

// bytes is its memory as far as it is committed, and what goes with it.
func (i *Instance) bytes() int64 { return int64(i.space.bytes()) + i.program.overhead() }

// close gives its memory back and then its part in the program.
func (i *Instance) close(ctx context.Context) error {
	var err error
	if i.module != nil {
		err = i.module.Close(ctx)
	}
	i.space.Free() // wazero does not when a start function traps
	i.memory, i.run, i.module = nil, nil, nil
	return errors.Join(err, i.program.release(ctx))
}
