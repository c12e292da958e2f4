package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/bench/baseline"
	measure "github.com/tallyhook/tallyhook/bench/run"
)

type benchCmd struct {
	Run  benchRunCmd  `cmd:"" default:"withargs" help:"Measure, in about ten minutes, and write what was found. BENCH_BIG=1 in the environment preloads more and takes much longer."`
	Bare benchBareCmd `cmd:"" hidden:"" help:"Serve the bare handler that a node is compared with."`
}

type benchRunCmd struct {
	Out   string `default:"bench/results" help:"Folder of the results."`
	Temp  string `help:"Folder on the disk to measure; the one that holds the data folder unless given." placeholder:"DIR"`
	Seed  uint64 `default:"1" help:"Of the traffic."`
	Quick bool   `help:"A few seconds of each part: shows that it works, proves nothing."`
	JSON  bool   `help:"Print the result as JSON rather than as text."`
}

// Run measures this very binary.
func (b benchRunCmd) Run(a *app) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cfg := measure.Config{Binary: self, Out: b.Out, Temp: b.Temp, Seed: b.Seed, Output: a.errOut, Command: fmt.Sprintf("tallyhook bench --seed %d", b.Seed)}
	if cfg.Temp == "" {
		cfg.Temp = filepath.Dir(filepath.Clean(a.opt.Data))
	}
	if cfg.Root, err = sourcesHere(); err != nil {
		return err
	}
	if cfg.Root == "" { // nothing to build the bare handler from: this binary holds it too
		cfg.Baseline = []string{self, "bench", "bare"}
		cfg.Commit = version
	}
	if os.Getenv("BENCH_BIG") == "1" {
		cfg.Command = "BENCH_BIG=1 " + cfg.Command
		cfg.Big, cfg.Calls, cfg.Identities = true, 1_000_000, 5_000_000
	}
	if b.Quick {
		cfg.Command += " --quick"
		cfg.Conns, cfg.Rounds, cfg.RoundFor = []int{64}, 1, time.Second
		cfg.BurstCalls, cfg.SustainFor, cfg.StepFor = 5000, 3*time.Second, "10ms"
		cfg.Calls, cfg.Identities, cfg.FindFor, cfg.LedgerPosts, cfg.InsertTurns = 20_000, 20_000, "10ms", 5000, 4
		cfg.Mappers, cfg.MappersMany = 9, 30
	}
	result, path, err := measure.Run(a.ctx, cfg)
	if err != nil {
		return err
	}
	if b.JSON {
		return a.printJSON(result)
	}
	if _, err := a.out.Write(result.Markdown()); err != nil {
		return err
	}
	fmt.Fprintf(a.errOut, "written to %s\n", path)
	return nil
}

// sourcesHere gives the working folder if it holds this module, else "".
func sourcesHere() (string, error) {
	text, err := os.ReadFile("go.mod")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if first, _, _ := strings.Cut(string(text), "\n"); strings.TrimSpace(first) != "module github.com/tallyhook/tallyhook" {
		return "", nil
	}
	return filepath.Abs(".")
}

// benchBareCmd listens on --listen.
type benchBareCmd struct{}

func (benchBareCmd) Run(a *app) error {
	var lc net.ListenConfig
	l, err := lc.Listen(a.ctx, "tcp", a.opt.Listen)
	if err != nil {
		return err
	}
	go func() {
		<-a.ctx.Done()
		l.Close()
	}()
	if err := baseline.Serve(l); err != nil && a.ctx.Err() == nil {
		return err
	}
	return nil
}
