package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/bench/mappers"
	"github.com/tallyhook/tallyhook/bench/node"
)

// Each subject of the mappers takes so many turns, each a part of the time that
// a step has.
const (
	mapperTurns    = 20
	mapperTurnPart = 10
)

// mapperPartMax bounds one process that measures mappers.
const mapperPartMax = 5 * time.Minute

// mappers measures partners' mappers beside the built-in one and beside
// Extism's go-sdk, and a node that starts with many of them. What fails is
// noted and does not spoil the rest.
func (b *bench) mappers(ctx context.Context) error {
	out := new(Mappers)
	b.result.Mappers = out
	if b.cfg.Root == "" {
		out.Notes = append(out.Notes, "left out: no sources at hand")
		return nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		out.Notes = append(out.Notes, "left out: no Go at hand")
		return nil
	}
	m := &mapperRun{bench: b, out: out}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{{"build", m.build}, {"calls", m.calls}, {"Extism's go-sdk", m.extism}, {"distinct mappers", m.distinct}, {"active mappers", m.active}, {"a node with mappers", m.nodes}} {
		err := part.do(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.say("MAPPERS: %s: %v", part.name, err)
			out.Notes = append(out.Notes, fmt.Sprintf("%s could not be measured: %v", part.name, err))
		}
		if m.binary == "" {
			return nil // nothing to measure with
		}
	}
	for i := range out.Shapes {
		out.Shapes[i].Input, out.Shapes[i].Output = nil, nil
	}
	return nil
}

type mapperRun struct {
	*bench
	out    *Mappers
	binary string // of bench/cmd/mappers
	inGo   string // the example
}

func (m *mapperRun) build(ctx context.Context) (err error) {
	if m.binary, err = node.Build(ctx, m.cfg.Root, m.temp, "./bench/cmd/mappers"); err != nil {
		return err
	}
	m.inGo, err = mappers.BuildGo(ctx, m.cfg.Root, m.temp)
	return err
}

// part runs one part in a process of its own.
func (m *mapperRun) part(ctx context.Context, found any, args ...string) error {
	args = append(args, "--root", m.cfg.Root, "--go", m.inGo)
	return ask(ctx, found, m.binary, append(args, m.turns()...)...)
}

// turns are the flags for how long a subject is measured.
func (m *mapperRun) turns() []string {
	each, err := time.ParseDuration(m.cfg.StepFor)
	if err != nil { // a number of times
		return nil
	}
	return []string{"--round", (each / mapperTurnPart).String(), "--rounds", fmt.Sprint(mapperTurns)}
}

// ask runs a program that answers with one JSON value.
func ask(ctx context.Context, found any, binary string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, mapperPartMax)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	answer, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w: %.500s", filepath.Base(binary), err, bytes.TrimSpace(said.Bytes()))
	}
	if err := json.Unmarshal(answer, found); err != nil {
		return fmt.Errorf("%s: %w in %.200q", filepath.Base(binary), err, answer)
	}
	return nil
}

func (m *mapperRun) calls(ctx context.Context) error {
	var calls mappers.Calls
	if err := m.part(ctx, &calls, "--part", "calls"); err != nil {
		return err
	}
	m.out.Shapes = calls.Shapes
	for i := range calls.Shapes {
		s := &calls.Shapes[i]
		inC, _ := mappedTimes(s, "c")
		inRust, _ := mappedTimes(s, "rust")
		m.say("%s: in C %.2f×, in Rust %.2f× the built-in mapper's time", s.Name, inC, inRust)
	}
	return nil
}

// extism builds the program that measures Extism's go-sdk and hands it the
// input of the first shape.
func (m *mapperRun) extism(ctx context.Context) error {
	if len(m.out.Shapes) == 0 {
		return errors.New("there is nothing to compare it with")
	}
	binary := filepath.Join(m.temp, "extism")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", binary, ".")
	build.Dir, build.Env = filepath.Join(m.cfg.Root, "bench", "extism"), append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build bench/extism (its modules come from the module proxy): %w: %.500s", err, bytes.TrimSpace(text))
	}
	shape, input := &m.out.Shapes[0], filepath.Join(m.temp, "extism-input")
	if err := os.WriteFile(input, shape.Input, 0o600); err != nil {
		return err
	}
	var found Extism
	if err := ask(ctx, &found, binary, append([]string{"--input", input}, m.turns()...)...); err != nil {
		return err
	}
	if !bytes.Equal(found.Output, shape.Output) {
		return fmt.Errorf("its plugin says %.200q and ours %.200q: build it again with bench/extism/plugin/build", found.Output, shape.Output)
	}
	found.Output = nil
	m.out.Extism = &found
	m.say("go-sdk %s on wazero %s: %.1f µs a call, %.0f allocations; in C ours is %.0f× faster", found.SDK, found.Wazero, found.Map.Nanos/1000, found.Map.Allocs, m.out.extismTimes("c"))
	return nil
}

func (m *mapperRun) distinct(ctx context.Context) error {
	return m.part(ctx, &m.out.Distinct, "--part", "distinct")
}

// activeRuns is how often a crowd gets ready from the disk cache; the quickest
// counts.
const activeRuns = 3

// active measures how long crowds of mappers take to get ready.
func (m *mapperRun) active(ctx context.Context) error {
	crowds := []struct {
		langs []string
		count int
	}{{[]string{"c"}, m.cfg.Mappers}, {[]string{"rust"}, m.cfg.Mappers}, {[]string{"as"}, m.cfg.Mappers}, {mappers.Compiled, m.cfg.Mappers},
		{mappers.Compiled, m.cfg.MappersMany}, {[]string{mappers.LangGo}, max(1, m.cfg.Mappers/10)}}
	for _, c := range crowds {
		if m.inGo == "" && c.langs[0] == mappers.LangGo {
			continue // build has said why
		}
		var best mappers.Active
		for run := range activeRuns + 1 { // the first one compiles
			var a mappers.Active
			if err := m.part(ctx, &a, "--part", "active", "--langs", strings.Join(c.langs, ","), "--count", fmt.Sprint(c.count), "--cache", filepath.Join(m.temp, "native")); err != nil {
				return fmt.Errorf("%d in %s: %w", c.count, strings.Join(c.langs, ", "), err)
			}
			if run == 1 || run > 1 && a.ReadyMs < best.ReadyMs {
				best = a
			}
		}
		m.out.Active = append(m.out.Active, best)
		m.say("%d mappers in %s ready after %.0f ms (%.0f ms of CPU)", c.count, strings.Join(c.langs, ", "), best.ReadyMs, best.ReadyCPUMs)
	}
	return nil
}
