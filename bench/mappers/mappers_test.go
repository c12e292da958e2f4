package mappers

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// brief is as little as can be measured.
func brief() Config { return Config{Root: "../..", Round: time.Microsecond, Rounds: 2} }

// All languages and the built-in mapper read the same postbacks, and every
// figure is there.
func TestCallsAreMeasuredOnTheSameWork(t *testing.T) {
	r, err := MeasureCalls(t.Context(), brief())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Shapes) != len(shapes) {
		t.Fatalf("%d shapes", len(r.Shapes))
	}
	for _, s := range r.Shapes {
		if s.Pairs != 16 || s.InputBytes < 450 || s.InputBytes > 550 || len(s.Input) != s.InputBytes || len(s.Output) == 0 {
			t.Errorf("%s: %d pairs, input of %d bytes, output of %d", s.Name, s.Pairs, s.InputBytes, len(s.Output))
		}
		seen := map[string]int{}
		for _, c := range s.Calls {
			seen[c.Lang]++
			if c.Mapped.Nanos <= 0 || len(c.Mapped.Rounds) != 2 || c.Mapped.Median < c.Mapped.Nanos {
				t.Errorf("%s, %s: mapped %+v", s.Name, c.Lang, c.Mapped)
			}
			if guest := c.Lang != BuiltIn; guest != (c.Bare != nil) || guest && (c.Bare.Nanos <= 0 || c.Counted != (c.Fuel > 0)) {
				t.Errorf("%s, %s, counted %t: fuel %d, bare %+v", s.Name, c.Lang, c.Counted, c.Fuel, c.Bare)
			}
		}
		if len(seen) != 4 || seen[BuiltIn] != 1 || seen["c"] != 2 || seen["rust"] != 2 || seen["as"] != 2 {
			t.Errorf("%s: %v", s.Name, seen)
		}
	}
}

func TestActiveMappersAreReadyFromTheCache(t *testing.T) {
	c := brief()
	c.Langs, c.Count, c.Cache = Compiled, 4, filepath.Join(t.TempDir(), "native")
	if err := os.Mkdir(c.Cache, 0o700); err != nil {
		t.Fatal(err)
	}
	for run := range 2 {
		a, err := MeasureActive(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(c.Cache, "sums", "*"))
		if err != nil || len(files) != 4 {
			t.Errorf("run %d: %d entries in the cache, %v", run, len(files), err)
		}
		if parts := a.OpenMs + a.RewriteMs + a.CheckMs + a.LoadMs; a.Mappers != 4 || a.ReadyMs <= 0 || parts < a.ReadyMs*0.99 || parts > a.ReadyMs*1.01 ||
			a.InstanceMs <= 0 || a.HeapBytes <= 0 || a.Charged <= 0 || a.ProcessRSS <= 0 || a.ModuleBytes == 0 {
			t.Errorf("run %d: %+v", run, a)
		}
	}
}

func TestVariantsAreOtherModulesThatDoTheSame(t *testing.T) {
	for _, lang := range Compiled {
		code, err := Example("../..", lang)
		if err != nil {
			t.Fatal(err)
		}
		original, _, err := rewrite.Rewrite(code, rewrite.Default())
		if err != nil {
			t.Fatal(err)
		}
		seen := [][]byte{original}
		for n := range 3 {
			v, err := Variant(code, n)
			if err != nil {
				t.Fatal(err)
			}
			out, _, err := rewrite.Rewrite(v, rewrite.Default())
			if err != nil {
				t.Fatalf("%s, variant %d: %v", lang, n, err)
			}
			for _, other := range seen {
				if bytes.Equal(out, other) {
					t.Errorf("%s, variant %d is no other module once it is rewritten", lang, n)
				}
			}
			seen = append(seen, out)
		}
	}
}

func TestDamagedModulesAreErrors(t *testing.T) {
	head := "\x00asm\x01\x00\x00\x00"
	f := func(code string) {
		t.Helper()
		if out, err := Variant([]byte(code), 1); err == nil {
			t.Errorf("%q gives the variant %q", code, out)
		}
		if out, err := uncounted([]byte(code)); err == nil {
			t.Errorf("%q gives %q", code, out)
		}
	}
	f("")
	f(head)                      // no exports
	f(head + "\x07")             // a section without a size
	f(head + "\x07\x05\x00")     // one that is cut short
	f(head + "\x07\x00")         // an empty one
	f(head + "\x07\x01\x80")     // a count without an end
	f(head + "\x07\xff\xff\xff") // a size without an end
}

// A subject's cost is what is left without the filling, of one operation, and
// every subject has as many turns.
func TestCostIsPerOperation(t *testing.T) {
	fill := &subject{each: 10, rounds: []float64{300, 100}}
	s := &subject{each: 10, rounds: []float64{1100, 2100, 600}, allocs: 5, bytes: 80}
	c := s.cost(fill)
	if c.Nanos != 50 || c.Median != 100 || len(c.Rounds) != 3 || c.Rounds[1] != 200 || c.Allocs != 0.5 || c.Bytes != 8 {
		t.Errorf("%+v", c)
	}
	var order []string
	named := func(name string) *subject {
		return &subject{name: name, each: 1, run: func(times int) error {
			order = append(order, name)
			for begin := time.Now(); time.Since(begin) < time.Duration(times)*time.Millisecond; {
				continue
			}
			return nil
		}}
	}
	a, b := named("a"), named("b")
	config := Config{Round: time.Millisecond, Rounds: 3}
	if err := config.measure(t.Context(), []*subject{a, b}); err != nil {
		t.Fatal(err)
	}
	if len(a.rounds) != 3 || len(b.rounds) != 3 {
		t.Errorf("%d and %d turns", len(a.rounds), len(b.rounds))
	}
	turns := order[len(order)-14 : len(order)-8] // eight of counting behind them
	for i, name := range turns {
		if want := []string{"a", "b"}[i%2]; name != want {
			t.Errorf("turns %v", turns)
			break
		}
	}
}
