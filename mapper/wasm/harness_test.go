package wasm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallyhook/tallyhook/mapper/abi"
	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

const fuelPerCall = 10_000_000

func openEngine(t testing.TB, c Config) *Engine {
	t.Helper()
	e, err := Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

// privateDir is a folder that an engine takes as its cache, whatever the umask.
func privateDir(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "cache")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func rewritten(t testing.TB, m *Builder) []byte {
	t.Helper()
	code, _, err := rewrite.Rewrite(m.Bytes(), rewrite.Default())
	if err != nil {
		t.Fatalf("rewrite: %v", err)
	}
	return code
}

func load(t testing.TB, e *Engine, name string, m *Builder) *Program {
	t.Helper()
	p, err := e.Load(context.Background(), Module{Name: name, Code: rewritten(t, m), FuelPerCall: fuelPerCall})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newWorker(t testing.TB, e *Engine) *Worker {
	t.Helper()
	w := e.Worker()
	t.Cleanup(func() { w.Close(context.Background()) })
	return w
}

func instance(t testing.TB, w *Worker, p *Program) *Instance {
	t.Helper()
	i, err := w.Instance(context.Background(), p)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// request is a small input, written where Map expects it.
func request(i *Instance) int {
	e := abi.Begin(i.Input(), 0, 1_700_000_000_000)
	e.Pair(abi.KindRequest, "method", "POST")
	e.Pair(abi.KindQuery, "ref", "abc")
	n, _ := e.End(nil)
	return n
}

// ask maps one request on w's instance of p; text is the ref_id of the output.
func ask(w *Worker, p *Program) (text string, code uint32, err error) {
	i, err := w.Instance(context.Background(), p)
	if err != nil {
		return "", 0, err
	}
	out, code, err := i.Map(context.Background(), request(i))
	if err != nil || out == nil {
		return "", code, err
	}
	r := abi.Read(out)
	f, _ := r.Next()
	return string(f.Value), code, r.Err()
}

func wantAnswer(t testing.TB, w *Worker, p *Program, want string) {
	t.Helper()
	if got, code, err := ask(w, p); got != want || code != 0 || err != nil {
		t.Errorf("%s answers %q, code %d, %v; want %q", p.Name(), got, code, err, want)
	}
}

func wantTrap(t testing.TB, err error, class Class, text string) *Trap {
	t.Helper()
	var trap *Trap
	if !errors.As(err, &trap) {
		t.Fatalf("%v; want a trap of class %s", err, class)
	}
	if trap.Class != class || !strings.Contains(trap.Text, text) {
		t.Errorf("%s: %s; want %s: …%s…", trap.Class, trap.Text, class, text)
	}
	return trap
}

func wantBad(t testing.TB, err error, code, text string) {
	t.Helper()
	var b *BadModule
	if !errors.As(err, &b) {
		t.Fatalf("%v; want a bad module: %s", err, code)
	}
	if b.Code != code || !strings.Contains(b.Text, text) {
		t.Errorf("%s: %s; want %s: …%s…", b.Code, b.Text, code, text)
	}
}
