package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"

	"github.com/tallyhook/tallyhook/mapper/abi"
)

// Module is what Load needs of one version of a mapper.
type Module struct {
	Name        string // for example "acme@3"
	Code        []byte // as mapper/rewrite gave it; kept, so it must not change
	Config      []byte // given to mapper_v1_init; kept
	FuelPerCall int64  // units, more than 0
}

// Program is a compiled module, ready to have instances made of it. It may be
// used by several goroutines at once.
type Program struct {
	engine  *Engine
	name    string
	config  []byte
	fuel    int64
	sum     digest
	size    int // of the code
	rawBody bool

	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	made     atomic.Int64

	closed    atomic.Bool
	mu        sync.Mutex
	instances int  // that workers hold, or are making
	freed     bool // or about to be
}

// Load compiles a module, or takes it from the disk cache, and checks that the
// host and it fit together. The error is a *BadModule when the module is at
// fault. Compiling cannot be interrupted and may take long for a module that
// nobody has tried yet: do that in a process that can be killed.
func (e *Engine) Load(ctx context.Context, m Module) (*Program, error) {
	if m.FuelPerCall <= 0 {
		return nil, fmt.Errorf("load mapper %s: %d units of fuel per call; give it at least one", m.Name, m.FuelPerCall)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("load mapper %s: %w", m.Name, err)
	}
	if err := e.enter(); err != nil {
		return nil, fmt.Errorf("load mapper %s: %w", m.Name, err)
	}
	p := &Program{
		engine: e, name: m.Name, config: m.Config, fuel: m.FuelPerCall,
		sum: sha256.Sum256(m.Code), size: len(m.Code),
	}
	err := p.compile(ctx, m.Code)
	if err == nil {
		err = e.publish(p)
	}
	if err != nil {
		return nil, fmt.Errorf("load mapper %s: %w", m.Name, errors.Join(err, p.free(ctx)))
	}
	return p, nil
}

func (p *Program) compile(ctx context.Context, code []byte) error {
	if err := checkCounted(code); err != nil {
		return err
	}
	unlock := p.engine.lock(p.sum)
	defer unlock()
	if p.engine.disk != nil {
		if err := p.engine.disk.prepare(ctx, code, p.sum); err != nil {
			return err
		}
	}
	// A runtime of its own: closing it frees everything, the table of function
	// types too, which never shrinks.
	p.runtime = wazero.NewRuntimeWithConfig(ctx, p.engine.runtime)
	var err error
	if p.compiled, err = compileContained(ctx, p.runtime, code); err != nil {
		return err
	}
	if err := checkExports(p.compiled); err != nil {
		return err
	}
	if err := checkImports(p.compiled); err != nil {
		return err
	}
	exported := p.compiled.ExportedFunctions()
	_, p.rawBody = exported[abi.ExportRawBody]
	if _, ok := exported[abi.ExportInit]; !ok && len(p.config) > 0 {
		return bad(BadConfig, "there is a configuration, but the module does not export %s(i32) -> i32 to take it", abi.ExportInit)
	}
	return bindImports(ctx, p.runtime, p.compiled)
}

// compileContained compiles, and makes the compiler's complaints, a panic even,
// a fault of the module. What the disk did wrong stays an error of its own.
func compileContained(ctx context.Context, r wazero.Runtime, code []byte) (m wazero.CompiledModule, err error) {
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, bad(BadCode, "the compiler cannot take the module: %.200v; report it, and try another build", p)
		}
	}()
	m, err = r.CompileModule(ctx, code)
	var path *fs.PathError
	var link *os.LinkError
	if err == nil || errors.As(err, &path) || errors.As(err, &link) {
		return m, err
	}
	return nil, bad(BadCode, "the module is not valid: %.400v; build it again", err)
}

// Name is that of the Module.
func (p *Program) Name() string { return p.name }

// RawBody reports whether the module reads bodies itself, so that they need not
// be split into pairs.
func (p *Program) RawBody() bool { return p.rawBody }

// FuelPerCall is that of the Module.
func (p *Program) FuelPerCall() int64 { return p.fuel }

// Made is how many instances have been made of it so far, those included that
// failed to start.
func (p *Program) Made() int64 { return p.made.Load() }

// Close ends the program. It waits for nobody: a call that is under way ends
// as it would, the next one with ErrClosed, and the memory is given back when
// the last worker has let go of its instance.
func (p *Program) Close(ctx context.Context) error {
	if !p.closed.CompareAndSwap(false, true) {
		return nil
	}
	p.engine.closings.Add(1)
	return p.freeIfLast(ctx, 0)
}

// acquire keeps the program's memory until release.
func (p *Program) acquire() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return ErrClosed
	}
	p.instances++
	return nil
}

func (p *Program) release(ctx context.Context) error { return p.freeIfLast(ctx, 1) }

// freeIfLast lets go of some instances and frees a closed program that has none.
func (p *Program) freeIfLast(ctx context.Context, let int) error {
	p.mu.Lock()
	p.instances -= let
	if p.instances < 0 {
		panic("bug: a mapper instance was released twice")
	}
	free := p.instances == 0 && p.closed.Load() && !p.freed
	p.freed = p.freed || free
	p.mu.Unlock()
	if free {
		return p.free(ctx)
	}
	return nil
}

// free gives everything back, once: the compiler must not work on the same code
// meanwhile.
func (p *Program) free(ctx context.Context) error {
	unlock := p.engine.lock(p.sum)
	var errs []error
	if p.runtime != nil {
		errs = append(errs, p.runtime.Close(ctx))
	}
	if p.compiled != nil {
		errs = append(errs, p.compiled.Close(ctx))
	}
	unlock()
	return errors.Join(append(errs, p.engine.leave(ctx, p))...)
}

// overhead estimates the memory of an instance beside its linear memory: its
// stack and tables. Functions dominate; a Go module has three bytes of code for
// one of table.
func (p *Program) overhead() int64 { return int64(min(24<<10+p.size/3, math.MaxInt32)) }
