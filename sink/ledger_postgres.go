package sink

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tallyhook/tallyhook/event"
)

// Limits of one posting transaction on Postgres. Nodes post one at a time, so
// whoever stops in the middle must not hold the others up: a holder that says
// nothing is thrown out by the server, one that is cut off by its TCP time-out.
const (
	postTimeMax   = 30 * time.Second // of the whole transaction, waiting for the lock included
	lockWaitMax   = 10 * time.Second // then the post fails and is tried again
	holderIdleMax = 2 * time.Second  // of a holder of the lock between two statements
	statementMax  = 20 * time.Second
)

// ledgerLock is the advisory lock that the posting node holds, until its
// transaction ends: the ASCII of "tally" and the use (store/tx.go lists them).
const ledgerLock = 0x74616c6c79_0003

// streamAliveMax is how long a node that says nothing still counts: parked
// events wait for what its journal may hold.
const streamAliveMax = 30 * time.Second

// ledgerSession is what the ledger's connection is told. Every look-up is by
// key and must stay one whatever the planner thinks of fresh tables, so the
// plans that read whole ones are off.
var ledgerSession = fmt.Sprintf(`SELECT set_config(name, value, false) FROM (VALUES
  ('application_name', 'tallyhook ledger'), ('synchronous_commit', 'on'), ('idle_in_transaction_session_timeout', '%d'),
  ('lock_timeout', '%d'), ('statement_timeout', '%d'), ('tcp_user_timeout', '%d'), ('default_transaction_isolation', 'read committed'),
  ('default_transaction_read_only', 'off'), ('plan_cache_mode', 'force_generic_plan'), ('enable_hashjoin', 'off'), ('enable_mergejoin', 'off'),
  ('enable_seqscan', 'off'), ('jit', 'off')) AS s (name, value)`,
	holderIdleMax.Milliseconds(), lockWaitMax.Milliseconds(), statementMax.Milliseconds(), (2 * holderIdleMax).Milliseconds())

// postgresBooks is the ledger's side of a Postgres store. It has a connection
// of its own, made when it is first needed and again after a fault.
type postgresBooks struct {
	pool *pgxpool.Pool
	conn *pgx.Conn
	rows copyRows
}

// postgresTx is one posting transaction.
type postgresTx struct {
	ctx   context.Context
	end   context.CancelFunc
	books *postgresBooks
	conn  *pgx.Conn
	spoke time.Time // when breathe said something last
}

func (p *postgresBooks) begin(ctx context.Context) (ledgerTx, error) {
	ctx, end := context.WithTimeout(ctx, postTimeMax)
	if p.conn == nil || p.conn.IsClosed() {
		conn, err := p.connect(ctx)
		if err != nil {
			end()
			return nil, fmt.Errorf("connect the ledger: %w", err)
		}
		p.conn = conn
	}
	return &postgresTx{ctx: ctx, end: end, books: p, conn: p.conn}, nil
}

func (p *postgresBooks) connect(ctx context.Context) (*pgx.Conn, error) {
	cfg := p.pool.Config().ConnConfig.Copy()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, ledgerSession, pgx.QueryExecModeExec); err != nil {
		return nil, errors.Join(err, conn.Close(ctx))
	}
	return conn, nil
}

func (p *postgresBooks) close() error {
	if p.conn == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return p.conn.Close(ctx)
}

// commit ends the transaction. An error says nothing about the outcome: the
// answer may have been lost. The next post waits for the lock, so until the
// server is done with this one, and then reads the checkpoint.
func (t *postgresTx) commit() error {
	tag, err := t.conn.Exec(t.ctx, "COMMIT", pgx.QueryExecModeExec)
	if err == nil && tag.String() != "COMMIT" {
		err = fmt.Errorf("the server answered %s", tag)
	}
	if err != nil {
		return fmt.Errorf("commit ledger transaction: %w", err)
	}
	return nil
}

// rollback does nothing after a commit. A connection that does not come back
// clean is given up: its fault must not meet the next batch.
func (t *postgresTx) rollback() {
	defer t.end()
	if t.conn.IsClosed() || t.conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), holderIdleMax)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK", pgx.QueryExecModeExec); err != nil {
		_ = t.conn.Close(ctx)
	}
}

const (
	pgCounters = `SELECT
  coalesce((SELECT max(change_seq) FROM verdict), 0), coalesce((SELECT max(no) FROM posting), 0),
  coalesce((SELECT max(no) FROM call), 0), coalesce((SELECT value::bigint FROM meta WHERE key = 'call_change'), 0),
  coalesce((SELECT max(id) FROM rule), 0), EXISTS (SELECT 1 FROM parked), coalesce((SELECT min(received_at) FROM unmapped), 0),
  coalesce((SELECT max(id) FROM conversion_group), 0), coalesce((SELECT min(convert_by) FROM call WHERE convert_by IS NOT NULL), 0), EXISTS (SELECT 1 FROM ruling),
  coalesce((SELECT min(watermark) FROM stream WHERE stream <> $1 AND seen_at > $2), -1)`
	pgCheckpoint = `SELECT next_seq, writer FROM stream WHERE stream = $1`
	pgCalls      = `SELECT ` + callColumns + `WHERE c.no = ANY($1::bigint[])`
	pgCallsByID  = `SELECT ` + callColumns + `WHERE c.call_id = ANY($1::text[])`
	pgNames      = `SELECT k.i, n.no FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS k (hash, at, i), LATERAL (
  (SELECT no FROM call_key WHERE hash = k.hash AND at <= k.at ORDER BY at DESC LIMIT 256)
  UNION ALL (SELECT no FROM call_key WHERE hash = k.hash AND at > k.at ORDER BY at LIMIT 256)) AS n`
	pgStrong = `SELECT key, stream, seq, n, money, received_at, call, reversed_by FROM identity WHERE key = ANY($1::bytea[])`
	pgWeak   = `SELECT v.weak, v.stream, v.seq, v.n, v.received_at, coalesce(v.call, 0), v.status
FROM unnest($1::bigint[], $2::bytea[]) AS k (hour, key), LATERAL (
  SELECT * FROM verdict WHERE received_at / 3600000000 = k.hour AND weak = k.key AND weak IS NOT NULL) AS v ORDER BY v.change_seq`
	pgAccount    = `INSERT INTO account (kind, owner, currency) VALUES ($1, $2, $3) ON CONFLICT (kind, owner, currency) DO NOTHING RETURNING id`
	pgAccountID  = `SELECT id FROM account WHERE kind = $1 AND owner = $2 AND currency = $3`
	pgRule       = `SELECT campaign, publisher, payout FROM rule WHERE id = $1`
	pgAssigned   = `SELECT coalesce(max(id), 0) FROM rule WHERE campaign = $1 AND publisher = $2`
	pgWaitingFor = `SELECT k.hash, ` + waitingColumns + `JOIN parked_key k ON k.stream = p.stream AND k.seq = p.seq AND k.n = p.n WHERE k.hash = ANY($1::bigint[])
ORDER BY p.stream, p.seq, p.n`
	pgWaitingUntil = `SELECT ` + waitingColumns + `WHERE p.deadline <= $1 ORDER BY p.deadline, p.stream, p.seq, p.n LIMIT $2`
	pgUnmappedOf   = `SELECT u.stream, u.seq, (SELECT max(revision) FROM verdict v WHERE v.stream = u.stream AND v.seq = u.seq AND v.n = 0)
FROM unnest($1::bigint[], $2::bigint[]) AS t (stream, seq) JOIN unmapped u ON u.stream = t.stream AND u.seq = t.seq`
	pgUnmappedTo   = `SELECT seq FROM unmapped WHERE source = $1 AND stream = $2 AND seq <= $3 ORDER BY seq LIMIT $4`
	pgLastUnmapped = `SELECT t.i, coalesce((SELECT max(seq) FROM unmapped u WHERE u.source = t.source AND u.stream = $2), 0)
FROM unnest($1::text[]) WITH ORDINALITY AS t (source, i)`
	pgRecorded = `SELECT ` + recordedColumns + `WHERE stream = $1 AND seq >= $2 AND seq <= $3 ORDER BY seq, n, revision`
	pgChanged  = `SELECT no, call_id, coalesce(ref_id,''), coalesce(network_ids,''), coalesce(caller,''), change_seq FROM call WHERE change_seq > $1 ORDER BY change_seq`
)

// start takes the ledger's lock and reads where it stands, in one round trip.
func (t *postgresTx) start(w *work) error {
	var q pgx.Batch
	q.Queue("BEGIN")
	q.Queue(`SELECT pg_advisory_xact_lock($1)`, int64(ledgerLock))
	q.Queue(pgCounters, int64(w.b.Stream), w.now-streamAliveMax.Microseconds()).QueryRow(func(r pgx.Row) error {
		return r.Scan(&w.change, &w.posting, &w.callNo, &w.callChange, &w.ruleTop, &w.parked, &w.oldest, &w.groupTop, &w.convertBy, &w.ruled, &w.others)
	})
	if w.b.Stream != 0 {
		q.Queue(pgCheckpoint, int64(w.b.Stream)).QueryRow(func(r pgx.Row) error { return r.Scan(&w.next, &w.writer) })
	}
	err := t.conn.SendBatch(t.ctx, &q).Close()
	var fault *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("stream %d is not known to this store: the journal belongs to another one", w.b.Stream)
	case errors.As(err, &fault) && fault.Code == "55P03":
		return fmt.Errorf("begin ledger transaction: another node has held the ledger for %s: %w", lockWaitMax, err)
	}
	return fmt.Errorf("begin ledger transaction: %w", err)
}

// each runs q and calls scan for every row.
func (t *postgresTx) each(scan func(scanner) error, q string, args ...any) error {
	rows, err := t.conn.Query(t.ctx, q, args...)
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

func (t *postgresTx) between(call int64, after, before event.Rank) (s *standing, err error) {
	err = t.each(func(r scanner) (err error) {
		s, err = scanStanding(r)
		return err
	}, qBetween, betweenArgs(call, after, before)...)
	return s, err
}

// breathe keeps the server from taking a holder of the lock that decides much
// at once for one that has frozen.
func (t *postgresTx) breathe() error {
	if now := time.Now(); now.Sub(t.spoke) < holderIdleMax/8 {
		return nil
	}
	t.spoke = time.Now()
	if _, err := t.conn.Exec(t.ctx, "SELECT 1", pgx.QueryExecModeExec); err != nil {
		return fmt.Errorf("ledger transaction: %w", err)
	}
	return nil
}

func (t *postgresTx) accountID(a account) (id int64, err error) {
	err = t.conn.QueryRow(t.ctx, pgAccountID, a.kind, storable(a.owner), storable(a.currency)).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) {
		err = t.conn.QueryRow(t.ctx, pgAccount, a.kind, storable(a.owner), storable(a.currency)).Scan(&id)
	}
	if err != nil {
		return 0, fmt.Errorf("account %s %q %s: %w", a.kind, a.owner, a.currency, err)
	}
	return id, nil
}

func (t *postgresTx) currentRule(a assignment) (id int64, err error) {
	if err = t.conn.QueryRow(t.ctx, pgAssigned, storable(a.campaign), storable(a.publisher)).Scan(&id); err != nil {
		return 0, fmt.Errorf("payout rule of %q in %q: %w", a.publisher, a.campaign, err)
	}
	return id, nil
}

func (t *postgresTx) rule(id int64, a *assignment) (text string, err error) {
	if err = t.conn.QueryRow(t.ctx, pgRule, id).Scan(&a.campaign, &a.publisher, &text); err != nil {
		return "", fmt.Errorf("payout rule %d: %w", id, err)
	}
	return text, nil
}
