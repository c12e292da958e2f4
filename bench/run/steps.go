package run

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// rooms are the steps of the stream, in its order.
var rooms = []string{"journal", "ingest", "mapper", "match", "sink"}

const stepsTimeMax = 100 * time.Second

// steps runs the rooms' benchmarks. Without Go or sources there are none; a
// room that fails is noted and does not spoil the rest.
func (b *bench) steps(ctx context.Context) error {
	if b.cfg.Root == "" {
		b.result.StepsNote = "left out: no sources at hand"
		return nil
	}
	if _, err := exec.LookPath("go"); err != nil {
		b.result.StepsNote = "left out: no Go at hand"
		return nil
	}
	end := time.Now().Add(stepsTimeMax)
	for i, room := range rooms {
		share := time.Until(end) / time.Duration(len(rooms)-i)
		limited, cancel := context.WithTimeout(ctx, share)
		cmd := exec.CommandContext(limited, "go", "test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", b.cfg.StepFor, "./"+room)
		cmd.Dir = b.cfg.Root
		cmd.WaitDelay = time.Second // the test binary may outlive go test and hold its output
		out, err := cmd.Output()
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		found := parseSteps(room, out)
		b.result.Steps = append(b.result.Steps, found...)
		if err != nil {
			b.result.StepsNote += fmt.Sprintf("%s ended early: %v. ", room, err)
		}
		b.say("%s: %d benchmarks", room, len(found))
	}
	b.result.StepsNote = strings.TrimSpace(b.result.StepsNote)
	return nil
}

// parseSteps reads lines such as
//
//	BenchmarkAppend-2   1000   1234 ns/op   0 B/op   0 allocs/op
func parseSteps(room string, out []byte) []Step {
	var list []Step
	for line := range bytes.Lines(out) {
		f := strings.Fields(string(line))
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		if _, err := strconv.ParseInt(f[1], 10, 64); err != nil {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i]
			}
		}
		s := Step{Room: room, Name: name, Values: map[string]float64{}}
		for i := 2; i+1 < len(f); i += 2 {
			if v, err := strconv.ParseFloat(f[i], 64); err == nil {
				s.Values[f[i+1]] = v
			}
		}
		list = append(list, s)
	}
	return list
}
