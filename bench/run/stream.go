package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

const (
	streamConns = 256
	sampleEvery = 250 * time.Millisecond
)

// stream measures the whole way of a postback on an embedded node.
func (b *bench) stream(ctx context.Context) error {
	p, _, err := b.start(ctx, "")
	if err != nil {
		return err
	}
	defer p.Kill()
	s := &streamRun{bench: b, node: p, out: &b.result.Stream}
	if s.api, err = apiOf(p); err != nil {
		return err
	}
	if err := s.setup(ctx); err != nil {
		return err
	}
	if err := s.phase(ctx, &s.out.Burst, b.cfg.BurstCalls, 0, 0); err != nil {
		return fmt.Errorf("burst: %w", err)
	}
	rate := s.out.Burst.EventsPerSecond * b.cfg.SustainPart
	calls := int(rate * b.cfg.SustainFor.Seconds()) // each has at least one postback
	if err := s.phase(ctx, &s.out.Sustained, calls, rate, b.cfg.SustainFor); err != nil {
		return fmt.Errorf("sustained: %w", err)
	}
	if s.out.Statuses, err = statuses(ctx, s.api); err != nil {
		s.out.Note = "events by verdict could not be counted: " + err.Error()
	}
	return s.stop(ctx)
}

type streamRun struct {
	*bench
	node   *node.Process
	api    *node.API
	key    string
	paths  []string
	script uint64 // first that was not used
	out    *Stream
	disk   int64 // bytes of events on disk
	events int64
}

func (s *streamRun) setup(ctx context.Context) (err error) {
	if s.key, err = s.node.Key(); err != nil {
		return err
	}
	if err := s.api.Do(ctx, "POST", "/api/v1/apply", json.RawMessage(traffic.NetworkJSON()), new(struct{})); err != nil {
		return fmt.Errorf("apply the network: %w", err)
	}
	for _, buyer := range traffic.Buyers {
		path, err := createSource(ctx, s.api, "bench-"+buyer, map[string]any{"buyer": buyer, "reply": replyAccepted})
		if err != nil {
			return err
		}
		s.paths = append(s.paths, path)
	}
	return nil
}

// phase tells the calls, then sends their postbacks: all of them as fast as
// they are taken, or at most rate for a time. It ends when all is committed.
func (s *streamRun) phase(ctx context.Context, out *Phase, calls int, rate float64, period time.Duration) error {
	uploads, corpus, rest := corpusOf(s.cfg.Seed, s.script, s.cfg.Now(), calls, s.node.Ingest, "Authorization: Bearer "+s.key, s.paths)
	s.script = rest
	begin := time.Now()
	if err := sendCalls(s.node.Ingest, uploads); err != nil {
		return err
	}
	if err := s.api.Drained(ctx, drainMax); err != nil {
		return err
	}
	s.out.Calls += calls
	s.out.CallsPerSecond = float64(calls) / time.Since(begin).Seconds()
	s.say("%d calls told at %.0f/s", calls, s.out.CallsPerSecond)

	disk, err := diskBytes(s.node.Data)
	if err != nil {
		return err
	}
	before, err := load.ReadUsage(s.node.PID())
	if err != nil {
		return err
	}
	begin = time.Now()
	watch := s.watch(ctx, begin)
	next := corpus.request
	if period > 0 { // not load.Config.For: every request that was sent is waited for and counted
		next = func(conn int) []byte {
			if time.Since(begin) > period {
				return nil
			}
			return corpus.request(conn)
		}
	}
	res, err := load.Run(ctx, load.Config{Addr: s.node.Ingest, Conns: streamConns, Rate: rate, Next: next})
	loaded := time.Since(begin)
	out.BacklogAtEnd = s.backlog(ctx)
	if err == nil {
		err = s.api.Drained(ctx, drainMax)
	}
	took := time.Since(begin)
	out.Backlog = watch()
	if err != nil {
		return err
	}
	after, err := load.ReadUsage(s.node.PID())
	if err != nil {
		return err
	}
	if res.Failed > 0 {
		return fmt.Errorf("%d of %d postbacks were refused, the last with status %d", res.Failed, res.Requests, res.LastStatus)
	}
	grown, err := diskBytes(s.node.Data)
	if err != nil {
		return err
	}
	s.disk, s.events = s.disk+grown-disk, s.events+res.Requests
	s.out.DiskPerEvent = ratio(float64(s.disk), float64(s.events))

	out.Events, out.Matched, out.Conns, out.RateMost = res.Requests, corpus.matchedOf(res.Requests), streamConns, rate
	out.LoadSeconds, out.DrainSeconds = loaded.Seconds(), (took - loaded).Seconds()
	out.IntakePerSecond = ratio(float64(out.Events), loaded.Seconds())
	out.EventsPerSecond, out.MatchedPerSecond = ratio(float64(out.Events), took.Seconds()), ratio(float64(out.Matched), took.Seconds())
	out.CPUMicros = ratio(float64(after.CPU-before.CPU)/float64(time.Microsecond), float64(out.Events))
	out.Latency, out.RSSBytes, out.RSSPeak = latencyOf(&res.Latency), after.RSS, after.RSSPeak
	s.say("%d postbacks taken at %.0f/s, in the ledger at %.0f/s; %d behind when the load ended, %.1f s to drain", out.Events,
		out.IntakePerSecond, out.EventsPerSecond, out.BacklogAtEnd, out.DrainSeconds)
	return nil
}

func (s *streamRun) backlog(ctx context.Context) uint64 {
	status, err := s.api.Status(ctx)
	if err != nil {
		return 0 // Drained, which follows, says what is wrong
	}
	return status.Backlog()
}

// watch samples the node until the function that it gives is called.
func (s *streamRun) watch(ctx context.Context, begin time.Time) func() []Sample {
	var list []Sample
	var wait sync.WaitGroup
	done := make(chan struct{})
	wait.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			status, err := s.api.Status(ctx)
			usage, usageErr := load.ReadUsage(s.node.PID())
			if err == nil && usageErr == nil {
				list = append(list, Sample{time.Since(begin).Seconds(), status.Backlog(), usage.RSS})
			}
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	})
	return func() []Sample {
		close(done)
		wait.Wait()
		return list
	}
}

// statuses counts the events by verdict, as the activity has them.
func statuses(ctx context.Context, api *node.API) (map[string]float64, error) {
	var table struct {
		Rows [][]any `json:"rows"`
	}
	question := map[string]string{"sql": "SELECT status, count(*) FROM activity GROUP BY status"}
	if err := api.Do(ctx, "POST", "/api/v1/query", question, &table); err != nil {
		return nil, err
	}
	counts := map[string]float64{}
	for _, row := range table.Rows {
		if len(row) != 2 {
			return nil, fmt.Errorf("a row of %d columns, want 2", len(row))
		}
		n, err := strconv.ParseFloat(fmt.Sprint(row[1]), 64) // ClickHouse writes 64 bits as a text
		if err != nil {
			return nil, fmt.Errorf("a count of %v", row[1])
		}
		counts[fmt.Sprint(row[0])] = n
	}
	return counts, nil
}

// stop ends the node and has its ledger verified at rest.
func (s *streamRun) stop(ctx context.Context) error {
	if err := s.node.Stop(stopMax); err != nil {
		return err
	}
	cmd, err := node.Command(ctx, s.cfg.Binary, s.node.Data, "ledger", "verify")
	if err != nil {
		return err
	}
	begin := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("ledger verify: %w\n%s", err, out)
	}
	s.out.VerifySeconds = time.Since(begin).Seconds()
	s.say("ledger verified in %.1f s", s.out.VerifySeconds)
	return nil
}

// diskBytes sums the files below dir but the journal's, which is a bounded
// ring that is allocated ahead.
func diskBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == "journal":
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		info, err := d.Info()
		if err == nil {
			sum += info.Size()
		}
		return nil // a file that has gone meanwhile takes no room
	})
	return sum, err
}
