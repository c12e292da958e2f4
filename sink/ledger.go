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
//
// Load and flush are a backend's, the walk is the same for all. On Postgres
// several nodes post to one ledger, one at a time under its lock; each brings
// what the others have done since into what it remembers.
package sink

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallyhook/tallyhook/event"
)

// ErrFenced says that another writer has moved this stream's checkpoint: this
// process must stop posting and start again from what is recorded.
var ErrFenced = errors.New("ledger: another writer has moved the stream's checkpoint")

// ErrGap says that a batch begins beyond the stream's checkpoint: records
// between them are missing.
var ErrGap = errors.New("ledger: the batch begins beyond the stream's checkpoint")

// LedgerConfig says where a ledger is kept and what it decides with. Exactly
// one of the backends is set.
type LedgerConfig struct {
	SQLite   *sql.DB       // the embedded store's write handle: exactly one connection
	Postgres *pgxpool.Pool // whose settings the ledger's own connection takes over

	// Decide chooses a report's call among candidates.
	Decide event.Decide
	// Policy gives a source's policy for events that were parked, nil when the
	// source is gone.
	Policy func(source string) *event.Policy
	// Now is the clock of decided_at.
	Now func() time.Time
}

// Ledger posts batches. One goroutine uses it at a time.
type Ledger struct {
	LedgerConfig

	db       ledgerDB
	raw      *Raw
	writer   string               // this process, in stream.writer
	mine     map[uint32]bool      // streams whose writer this process is
	rules    map[int64]*rule      // by id; a rule never changes
	rulesTo  int64                // id of the newest rule that assigned knows of
	groups   map[int64]*group     // by id; a conversion group never changes
	grouped  map[string]int64     // campaign → current group, 0 none
	groupsTo int64                // id of the newest group that grouped knows of
	assigned map[assignment]int64 // campaign and publisher → current rule, 0 none
	accounts map[account]int64    // committed ones; an account never changes
	recent   []recentCall         // upserts that the index may not have yet, by rising change
	floor    int64                // recent is complete above this change number
	calls    int64                // change number of the newest upsert that this ledger knows of
	slice    byte                 // of the weak identities, to be cleared of forgotten ones next
	swept    int64                // when the last one was, in stream time
}

// OpenLedger prepares a ledger on a store with the current schema. It asks
// nothing of the store yet: a node may start while that is away.
func OpenLedger(cfg LedgerConfig) (*Ledger, error) {
	raw, err := NewRaw()
	if err != nil {
		return nil, fmt.Errorf("open ledger: %w", err)
	}
	l := &Ledger{LedgerConfig: cfg, raw: raw, writer: rand.Text(), mine: map[uint32]bool{},
		rules: map[int64]*rule{}, groups: map[int64]*group{}, grouped: map[string]int64{}, assigned: map[assignment]int64{}, accounts: map[account]int64{}, calls: unknownCalls}
	if cfg.Postgres != nil {
		l.db = &postgresBooks{pool: cfg.Postgres}
	} else {
		l.db = &sqliteBooks{db: cfg.SQLite}
	}
	return l, nil
}

const unknownCalls = -1

// Close releases what the ledger holds of the store; the handle stays the
// store's.
func (l *Ledger) Close() error { return l.db.close() }

// Result says what a Post changed.
type Result struct {
	CallsFrom    int64 // change number of the newest call upsert before this batch
	CallsThrough int64 // and after it: those between are the batch's own
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
	if w.claims {
		l.mine[b.Stream] = true
	}
	for _, t := range w.told {
		t.tell()
	}
	for a, id := range w.newAccounts {
		l.accounts[a] = id
	}
	l.recent = append(l.recent, w.recent...)
	return Result{CallsFrom: w.callChangeWas, CallsThrough: w.callChange, Settled: w.settled}, nil
}

// walk loads what b needs and decides its events one after the other.
func (l *Ledger) walk(tx ledgerTx, b *event.Batch) (*work, error) {
	w := newWork(l, tx, b)
	if err := w.begin(); err != nil {
		return nil, err
	}
	again := comesAgain(b.Events)
	rest := b.Events[len(again):]
	fresh := rest
	for len(fresh) > 0 && fresh[0].ID.Seq < w.next {
		fresh = fresh[1:]
	}
	done := rest[:len(rest)-len(fresh)]
	if err := w.recorded(done); err != nil {
		return nil, err
	}
	w.overlay()
	fresh, err := w.queue(again, fresh)
	if err != nil {
		return nil, err
	}
	b.Events = b.Events[:len(again)+len(done)+len(fresh)]
	if err := w.load(again, fresh); err != nil {
		return nil, err
	}
	for i := range again {
		if err := w.reportAgain(&again[i]); err != nil {
			return nil, fmt.Errorf("post event %s again: %w", again[i].ID, err)
		}
	}
	for i := range fresh {
		e := &fresh[i]
		var err error
		if e.IsCall {
			err = w.upsert(e)
		} else {
			err = w.report(e, 0)
		}
		if err != nil {
			return nil, fmt.Errorf("post event %s: %w", e.ID, err)
		}
	}
	for _, end := range []func() error{w.expire, w.giveUp, w.carryOut} {
		if err := end(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// begin opens the transaction's view: where the store stands, whether this
// process may write for the stream, and what others have done meanwhile.
func (w *work) begin() error {
	if err := w.tx.start(w); err != nil {
		return err
	}
	l, b := w.l, w.b
	w.postingWas, w.callChangeWas = w.posting, w.callChange
	if b.Stream != 0 {
		switch {
		case l.mine[b.Stream] && w.writer != l.writer: // also without records: what waits is not its own to end
			return fmt.Errorf("%w (stream %d: another process has taken it over)", ErrFenced, b.Stream)
		case len(b.Records) > 0 && b.First > w.next:
			return fmt.Errorf("%w: stream %d, checkpoint %d, batch from %d", ErrGap, b.Stream, w.next, b.First)
		}
	}
	if w.ruleTop != l.rulesTo {
		clear(l.assigned)
		l.rulesTo = w.ruleTop
	}
	if w.groupTop != l.groupsTo {
		clear(l.grouped)
		l.groupsTo = w.groupTop
	}
	return w.hear()
}

// hear takes in which calls other nodes have told the store of. When those are
// too many to read here, look-ups are confirmed in the store until the index
// knows them.
func (w *work) hear() error {
	l := w.l
	if l.calls == w.callChange {
		return nil
	}
	heard := false
	if l.calls != unknownCalls && l.calls < w.callChange { // a store that went back has told nothing
		recent, all, err := w.tx.changedCalls(l.calls, w.callChange, l.recent[:len(l.recent):len(l.recent)])
		if err != nil {
			return err
		}
		l.recent, heard = recent, all
	}
	if !heard {
		l.recent, l.floor = nil, w.callChange
	}
	l.calls = w.callChange
	return nil
}

// advances reports whether the batch moves its stream's checkpoint.
func (w *work) advances() bool { return len(w.b.Records) > 0 && w.b.Next > w.next }
