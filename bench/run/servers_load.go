package run

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

// The scripts are gone through in an order that jumps about, so that their
// calls lie all over the store: script i*scriptStep modulo their number. The
// first verdictPart of them in this order are for the verdicts, the rest for
// the burst.
const (
	scriptStep  = 7_368_787 // a prime: every script comes once
	verdictPart = 0.6
	postbackMax = 800_000 // in one load, rendered beforehand
)

func (s *serversRun) verdicts(ctx context.Context) error {
	return s.load(ctx, &s.out.Verdict, s.corpus(replyVerdict, 0, uint64(verdictPart*float64(s.scripts))), s.cfg.SustainFor)
}

func (s *serversRun) burst(ctx context.Context) error {
	return s.load(ctx, &s.out.Accepted, s.corpus(replyAccepted, uint64(verdictPart*float64(s.scripts)), s.scripts), s.cfg.SustainFor)
}

// corpus renders the postbacks of the scripts from one place in the order to
// another.
func (s *serversRun) corpus(reply string, from, to uint64) *corpus {
	gen, c := traffic.New(s.cfg.Seed, s.base, traffic.DefaultMix()), new(corpus)
	var script traffic.Script
	for i := from; i < to && len(c.ends) < postbackMax; i++ {
		gen.Script(i*scriptStep%s.scripts, &script)
		for j := range script.Steps {
			if st := &script.Steps[j]; st.Kind.Postback() {
				identify(&st.Request)
				c.add(st, s.node.Ingest, s.paths[reply])
			}
		}
	}
	return c
}

// identify adds to a postback an id that follows from what it says: bytes that
// are sent again have the same.
func identify(r *traffic.Request) {
	h := fnv.New64a()
	h.Write([]byte(r.Query))
	h.Write(r.Body)
	switch id := h.Sum64(); {
	case r.Query != "":
		r.Query += fmt.Sprintf("&%s=%016x", identityField, id)
	case r.ContentType == "application/json":
		r.Body = fmt.Appendf(slices.Clip(r.Body[:len(r.Body)-1]), `,"%s":"%016x"}`, identityField, id)
	default:
		r.Body = fmt.Appendf(slices.Clip(r.Body), "&%s=%016x", identityField, id)
	}
}

// answers counts what a node says.
type answers struct{ accepted, decided atomic.Int64 }

var (
	saysAccepted = []byte(`"status":"accepted"`)
	saysInvalid  = []byte(`"status":"invalid"`)
)

// judge takes an answer of 400 that says invalid for what it is: a verdict.
func (a *answers) judge(status int, body []byte) bool {
	ok := status >= 200 && status <= 299
	switch {
	case ok && bytes.Contains(body, saysAccepted):
		a.accepted.Add(1)
	case ok || bytes.Contains(body, saysInvalid):
		a.decided.Add(1)
		ok = true
	}
	return ok
}

// load sends c until it is used up or the time is over, and waits until all of
// it is in the ledger and in ClickHouse.
func (s *serversRun) load(ctx context.Context, out *ServerPhase, c *corpus, period time.Duration) error {
	before, err := s.cpu()
	if err != nil {
		return err
	}
	begin, said := time.Now(), new(answers)
	watch := s.watch(ctx, begin)
	res, err := load.Run(ctx, load.Config{Addr: s.node.Ingest, Conns: s.cfg.ServerConns, Judge: said.judge, Next: func(conn int) []byte {
		if time.Since(begin) > period {
			return nil
		}
		return c.request(conn)
	}})
	loaded := time.Since(begin)
	out.BacklogAtEnd = s.backlog(ctx)
	if err == nil {
		err = s.api.Drained(ctx, drainMax)
	}
	took := time.Since(begin)
	if err == nil {
		err = s.shipped(ctx)
	}
	out.ShipSeconds = (time.Since(begin) - took).Seconds()
	out.Backlog = watch()
	if err != nil {
		return err
	}
	if res.Failed > 0 {
		return fmt.Errorf("%d of %d postbacks were refused, the last with status %d", res.Failed, res.Requests, res.LastStatus)
	}
	after, err := s.cpu()
	if err != nil {
		return err
	}
	usage, err := load.ReadUsage(s.node.PID())
	if err != nil {
		return err
	}
	out.RSSBytes, out.RSSPeak = usage.RSS, usage.RSSPeak
	out.Events, out.Matched, out.Conns = res.Requests, c.matchedOf(res.Requests), s.cfg.ServerConns
	out.Decided, out.SaidAccepted = said.decided.Load(), said.accepted.Load()
	out.LoadSeconds, out.DrainSeconds = loaded.Seconds(), (took - loaded).Seconds()
	out.IntakePerSecond = ratio(float64(out.Events), loaded.Seconds())
	out.DecidedPerSecond = ratio(float64(out.Decided), loaded.Seconds())
	out.EventsPerSecond, out.MatchedPerSecond = ratio(float64(out.Events), took.Seconds()), ratio(float64(out.Matched), took.Seconds())
	for i, v := range []*float64{&out.CPU.Node, &out.CPU.Redis, &out.CPU.Postgres, &out.CPU.ClickHouse} {
		*v = ratio(float64(after[i]-before[i])/float64(time.Microsecond), float64(out.Events))
	}
	out.CPUMicros, out.Latency = out.CPU.Node, latencyOf(&res.Latency)
	s.say("%d postbacks taken at %.0f/s, %.0f/s answered with the verdict (%d said accepted), in the ledger at %.0f/s; CPU µs/event: node %.1f, redis %.1f, postgres %.1f, clickhouse %.1f",
		out.Events, out.IntakePerSecond, out.DecidedPerSecond, out.SaidAccepted, out.EventsPerSecond, out.CPU.Node, out.CPU.Redis, out.CPU.Postgres, out.CPU.ClickHouse)
	return nil
}

const shippedPoll = 50 * time.Millisecond

// shipped waits until ClickHouse has every verdict.
func (s *serversRun) shipped(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainMax)
	defer cancel()
	for {
		status, err := s.api.Status(ctx)
		if err == nil && status.Shipping.Holding && status.Shipping.LagRows == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("%d verdicts are left", status.Shipping.LagRows)
			}
			return fmt.Errorf("the node did not ship its verdicts in %s: %w", drainMax, err)
		case <-time.After(shippedPoll):
		}
	}
}
