package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/event"
)

// shapes are the forms in which a sample sender writes one postback; each has
// a source of its own in the demo.
const shapes = 3

var shapeNames = [shapes]string{"sample-get", "sample-form", "sample-json"}

func shapeOf(r *traffic.Request) int {
	switch {
	case r.Method == http.MethodGet:
		return 0
	case r.ContentType == "application/json":
		return 2
	}
	return 1
}

const (
	senderWorkers = 16
	demoCurrency  = "USD"
)

// sender plays scripts into a node: those of different callers side by side,
// the steps of one in order.
type sender struct {
	cmd  demoCmd
	base string
	key  string
	urls [shapes]string
	http *http.Client
	seed time.Time // of the traffic: calls start in the hours before

	steps int64 // to be sent in all
	begun time.Time

	sent, postbacks, decided atomic.Int64 // decided: answered with their verdict
	mu                       sync.Mutex
	answers                  load.Histogram
	want                     expectation
}

// expectation is what the books must say in the end.
type expectation struct{ value, share event.Amount }

// sendProgress is how far the sender is.
type sendProgress struct {
	sent, postbacks, decided, steps int64
	p50, p99                        time.Duration // from a postback to its answer
}

func newSender(cmd demoCmd, listen, key string, urls [shapes]string) *sender {
	s := &sender{cmd: cmd, base: "http://" + listen, key: key, urls: urls, seed: time.Now(),
		http: &http.Client{Timeout: answerTimeMax, Transport: &http.Transport{MaxIdleConnsPerHost: senderWorkers}}}
	s.each(func(_ uint64, script *traffic.Script) bool {
		s.steps += int64(len(script.Steps))
		s.want.add(script)
		return true
	})
	return s
}

// each makes the scripts one after another until they hold the calls asked
// for. A script is valid until the next.
func (s *sender) each(yield func(n uint64, script *traffic.Script) bool) {
	g := traffic.New(s.cmd.Seed, s.seed, traffic.DefaultMix())
	var script traffic.Script
	for n, calls := uint64(0), 0; calls < s.cmd.Calls; n++ {
		g.Script(n, &script)
		calls += len(script.Calls)
		if !yield(n, &script) {
			return
		}
	}
}

// add takes in what a script must leave behind: each call is worth what was
// last said of it, whatever was repeated, and its publisher is paid by rule.
func (e *expectation) add(script *traffic.Script) {
	last := make([]event.Amount, len(script.Calls))
	for i := range script.Steps {
		switch st := &script.Steps[i]; st.Kind {
		case traffic.Conversion, traffic.Reprice, traffic.Zero:
			last[st.Call] = st.Report.Payout
		}
	}
	for i, value := range last {
		c := &script.Calls[i]
		rule, err := event.ParseRule(traffic.RuleOf(c.Campaign, c.Publisher))
		if err != nil {
			panic("bug: rule of the demo's network: " + err.Error())
		}
		share, err := rule.Share(value)
		if err != nil {
			panic("bug: share in the demo's network: " + err.Error())
		}
		e.value, e.share = e.value+value, e.share+share
	}
}

func (s *sender) expected() expectation { return s.want }

// run sends everything. It fails on the first request that was not taken.
func (s *sender) run(ctx context.Context) error {
	defer s.http.CloseIdleConnections()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	numbers := make(chan uint64)
	go func() {
		defer close(numbers)
		s.each(func(n uint64, _ *traffic.Script) bool {
			select {
			case numbers <- n:
				return true
			case <-ctx.Done():
				return false
			}
		})
	}()
	s.begun = time.Now()
	failed := make(chan error, senderWorkers)
	var workers sync.WaitGroup
	for range senderWorkers {
		workers.Go(func() {
			if err := s.work(ctx, numbers); err != nil {
				failed <- err
				cancel()
			}
		})
	}
	workers.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// work plays scripts until there are no more.
func (s *sender) work(ctx context.Context, numbers <-chan uint64) error {
	g := traffic.New(s.cmd.Seed, s.seed, traffic.DefaultMix())
	var script traffic.Script
	for n := range numbers {
		g.Script(n, &script)
		for i := range script.Steps {
			if err := s.pace(ctx); err != nil {
				return err
			}
			if err := s.send(ctx, &script.Steps[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// pace waits until the next request is due.
func (s *sender) pace(ctx context.Context) error {
	n := s.sent.Add(1) - 1
	if s.cmd.Fast {
		return ctx.Err()
	}
	due := s.begun.Add(time.Duration(float64(demoSpread) * float64(n) / float64(s.steps)))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Until(due)):
		return nil
	}
}

func (s *sender) send(ctx context.Context, st *traffic.Step) error {
	q := &st.Request
	url := s.base + "/v1/calls"
	if st.Kind.Postback() {
		url = s.base + s.urls[shapeOf(q)]
	}
	if q.Query != "" {
		url += "?" + q.Query
	}
	r, err := http.NewRequestWithContext(ctx, q.Method, url, bytes.NewReader(q.Body))
	if err != nil {
		return err
	}
	if q.ContentType != "" {
		r.Header.Set("Content-Type", q.ContentType)
	}
	if !st.Kind.Postback() {
		r.Header.Set("Authorization", "Bearer "+s.key)
	}
	begin := time.Now()
	resp, err := s.http.Do(r)
	if err != nil {
		return fmt.Errorf("send %s: %w", st.Kind, withoutURL(err))
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, callsAnswerBytes))
	resp.Body.Close()
	if err != nil {
		return fmt.Errorf("send %s: %w", st.Kind, err)
	}
	took := time.Since(begin)
	// Who sends what cannot be read is told so, if the verdict was there in time.
	unreadable := st.Kind == traffic.Unreadable && resp.StatusCode == http.StatusBadRequest
	if resp.StatusCode != http.StatusOK && !unreadable {
		return fmt.Errorf("send %s: the node answers %s: %s", st.Kind, resp.Status, bytes.TrimSpace(text))
	}
	if st.Kind.Postback() {
		s.postbacks.Add(1)
		if !bytes.Contains(text, []byte(`"status":"accepted"`)) {
			s.decided.Add(1)
		}
		s.mu.Lock()
		s.answers.Record(took)
		s.mu.Unlock()
	}
	return nil
}

func (s *sender) progress() sendProgress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sendProgress{sent: min(s.sent.Load(), s.steps), postbacks: s.postbacks.Load(), decided: s.decided.Load(), steps: s.steps,
		p50: s.answers.Quantile(0.5), p99: s.answers.Quantile(0.99)}
}
