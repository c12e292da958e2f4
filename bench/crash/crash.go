// Package crash kills a node with SIGKILL again and again while the verifier
// drives it, starts it again each time, and has the verifier judge what is
// left. Node and verifier are processes of their own.
//
// kill -9 cannot show a missing fsync, since the page cache survives it; the
// journal's own tests on a crashable file system do that. It shows everything
// else: what is acknowledged too early, recovered wrongly or done twice.
package crash

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
)

// Config says how often to kill and under which load.
type Config struct {
	Root   string        // the module's root, to build from
	Dir    string        // an empty folder for binaries, data and log; left behind
	Kills  int           //
	Seed   uint64        // of traffic and moments
	Rate   float64       // requests a second at most; 0 is no bound
	Conns  int           // of the verifier
	Least  time.Duration // a node lives at least this long, default 50 ms
	Most   time.Duration // and at most this long, default 1500 ms
	Output io.Writer     // progress; nil is none
}

// Report says how it went; a node that broke a promise is an error of Run.
type Report struct {
	Kills     int
	NotReady  int           // of them, before the node was ready
	ReadyMax  time.Duration // longest time from start to ready
	Took      time.Duration
	Sent      string // the verifier's summary of what it sent
	Judgement string // and of what it found
}

// Limits of waiting.
const (
	readyMax = 30 * time.Second
	stopMax  = 30 * time.Second
	lastLife = time.Second // the load goes on that long after the last kill
)

// Run does it all. An error names what broke; the folder holds the evidence.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Least == 0 {
		cfg.Least = 50 * time.Millisecond
	}
	if cfg.Most == 0 {
		cfg.Most = 1500 * time.Millisecond
	}
	if cfg.Output == nil {
		cfg.Output = io.Discard
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends every process that is left
	r, begin := &run{cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 0))}, time.Now()
	for _, step := range []func(context.Context) error{r.build, r.begin, r.load, r.kill, r.finish, r.judge, r.stop} {
		if err := step(ctx); err != nil {
			return r.report, fmt.Errorf("crash run with seed %d, after %d kills: %w", cfg.Seed, r.report.Kills, err)
		}
	}
	r.report.Took = time.Since(begin)
	return r.report, nil
}

type run struct {
	cfg      Config
	rand     *rand.Rand
	report   Report
	binary   string
	verifier string
	node     *node.Process
	drive    *exec.Cmd
	said     *bufio.Reader // of drive
	faults   strings.Builder
}

func (r *run) build(ctx context.Context) (err error) {
	fmt.Fprintln(r.cfg.Output, "crash: building")
	if r.binary, err = node.Build(ctx, r.cfg.Root, r.cfg.Dir, "./cmd/tallyhook"); err == nil {
		r.verifier, err = node.Build(ctx, r.cfg.Root, r.cfg.Dir, "./bench/cmd/verifier")
	}
	return err
}

// begin starts the first node.
func (r *run) begin(ctx context.Context) error {
	ingest, err := node.FreeAddr()
	if err != nil {
		return err
	}
	admin, err := node.FreeAddr()
	if err != nil {
		return err
	}
	cfg := node.Config{Binary: r.binary, Data: filepath.Join(r.cfg.Dir, "data"), Ingest: ingest, Admin: admin}
	if r.node, err = node.Start(ctx, cfg); err != nil {
		return err
	}
	return r.ready(ctx, readyMax)
}

func (r *run) verifierArgs(command string) []string {
	return []string{command, "--ingest", r.node.Ingest, "--admin", r.node.Admin, "--key-file", r.node.KeyFile(),
		"--log", filepath.Join(r.cfg.Dir, "verifier.log")}
}

// load starts the verifier and waits until it drives.
func (r *run) load(ctx context.Context) error {
	r.drive = exec.CommandContext(ctx, r.verifier, append(r.verifierArgs("drive"), "--seed", fmt.Sprint(r.cfg.Seed),
		"--rate", fmt.Sprint(r.cfg.Rate), "--conns", fmt.Sprint(r.cfg.Conns))...)
	r.drive.Stderr = &r.faults
	out, err := r.drive.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.drive.Start(); err != nil {
		return fmt.Errorf("start verifier: %w", err)
	}
	r.said = bufio.NewReader(out)
	if line, err := r.said.ReadString('\n'); line != "driving\n" {
		r.drive.Wait()
		return fmt.Errorf("verifier does not drive: it says %q, %v\n%s", line, err, r.faults.String())
	}
	return nil
}

// kill lets each node live for a random time, kills it and starts the next.
func (r *run) kill(ctx context.Context) error {
	for r.report.Kills < r.cfg.Kills {
		life := r.cfg.Least + time.Duration(r.rand.Int64N(int64(r.cfg.Most-r.cfg.Least)+1))
		if err := r.live(ctx, life); err != nil {
			return err
		}
		r.node.Kill()
		r.report.Kills++
		next, err := node.Start(ctx, r.node.Config)
		if err != nil {
			return err
		}
		r.node = next
		if r.report.Kills%10 == 0 {
			fmt.Fprintf(r.cfg.Output, "crash: %d of %d kills\n", r.report.Kills, r.cfg.Kills)
		}
	}
	if err := r.ready(ctx, readyMax); err != nil {
		return err
	}
	return r.live(ctx, lastLife)
}

// live waits for a node's last moment; that it ends before is an error.
func (r *run) live(ctx context.Context, life time.Duration) error {
	end := time.After(life)
	if err := r.ready(ctx, life); err != nil {
		r.report.NotReady++ // killed while it recovers, unless it ended by itself
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.node.Exited():
		return fmt.Errorf("the node ended by itself; it said:\n%s", r.node.Said())
	case <-end:
		return nil
	}
}

func (r *run) ready(ctx context.Context, limit time.Duration) error {
	took, err := r.node.Ready(ctx, limit)
	if err == nil {
		r.report.ReadyMax = max(r.report.ReadyMax, took)
	}
	return err
}

// finish lets the verifier end what it began, on a node that lives.
func (r *run) finish(context.Context) error {
	if err := r.drive.Process.Signal(os.Interrupt); err != nil {
		return fmt.Errorf("end verifier: %w", err)
	}
	line, _ := r.said.ReadString('\n')
	r.report.Sent = strings.TrimSpace(line)
	if err := r.drive.Wait(); err != nil {
		return fmt.Errorf("verifier: %w\n%s%s", err, line, r.faults.String())
	}
	return nil
}

func (r *run) judge(ctx context.Context) error {
	fmt.Fprintln(r.cfg.Output, "crash: judging;", r.report.Sent)
	out, err := exec.CommandContext(ctx, r.verifier, r.verifierArgs("check")...).CombinedOutput()
	r.report.Judgement = string(out)
	if err != nil {
		return fmt.Errorf("verifier check: %w\n%s", err, out)
	}
	return nil
}

// stop ends the node as an operator would; its ledger must verify at rest.
func (r *run) stop(ctx context.Context) error {
	if err := r.node.Stop(stopMax); err != nil {
		return err
	}
	cmd, err := node.Command(ctx, r.binary, r.node.Data, "ledger", "verify")
	if err != nil {
		return err
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tallyhook ledger verify: %w\n%s", err, out)
	}
	return nil
}
