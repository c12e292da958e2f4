package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/exec"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/node"
)

// ackBody is what every request of the ack rounds says, on both sides.
const ackBody = `{"caller_id":"+13055551234","duration":90,"payout":50,"ref_id":"abc123"}`

// tally is one side's sum over rounds.
type tally struct {
	result load.Result
	cpu    time.Duration
	took   time.Duration
	rss    int64
}

func (t *tally) add(o *tally) {
	t.result.Requests += o.result.Requests
	t.result.Failed += o.result.Failed
	t.result.Broken += o.result.Broken
	t.result.Latency.Merge(&o.result.Latency)
	t.cpu, t.took, t.rss = t.cpu+o.cpu, t.took+o.took, max(t.rss, o.rss)
}

func (t *tally) perSecond() float64 { return ratio(float64(t.result.Requests), t.took.Seconds()) }

func (t *tally) cpuMicros() float64 {
	return ratio(float64(t.cpu)/float64(time.Microsecond), float64(t.result.Requests))
}

func (t *tally) side() Side {
	return Side{PerSecond: t.perSecond(), CPUMicros: t.cpuMicros(), Latency: latencyOf(&t.result.Latency), RSSBytes: t.rss,
		Requests: t.result.Requests, Failed: t.result.Failed, Broken: t.result.Broken}
}

func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// ack runs the two sides in turn, at each number of connections.
func (b *bench) ack(ctx context.Context) error {
	bare, err := b.baseline(ctx)
	if err != nil {
		return err
	}
	for i, conns := range b.cfg.Conns {
		rounds := b.cfg.Rounds
		if i > 0 {
			rounds = min(rounds, 2)
		}
		a, sum := Ack{Conns: conns}, [2]tally{}
		for round := range rounds {
			var got [2]tally
			for side, do := range []func(context.Context, int) (tally, error){
				func(ctx context.Context, conns int) (tally, error) { return b.bareRound(ctx, bare, conns) }, b.nodeRound,
			} {
				if got[side], err = do(ctx, conns); err != nil {
					return err
				}
				sum[side].add(&got[side])
			}
			a.CPURounds = append(a.CPURounds, ratio(got[1].cpuMicros(), got[0].cpuMicros()))
			a.ThroughRounds = append(a.ThroughRounds, ratio(got[1].perSecond(), got[0].perSecond()))
			b.say("%d connections, round %d: bare %.0f/s at %.1f µs, node %.0f/s at %.1f µs of CPU", conns, round+1,
				got[0].perSecond(), got[0].cpuMicros(), got[1].perSecond(), got[1].cpuMicros())
		}
		a.Bare, a.Node = sum[0].side(), sum[1].side()
		a.CPURatio, a.ThroughputRatio = ratio(a.Node.CPUMicros, a.Bare.CPUMicros), ratio(a.Node.PerSecond, a.Bare.PerSecond)
		b.result.Ack = append(b.result.Ack, a)
	}
	return nil
}

// baseline gives the command of the bare handler.
func (b *bench) baseline(ctx context.Context) ([]string, error) {
	if b.cfg.Baseline != nil {
		return b.cfg.Baseline, nil
	}
	if b.cfg.Root == "" {
		return nil, fmt.Errorf("no bare handler to compare with: give its command, or the sources to build it from")
	}
	binary, err := node.Build(ctx, b.cfg.Root, b.temp, "./bench/cmd/baseline")
	return []string{binary}, err
}

func (b *bench) bareRound(ctx context.Context, command []string, conns int) (tally, error) {
	addr, err := node.FreeAddr()
	if err != nil {
		return tally{}, err
	}
	args := append(append([]string{}, command[1:]...), "--listen", addr)
	cmd := exec.CommandContext(ctx, command[0], args...)
	if err := cmd.Start(); err != nil {
		return tally{}, fmt.Errorf("start bare handler: %w", err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	if err := listening(addr); err != nil {
		return tally{}, fmt.Errorf("bare handler: %w", err)
	}
	return b.round(ctx, cmd.Process.Pid, addr, "/v1/postbacks/0123456789abcdef0123456789abcdef0123456789a", conns)
}

func listening(addr string) error {
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Since(begin) > readyMax {
			return err
		}
	}
}

func (b *bench) nodeRound(ctx context.Context, conns int) (tally, error) {
	p, _, err := b.start(ctx, "", "--pause-pipeline")
	if err != nil {
		return tally{}, err
	}
	defer end(p)
	api, err := apiOf(p)
	if err != nil {
		return tally{}, err
	}
	path, err := createSource(ctx, api, "bench", map[string]any{"reply": replyAccepted})
	if err != nil {
		return tally{}, err
	}
	return b.round(ctx, p.PID(), p.Ingest, path, conns)
}

// createSource makes a source without limits, else as spec says, and gives its
// URL's path.
func createSource(ctx context.Context, api *node.API, id string, spec map[string]any) (string, error) {
	spec["id"], spec["name"] = id, id
	spec["limits"] = map[string]int{"per_token_per_min": -1, "per_ip_per_min": -1}
	var made struct{ URL string }
	if err := api.Do(ctx, "POST", "/api/v1/sources", spec, &made); err != nil {
		return "", fmt.Errorf("create source %s: %w", id, err)
	}
	u, err := url.Parse(made.URL)
	if err != nil || u.Path == "" {
		return "", fmt.Errorf("create source %s: the answer holds no URL", id)
	}
	return u.Path, nil
}

// round loads one server and measures it after the warm-up.
func (b *bench) round(ctx context.Context, pid int, addr, path string, conns int) (t tally, err error) {
	request := load.AppendRequest(nil, "POST", path, addr, "application/json", []byte(ackBody))
	type reading struct {
		load.Usage
		err error
	}
	warm := make(chan reading, 1)
	time.AfterFunc(b.cfg.Warmup, func() {
		u, err := load.ReadUsage(pid)
		warm <- reading{u, err}
	})
	t.result, err = load.Run(ctx, load.Config{Addr: addr, Conns: conns, Warmup: b.cfg.Warmup, For: b.cfg.RoundFor,
		Next: func(int) []byte { return request }})
	if err != nil {
		return t, err
	}
	before := <-warm
	after, err := load.ReadUsage(pid)
	if err = errors.Join(before.err, err); err != nil {
		return t, fmt.Errorf("measure server: %w", err)
	}
	if t.result.Failed > 0 {
		return t, fmt.Errorf("%d of %d requests failed, the last with status %d", t.result.Failed, t.result.Requests, t.result.LastStatus)
	}
	t.cpu, t.took, t.rss = after.CPU-before.CPU, t.result.Took, after.RSS
	return t, nil
}
