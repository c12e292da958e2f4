//go:build !race

package rewrite_test

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tallyhook/tallyhook/mapper/rewrite"
)

// formatCodes are refusals that no valid module may meet, save one file: it
// writes an opcode's second number in more bytes than it takes, on purpose.
var formatCodes = []string{rewrite.RefuseMalformed, rewrite.RefuseUnsupported, rewrite.RefuseUnknownIndex, rewrite.RefuseNotWasm}

const longOpcodes = "binary-leb128."

func (s *specRun) load(where string, c specCommand) {
	s.last = nil
	if c.Name != "" {
		s.named[c.Name] = nil
	}
	code := s.read(c.Filename)
	out, _, err := rewrite.Rewrite(code, specLimits())
	if err != nil {
		var refusal *rewrite.Refusal
		if !errors.As(err, &refusal) {
			s.t.Fatalf("%s:%d: %v is no Refusal", where, c.Line, err)
		}
		s.refused++
		s.codes[refusal.Code]++
		s.partial = s.partial || refusal.Code == rewrite.RefuseImportKind
		if slices.Contains(formatCodes, refusal.Code) && !strings.HasPrefix(c.Filename, longOpcodes) {
			s.t.Errorf("%s:%d: a valid module was refused: %v", where, c.Line, err)
		}
		return
	}
	plain, plainErr := instantiate(s.plain, code)
	counted, countedErr := instantiate(s.counted, out)
	if (plainErr == nil) != (countedErr == nil) {
		s.t.Errorf("%s:%d: instantiation: original %v, rewritten %v", where, c.Line, plainErr, countedErr)
		return
	}
	if plainErr != nil { // imports from a registered module, not given here
		return
	}
	s.modules++
	s.last = &pair{plain, counted}
	if c.Name != "" {
		s.named[c.Name] = s.last
	}
	if diff := sameMemory(plain, counted); diff != "" {
		s.t.Errorf("%s:%d: memory at first: %s", where, c.Line, diff)
	}
}

// specLimits let in what the specification's tests have by the dozen.
func specLimits() rewrite.Limits {
	l := rewrite.Default()
	l.ResultsMax, l.ParamsMax, l.TablesMax = 1000, 1000, 1000
	l.LocalsMax, l.LocalsTimesLoopsMax = 2000, 1<<20
	l.BranchTargetsMax = 1 << 17
	l.TableEntriesMax = 1 << 20
	l.MemoryPagesMax = specPagesMax
	return l
}

func (s *specRun) act(where string, c specCommand) {
	p := s.last
	if c.Action.Module != "" {
		p = s.named[c.Action.Module]
	}
	if p == nil || c.Action.Type != "invoke" {
		return
	}
	var args []uint64
	for _, a := range c.Action.Args {
		args = append(args, a.words()...)
	}
	got := count(p.counted, specFuel, c.Action.Field, args...)
	s.asserts++
	if c.Type == "assert_exhaustion" { // slow in the original: it fills the stack
		if got.trap != "depth" && got.trap != "fuel" {
			s.t.Errorf("%s:%d: %s was not stopped: %q", where, c.Line, c.Action.Field, got.trap)
		}
		return
	}
	want := call(p.plain, c.Action.Field, args...)
	if got.trap != want.trap || !s.partial && (c.Type == "assert_trap") != (got.trap != "") {
		s.t.Errorf("%s:%d: %s: trap %q, in the original %q", where, c.Line, c.Action.Field, got.trap, want.trap)
		return
	}
	if got.trap == "" && got.depth != int64(rewrite.Default().DepthMax) {
		s.t.Errorf("%s:%d: %s: depth %d after the call", where, c.Line, c.Action.Field, got.depth)
	}
	s.compare(where, c, got.results, want.results)
	if diff := sameMemory(p.plain, p.counted); diff != "" {
		s.t.Errorf("%s:%d: %s: memory: %s", where, c.Line, c.Action.Field, diff)
	}
}

func (s *specRun) compare(where string, c specCommand, got, want []uint64) {
	if c.Type != "assert_return" || got == nil && want == nil {
		return
	}
	rest, other := got, want
	for _, e := range c.Expected {
		n := e.width()
		if len(rest) < n || len(other) < n {
			s.t.Errorf("%s:%d: %s: %d results", where, c.Line, c.Action.Field, len(got))
			return
		}
		if !s.partial && !e.matches(rest[:n]) || !e.nan() && !slices.Equal(rest[:n], other[:n]) {
			s.t.Errorf("%s:%d: %s: %x, in the original %x, wanted %v", where, c.Line, c.Action.Field, rest[:n], other[:n], e)
		}
		rest, other = rest[n:], other[n:]
	}
	if len(rest) != 0 || len(other) != 0 {
		s.t.Errorf("%s:%d: %s: too many results", where, c.Line, c.Action.Field)
	}
}

// stayInvalid: what a runtime refuses must not become acceptable by rewriting.
func (s *specRun) stayInvalid(where string, c specCommand) {
	code := s.read(c.Filename)
	ctx := context.Background()
	if original, err := s.plain.CompileModule(ctx, code); err == nil {
		original.Close(ctx) // wazero is more lenient than the specification here
		return
	}
	s.invalid++
	out, _, err := rewrite.Rewrite(code, specLimits())
	if err != nil {
		return
	}
	if _, err := s.counted.CompileModule(ctx, out); err == nil {
		s.t.Errorf("%s:%d: %s: an invalid module became valid", where, c.Line, c.Filename)
	}
}
