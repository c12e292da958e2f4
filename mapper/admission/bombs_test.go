//go:build !race && linux

package admission

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// lifted are limits that let everything through to the compiler.
func lifted() rewrite.Limits {
	l := rewrite.Default()
	v := reflect.ValueOf(&l).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int:
			f.SetInt(1 << 30)
		case reflect.Uint32:
			f.SetUint(1 << 16)
		}
	}
	return l
}

// bombs are modules that are small to send and cost seconds or gigabytes to
// compile; none is run.
var bombs = map[string]func(m *Builder){
	"50,000 locals across 2,000 loops": func(m *Builder) {
		code := Repeat(2000, Loop(NoResult, LocalGet(0), BrIf(0)))
		for i := range 50_000 { // so every loop hands every local on
			code = append(append(code, LocalGet(i)...), OpDrop)
		}
		m.Body("", m.Type("", ""), Locals(Group(50_000, I32)), code)
	},
	"100,000 nested blocks": func(m *Builder) {
		m.Function("", "", "", 0, Repeat(100_000, OpBlock, NoResult), Repeat(100_000, OpEnd))
	},
	"50,000 ifs in a row": func(m *Builder) {
		m.Function("", "i", "", 0, Repeat(50_000, LocalGet(0), OpIf, NoResult, OpEnd))
	},
	"a million targets": func(m *Builder) {
		m.Function("", "", "", 0, Block(NoResult, I32Const(0), BrTable(make([]int, 1_000_001)...)))
	},
}

func TestBombsAreRefusedUnread(t *testing.T) {
	for name, bomb := range bombs {
		r := request(guest{data: sold, more: bomb})
		v := admit(t, r)
		if v.Admitted || len(v.Reasons) != 1 || v.CompileMillis != 0 || v.RewrittenBytes != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// If a bomb came through every structural limit, the limits of the child would
// still stop it, whichever comes first.
func TestBombsAreStopped(t *testing.T) {
	f := func(name string, bomb func(*Builder), b bounds, codes ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they have little of the processor on a busy machine
			r := request(guest{data: sold, more: bomb})
			r.Limits, r.CacheDir = lifted(), filepath.Join(t.TempDir(), "cache")
			v, err := run(context.Background(), self, r, b)
			if err != nil || v.Admitted || len(v.Reasons) != 1 || !slices.Contains(codes, v.Reasons[0].Code) {
				t.Fatalf("%+v, %v; want one of %v", v, err, codes)
			}
			if left := files(t, r.CacheDir); len(left) > 0 {
				t.Errorf("it leaves %v", left)
			}
		})
	}
	short := defaultBounds
	short.CPUSeconds, short.wall = 1, 2*time.Minute
	for name, bomb := range bombs {
		f(name, bomb, short, CodeCompileSlow, CodeCompileLarge)
	}
	narrow := defaultBounds
	narrow.MemoryBytes, narrow.CPUSeconds, narrow.wall = 128<<20, 20, 2*time.Minute
	f("a million adds in little memory", func(m *Builder) {
		m.Function("", "i", "", 0, LocalGet(0), Repeat(1_000_000, LocalGet(0), OpI32Add), OpDrop)
	}, narrow, CodeCompileLarge)
}
