package match

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// world is a store with several nodes that put what they commit into one
// shared index, close its gaps, rebuild it, and look calls up. Whatever an
// index claims to be complete is compared with what the store has.
type world struct {
	t *testing.T

	mu     sync.Mutex
	calls  []event.Call // in order of their changes: call no is change no
	asked  int
	hinted int // of the asked, with a claim of completeness
}

// perCaller is how many calls each caller makes, fewer than CandidatesMax.
const perCaller = 8

// commit makes some calls, as one change of the store each.
func (w *world) commit(n int) (calls []event.Call, from, through int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	from = int64(len(w.calls))
	for range n {
		no := int64(len(w.calls) + 1)
		// The calls of one caller are spread over many commits.
		caller := fmt.Sprintf("+1%d-%d", (no-1)/(200*perCaller), no%200)
		w.calls = append(w.calls, event.Call{No: no, CallID: fmt.Sprint("c", no), Caller: caller, StartedAt: at(-time.Duration(no%3600) * time.Second)})
	}
	return slices.Clone(w.calls[from:]), from, int64(len(w.calls))
}

func (w *world) head() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int64(len(w.calls))
}

func (w *world) since(no int64) []event.Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls[no:])
}

// check looks up some callers. What is found must be theirs, and when the
// index says that it is complete through a change, all up to there must be found.
func (w *world) check(ctx context.Context, x Index) error {
	w.mu.Lock()
	var wants []Want
	var callers []string
	for range min(20, len(w.calls)) {
		caller := w.calls[rand.IntN(len(w.calls))].Caller
		callers, wants = append(callers, caller), append(wants, byCaller(caller))
	}
	w.mu.Unlock()
	out := make([][]int64, len(wants))
	through, err := x.Find(ctx, wants, out)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, caller := range callers {
		w.asked++
		if through > 0 {
			w.hinted++
		}
		for no := range out[i] {
			if no := out[i][no]; no > int64(len(w.calls)) || w.calls[no-1].Caller != caller {
				w.t.Errorf("call %d found by %s, who did not make it", no, caller)
			}
		}
		for j := range w.calls[:through] {
			if c := &w.calls[j]; c.Caller == caller && !slices.Contains(out[i], c.No) {
				w.t.Errorf("complete through %d, but call %d of %s is not found: %v", through, c.No, caller, out[i])
			}
		}
	}
	return nil
}

// feed closes gaps, and rebuilds an index that is not whole, as a node does
// when the store has been ahead for a while.
func (w *world) feed(ctx context.Context, x *RedisIndex) error {
	needs, err := x.NeedsRebuild(ctx)
	if err != nil {
		return err
	}
	if needs {
		head := w.head()
		return x.Rebuild(ctx, func(_ context.Context, yield func([]event.Call) error) error {
			for calls := w.since(0); len(calls) > 0; {
				n := min(len(calls), 100)
				if err := yield(calls[:n]); err != nil {
					return err
				}
				calls = calls[n:]
			}
			return nil
		}, head, nil)
	}
	through, err := x.Through(ctx)
	if err != nil || through == 0 {
		return err
	}
	if calls := w.since(through); len(calls) > 0 {
		return x.Put(ctx, calls, through, through+int64(len(calls)))
	}
	return nil
}

// run lets nodes work at it until stop. Their errors are the index's trouble;
// what is checked are its claims.
func (w *world) run(indexes ...*RedisIndex) (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	var group sync.WaitGroup
	every := func(d time.Duration, f func(context.Context)) {
		group.Go(func() {
			for ctx.Err() == nil {
				bounded, done := context.WithTimeout(ctx, time.Second)
				f(bounded)
				done()
				time.Sleep(d)
			}
		})
	}
	for _, x := range indexes {
		every(time.Millisecond, func(ctx context.Context) {
			calls, from, through := w.commit(1 + rand.IntN(5))
			if rand.IntN(10) > 0 { // some Puts are lost
				_ = x.Put(ctx, calls, from, through)
			}
		})
		every(time.Millisecond, func(ctx context.Context) { _ = w.check(ctx, x) })
		every(20*time.Millisecond, func(ctx context.Context) { _ = w.feed(ctx, x) })
	}
	return func() {
		cancel()
		group.Wait()
	}
}

// settle lets the index become complete, and checks everything then.
func (w *world) settle(x *RedisIndex) {
	w.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ctx, done := context.WithTimeout(w.t.Context(), 2*time.Second)
		err := w.feed(ctx, x)
		through, _ := x.Through(ctx)
		done()
		if through == w.head() && through > 0 {
			break
		}
		if time.Now().After(end) {
			w.t.Fatalf("complete through %d of %d after 30 s, last error %v", through, w.head(), err)
		}
	}
	before := w.hinted
	for range 20 {
		if err := w.check(w.t.Context(), x); err != nil {
			w.t.Fatal(err)
		}
	}
	if w.hinted == before && !x.cluster {
		w.t.Error("a complete index claims nothing")
	}
}
