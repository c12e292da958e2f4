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

func (s *sqliteBooks) begin(ctx context.Context) (*sqliteTx, error) {
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
  EXISTS (SELECT 1 FROM parked)`
	qCheckpoint = `SELECT next_seq FROM stream WHERE stream = ?`
	qCalls      = `SELECT c.no, c.call_id, coalesce(c.ref_id,''), coalesce(c.key,''), coalesce(c.network_ids,''), coalesce(c.caller,''),
  coalesce(c.started_at,0), coalesce(c.ended_at,0), coalesce(c.duration,-1), coalesce(c.campaign,''), coalesce(c.publisher,''), coalesce(c.buyer,''),
  coalesce(c.qualified,-1), c.ranks, c.change_seq, s.no IS NOT NULL, coalesce(s.currency,''), coalesce(s.value,0), coalesce(s.share,0), coalesce(s.status,''),
  coalesce(s.rule,0), coalesce(s.buyer_account,0), coalesce(s.publisher_account,0), coalesce(s.priced_by,0),
  coalesce(s.rank_at,0), coalesce(s.rank_stream,0), coalesce(s.rank_seq,0), coalesce(s.rank_n,0), coalesce(s.last_posting,0)
FROM call c LEFT JOIN call_state s ON s.no = c.no WHERE `
	qNumbers = `SELECT no FROM (SELECT no FROM call_key WHERE hash = ?1 AND at <= ?2 ORDER BY at DESC LIMIT 256)
UNION ALL SELECT no FROM (SELECT no FROM call_key WHERE hash = ?1 AND at > ?2 ORDER BY at LIMIT 256)`
	qIdentities = `SELECT key, stream, seq, n, money, received_at, call, reversed_by FROM identity WHERE key IN `
	qAccount    = `SELECT id FROM account WHERE kind = ? AND owner = ? AND currency = ?`
	qNewAccount = `INSERT INTO account (kind, owner, currency) VALUES (?, ?, ?) RETURNING id`
	qRule       = `SELECT campaign, publisher, payout FROM rule WHERE id = ?`
	qAssigned   = `SELECT coalesce(max(id), 0) FROM rule WHERE campaign = ? AND publisher = ?`
	qWaiting    = `SELECT p.stream, p.seq, p.n, p.identity, v.revision, v.source, v.received_at, v.kind, coalesce(v.caller,''),
  v.mapper, v.peer, v.us_queue, v.us_map, v.us_match, v.report
FROM parked p JOIN verdict v ON v.stream = p.stream AND v.seq = p.seq AND v.n = p.n AND v.revision =
  (SELECT max(revision) FROM verdict w WHERE w.stream = p.stream AND w.seq = p.seq AND w.n = p.n) `
	qWaitingFor   = qWaiting + `WHERE (p.stream, p.seq, p.n) IN (SELECT stream, seq, n FROM parked_key WHERE hash = ?)`
	qWaitingUntil = qWaiting + `WHERE p.deadline <= ? ORDER BY p.deadline, p.stream, p.seq, p.n LIMIT ?`
	qRecorded     = `SELECT n, revision, change_seq, status, reason, coalesce(detail,''), strategy, candidates, coalesce(call,0), coalesce(call_id,''),
  coalesce(currency,''), coalesce(value,0), delta, share_delta FROM verdict WHERE stream = ? AND seq = ? ORDER BY n, revision`
)

// chunk is how many keys one IN list asks for; shorter lists repeat their last.
const chunk = 64

var inList = "(" + strings.Repeat("?,", chunk-1) + "?)"

// selects lists the queries that are prepared once; allInserts the rest.
func selects() []string {
	return []string{qCounters, qCheckpoint, qCalls + "c.no IN " + inList, qCalls + "c.call_id IN " + inList, qNumbers,
		qIdentities + inList, qWeak + inList, qWeakThrough, qWeakFloor, qAccount, qNewAccount, qRule, qAssigned, qWaitingFor, qWaitingUntil, qRecorded}
}

// begin reads the counters and the stream's checkpoint.
func (w *work) begin() error {
	row := w.tx.stmt(qCounters).QueryRowContext(w.tx.ctx)
	if err := row.Scan(&w.change, &w.posting, &w.callNo, &w.callChange, &w.parked); err != nil {
		return fmt.Errorf("read ledger counters: %w", err)
	}
	w.postingWas = w.posting
	if err := w.tx.syncWeak(w); err != nil {
		return err
	}
	if len(w.b.Records) == 0 {
		return nil
	}
	if err := w.tx.stmt(qCheckpoint).QueryRowContext(w.tx.ctx, int64(w.b.Stream)).Scan(&w.next); err != nil {
		return fmt.Errorf("read checkpoint of stream %d: %w", w.b.Stream, err)
	}
	return nil
}

// each runs q for keys in chunks and calls scan for every row.
func each[K any](t *sqliteTx, q string, keys []K, arg func(K) any, scan func(*sql.Rows) error) error {
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
func (t *sqliteTx) rows(q string, scan func(*sql.Rows) error, args ...any) error {
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
	return each(t, qCalls+"c.no IN "+inList, nos, func(no int64) any { return no }, func(r *sql.Rows) error { return w.scanCall(r) })
}

func (t *sqliteTx) loadCallsByID(ids []string, w *work) error {
	return each(t, qCalls+"c.call_id IN "+inList, ids, func(id string) any { return id }, func(r *sql.Rows) error { return w.scanCall(r) })
}

func (w *work) scanCall(r *sql.Rows) error {
	c := new(callRow)
	s := &c.state
	var networks, status string
	var duration, qualified int64
	var ranks sql.RawBytes
	err := r.Scan(&c.No, &c.CallID, &c.RefID, &c.Key, &networks, &c.Caller, &c.StartedAt, &c.EndedAt, &duration,
		&c.Campaign, &c.Publisher, &c.Buyer, &qualified, &ranks, &c.change, &c.hasState, &s.currency, &s.value, &s.share, &status,
		&s.rule, &s.buyerAccount, &s.publisherAccount, &s.pricedBy, &s.rank.At, &s.rank.ID.Stream, &s.rank.ID.Seq, &s.rank.ID.N, &s.lastPosting)
	if err != nil {
		return err
	}
	if _, known := w.calls[c.No]; known {
		return nil
	}
	if duration >= 0 {
		c.Duration = event.Seconds{N: int32(duration), OK: true}
	}
	switch qualified {
	case 1:
		c.Qualified = event.Yes
	case 0:
		c.Qualified = event.No
	}
	if networks != "" {
		if c.NetworkIDs, err = parseNetworks(networks); err != nil {
			return err
		}
	}
	if c.ranks, err = parseRanks(ranks); err != nil {
		return err
	}
	if c.hasState {
		if s.status, err = event.ParseStatus(status); err != nil {
			return err
		}
	}
	w.add(c)
	return nil
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

// numbers appends the calls that have the name k: of a caller with many, those
// that started nearest to start on either side.
func (t *sqliteTx) numbers(k event.CallKey, start int64, dst []int64) ([]int64, error) {
	err := t.rows(qNumbers, func(r *sql.Rows) error {
		var no int64
		err := r.Scan(&no)
		dst = append(dst, no)
		return err
	}, int64(k), start)
	return dst, err
}

// loadIdentities loads who holds keys, each class from where it is kept.
func (t *sqliteTx) loadIdentities(keys []idKey, w *work) error {
	var strong, weak []idKey
	for _, k := range keys {
		if k[0] == classStrong {
			strong = append(strong, k)
		} else {
			weak = append(weak, k)
		}
	}
	digest := func(k idKey) any { return k[1:] }
	err := each(t, qIdentities+inList, strong, digest, func(r *sql.Rows) error {
		var key, money sql.RawBytes
		i := &identity{stored: true}
		if err := r.Scan(&key, &i.id.Stream, &i.id.Seq, &i.id.N, &money, &i.receivedAt, &i.call, &i.reversedBy); err != nil {
			return err
		}
		if len(money) != len(i.money) {
			return fmt.Errorf("identity of event %s has %d bytes of money digest", i.id, len(money))
		}
		copy(i.money[:], money)
		return w.hasIdentity(classStrong, key, i)
	})
	if err != nil {
		return err
	}
	return each(t, qWeak+inList, weak, digest, func(r *sql.Rows) error {
		var key sql.RawBytes
		i := new(identity)
		if err := r.Scan(&key, &i.id.Stream, &i.id.Seq, &i.id.N, &i.receivedAt, &i.call); err != nil {
			return err
		}
		return w.hasIdentity(classWeak, key, i)
	})
}

// hasIdentity takes a loaded identity unless this batch has it already.
func (w *work) hasIdentity(class byte, key []byte, i *identity) error {
	if len(key) != len(event.Digest{}) {
		return fmt.Errorf("identity of event %s has a key of %d bytes", i.id, len(key))
	}
	if k := keyOf(class, event.Digest(key)); w.ids[k] == nil {
		w.ids[k] = i
	}
	return nil
}

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
