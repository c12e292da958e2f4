package faults

import (
	"bytes"
	"context"
	"path/filepath"
	"sync"
	"time"

	histogram "github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/bench/verifier"
)

// patience is how long a sender waits for an answer.
const patience = 5 * time.Second

// load is the verifier driving.
type load struct {
	end  context.CancelFunc
	done chan struct{}
	sent verifier.Sent // once done is closed
	err  error

	mu  sync.Mutex
	now *phase
}

// phase is what senders saw during a part of a run.
type phase struct {
	name       string
	begin      time.Time
	acked      int64
	unanswered int64
	refused    int64               // 429 and 5xx
	atOnce     histogram.Histogram // of sources that answer after the sync
	all        histogram.Histogram
}

// drive sets the sources up and begins the load.
func (w *world) drive() {
	w.Helper()
	ids, paths, err := w.nodes[0].sent.Setup(w.Context())
	if err == nil {
		begin := time.Now()
		err = verifier.Known(w.Context(), seen(w.nodes), knownMax)
		w.say("sources known everywhere after %s", time.Since(begin).Round(time.Millisecond))
	}
	if err != nil {
		w.Fatal(err)
	}
	run := verifier.Run{Seed: uint64(time.Now().UnixMicro()), Base: time.Now().UTC().Truncate(time.Second), Mix: traffic.DefaultMix(), Sources: ids}
	w.say("seed %d", run.Seed)
	log, err := verifier.CreateLog(w.logPath(), run)
	if err != nil {
		w.Fatal(err)
	}
	ctx, end := context.WithCancel(w.Context())
	l := &load{end: end, done: make(chan struct{}), now: &phase{name: "before", begin: time.Now()}}
	plan := verifier.Plan{Run: run, Paths: paths, Conns: w.size.Conns, Rate: w.size.Rate, Timeout: patience, Heard: l.heard}
	go func() {
		defer close(l.done)
		defer log.Close()
		l.sent, l.err = verifier.Drive(ctx, seen(w.nodes), plan, log)
	}()
	w.load = l
}

func (w *world) logPath() string { return filepath.Join(w.dir, "verifier.log") }

func (l *load) heard(h verifier.Heard) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.now
	switch {
	case h.Status == 0:
		p.unanswered++
	case h.Status == 429 || h.Status >= 500:
		p.refused++
	default:
		p.acked++
	}
	p.all.Record(h.Took)
	if h.AtOnce() {
		p.atOnce.Record(h.Took)
	}
}

// phase begins another phase and gives the one that ends.
func (w *world) phase(name string) *phase {
	w.Helper()
	l := w.load
	l.mu.Lock()
	was := l.now
	l.now = &phase{name: name, begin: time.Now()}
	l.mu.Unlock()
	w.say("%s: %d acknowledged in %s, %d unanswered, %d refused; at once p50 %s p99 %s max %s, all p99 %s", was.name, was.acked,
		time.Since(was.begin).Round(time.Millisecond), was.unanswered, was.refused, was.atOnce.Quantile(.5), was.atOnce.Quantile(.99), was.atOnce.Max(), was.all.Quantile(.99))
	return was
}

// tookIn says that senders noticed nothing during a phase: requests came, every
// one had its answer within their patience, and none was sent away.
func (w *world) tookIn(p *phase) {
	w.Helper()
	if p.acked == 0 {
		w.Errorf("%s: no request was acknowledged", p.name)
	}
	w.unharmed(p)
}

// unharmed is tookIn of a phase that may be too short for any request.
func (w *world) unharmed(p *phase) {
	w.Helper()
	if p.unanswered > 0 || p.refused > 0 {
		w.Errorf("%s: %d requests were acknowledged, %d not answered, %d refused; want intake to go on as if nothing were", p.name, p.acked, p.unanswered, p.refused)
	}
}

// finish ends the load; scripts that were begun are finished first.
func (w *world) finish() {
	w.Helper()
	w.load.end()
	<-w.load.done
	if w.load.err != nil {
		w.Fatalf("verifier: %v", w.load.err)
	}
	w.phase("end")
	s := w.load.sent
	w.say("sent %d requests of %d scripts: %d acknowledged, %d unanswered, %d refused for now, %d sent again", s.Requests, s.Scripts, s.Acked, s.Unanswered, s.Refused, s.Retried)
}

// judge ends the load and holds everything against the base rule. It returns
// what the verifier found.
func (w *world) judge() *verifier.Report {
	w.Helper()
	w.finish()
	begin := time.Now()
	report, err := verifier.Check(w.Context(), seen(w.living()), w.logPath(), w.activity.URL)
	if err != nil {
		w.Fatalf("verifier check: %v", err)
	}
	var text bytes.Buffer
	report.Print(&text)
	w.say("judged in %s:\n%s", time.Since(begin).Round(time.Millisecond), text.String())
	if !report.OK() || report.Valued == 0 {
		w.Errorf("promises were broken:\n%s", text.String())
	}
	w.invariants()
	return report
}

// invariants has the ledger look at itself.
func (w *world) invariants() {
	w.Helper()
	var answer struct {
		Findings struct {
			Checks []struct {
				ID, Title, Fault string
				OK               bool
			}
		}
	}
	if err := w.living()[0].api.Do(w.Context(), "GET", "/api/v1/ledger/verify", nil, &answer); err != nil {
		w.Fatal(err)
	}
	if len(answer.Findings.Checks) == 0 {
		w.Error("the ledger verified nothing")
	}
	for _, c := range answer.Findings.Checks {
		if !c.OK {
			w.Errorf("%s, %s, does not hold: %s", c.ID, c.Title, c.Fault)
		}
	}
}
