package wasm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
)

func TestLoadRefuses(t *testing.T) {
	e := openEngine(t, Config{CacheDir: privateDir(t)})
	f := func(m *Builder, code, text string) {
		t.Helper()
		_, err := e.Load(context.Background(), Module{Name: "bad@1", Code: rewritten(t, m), FuelPerCall: 1})
		wantBad(t, err, code, text)
		if !strings.HasPrefix(err.Error(), "load mapper bad@1: ") {
			t.Errorf("%v", err)
		}
	}
	bare := func(pages uint32, names ...string) *Builder {
		m := new(Builder)
		if pages > 0 {
			m.Memory(pages, 256)
		}
		for _, name := range names {
			m.Function(name, "i", "I", 0, I64Const(0))
		}
		return m
	}
	f(bare(0, "mapper_v1_map"), BadMemory, `does not export a memory as "memory"`)
	f(bare(1), BadExport, "does not export a function mapper_v1_map(i32) -> i64")
	f(bare(1, "mapper_v1_map"), BadExport, "does not export a function mapper_v1_buffer() -> i64")
	f(bare(1, "mapper_v1_map", "mapper_v1_buffer"), BadSignature, "mapper_v1_buffer is (i32) -> i64; it has to be () -> i64")
	f(bare(1, "mapper_v2_map"), BadExport, "mapper_v1_map")

	m := new(Builder)
	m.Memory(1, 1)
	m.Function("mapper_v1_map", "iI", "iI", 0, I32Const(0), I64Const(0))
	f(m, BadSignature, "mapper_v1_map is (i32, i64) -> (i32, i64); it has to be (i32) -> i64")
	m = Mapper(I64Const(0))
	m.Function("mapper_v1_init", "", "", 0)
	f(m, BadSignature, "mapper_v1_init is (); it has to be (i32) -> i32")
	m = Mapper(I64Const(0))
	m.Function("_initialize", "i", "", 0)
	f(m, BadSignature, "_initialize is (i32); it has to be ()")

	importing := func(from, name, params, results string) *Builder {
		m := new(Builder)
		m.Imported(from, name, params, results)
		m.Memory(2, 2)
		m.Complete(I64Const(0))
		return m
	}
	f(importing("env", "abort", "iiii", ""), BadImport, "imports env.abort; a mapper needs no imports, and only wasi_snapshot_preview1 and mapper_v1.log")
	f(importing(wasiModule, "path_teleport", "", "i"), BadImport, "wasi_snapshot_preview1.path_teleport")
	f(importing("mapper_v1", "fetch", "", ""), BadImport, "mapper_v1.fetch")
	f(importing(wasiModule, "fd_write", "ii", "i"), BadImportType, "fd_write as (i32, i32) -> i32; it is (i32, i32, i32, i32) -> i32")
	f(importing("mapper_v1", "log", "iii", "i"), BadImportType, "mapper_v1.log as (i32, i32, i32) -> i32; it is (i32, i32, i32)")

	m = Mapper(OpDrop) // rewriting looks at structure, wazero at types
	f(m, BadCode, "the module is not valid:")
	_, err := e.Load(context.Background(), Module{Name: "n", Code: []byte("no wasm"), FuelPerCall: 1})
	wantBad(t, err, BadUncounted, "has not been rewritten")
	_, err = e.Load(context.Background(), Module{Name: "n", Code: Mapper(Endless(), I64Const(0)).Bytes(), FuelPerCall: 1})
	wantBad(t, err, BadUncounted, "has not been rewritten")
	_, err = e.Load(context.Background(), Module{Name: "n", Code: rewritten(t, Echo()), Config: []byte("x"), FuelPerCall: 1})
	wantBad(t, err, BadConfig, "does not export mapper_v1_init(i32) -> i32")
	if _, err = e.Load(context.Background(), Module{Name: "n", Code: rewritten(t, Echo())}); err == nil {
		t.Error("no fuel per call is taken")
	}
	if e.live != 0 || len(e.compiles) != 0 || len(e.programs) != 0 {
		t.Errorf("%d live, %d compiling, %d programs after refusals", e.live, len(e.compiles), len(e.programs))
	}
}

// Counters of the wrong type are no counters.
func TestInstanceRefusesOddCounters(t *testing.T) {
	e := openEngine(t, Config{})
	m := Echo()
	m.Global(I32, I32Const(1))
	m.Global(I32, I32Const(512))
	m.Exports = append(m.Exports, Cat("tallyhook_fuel", 3, 0), Cat("tallyhook_depth", 3, 1))
	p, err := e.Load(context.Background(), Module{Name: "odd", Code: m.Bytes(), FuelPerCall: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = newWorker(t, e).Instance(context.Background(), p)
	wantBad(t, err, BadUncounted, "counters of work are not what")
}

func FuzzExportedGlobals(f *testing.F) {
	m := Echo()
	m.Counted()
	f.Add(m.Bytes())
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x07\xff\xff\xff\xff\x0f\x01"))
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, name := range exportedGlobals(code) {
			if !strings.Contains(string(code), name) {
				t.Errorf("%q is not in the module", name)
			}
		}
	})
}

func TestCloseWhileInUse(t *testing.T) {
	e := openEngine(t, Config{CacheDir: privateDir(t)})
	w, other := newWorker(t, e), newWorker(t, e)
	p := load(t, e, "acme@1", Answering("one"))
	i := instance(t, w, p)
	wantAnswer(t, other, p, "one")
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if p.freed {
		t.Fatal("freed while two workers hold instances")
	}
	if _, _, err := i.Map(context.Background(), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("%v from a closed program", err)
	}
	if len(i.Input()) == 0 {
		t.Error("the buffer went away under the worker")
	}
	if _, err := w.Instance(context.Background(), p); !errors.Is(err, ErrClosed) {
		t.Errorf("%v for an instance of a closed program", err)
	}
	if w.Instances() != 0 || p.freed {
		t.Errorf("%d instances, freed %t; the other worker has one still", w.Instances(), p.freed)
	}
	// The other worker lets go when it asks for anything at all.
	q := load(t, e, "acme@2", Answering("two"))
	wantAnswer(t, other, q, "two")
	if !p.freed || other.Instances() != 1 {
		t.Errorf("freed %t, %d instances", p.freed, other.Instances())
	}
	if err := p.Close(context.Background()); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestEngineClose(t *testing.T) {
	e, err := Open(context.Background(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	w := e.Worker()
	p, q := load(t, e, "p", Answering("p")), load(t, e, "q", Answering("q"))
	i := instance(t, w, p)
	for range 2 {
		if err := e.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if !q.freed || p.freed {
		t.Errorf("freed: idle %t, in use %t", q.freed, p.freed)
	}
	if _, _, err := i.Map(context.Background(), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("%v after the engine's end", err)
	}
	if _, err := e.Load(context.Background(), Module{Name: "n", Code: rewritten(t, Echo()), FuelPerCall: 1}); !errors.Is(err, ErrClosed) {
		t.Errorf("%v from a closed engine", err)
	}
	w.Close(context.Background())
	if !p.freed || e.live != 0 {
		t.Errorf("freed %t, %d live after the last worker", p.freed, e.live)
	}
	if _, err := w.Instance(context.Background(), q); !errors.Is(err, ErrClosed) {
		t.Errorf("%v from a closed worker", err)
	}
}

// Programs of the same code, loaded, used and closed at the same time by
// several goroutines, all answer, and all is given back.
func TestConcurrentUse(t *testing.T) {
	e := openEngine(t, Config{CacheDir: privateDir(t)})
	shared := load(t, e, "shared", Answering("shared"))
	code := rewritten(t, Answering("own"))
	var group sync.WaitGroup
	for g := range 4 {
		group.Go(func() {
			w := e.Worker()
			defer w.Close(context.Background())
			for round := range 25 {
				p, err := e.Load(context.Background(), Module{Name: fmt.Sprint(g, ".", round), Code: code, FuelPerCall: fuelPerCall})
				if err != nil {
					t.Error(err)
					return
				}
				wantAnswer(t, w, p, "own")
				wantAnswer(t, w, shared, "shared")
				if round%2 == 0 {
					w.Discard(p)
				}
				if err := p.Close(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if e.live != 1 || len(e.compiles) != 0 {
		t.Errorf("%d live, %d compiling; want the shared one only", e.live, len(e.compiles))
	}
}

// Closing comes at any moment of another goroutine's calls.
func TestCloseUnderCalls(t *testing.T) {
	e := openEngine(t, Config{})
	for round := range 50 {
		p := load(t, e, "p", Answering("p"))
		var group sync.WaitGroup
		for range 2 {
			group.Go(func() {
				w := e.Worker()
				defer w.Close(context.Background())
				for {
					text, _, err := ask(w, p)
					if errors.Is(err, ErrClosed) {
						return
					}
					if err != nil || text != "p" {
						t.Errorf("round %d: %q, %v", round, text, err)
						return
					}
				}
			})
		}
		group.Go(func() {
			if err := p.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		group.Wait()
		if !p.freed {
			t.Fatalf("round %d: not freed", round)
		}
	}
}
