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

// suite is some benchmarks of one room.
type suite struct {
	room      string
	run, skip string // -bench and -skip
	time      string // -benchtime
	must      string // of them, one that a goal speaks of and that is skipped without its server
}

// suites are the steps of the stream, in its order. The ledger and the rows to
// ClickHouse are measured beside bare drivers, so long that batches of the two
// take turns often; look-ups long enough for their 99th percentile.
func (b *bench) suites() []suite {
	each := b.cfg.StepFor
	return []suite{{"journal", ".", "", each, ""}, {"ingest", ".", "", each, ""}, {"mapper", ".", "", each, ""}, {"match", ".", "^BenchmarkFind$", each, ""},
		{"match", "^BenchmarkFind$", "", b.cfg.FindFor, "Find/redis/" + indexSmall},
		{"sink", ".", "^BenchmarkLedger$", each, ""}, {"sink", "^BenchmarkLedger$", "", fmt.Sprintf("%dx", b.cfg.LedgerPosts), "Ledger/postgres"},
		{"sink/clickhouse", "^BenchmarkInsert$", "", fmt.Sprintf("%dx", b.cfg.InsertTurns), "Insert"}}
}

// Of all suites together; with an index of ten million calls they take longer.
const (
	stepsTimeMax    = 8 * time.Minute
	stepsTimeMaxBig = time.Hour
)

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
	limit := stepsTimeMax
	if b.cfg.Big {
		limit = stepsTimeMaxBig
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, s := range b.suites() {
		cmd := exec.CommandContext(limited, "go", "test", "-run", "^$", "-bench", s.run, "-skip", s.skip, "-benchmem", "-benchtime", s.time, "-timeout", "0", "./"+s.room)
		cmd.Dir = b.cfg.Root
		cmd.WaitDelay = time.Second // the test binary may outlive go test and hold its output
		out, err := cmd.Output()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		found := parseSteps(s.room, out)
		b.result.Steps = append(b.result.Steps, found...)
		if _, ok := b.result.step(s.room, s.must, "B/op"); s.must != "" && !ok {
			b.result.StepsNote += fmt.Sprintf("%s of %s is missing: its server cannot be had here, or it failed. ", s.must, s.room)
		}
		if err != nil {
			b.result.StepsNote += fmt.Sprintf("%s ended early: %v. ", s.room, err)
		}
		b.say("%s: %d benchmarks", s.room, len(found))
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
