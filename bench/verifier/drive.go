package verifier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

// Plan says how to drive nodes.
type Plan struct {
	Run      Run
	Paths    []string      // of the sources' URLs, in the order of traffic.Buyers
	Conns    int           // scripts side by side
	Rate     float64       // requests a second at most; 0 is no bound
	Timeout  time.Duration // for one answer; default 5 s
	Patience time.Duration // for all tries of one step; default 1 min

	// Heard, when set, is told of every attempt. Many goroutines call it at once.
	Heard func(Heard)
}

// Heard is what became of one attempt.
type Heard struct {
	Kind   traffic.Kind
	Buyer  int           // index into traffic.Buyers
	Status int           // 0: no answer
	Took   time.Duration // until the answer, or until it was given up
}

// AtOnce says that the attempt went to a source that answers after the sync,
// without a look at the verdict: what intake alone takes.
func (h Heard) AtOnce() bool { return h.Kind.Postback() && h.Buyer%2 == 0 }

// Sent counts what Drive did.
type Sent struct {
	Scripts, Requests, Acked, Unanswered, Refused, Retried int64
}

// Drive sends scripts until ctx is done, then finishes those that it began and
// returns. Nodes may come and go meanwhile; one must be there in the end. All
// share their store, so the first one's key is good for each.
func Drive(ctx context.Context, nodes []*Node, plan Plan, log *Log) (Sent, error) {
	d := &driver{nodes: nodes, plan: plan, log: log, begin: time.Now()}
	if d.plan.Timeout == 0 {
		d.plan.Timeout = 5 * time.Second
	}
	if d.plan.Patience == 0 {
		d.plan.Patience = time.Minute
	}
	if plan.Conns < 1 || len(plan.Paths) != len(traffic.Buyers) || len(nodes) == 0 {
		return Sent{}, fmt.Errorf("drive %d nodes with %d connections and %d sources: want at least 1, at least 1 and exactly %d", len(nodes), plan.Conns, len(plan.Paths), len(traffic.Buyers))
	}
	errs := make([]error, plan.Conns)
	var wait sync.WaitGroup
	for i := range plan.Conns {
		wait.Go(func() { errs[i] = d.worker(ctx) })
	}
	wait.Wait()
	return Sent{d.scripts.Load(), d.requests.Load(), d.acked.Load(), d.unanswered.Load(), d.refused.Load(), d.retried.Load()}, errors.Join(errs...)
}

type driver struct {
	nodes []*Node
	plan  Plan
	log   *Log
	begin time.Time
	slot  atomic.Int64 // of the rate

	scripts, requests, acked, unanswered, refused, retried atomic.Int64
}

// worker sends one script after another over one connection to each node.
type worker struct {
	*driver
	conns   []*load.Conn
	lines   []byte // of the log, not yet appended
	request []byte
	target  []byte
}

func (d *driver) worker(ctx context.Context) error {
	w := &worker{driver: d}
	for _, n := range d.nodes {
		c := load.NewConn(n.ingest)
		defer c.Close()
		w.conns = append(w.conns, c)
	}
	gen := traffic.New(d.plan.Run.Seed, d.plan.Run.Base, d.plan.Run.Mix)
	var s traffic.Script
	for ctx.Err() == nil {
		gen.Script(uint64(d.scripts.Add(1)-1), &s)
		for i := range s.Steps {
			if err := w.step(s.N, i, &s.Steps[i]); err != nil {
				return err
			}
		}
	}
	return w.flush()
}

// step sends one step until it is answered with anything but 429 and 5xx. The
// line about its answer goes to disk together with the next one's sending.
func (w *worker) step(script uint64, i int, st *traffic.Step) error {
	w.render(st)
	for try, begin := 0, time.Now(); ; try++ {
		w.pace()
		a := attempt{script, i, try}
		w.lines = appendSend(w.lines, a)
		if err := w.flush(); err != nil {
			return err
		}
		w.requests.Add(1)
		sent := time.Now()
		status, body, err := w.conns[w.choose(a)].Do(w.request, w.plan.Timeout)
		if w.plan.Heard != nil {
			w.plan.Heard(Heard{st.Kind, st.Buyer, status, time.Since(sent)})
		}
		if err == nil {
			w.lines = appendGot(w.lines, a, status, eventOf(body))
		}
		switch {
		case err != nil:
			w.unanswered.Add(1)
		case status == 429 || status >= 500:
			w.refused.Add(1)
		case status < 300:
			w.acked.Add(1)
			return nil
		default:
			return nil // the check judges it
		}
		if time.Since(begin) > w.plan.Patience {
			return errors.Join(w.flush(), fmt.Errorf("step %d of script %d (%s) got no lasting answer in %s: last status %d, %v", i, script, st.Kind, w.plan.Patience, status, err))
		}
		w.retried.Add(1)
		time.Sleep(min(10*time.Millisecond<<min(try, 4), 100*time.Millisecond))
	}
}

// choose names the node for an attempt: the steps of a script go here and
// there, and what failed at one node goes to the next. A node that was set
// aside gets nothing unless all are.
func (w *worker) choose(a attempt) int {
	h := (a.script+1)*0x9E3779B97F4A7C15 + uint64(a.step)*0xBF58476D1CE4E5B9
	first, all := int((h^h>>31)%uint64(len(w.nodes)))+a.try, len(w.nodes)
	for i := range all {
		if n := (first + i) % all; !w.nodes[n].aside.Load() {
			return n
		}
	}
	return first % all
}

func (w *worker) flush() error {
	if len(w.lines) == 0 {
		return nil
	}
	err := w.log.Append(w.lines)
	w.lines = w.lines[:0]
	return err
}

func (w *worker) render(st *traffic.Step) {
	r := &st.Request
	if !st.Kind.Postback() {
		w.request = load.AppendRequest(w.request[:0], r.Method, "/v1/calls", w.nodes[0].ingest, r.ContentType, r.Body, "Authorization: Bearer "+w.nodes[0].key)
		return
	}
	w.target = append(w.target[:0], w.plan.Paths[st.Buyer]...)
	if r.Query != "" {
		w.target = append(append(w.target, '?'), r.Query...)
	}
	w.request = load.AppendRequest(w.request[:0], r.Method, string(w.target), w.nodes[0].ingest, r.ContentType, r.Body)
}

// pace waits for the next slot of the rate. A node that was away is not made
// up for: slots that have passed are given up.
func (w *worker) pace() {
	if w.plan.Rate <= 0 {
		return
	}
	gap := int64(float64(time.Second) / w.plan.Rate)
	for {
		now, last := int64(time.Since(w.begin)), w.slot.Load()
		mine := max(last+gap, now-int64(10*time.Millisecond))
		if w.slot.CompareAndSwap(last, mine) {
			time.Sleep(time.Duration(mine - now))
			return
		}
	}
}

var eventField = []byte(`"event":"`)

// eventOf finds the event id in an answer, "" when it names none.
func eventOf(body []byte) string {
	_, rest, ok := bytes.Cut(body, eventField)
	if !ok {
		return ""
	}
	id, _, ok := bytes.Cut(rest, []byte{'"'})
	if !ok {
		return ""
	}
	return string(id)
}
