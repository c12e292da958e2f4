//go:build linux

package admission

import (
	"context"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

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
var bombs = map[string]func() guest{
	"50,000 locals across 2,000 loops": func() guest {
		body := cat(vec(cat(uleb(50_000), op(0x7f))), repeat(2000, op(0x03, 0x40), get(0), op(0x0d, 0), end))
		for i := range 50_000 { // so every loop hands every local on
			body = append(append(body, get(i)...), drop...)
		}
		return guest{data: sold, more: [][]byte{cat(body, end)}}
	},
	"100,000 nested blocks": func() guest {
		return guest{data: sold, more: [][]byte{cat(vec(), repeat(100_000, op(0x02, 0x40)), repeat(100_000, end), end)}}
	},
	"50,000 ifs in a row": func() guest {
		return guest{data: sold, more: [][]byte{cat(vec(cat(uleb(1), op(0x7f))), repeat(50_000, get(0), op(0x04, 0x40, 0x0b)), end)}}
	},
	"a million targets": func() guest {
		return guest{data: sold, more: [][]byte{cat(vec(), op(0x02, 0x40), i32(0), op(0x0e), uleb(1_000_000), make([]byte, 1_000_001), end, end)}}
	},
}

func TestBombsAreRefusedUnread(t *testing.T) {
	for name, bomb := range bombs {
		r := request(bomb())
		v := admit(t, r)
		if v.Admitted || len(v.Reasons) != 1 || v.CompileMillis != 0 || v.RewrittenBytes != 0 {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

// If a bomb came through every structural limit, the limits of the child would
// still stop it, whichever comes first.
func TestBombsAreStopped(t *testing.T) {
	f := func(name string, g guest, b bounds, codes ...string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they have little of the processor on a busy machine
			r := request(g)
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
		f(name, bomb(), short, CodeCompileSlow, CodeCompileLarge)
	}
	narrow := defaultBounds
	narrow.MemoryBytes, narrow.CPUSeconds, narrow.wall = 128<<20, 20, 2*time.Minute
	adds := cat(vec(cat(uleb(1), op(0x7f))), get(0), repeat(1_000_000, get(0), add), drop, end)
	f("a million adds in little memory", guest{data: sold, more: [][]byte{adds}}, narrow, CodeCompileLarge)
}
