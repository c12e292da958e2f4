package sink

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tallyhook/tallyhook/event"
)

// sqliteBooks is the ledger's side of the embedded store.
type sqliteBooks struct {
	db    *sql.DB
	stmts map[string]*sql.Stmt
}

// sqliteTx is one posting transaction. Statements run without the caller's
// cancellation: a transaction is short, and watching a context costs more than
// a statement does; the context is asked once, at begin.
type sqliteTx struct {
	ctx   context.Context
	books *sqliteBooks
	tx    *sql.Tx
	stmts map[string]*sql.Stmt
	args  []any // scratch of insert.run
}

func (s *sqliteBooks) begin(ctx context.Context) (ledgerTx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := makeWeak(ctx, s.db); err != nil { // again each time: the connection may be a new one
		return nil, err
	}
	if s.stmts == nil {
		stmts, err := prepareAll(ctx, s.db)
		if err != nil {
			return nil, fmt.Errorf("prepare ledger statements: %w", err)
		}
		s.stmts = stmts
	}
	ctx = context.WithoutCancel(ctx)
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin ledger transaction: %w", err)
	}
	return &sqliteTx{ctx: ctx, books: s, tx: tx, stmts: make(map[string]*sql.Stmt, 32)}, nil
}

func (s *sqliteBooks) close() error {
	var errs []error
	for _, st := range s.stmts {
		errs = append(errs, st.Close())
	}
	s.stmts = nil
	return errors.Join(errs...)
}

func prepareAll(ctx context.Context, db *sql.DB) (map[string]*sql.Stmt, error) {
	stmts := map[string]*sql.Stmt{}
	for _, q := range append(selects(), writes()...) {
		st, err := db.PrepareContext(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q, err)
		}
		stmts[q] = st
	}
	return stmts, nil
}

// stmt gives the prepared statement of a query inside the transaction.
func (t *sqliteTx) stmt(q string) *sql.Stmt {
	if st := t.stmts[q]; st != nil {
		return st
	}
	base := t.books.stmts[q]
	if base == nil {
		panic("bug: ledger statement was not prepared: " + q)
	}
	st := t.tx.StmtContext(t.ctx, base)
	t.stmts[q] = st
	return st
}

func (t *sqliteTx) commit() error {
	if err := t.tx.Commit(); err != nil {
		return fmt.Errorf("commit ledger transaction: %w", err)
	}
	return nil
}

// rollback does nothing after a commit.
func (t *sqliteTx) rollback() { _ = t.tx.Rollback() }

const (
	qCounters = `SELECT
  coalesce((SELECT max(change_seq) FROM verdict), 0), coalesce((SELECT max(no) FROM posting), 0),
  coalesce((SELECT max(no) FROM call), 0), coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'call_change'), 0),
  coalesce((SELECT max(id) FROM rule), 0), EXISTS (SELECT 1 FROM parked), coalesce((SELECT min(received_at) FROM unmapped), 0),
  coalesce((SELECT max(id) FROM conversion_group), 0), coalesce((SELECT min(convert_by) FROM call WHERE convert_by IS NOT NULL), 0), EXISTS (SELECT 1 FROM ruling)`
	qCheckpoint = `SELECT next_seq, writer FROM stream WHERE stream = ?`
	qCalls      = `SELECT ` + callColumns + `WHERE `
	qNumbers    = `SELECT no FROM (SELECT no FROM call_key WHERE hash = ?1 AND at <= ?2 ORDER BY at DESC LIMIT 256)
UNION ALL SELECT no FROM (SELECT no FROM call_key WHERE hash = ?1 AND at > ?2 ORDER BY at LIMIT 256)`
	qIdentities   = `SELECT key, stream, seq, n, money, received_at, call, reversed_by FROM identity WHERE key IN `
	qAccount      = `SELECT id FROM account WHERE kind = ? AND owner = ? AND currency = ?`
	qNewAccount   = `INSERT INTO account (kind, owner, currency) VALUES (?, ?, ?) RETURNING id`
	qRule         = `SELECT campaign, publisher, payout FROM rule WHERE id = ?`
	qAssigned     = `SELECT coalesce(max(id), 0) FROM rule WHERE campaign = ? AND publisher = ?`
	qWaitingFor   = `SELECT ` + waitingColumns + `WHERE (p.stream, p.seq, p.n) IN (SELECT stream, seq, n FROM parked_key WHERE hash = ?)`
	qWaitingUntil = `SELECT ` + waitingColumns + `WHERE p.deadline <= ? ORDER BY p.deadline, p.stream, p.seq, p.n LIMIT ?`
	qUnmapped     = `SELECT (SELECT max(revision) FROM verdict v WHERE v.stream = u.stream AND v.seq = u.seq AND v.n = 0) FROM unmapped u WHERE u.stream = ? AND u.seq = ?`
	qUnmappedTo   = `SELECT seq FROM unmapped WHERE source = ? AND stream = ? AND seq <= ? ORDER BY seq LIMIT ?`
	qLastUnmapped = `SELECT coalesce(max(seq), 0) FROM unmapped WHERE source = ? AND stream = ?`
	qRecorded     = `SELECT ` + recordedColumns + `WHERE stream = ? AND seq >= ? AND seq <= ? ORDER BY seq, n, revision`
)

// chunk is how many keys one IN list asks for; shorter lists repeat their last.
const chunk = 64

var inList = "(" + strings.Repeat("?,", chunk-1) + "?)"

// selects lists the queries that are prepared once; allInserts the rest.
func selects() []string {
	return []string{qCounters, qCheckpoint, qCalls + "c.no IN " + inList, qCalls + "c.call_id IN " + inList, qNumbers,
		qIdentities + inList, qWeak + inList, qWeakThrough, qWeakFloor, qAccount, qNewAccount, qRule, qAssigned, qWaitingFor, qWaitingUntil, qUnmapped, qUnmappedTo, qLastUnmapped, qRecorded, qBetween,
		qComponents, qDayTotal, qRuled, qCurrentGroup, qGroup, qOverdue, qLastConversion}
}

func (t *sqliteTx) start(w *work) error {
	row := t.stmt(qCounters).QueryRowContext(t.ctx)
	if err := row.Scan(&w.change, &w.posting, &w.callNo, &w.callChange, &w.ruleTop, &w.parked, &w.oldest, &w.groupTop, &w.convertBy, &w.ruled); err != nil {
		return fmt.Errorf("read ledger counters: %w", err)
	}
	if err := t.syncWeak(w); err != nil {
		return err
	}
	if w.b.Stream == 0 {
		return nil
	}
	if err := t.stmt(qCheckpoint).QueryRowContext(t.ctx, int64(w.b.Stream)).Scan(&w.next, &w.writer); err != nil {
		return fmt.Errorf("read checkpoint of stream %d: %w", w.b.Stream, err)
	}
	return nil
}

// changedCalls is never asked for by a lone node: who wrote here meanwhile has
// no business with this file.
func (t *sqliteTx) changedCalls(_, _ int64, _ []recentCall) ([]recentCall, bool, error) {
	return nil, false, fmt.Errorf("%w: another node has told this store of calls; one node at a time may use a SQLite store", ErrFenced)
}

// each runs q for keys in chunks and calls scan for every row.
func each[K any](t *sqliteTx, q string, keys []K, arg func(K) any, scan func(scanner) error) error {
	args := make([]any, chunk)
	for len(keys) > 0 {
		n := min(chunk, len(keys))
		for i := range args {
			args[i] = arg(keys[min(i, n-1)])
		}
		keys = keys[n:]
		if err := t.rows(q, scan, args...); err != nil {
			return err
		}
	}
	return nil
}

// rows runs q and calls scan for every row.
func (t *sqliteTx) rows(q string, scan func(scanner) error, args ...any) error {
	rows, err := t.stmt(q).QueryContext(t.ctx, args...)
	if err != nil {
		return fmt.Errorf("ledger query: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return fmt.Errorf("ledger query: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("ledger query: %w", err)
	}
	return nil
}

func (t *sqliteTx) loadCalls(nos []int64, w *work) error {
	return each(t, qCalls+"c.no IN "+inList, nos, func(no int64) any { return no }, w.scanCall)
}

func (t *sqliteTx) loadCallsByID(ids []string, w *work) error {
	return each(t, qCalls+"c.call_id IN "+inList, ids, func(id string) any { return id }, w.scanCall)
}

func parseNetworks(text string) (ids []event.Pair, err error) {
	var m map[string]string
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return nil, fmt.Errorf("call.network_ids: %w", err)
	}
	for k, v := range m {
		ids = append(ids, event.Pair{Name: k, Value: v})
	}
	return ids, nil
}

// loadNames asks for each name: of a caller with many calls, those that
// started nearest to its time on either side.
func (t *sqliteTx) loadNames(names []callName, w *work) error {
	for _, name := range names {
		var nos []int64
		err := t.rows(qNumbers, func(r scanner) error {
			var no int64
			err := r.Scan(&no)
			nos = append(nos, no)
			return err
		}, int64(name.key), name.at)
		if err != nil {
			return err
		}
		w.named[name] = nos
	}
	return nil
}

// loadIdentities loads who holds keys, each class from where it is kept.
func (t *sqliteTx) loadIdentities(want []wantedIdentity, w *work) error {
	var strong, weak []idKey
	holders := make(weakHolders, len(want))
	for _, i := range want {
		if i.key[0] == classStrong {
			strong = append(strong, i.key)
		} else {
			weak = append(weak, i.key)
			holders.want(i)
		}
	}
	digest := func(k idKey) any { return k[1:] }
	if err := each(t, qIdentities+inList, strong, digest, w.scanStrong); err != nil {
		return err
	}
	err := each(t, qWeak+inList, weak, digest, func(r scanner) error {
		var key []byte
		i := new(identity)
		if err := r.Scan(&key, &i.id.Stream, &i.id.Seq, &i.id.N, &i.receivedAt, &i.call, &i.change); err != nil {
			return err
		}
		return holders.hear(key, i, false)
	})
	holders.into(w)
	return err
}

func (t *sqliteTx) between(call int64, after, before event.Rank) (s *standing, err error) {
	err = t.rows(qBetween, func(r scanner) (err error) {
		s, err = scanStanding(r)
		return err
	}, betweenArgs(call, after, before)...)
	return s, err
}

func (t *sqliteTx) breathe() error { return nil }

func (t *sqliteTx) accountID(a account) (id int64, err error) {
	err = t.stmt(qAccount).QueryRowContext(t.ctx, a.kind, a.owner, a.currency).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		err = t.stmt(qNewAccount).QueryRowContext(t.ctx, a.kind, a.owner, a.currency).Scan(&id)
	}
	if err != nil {
		return 0, fmt.Errorf("account %s %q %s: %w", a.kind, a.owner, a.currency, err)
	}
	return id, nil
}

func (t *sqliteTx) currentRule(a assignment) (id int64, err error) {
	if err = t.stmt(qAssigned).QueryRowContext(t.ctx, a.campaign, a.publisher).Scan(&id); err != nil {
		return 0, fmt.Errorf("payout rule of %q in %q: %w", a.publisher, a.campaign, err)
	}
	return id, nil
}

func (t *sqliteTx) rule(id int64, a *assignment) (text string, err error) {
	if err = t.stmt(qRule).QueryRowContext(t.ctx, id).Scan(&a.campaign, &a.publisher, &text); err != nil {
		return "", fmt.Errorf("payout rule %d: %w", id, err)
	}
	return text, nil
}
