//go:build linux

package admission

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

const childArgument = "run-as-admission-child"

func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == childArgument {
		if err := Child(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 3 && os.Args[1] == fakeArgument {
		fakes[os.Args[2]]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var self = []string{"/proc/self/exe", childArgument}

// sold is a report of call c1 for 12.50.
var sold = out(2, "c1", 6, "12.50")

const wantsSold = "-- one/request --\nGET ?a=1\n-- one/reports --\n{\"call_id\":\"c1\",\"payout\":12.5}\n"

func request(g guest) Request {
	return Request{Code: g.bytes(), Vectors: []byte(wantsSold), FuelMax: FuelMaxStandard, Limits: rewrite.Default()}
}

func admit(t *testing.T, r Request) *Verdict {
	t.Helper()
	v, err := Run(context.Background(), self, r)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAdmitted(t *testing.T) {
	r := request(guest{data: sold, init: I32Const(0), start: Repeat(1000, I32Const(1), OpDrop)})
	r.Vectors = append(r.Vectors, "-- two/source --\ncurrency: EUR\n-- two/request --\nPOST\n\nx\n-- two/reports --\n{\"call_id\":\"c1\",\"payout\":\"12.50\",\"currency\":\"EUR\"}\n"...)
	r.Config = []byte("x=1")
	v := admit(t, r)
	if !v.Admitted || len(v.Reasons) > 0 || len(v.Vectors) != 2 {
		t.Fatalf("%+v", v)
	}
	if v.ModuleBytes != len(r.Code) || v.RewrittenBytes <= v.ModuleBytes || v.MemoryPages != 2 || v.WorstFuel < 1 || v.FuelLimit != FuelMin || len(v.SHA256) != 64 {
		t.Errorf("%+v", v)
	}
	if v.InitFuel < 2000 || v.InitFuel > 3000 {
		t.Errorf("start-up took %d units, want those of 2,000 instructions and a little more", v.InitFuel)
	}
	if want := []string{"memory", "mapper_v1_buffer", "mapper_v1_map", "mapper_v1_init"}; !reflect.DeepEqual(v.Exports, want) {
		t.Errorf("exports %v, want %v", v.Exports, want)
	}
	for i, name := range []string{"one", "two"} {
		if x := v.Vectors[i]; x.Name != name || !x.OK || x.Fuel < 1 || x.Pages != 2 || x.Nanos < 1 || x.Diff != nil {
			t.Errorf("%+v", x)
		}
	}
	again := admit(t, r)
	for _, v := range []*Verdict{v, again} {
		v.CompileMillis = 0
		for i := range v.Vectors {
			v.Vectors[i].Nanos = 0
		}
	}
	if !reflect.DeepEqual(v, again) {
		t.Errorf("the same module twice:\n%+v\n%+v", v, again)
	}
}

// The node finds what the child compiled and does not compile it again.
func TestNodeFindsNativeCode(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	r := request(guest{data: sold})
	r.CacheDir = dir
	if v := admit(t, r); !v.Admitted {
		t.Fatalf("%+v", v)
	}
	before := files(t, dir)
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 || len(before) < 2 {
		t.Fatalf("%v, %v, %v", info, err, before)
	}
	code, _, err := rewrite.Rewrite(r.Code, r.Limits)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	e, err := wasm.Open(ctx, wasm.Config{CacheDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close(ctx)
	if cached, err := e.Cached(code); err != nil || !cached {
		t.Errorf("in the cache: %t, %v", cached, err)
	}
	if _, err := e.Load(ctx, wasm.Module{Name: "a@1", Code: code, FuelPerCall: 1}); err != nil {
		t.Fatal(err)
	}
	if after := files(t, dir); !reflect.DeepEqual(before, after) {
		t.Errorf("before the node loads it: %v\nafter: %v", before, after)
	}
}

// files lists what is under dir, with the times of writing of native code; of
// what vouches for it, the engine notes the time of use.
func files(t *testing.T, dir string) map[string]time.Time {
	t.Helper()
	all := map[string]time.Time{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir || entry.IsDir() && !strings.HasPrefix(entry.Name(), "build-") {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == sums {
			all[path] = time.Time{}
			return nil
		}
		info, err := entry.Info()
		if err == nil {
			all[path] = info.ModTime()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all
}
