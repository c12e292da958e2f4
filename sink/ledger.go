// Package sink is where events end: the ledger, which decides and books, and
// the activity and books that people read.
//
// Ledger.Post takes one batch through one transaction. Everything that makes a
// verdict is read inside it, and the events are walked in journal order:
//
//	load    identities, calls and what is booked on them, for the whole batch
//	walk    per event: identity → match → assignment, in memory (work)
//	flush   calls, postings, transfers, balances, identities, verdicts, checkpoint
//
// The walk sees what earlier events of the same batch did, because it works on
// the loaded rows themselves; a key that occurs twice in a batch is one row.
// Balances are computed by the database from the transfers just written.
package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"database/sql"

	"github.com/tallyhook/tallyhook/event"
)

// ErrFenced says that another writer has moved this stream's checkpoint: this
// process must stop posting and start again from what is recorded.
var ErrFenced = errors.New("ledger: another writer has moved the stream's checkpoint")

// ErrGap says that a batch begins beyond the stream's checkpoint: records
// between them are missing.
var ErrGap = errors.New("ledger: the batch begins beyond the stream's checkpoint")

// Ledger posts batches. One goroutine uses it at a time.
type Ledger struct {
	// Decide chooses a report's call among candidates.
	Decide event.Decide
	// Policy gives a source's policy for events that were parked, nil when the
	// source is gone.
	Policy func(source string) *event.Policy
	// Now is the clock of decided_at.
	Now func() time.Time

	db       *sqliteBooks
	raw      *Raw
	rules    map[int64]*rule   // by id; a rule never changes
	accounts map[account]int64 // committed ones; an account never changes
	recent   []recentCall      // upserts that the index may not have yet, by rising change
	floor    int64             // recent is complete above this change number
	calls    int64             // change number of the newest upsert that this ledger knows of
	slice    byte              // of the weak identities, to be cleared of forgotten ones next
	swept    int64             // when the last one was, in stream time
}

// OpenLedger prepares a ledger on the store's write handle, which must have
// exactly one connection and the current schema.
func OpenLedger(ctx context.Context, db *sql.DB, decide event.Decide, policy func(string) *event.Policy, now func() time.Time) (*Ledger, error) {
	raw, err := NewRaw()
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	return &Ledger{Decide: decide, Policy: policy, Now: now, db: &sqliteBooks{db: db}, raw: raw,
		rules: map[int64]*rule{}, accounts: map[account]int64{}, calls: unknownCalls}, nil
}

const unknownCalls = -1

// Close releases the prepared statements; the handle stays the store's.
func (l *Ledger) Close() error { return l.db.close() }

// Result says what a Post changed.
type Result struct {
	CallsThrough int64 // change number of the newest call upsert in the store
	Settled      int   // parked events that were decided by this batch
}

// Post decides and books every event of b in one transaction and fills in the
// recorded verdicts. When it returns an error nothing has happened, or, after a
// lost answer to the commit, everything has: posting the same batch again
// finds the checkpoint moved and only reads the verdicts back.
//
// A batch without records settles what is due by b.Watermark. Events of b that
// are calls have their merged Call afterwards.
func (l *Ledger) Post(ctx context.Context, b *event.Batch) (Result, error) {
	tx, err := l.db.begin(ctx)
	if err != nil {
		return Result{}, err
	}
	defer tx.rollback()
	w, err := l.walk(tx, b)
	if err != nil {
		return Result{}, err
	}
	if err := tx.flush(w); err != nil {
		return Result{}, err
	}
	if err := tx.commit(); err != nil {
		// Nobody knows whether it happened: what the index is told next is not all.
		l.floor, l.calls = max(l.floor, w.callChange), unknownCalls
		return Result{}, err
	}
	l.calls = w.callChange
	for _, t := range w.told {
		t.tell()
	}
	for a, id := range w.newAccounts {
		l.accounts[a] = id
	}
	l.recent = append(l.recent, w.recent...)
	return Result{CallsThrough: w.callChange, Settled: w.settled}, nil
}

// walk loads what b needs and decides its events one after the other.
func (l *Ledger) walk(tx *sqliteTx, b *event.Batch) (*work, error) {
	w := newWork(l, tx, b)
	err := w.begin()
	if err != nil {
		return nil, err
	}
	if len(b.Records) > 0 && b.First > w.next {
		return nil, fmt.Errorf("%w: stream %d, checkpoint %d, batch from %d", ErrGap, b.Stream, w.next, b.First)
	}
	fresh := b.Events
	for len(fresh) > 0 && fresh[0].ID.Seq < w.next {
		fresh = fresh[1:]
	}
	if err = w.recorded(b.Events[:len(b.Events)-len(fresh)]); err != nil {
		return nil, err
	}
	if l.calls != unknownCalls && l.calls != w.callChange {
		return nil, fmt.Errorf("%w: another node has told this store of calls; one node at a time may use a SQLite store", ErrFenced)
	}
	w.overlay()
	if err := w.load(fresh); err != nil {
		return nil, err
	}
	for i := range fresh {
		e := &fresh[i]
		if e.IsCall {
			err = w.upsert(e)
		} else {
			err = w.report(e)
		}
		if err != nil {
			return nil, fmt.Errorf("post event %s: %w", e.ID, err)
		}
	}
	if err := w.expire(); err != nil {
		return nil, err
	}
	return w, nil
}
