// Package run measures a node against the goals of the project in one go, on
// one machine, in about ten minutes, and writes what it found to a file.
//
//	ack      the bare handler and the node with its pipeline paused, in turn,
//	         under the same load: what an acknowledged postback costs
//	stream   calls, then postbacks at full speed until all is in the ledger, then
//	         for a while at most of that rate, to see that nothing grows
//	servers  the same way with real Redis, Postgres and ClickHouse
//	steps    the rooms' own benchmarks, where Go and the sources are at hand
//	mappers  partners' mappers beside the built-in one and Extism's go-sdk, and
//	         a node that starts with many of them
//	edge     size, time to start, memory when idle
//
// Servers are processes of their own, so their CPU time is theirs alone; the
// load comes from this process. What counts are ratios of one run.
package run

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
)

// Config says what to measure and how long. The zero values of the numbers
// take the defaults.
type Config struct {
	Binary   string   // tallyhook
	Baseline []string // command of the bare handler, without --listen; nil builds bench/cmd/baseline from Root
	Root     string   // the module's sources; "" leaves out what needs them
	Out      string   // folder of the results, made if need be
	Temp     string   // where data folders are made: the disk that is measured; "" is the system's
	Command  string   // as the reader may repeat it
	Commit   string   // "" asks git about Root
	Seed     uint64   // of the traffic, default 1

	Conns       []int         // of the ack rounds, default 512, 64, 1
	Rounds      int           // of each side at the first of Conns, default 3; others have two
	RoundFor    time.Duration // default 3 s, after Warmup
	Warmup      time.Duration // default 500 ms
	BurstCalls  int           // calls whose postbacks make the burst, default 120,000
	SustainFor  time.Duration // default 20 s
	SustainPart float64       // of the burst's rate, default 0.8
	Calls       int           // told to the node on real servers beforehand, default 200,000
	Identities  int           // put into its store beforehand, default 500,000
	ServerConns int           // of its loads, default 1,024
	StepFor     string        // go test's -benchtime, default 200ms
	FindFor     string        // the same for look-ups in the index, default 2s
	LedgerPosts int           // events of each ledger beside a bare one, default 100,000
	InsertTurns int           // blocks sent to ClickHouse by us and by the bare driver, default 20
	Mappers     int           // active on a node that starts, default 100
	MappersMany int           // made ready at once, default 1,000
	Big         bool          // the environment says BENCH_BIG=1: the steps take longer
	IdleFor     time.Duration // before memory is read, default 2 s

	Output io.Writer // progress; nil is none
	Now    func() time.Time
}

func (c *Config) defaults() {
	set(&c.Seed, 1)
	set(&c.Rounds, 3)
	set(&c.RoundFor, 3*time.Second)
	set(&c.Warmup, 500*time.Millisecond)
	set(&c.BurstCalls, 120_000)
	set(&c.SustainFor, 20*time.Second)
	set(&c.SustainPart, 0.8)
	set(&c.Calls, 200_000)
	set(&c.Identities, 500_000)
	set(&c.ServerConns, 1024)
	set(&c.FindFor, "2s")
	set(&c.LedgerPosts, 100_000)
	set(&c.InsertTurns, 20)
	set(&c.Mappers, mappersOfGoal)
	set(&c.MappersMany, 1000)
	set(&c.StepFor, "200ms")
	set(&c.IdleFor, 2*time.Second)
	set(&c.Output, io.Discard)
	if c.Conns == nil {
		c.Conns = []int{512, 64, 1}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Run measures and writes DATE-COMMIT.json and .md into cfg.Out. It gives the
// result and the path of the latter.
func Run(ctx context.Context, cfg Config) (*Result, string, error) {
	cfg.defaults()
	temp, err := os.MkdirTemp(cfg.Temp, "tallyhook-bench-")
	if err != nil {
		return nil, "", fmt.Errorf("bench: %w", err)
	}
	defer os.RemoveAll(temp)
	if temp, err = filepath.Abs(temp); err != nil { // some parts run in folders of their own
		return nil, "", err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends every process that is left
	b := &bench{cfg: cfg, temp: temp, begin: cfg.Now()}
	b.result = &Result{Command: cfg.Command, Date: b.begin.UTC(), Seed: cfg.Seed, Commit: commitOf(ctx, cfg)}
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"machine", b.machine}, {"edge", b.edge}, {"ack", b.ack}, {"stream", b.stream}, {"servers", b.servers}, {"steps", b.steps}, {"mappers", b.mappers},
	} {
		b.say("%s", part.name)
		if err := part.do(ctx); err != nil {
			return b.result, "", fmt.Errorf("bench: %s: %w", part.name, err)
		}
	}
	b.result.TookSeconds = cfg.Now().Sub(b.begin).Seconds()
	b.result.Goals = b.result.goals()
	path, err := b.result.write(cfg.Out)
	if err == nil {
		b.say("written to %s", path)
	}
	return b.result, path, err
}

type bench struct {
	cfg    Config
	temp   string
	begin  time.Time
	result *Result
	data   int // folders made
}

// say writes a line of progress.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.cfg.Output, "bench %4.0fs  %s\n", b.cfg.Now().Sub(b.begin).Seconds(), fmt.Sprintf(format, args...))
}

// Limits of waiting for a node.
const (
	readyMax = 20 * time.Second
	stopMax  = 30 * time.Second
	drainMax = 2 * time.Minute
)

// start starts a node, on a new data folder or on data, and waits for it.
func (b *bench) start(ctx context.Context, data string, args ...string) (*node.Process, time.Duration, error) {
	if data == "" {
		b.data++
		data = filepath.Join(b.temp, fmt.Sprintf("data-%d", b.data))
	}
	ingest, err := node.FreeAddr()
	if err != nil {
		return nil, 0, err
	}
	admin, err := node.FreeAddr()
	if err != nil {
		return nil, 0, err
	}
	p, err := node.Start(ctx, node.Config{Binary: b.cfg.Binary, Data: data, Ingest: ingest, Admin: admin, Args: args})
	if err != nil {
		return nil, 0, err
	}
	took, err := p.Ready(ctx, readyMax)
	if err != nil {
		p.Kill()
		return nil, 0, err
	}
	return p, took, nil
}

// end stops a node and removes what it kept.
func end(p *node.Process) error {
	err := p.Stop(stopMax)
	os.RemoveAll(p.Data)
	return err
}

func apiOf(p *node.Process) (*node.API, error) {
	key, err := p.Key()
	if err != nil {
		return nil, err
	}
	return node.NewAPI(p.Admin, key, 2), nil
}
