// Package wasm runs mapper modules: it compiles rewritten modules (or takes
// them from a disk cache), keeps instances pinned to the goroutines that call
// them, and holds each call to its fuel.
//
//	Engine ──Load──► Program ─┐
//	   │                      ├──► Instance ──Map──► output, a view
//	   └────Worker────────────┘
//
// Nothing inside a process can stop native code, and a collection of garbage
// waits for it; so every module must have gone through mapper/rewrite, which
// makes it stop itself. Load refuses one without that package's exports. A trap
// is the module's own fault and harms its one instance only; what is wrong with
// the world (disk, memory, context) is a plain error.
package wasm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// MemoryPagesMax bounds the memory of an instance whatever its module says:
// 256 pages of 64 KiB, 16 MiB.
const MemoryPagesMax = 256

// Config has a good default for every field.
type Config struct {
	// CacheDir keeps compiled code between runs; it is made with mode 0700.
	// Its files are native code, so a folder that others may write to, or
	// that is not ours, is refused. Empty: nothing is kept.
	CacheDir string

	// InstanceBytesMax bounds the memory of a Worker's instances together,
	// as far as it is committed; 0 is 512 MiB. One instance may stay above it.
	InstanceBytesMax int64

	// CallsPerInstanceMax is how often an instance is called before a new
	// one takes its place; 0 is a million.
	CallsPerInstanceMax int

	// Log takes what modules print or log, cut to LogBytesMax a line and
	// LogLinesMax lines a call. text is valid during the call only. It is
	// called on the goroutine that calls the module. Nil: nothing is kept.
	Log func(module string, level int32, text []byte)
}

// Engine compiles modules. It may be used by several goroutines at once.
type Engine struct {
	config  Config
	runtime wazero.RuntimeConfig
	cache   wazero.CompilationCache
	disk    *disk // nil without a CacheDir

	closings atomic.Int64 // of programs: tells workers to look for closed ones

	mu       sync.Mutex
	closed   bool
	programs map[*Program]struct{}
	live     int // programs that still hold a runtime, those being loaded too
	compiles map[digest]*turn
}

type digest [sha256.Size]byte

// turn makes those who compile or free the same code wait for each other.
type turn struct {
	mu      sync.Mutex
	waiting int
}

// ErrClosed is returned for a Program, Worker or Engine that is closed.
var ErrClosed = errors.New("mapper program is closed")

// Open returns an engine. Its errors are about CacheDir.
func Open(ctx context.Context, c Config) (*Engine, error) {
	if c.InstanceBytesMax == 0 {
		c.InstanceBytesMax = 512 << 20
	}
	if c.CallsPerInstanceMax == 0 {
		c.CallsPerInstanceMax = 1_000_000
	}
	e := &Engine{config: c, programs: map[*Program]struct{}{}, compiles: map[digest]*turn{}}
	if c.CacheDir == "" {
		e.cache = wazero.NewCompilationCache()
	} else {
		var err error
		if e.disk, err = openDisk(ctx, c.CacheDir); err != nil {
			return nil, fmt.Errorf("open mapper cache: %w", err)
		}
		if e.cache, err = wazero.NewCompilationCacheWithDir(c.CacheDir); err != nil {
			return nil, fmt.Errorf("open mapper cache: %w", err)
		}
	}
	e.runtime = runtimeConfig(e.cache)
	return e, nil
}

// runtimeConfig is that of every runtime. Modules are not closed when a context
// ends: that costs up to 18 times the call and misses trees of calls.
func runtimeConfig(cache wazero.CompilationCache) wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCompilationCache(cache).
		WithMemoryLimitPages(MemoryPagesMax).
		WithDebugInfoEnabled(false).
		WithCloseOnContextDone(false)
}

// Close closes all programs. What workers still hold stays in memory until
// they let go of it, so close them first.
func (e *Engine) Close(ctx context.Context) error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	var open []*Program
	for p := range e.programs {
		open = append(open, p)
	}
	last := e.live == 0
	e.mu.Unlock()

	var errs []error
	for _, p := range open {
		errs = append(errs, p.Close(ctx))
	}
	if last {
		errs = append(errs, e.cache.Close(ctx))
	}
	return errors.Join(errs...)
}

// enter counts a program that is being loaded, leave one that is freed; the
// last one to leave a closed engine closes the cache behind it.
func (e *Engine) enter() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.live++
	return nil
}

func (e *Engine) leave(ctx context.Context, p *Program) error {
	e.mu.Lock()
	e.live--
	delete(e.programs, p)
	last := e.closed && e.live == 0
	e.mu.Unlock()
	if last {
		return e.cache.Close(ctx)
	}
	return nil
}

// publish makes p one of the programs that Close closes.
func (e *Engine) publish(p *Program) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.programs[p] = struct{}{}
	return nil
}

// lock waits for its turn with one code and returns what ends it.
func (e *Engine) lock(code digest) (unlock func()) {
	e.mu.Lock()
	t := e.compiles[code]
	if t == nil {
		t = new(turn)
		e.compiles[code] = t
	}
	t.waiting++
	e.mu.Unlock()
	t.mu.Lock()
	return func() {
		t.mu.Unlock()
		e.mu.Lock()
		defer e.mu.Unlock()
		if t.waiting--; t.waiting == 0 {
			delete(e.compiles, code)
		}
	}
}
