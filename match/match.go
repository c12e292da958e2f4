// Package match finds the phone call that each report pays for.
//
// Three things live here. An Index remembers the recent calls by their names,
// a Deduper which event claimed an identity first; both are caches that may
// forget or lag, and what they say travels with the batch as hints. Decide is
// the rule itself, a pure function of a report and its candidates, which the
// ledger applies inside its transaction to calls that it has read there.
//
// A Matcher carries a batch to both caches: Find before the ledger, Put after
// its commit. Neither can make money wrong, only the ledger slower.
package match

import (
	"context"
	"fmt"
	"sync"

	"github.com/tallyhook/tallyhook/event"
)

// Matcher asks the index and the deduper on behalf of whole batches. It may
// be used by many goroutines at once, each with its own batch.
type Matcher struct {
	Index  Index
	Dedupe Deduper

	mu   sync.Mutex
	free []*scratch
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
// store. After an error Find may be called again with the same batch.
func (m *Matcher) Find(ctx context.Context, b *event.Batch) error {
	s := m.get()
	defer m.put(s)
	if err := m.claim(ctx, b, s); err != nil {
		return fmt.Errorf("claim %d identities of stream %d from %d: %w", len(s.keys), b.Stream, b.First, err)
	}
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
		return fmt.Errorf("find calls for %d reports of stream %d from %d: %w", len(s.wants), b.Stream, b.First, err)
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
// committed as change number through at the latest; batches come in the order
// of their commits. After an error Put may be called again.
func (m *Matcher) Put(ctx context.Context, b *event.Batch, through int64) error {
	s := m.get()
	defer m.put(s)
	s.calls = s.calls[:0]
	for i := range b.Events {
		if e := &b.Events[i]; e.IsCall && e.Call.No > 0 {
			s.calls = append(s.calls, e.Call)
		}
	}
	if err := m.Index.Put(ctx, s.calls, through); err != nil {
		return fmt.Errorf("put %d calls of stream %d from %d into the index: %w", len(s.calls), b.Stream, b.First, err)
	}
	return nil
}
