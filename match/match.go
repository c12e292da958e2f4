// Package match finds the phone call that each report pays for.
//
// Three things live here. An Index remembers the recent calls by their names,
// a Deduper which event claimed an identity first; both are caches that may
// forget, lag or be gone, and what they say travels with the batch as hints.
// Decide is the rule itself, a pure function of a report and its candidates,
// which the ledger applies inside its transaction to calls that it has read
// there.
//
// A Matcher carries a batch to both caches: Find before the ledger, Put after
// its commit. Neither can make money wrong, only the ledger slower; and when
// the caches are slow or gone, batches go on without them.
package match

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// DefaultPatience is for how long a batch waits for caches outside this process.
const DefaultPatience = 50 * time.Millisecond

// patienceEvents is for how many events at most that is; more get more.
const patienceEvents = 500

// Matcher asks the index and the deduper on behalf of whole batches. It may
// be used by many goroutines at once, each with its own batch.
//
// Trouble with the caches never reaches the stream: a batch that does not get
// its answer in time goes on without hints, and no other asks until the caches
// have answered one again (see Cache). Index and deduper count as one, since
// they live on one server: what one of them has lost, the other is not asked.
type Matcher struct {
	Index    Index
	Dedupe   Deduper
	Patience time.Duration    // of a batch of up to 500 events, proportionally more for larger ones; default DefaultPatience
	Now      func() time.Time // default time.Now

	mu      sync.Mutex
	free    []*scratch
	circuit circuit
}

// scratch is the memory of one batch under way.
type scratch struct {
	keys   []event.Digest
	ids    []event.ID
	owners []event.ID
	at     []int // which event of the batch each claim, later each want, is of
	wants  []Want
	hints  [][]int64
	calls  []event.Call
}

// Cache says how the caches do, for metrics and readiness.
func (m *Matcher) Cache() CacheStatus { return m.circuit.now() }

// ask lets f ask the caches for so many events, unless they are in trouble,
// and reports whether it was answered. The only error is that of ctx.
func (m *Matcher) ask(ctx context.Context, events int, f func(context.Context) error) (answered bool, err error) {
	if m.local() {
		return true, f(ctx)
	}
	now := m.Now
	if now == nil {
		now = time.Now
	}
	a := m.circuit.begin(now())
	if a == skipped {
		return false, ctx.Err()
	}
	patience := m.Patience
	if patience <= 0 {
		patience = DefaultPatience
	}
	bounded, cancel := context.WithTimeout(ctx, patience*time.Duration(max(1, (events+patienceEvents-1)/patienceEvents)))
	err = f(bounded)
	cancel()
	m.circuit.end(a, now(), err, ctx.Err() != nil)
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil, nil
}

// local says that both caches are memory of this process, which never waits.
func (m *Matcher) local() bool {
	_, index := m.Index.(*MemoryIndex)
	_, dedupe := m.Dedupe.(*MemoryDeduper)
	return index && dedupe
}

func (m *Matcher) get() *scratch {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.free)
	if n == 0 {
		return new(scratch)
	}
	s := m.free[n-1]
	m.free = m.free[:n-1]
	return s
}

// put takes s back, without any view into a batch.
func (m *Matcher) put(s *scratch) {
	clear(s.calls)
	clear(s.hints)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free = append(m.free, s)
}

// Find claims the identities of b's reports and fills in HintOwner, Hints and
// b.IndexedThrough. Calls, and reports that could not be read, are left alone.
//
// An event whose identity another one has claimed gets no hints: it is most
// likely a duplicate and needs no call. Nor does one whose ids the index does
// not know, although it may know the caller: an id goes first, and only the
// store can say that there is no such call. Without hints the ledger asks the
// store, and so it does for the whole batch, with IndexedThrough 0, when the
// caches do not answer. An error means that ctx has ended; Find may be called
// again with the same batch.
func (m *Matcher) Find(ctx context.Context, b *event.Batch) error {
	s := m.get()
	defer m.put(s)
	answered, err := m.ask(ctx, len(b.Events), func(ctx context.Context) error {
		if err := m.claim(ctx, b, s); err != nil {
			return err
		}
		return m.find(ctx, b, s)
	})
	if !answered {
		forget(b)
	}
	if err != nil {
		return fmt.Errorf("find hints for %d events of stream %d from %d: %w", len(b.Events), b.Stream, b.First, err)
	}
	return nil
}

// forget leaves b without hints.
func forget(b *event.Batch) {
	for i := range b.Events {
		b.Events[i].HintOwner, b.Events[i].Hints = event.ID{}, b.Events[i].Hints[:0]
	}
	b.IndexedThrough = 0
}

// find fills in Hints and IndexedThrough.
func (m *Matcher) find(ctx context.Context, b *event.Batch, s *scratch) error {
	s.wants, s.hints, s.at = s.wants[:0], s.hints[:0], s.at[:0]
	for i := range b.Events {
		e := &b.Events[i]
		if !readable(e) || !e.HintOwner.IsZero() || !e.Report.HasKey() {
			continue
		}
		s.wants = append(s.wants, wantOf(&e.Report, e.Policy, e.Record.ReceivedAt))
		s.hints = append(s.hints, e.Hints[:0])
		s.at = append(s.at, i)
	}
	through, err := m.Index.Find(ctx, s.wants, s.hints)
	if err != nil {
		return err
	}
	for j, i := range s.at {
		b.Events[i].Hints = s.hints[j]
	}
	b.IndexedThrough = through
	return nil
}

// claim fills in HintOwner. What books nothing claims nothing.
func (m *Matcher) claim(ctx context.Context, b *event.Batch, s *scratch) error {
	s.keys, s.ids, s.at = s.keys[:0], s.ids[:0], s.at[:0]
	for i := range b.Events {
		e := &b.Events[i]
		e.HintOwner, e.Hints = event.ID{}, e.Hints[:0]
		if !readable(e) || e.Record.Flags&(event.FlagTest|event.FlagPaused) != 0 {
			continue
		}
		key := e.Strong
		if key.IsZero() {
			key = e.Weak
		}
		if key.IsZero() {
			continue
		}
		s.keys, s.ids, s.at = append(s.keys, key), append(s.ids, e.ID), append(s.at, i)
	}
	if len(s.keys) == 0 {
		return nil
	}
	s.owners = append(s.owners[:0], s.ids...)
	if err := m.Dedupe.Claim(ctx, s.keys, s.ids, s.owners); err != nil {
		return err
	}
	for j, i := range s.at {
		if s.owners[j] != s.ids[j] {
			b.Events[i].HintOwner = s.owners[j]
		}
	}
	return nil
}

func readable(e *event.Event) bool {
	return !e.IsCall && e.Report.Invalid == event.NoReason && !e.Report.Failed
}

// wantOf asks by the report's ids if it has any, else by its caller, whose
// calls must have started within the window.
func wantOf(r *event.Report, p *event.Policy, receivedAt int64) (w Want) {
	add := func(kind event.KeyKind, text string) {
		if text != "" {
			w.Keys[w.N] = event.KeyOf(kind, text)
			w.N++
		}
	}
	add(event.KeyRef, r.RefID)
	add(event.KeyCall, r.CallID)
	add(event.KeyNetwork, r.NetworkCallID)
	if w.N > 0 {
		return w
	}
	add(event.KeyCaller, r.Caller)
	if w.Since = r.StartedAt; w.Since == 0 {
		w.Since = receivedAt
	}
	w.Since -= p.Window.Microseconds()
	return w
}

// Put tells the index of the calls in b, which the ledger has merged and
// committed: every call change after from up to through is among them. When
// the caches do not take it in, the index lacks that range until somebody puts
// it (see Index.Through). An error means that ctx has ended; Put may be called
// again.
func (m *Matcher) Put(ctx context.Context, b *event.Batch, from, through int64) error {
	s := m.get()
	defer m.put(s)
	s.calls = s.calls[:0]
	for i := range b.Events {
		if e := &b.Events[i]; e.IsCall && e.Call.No > 0 {
			s.calls = append(s.calls, e.Call)
		}
	}
	if len(s.calls) == 0 && through <= from {
		return nil
	}
	if _, err := m.ask(ctx, len(s.calls), func(ctx context.Context) error {
		return m.Index.Put(ctx, s.calls, from, through)
	}); err != nil {
		return fmt.Errorf("put %d calls of stream %d from %d into the index: %w", len(s.calls), b.Stream, b.First, err)
	}
	return nil
}
