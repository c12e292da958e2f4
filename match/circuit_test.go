package match

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

var errGone = errors.New("connection refused")

// faulty is a pair of caches in front of real ones that fail as told.
type faulty struct {
	Index
	Deduper

	mu    sync.Mutex
	index func(context.Context) error // nil asks the real one
	dedup func(context.Context) error
	asked int
}

func (f *faulty) set(index, dedup func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.index, f.dedup = index, dedup
}

// took is how often the caches were asked since the last time.
func (f *faulty) took() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.asked
	f.asked = 0
	return n
}

func (f *faulty) trouble(ctx context.Context, index bool) error {
	f.mu.Lock()
	f.asked++
	fault := f.index
	if !index {
		fault = f.dedup
	}
	f.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(ctx)
}

func (f *faulty) Find(ctx context.Context, wants []Want, out [][]int64) (int64, error) {
	if err := f.trouble(ctx, true); err != nil {
		return 99, err
	}
	return f.Index.Find(ctx, wants, out)
}

func (f *faulty) Put(ctx context.Context, calls []event.Call, from, through int64) error {
	if err := f.trouble(ctx, true); err != nil {
		return err
	}
	return f.Index.Put(ctx, calls, from, through)
}

func (f *faulty) Claim(ctx context.Context, keys []event.Digest, ids, owners []event.ID) error {
	if err := f.trouble(ctx, false); err != nil {
		for i := range owners {
			owners[i] = eventID(99)
		}
		return err
	}
	return f.Deduper.Claim(ctx, keys, ids, owners)
}

func fails(context.Context) error { return errGone }

// hangs answers when nobody waits any more.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func faultyMatcher(t *testing.T) (*Matcher, *faulty, *clock) {
	m, c := matcher(t, rang(1, alice, 0))
	f := &faulty{Index: m.Index, Deduper: m.Dedupe}
	return &Matcher{Index: f, Dedupe: f, Patience: 20 * time.Millisecond, Now: c.now}, f, c
}

// asks carries a batch of two equal reports and a call through the matcher and
// reports whether it came back with hints; no half-way is allowed.
func asks(t *testing.T, m *Matcher, first uint64) (hinted bool) {
	t.Helper()
	b := batch(t, first, event.Report{Caller: alice}, event.Report{Caller: alice}, event.Report{})
	b.Events[1].Weak = b.Events[0].Weak
	for i := range b.Events { // of an earlier attempt
		b.Events[i].Hints, b.Events[i].HintOwner, b.IndexedThrough = append(b.Events[i].Hints, 77), eventID(77), 77
	}
	b.Events[2].IsCall, b.Events[2].Call = true, rang(5, bob, 0)
	find(t, m, b)
	if err := m.Put(t.Context(), b, 40, 41); err != nil {
		t.Fatal(err)
	}
	one, two := &b.Events[0], &b.Events[1]
	with := slices.Equal(one.Hints, []int64{1}) && one.HintOwner.IsZero() && len(two.Hints) == 0 && two.HintOwner == one.ID && b.IndexedThrough >= 40
	without := len(one.Hints)+len(two.Hints) == 0 && one.HintOwner.IsZero() && two.HintOwner.IsZero() && b.IndexedThrough == 0
	if with == without {
		t.Fatalf("neither with nor without hints: %v of %q, %v of %q, through %d", one.Hints, one.HintOwner, two.Hints, two.HintOwner, b.IndexedThrough)
	}
	return with
}

func TestMatcherGoesOnWithoutCaches(t *testing.T) {
	f := func(name string, index, dedup func(context.Context) error) {
		t.Run(name, func(t *testing.T) {
			m, faulty, c := faultyMatcher(t)
			if !asks(t, m, 1) || m.Cache().Degraded {
				t.Fatalf("no hints before the trouble; %+v", m.Cache())
			}
			faulty.set(index, dedup)
			if asks(t, m, 10) {
				t.Error("hints from caches in trouble")
			}
			s := m.Cache()
			if !s.Degraded || !s.Since.Equal(c.now()) || s.Err == "" || s.Failures != 1 || s.Skipped != 1 {
				t.Errorf("in trouble: %+v", s)
			}
			faulty.set(nil, nil)
			faulty.took()
			if asks(t, m, 20) || faulty.took() > 0 {
				t.Error("caches were asked before their rest was over")
			}
			c.pass(restMin)
			if !asks(t, m, 30) {
				t.Error("no hints after the trouble")
			}
			if s := m.Cache(); s.Degraded || !s.Since.IsZero() || s.Failures != 1 || s.Skipped != 3 {
				t.Errorf("after the trouble: %+v", s)
			}
		})
	}
	f("index gone", fails, nil)
	f("deduper gone", nil, fails)
	f("both gone", fails, fails)
	f("index frozen", hangs, nil)
	f("deduper frozen", nil, hangs)
}

func TestMatcherDropsPut(t *testing.T) {
	m, faulty, c := faultyMatcher(t)
	faulty.set(fails, nil)
	b := batch(t, 1, event.Report{})
	b.Events[0].IsCall, b.Events[0].Call = true, rang(5, bob, 0)
	if err := m.Put(t.Context(), b, 40, 41); err != nil {
		t.Fatal(err)
	}
	faulty.set(nil, nil)
	c.pass(restMin)
	if err := m.Put(t.Context(), b, 41, 42); err != nil {
		t.Fatal(err)
	}
	if through, err := m.Index.Through(t.Context()); through != 40 || err != nil {
		t.Errorf("complete through %d, %v; the first Put was lost: want 40", through, err)
	}
	if err := m.Index.Put(t.Context(), nil, 40, 41); err != nil {
		t.Fatal(err)
	}
	if through, err := m.Index.Through(t.Context()); through != 42 || err != nil {
		t.Errorf("complete through %d, %v; want 42 with the gap closed", through, err)
	}
}

// The rest doubles up to its limit, and one batch at a time probes.
func TestMatcherRests(t *testing.T) {
	m, faulty, c := faultyMatcher(t)
	faulty.set(fails, fails)
	seq := uint64(0)
	attempts := func() int {
		seq += 10
		asks(t, m, seq)
		return faulty.took()
	}
	attempts()
	for _, rest := range []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second} {
		c.pass(rest - time.Millisecond)
		if n := attempts(); n != 0 {
			t.Errorf("asked %d times before a rest of %s was over", n, rest)
		}
		c.pass(time.Millisecond)
		if n := attempts(); n != 1 {
			t.Errorf("asked %d times after a rest of %s, want once", n, rest)
		}
	}

	c.pass(restMax)
	waits, answer := make(chan struct{}), make(chan struct{})
	m.Patience = time.Hour
	faulty.set(nil, func(context.Context) error {
		close(waits)
		<-answer
		return nil
	})
	done := make(chan bool)
	go func() {
		b := batch(t, 1000, event.Report{Caller: alice})
		_ = m.Find(context.Background(), b)
		done <- b.IndexedThrough > 0
	}()
	<-waits
	faulty.set(nil, nil)
	faulty.took()
	if asks(t, m, 2000) || faulty.took() > 0 {
		t.Error("a second batch asked beside the probe")
	}
	close(answer)
	if !<-done || !asks(t, m, 3000) {
		t.Error("no hints after a good probe")
	}
}

// The end of the stream is nothing that the caches did.
func TestMatcherStops(t *testing.T) {
	m, faulty, _ := faultyMatcher(t)
	m.Patience = time.Hour
	faulty.set(hangs, hangs)
	b := batch(t, 1, event.Report{Caller: alice})
	b.Events[0].Hints = append(b.Events[0].Hints, 77)
	ctx, stop := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, stop)
	if err := m.Find(ctx, b); !errors.Is(err, context.Canceled) {
		t.Errorf("find: %v, want the end of the context", err)
	}
	if err := m.Put(ctx, b, 40, 41); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v, want the end of the context", err)
	}
	if s := m.Cache(); s.Degraded || s.Failures > 0 {
		t.Errorf("the caches are blamed: %+v", s)
	}
	faulty.set(nil, nil)
	if !asks(t, m, 10) {
		t.Error("no hints afterwards")
	}
}

func TestPlainErrors(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if got := plain(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(fmt.Errorf("claim: %w", context.DeadlineExceeded), "no answer in time")
	f(fmt.Errorf("claim: %w", &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}), "no answer in time")
	f(errors.New("OOM command not allowed"), "OOM command not allowed")
	f(errors.New("ERR unknown command 'set', with args beginning with: '+12025550143'"), "ERR unknown command 'set'")
	f(errors.New("one\r\ntwo\x00\xff"), "one  two \ufffd")
	f(errors.New(strings.Repeat("é", errTextMax)), strings.Repeat("é", errTextMax/2))
}
