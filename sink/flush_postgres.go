package sink

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tallyhook/tallyhook/event"
)

// Rows that only ever append (postings, transfers, verdicts) are copied. Those
// that may be there already are merged from arrays, one element per row; a key
// occurs once, for the working set is a map: twice in one statement would be
// refused by ON CONFLICT DO UPDATE, and let pass with two sets of lines by
// ON CONFLICT DO NOTHING.
const (
	pgPutCalls = `INSERT INTO call (no, call_id, ref_id, key, network_ids, caller, started_at, ended_at, duration, campaign, publisher, buyer, qualified, ranks, change_seq, target, convert_by, converts)
SELECT no, call_id, nullif(ref_id,''), nullif(key,''), nullif(network_ids,''), nullif(caller,''), nullif(started_at,0), nullif(ended_at,0), nullif(duration,-1),
  nullif(campaign,''), nullif(publisher,''), nullif(buyer,''), nullif(qualified,-1), ranks, change_seq, nullif(target,''), nullif(convert_by,0), converts
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::bytea[], $15::bigint[], $16::text[], $17::bigint[], $18::bigint[])
  AS t (no, call_id, ref_id, key, network_ids, caller, started_at, ended_at, duration, campaign, publisher, buyer, qualified, ranks, change_seq, target, convert_by, converts)
ON CONFLICT (no) DO UPDATE SET ref_id = excluded.ref_id, key = excluded.key, network_ids = excluded.network_ids, caller = excluded.caller,
started_at = excluded.started_at, ended_at = excluded.ended_at, duration = excluded.duration, campaign = excluded.campaign, publisher = excluded.publisher,
buyer = excluded.buyer, qualified = excluded.qualified, ranks = excluded.ranks, change_seq = excluded.change_seq, convert_by = excluded.convert_by, converts = excluded.converts`
	pgPutKeys  = `INSERT INTO call_key (hash, at, no) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) ON CONFLICT DO NOTHING`
	pgDropKeys = `DELETE FROM call_key k USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (hash, at, no) WHERE k.hash = t.hash AND k.at = t.at AND k.no = t.no`
	pgChange   = `INSERT INTO meta (key, value) VALUES ('call_change', $1::bigint::text) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
	pgPutState = `INSERT INTO call_state (no, currency, value, share, status, rule, buyer_account, publisher_account, priced_by, rank_at, rank_stream, rank_seq, rank_n, last_posting, parts, word, share_currency)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::text[], $17::text[])
ON CONFLICT (no) DO UPDATE SET currency = excluded.currency, value = excluded.value, share = excluded.share, status = excluded.status, rule = excluded.rule,
buyer_account = excluded.buyer_account, publisher_account = excluded.publisher_account, priced_by = excluded.priced_by, rank_at = excluded.rank_at,
rank_stream = excluded.rank_stream, rank_seq = excluded.rank_seq, rank_n = excluded.rank_n, last_posting = excluded.last_posting,
parts = excluded.parts, word = excluded.word, share_currency = excluded.share_currency`
	pgPutIdentities = `INSERT INTO identity (key, stream, seq, n, money, received_at, call, reversed_by)
SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bigint[], $7::bigint[], $8::text[])
ON CONFLICT (key) DO UPDATE SET stream = excluded.stream, seq = excluded.seq, n = excluded.n, money = excluded.money,
received_at = excluded.received_at, call = excluded.call, reversed_by = excluded.reversed_by`
	pgDropIdentities = `DELETE FROM identity WHERE key = ANY($1::bytea[])`
	pgPark           = `INSERT INTO parked (stream, seq, n, deadline, identity) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[])`
	pgParkKeys       = `INSERT INTO parked_key (hash, stream, seq, n) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) ON CONFLICT DO NOTHING`
	pgUnpark         = `DELETE FROM parked p USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (stream, seq, n) WHERE p.stream = t.stream AND p.seq = t.seq AND p.n = t.n`
	pgUnparkKeys     = `DELETE FROM parked_key p USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (stream, seq, n) WHERE p.stream = t.stream AND p.seq = t.seq AND p.n = t.n`
	pgUnmapped       = `INSERT INTO unmapped (stream, seq, source, flags, received_at) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[])`
	pgMapped         = `DELETE FROM unmapped u USING unnest($1::bigint[], $2::bigint[]) AS t (stream, seq) WHERE u.stream = t.stream AND u.seq = t.seq`
	pgBalances       = `INSERT INTO balance (account, debits, credits, last_posting)
SELECT account, sum(d)::bigint, sum(c)::bigint, max(posting) FROM (
  SELECT debit_account AS account, amount AS d, 0 AS c, posting FROM transfer WHERE posting > $1
  UNION ALL SELECT credit_account, 0, amount, posting FROM transfer WHERE posting > $1) AS t
GROUP BY account ORDER BY account
ON CONFLICT (account) DO UPDATE SET debits = balance.debits + excluded.debits, credits = balance.credits + excluded.credits, last_posting = excluded.last_posting`
	pgAdvance = `UPDATE stream SET next_seq = $1, received_at = $2, writer = $3, seen_at = $4, watermark = greatest(watermark, $5) WHERE stream = $6 AND next_seq = $7 AND ($8 OR writer = $3)`
	pgAlive   = `UPDATE stream SET seen_at = $1, watermark = greatest(watermark, $2), writer = $4 WHERE stream = $3 AND ($5 OR writer = $4)`

	intoPosting  = `posting (no, stream, seq, n, call, cause, source, received_at, currency, value, share, delta, share_delta, rule, share_currency)`
	intoTransfer = `transfer (posting, line, debit_account, credit_account, amount, currency)`
	intoVerdict  = `verdict (change_seq, stream, seq, n, revision, final, status, reason, detail, weak, weak_until, source, received_at, decided_at, kind, strategy, candidates, considered,
call, call_id, call_caller, caller, duration, payout, currency, value, delta, share_delta, mapper, fuel, peer, us_queue, us_map, us_match, us_total, report, raw)`
	verdictColumns = 37
)

// flush writes in four steps: what is merged, postings, transfers and verdicts
// by COPY, then the balances from the transfers just written and the
// checkpoint.
func (t *postgresTx) flush(w *work) error {
	var q pgx.Batch
	t.queueCalls(&q, w)
	t.queueStates(&q, w)
	t.queueIdentities(&q, w)
	t.queueParked(&q, w)
	t.queueUnmapped(&q, w)
	t.queueSettlement(&q, w)
	if err := t.send(&q); err != nil {
		return err
	}
	for _, step := range []func(*work) error{t.copyPostings, t.copyTransfers, t.copyVerdicts} {
		if err := step(w); err != nil {
			return err
		}
	}
	q = pgx.Batch{}
	if len(w.transfers) > 0 {
		q.Queue(pgBalances, w.postingWas)
	}
	t.queueCheckpoint(&q, w)
	return t.send(&q)
}

func (t *postgresTx) send(q *pgx.Batch) error {
	if q.Len() == 0 {
		return nil
	}
	if err := t.conn.SendBatch(t.ctx, q).Close(); err != nil {
		if errors.Is(err, ErrFenced) {
			return err
		}
		return fmt.Errorf("ledger write: %w", err)
	}
	return nil
}

// arrays gathers the columns of one statement: one array each, with one
// element per row.
type arrays struct {
	ints  [][]int64
	texts [][]string
	blobs [][][]byte
}

func newArrays(rows, ints, texts, blobs int) arrays {
	a := arrays{make([][]int64, ints), make([][]string, texts), make([][][]byte, blobs)}
	for i := range a.ints {
		a.ints[i] = make([]int64, 0, rows)
	}
	for i := range a.texts {
		a.texts[i] = make([]string, 0, rows)
	}
	for i := range a.blobs {
		a.blobs[i] = make([][]byte, 0, rows)
	}
	return a
}

func (a *arrays) addInts(v ...int64) {
	for i, n := range v {
		a.ints[i] = append(a.ints[i], n)
	}
}

func (a *arrays) addTexts(v ...string) {
	for i, s := range v {
		a.texts[i] = append(a.texts[i], storable(s))
	}
}

func (t *postgresTx) queueCalls(q *pgx.Batch, w *work) {
	dirty := w.dirtyCalls()
	if len(dirty) == 0 {
		return
	}
	a := newArrays(len(dirty), 8, 9, 1)
	for _, c := range dirty {
		duration, qualified := int64(-1), int64(-1)
		if c.Duration.OK {
			duration = int64(c.Duration.N)
		}
		if c.Qualified != event.Unknown {
			qualified = int64(event.No - c.Qualified)
		}
		networks, _ := networksJSON(c.NetworkIDs).(string)
		a.addInts(c.No, c.StartedAt, c.EndedAt, duration, qualified, c.change, c.convertBy, int64(c.converts))
		a.addTexts(c.CallID, c.RefID, c.Key, networks, c.Caller, c.Campaign, c.Publisher, c.Buyer, c.target)
		a.blobs[0] = append(a.blobs[0], appendRanks([]byte{}, c.ranks))
	}
	i, s := a.ints, a.texts
	q.Queue(pgPutCalls, i[0], s[0], s[1], s[2], s[3], s[4], i[1], i[2], i[3], s[5], s[6], s[7], i[4], a.blobs[0], i[5], s[8], i[6], i[7])
	gained, lost := namesChanged(dirty)
	for _, k := range []struct {
		sql  string
		keys []numberedName
	}{{pgDropKeys, lost}, {pgPutKeys, gained}} {
		if len(k.keys) == 0 {
			continue
		}
		a := newArrays(len(k.keys), 3, 0, 0)
		for _, n := range k.keys {
			a.addInts(int64(n.key), n.at, n.no)
		}
		q.Queue(k.sql, a.ints[0], a.ints[1], a.ints[2])
	}
	q.Queue(pgChange, w.callChange)
}

func (t *postgresTx) queueStates(q *pgx.Batch, w *work) {
	dirty := w.dirtyStates()
	if len(dirty) == 0 {
		return
	}
	a := newArrays(len(dirty), 13, 4, 0)
	for _, c := range dirty {
		s := &c.state
		a.addInts(c.No, int64(s.value), int64(s.share), s.rule, s.buyerAccount, s.publisherAccount, s.pricedBy,
			s.rank.At, int64(s.rank.ID.Stream), int64(s.rank.ID.Seq), int64(s.rank.ID.N), s.lastPosting, int64(s.parts))
		a.addTexts(s.currency, s.status.String(), s.word, s.shareCurrency)
	}
	i := a.ints
	q.Queue(pgPutState, i[0], a.texts[0], i[1], i[2], a.texts[1], i[3], i[4], i[5], i[6], i[7], i[8], i[9], i[10], i[11], i[12], a.texts[2], a.texts[3])
}

func (t *postgresTx) queueIdentities(q *pgx.Batch, w *work) {
	put, drop := w.dirtyIdentities()
	if len(drop) > 0 {
		var keys [][]byte
		for i := range drop {
			keys = append(keys, drop[i][1:])
		}
		q.Queue(pgDropIdentities, keys)
	}
	if len(put) == 0 {
		return
	}
	a := newArrays(len(put), 5, 1, 2)
	for n := range put {
		i := w.ids[put[n]]
		a.addInts(int64(i.id.Stream), int64(i.id.Seq), int64(i.id.N), i.receivedAt, i.call)
		a.addTexts(i.reversedBy)
		a.blobs[0], a.blobs[1] = append(a.blobs[0], put[n][1:]), append(a.blobs[1], i.money[:])
	}
	i := a.ints
	q.Queue(pgPutIdentities, a.blobs[0], i[0], i[1], i[2], a.blobs[1], i[3], i[4], a.texts[0])
}

// queueParked begins and ends waiting; an event may do both in one batch.
func (t *postgresTx) queueParked(q *pgx.Batch, w *work) {
	if len(w.park) > 0 {
		a, keys := newArrays(len(w.park), 4, 0, 1), newArrays(len(w.park), 4, 0, 0)
		for i := range w.park {
			p := &w.park[i]
			stream, seq, n := int64(p.id.Stream), int64(p.id.Seq), int64(p.id.N)
			a.addInts(stream, seq, n, p.deadline)
			a.blobs[0] = append(a.blobs[0], p.identity[:])
			for _, k := range p.keys {
				keys.addInts(int64(k), stream, seq, n)
			}
		}
		q.Queue(pgPark, a.ints[0], a.ints[1], a.ints[2], a.ints[3], a.blobs[0])
		q.Queue(pgParkKeys, keys.ints[0], keys.ints[1], keys.ints[2], keys.ints[3])
	}
	if len(w.unpark) > 0 {
		a := newArrays(len(w.unpark), 3, 0, 0)
		for _, id := range w.unpark {
			a.addInts(int64(id.Stream), int64(id.Seq), int64(id.N))
		}
		q.Queue(pgUnpark, a.ints[0], a.ints[1], a.ints[2])
		q.Queue(pgUnparkKeys, a.ints[0], a.ints[1], a.ints[2])
	}
}

// queueCheckpoint moves the stream on; hitting no row means that somebody else
// has moved it or taken it over, and nothing of this transaction may stand. The
// first time, this process takes the stream over. Without records it says that
// its node lives, and how far it has seen.
func (t *postgresTx) queueCheckpoint(q *pgx.Batch, w *work) {
	b := w.b
	if !w.advances() {
		if b.Stream != 0 {
			w.claims = true
			q.Queue(pgAlive, w.now, b.Watermark, int64(b.Stream), w.l.writer, !w.l.mine[b.Stream]).Exec(func(tag pgconn.CommandTag) error {
				if tag.RowsAffected() != 1 {
					return fmt.Errorf("%w (stream %d: another process has taken it over)", ErrFenced, b.Stream)
				}
				return nil
			})
		}
		return
	}
	w.claims = true
	last := b.Records[len(b.Records)-1].ReceivedAt
	q.Queue(pgAdvance, int64(b.Next), last, w.l.writer, w.now, b.Watermark, int64(b.Stream), int64(w.next), !w.l.mine[b.Stream]).Exec(func(tag pgconn.CommandTag) error {
		if tag.RowsAffected() != 1 {
			return fmt.Errorf("%w (stream %d, from %d to %d)", ErrFenced, b.Stream, w.next, b.Next)
		}
		return nil
	})
}

func (t *postgresTx) copyPostings(w *work) error {
	c := &t.books.rows
	c.reset()
	for i := range w.postings {
		p := &w.postings[i]
		c.row(15)
		for _, v := range [...]int64{p.no, int64(p.id.Stream), int64(p.id.Seq), int64(p.id.N), p.call} {
			c.int(v)
		}
		c.text(p.cause)
		c.text(p.source)
		c.int(p.receivedAt)
		c.text(p.currency)
		for _, v := range [...]int64{int64(p.value), int64(p.share), int64(p.delta), int64(p.shareDlt), p.rule} {
			c.int(v)
		}
		c.some(p.shareCurrency)
	}
	return c.send(t.ctx, t.conn.PgConn(), intoPosting)
}

func (t *postgresTx) copyTransfers(w *work) error {
	c := &t.books.rows
	c.reset()
	for i := range w.transfers {
		r := &w.transfers[i]
		c.row(6)
		for _, v := range [...]int64{r.posting, int64(r.line), r.debit, r.credit, int64(r.amount)} {
			c.int(v)
		}
		c.text(r.currency)
	}
	return c.send(t.ctx, t.conn.PgConn(), intoTransfer)
}

func (t *postgresTx) copyVerdicts(w *work) error {
	c := &t.books.rows
	c.reset()
	for i := range w.verdicts {
		w.verdicts[i].copyTo(c, w.now)
	}
	return c.send(t.ctx, t.conn.PgConn(), intoVerdict)
}

// copyTo appends a verdict in the order of intoVerdict.
func (r *verdictRow) copyTo(c *copyRows, now int64) {
	v, id := &r.v, r.v.Event
	c.row(verdictColumns)
	for _, n := range [...]int64{v.ChangeSeq, int64(id.Stream), int64(id.Seq), int64(id.N), int64(v.Revision), r.final()} {
		c.int(n)
	}
	c.text(v.Status.String())
	c.text(string(v.Reason))
	c.textBytes(v.Detail.JSON())
	if r.weakUntil != 0 {
		c.bytes(r.weak[:])
		c.int(r.weakUntil)
	} else {
		c.null()
		c.null()
	}
	c.text(r.source)
	c.int(r.receivedAt)
	c.int(now)
	c.text(r.kind.String())
	c.text(v.Strategy.String())
	c.int(int64(v.Candidates))
	c.textBytes(r.considered)
	if r.call != nil {
		c.int(r.call.No)
		c.some(v.CallID)
		c.some(r.call.Caller)
	} else {
		c.null()
		c.some(v.CallID)
		c.null()
	}
	c.some(r.caller)
	c.someInt(int64(r.duration.N), r.duration.OK)
	c.someInt(int64(r.payout), r.hasPayout)
	c.some(r.currencyText())
	c.someInt(int64(v.Value), r.hasValue)
	c.int(int64(v.Delta))
	c.int(int64(v.ShareDelta))
	c.text(r.mapper)
	c.int(r.fuel)
	c.text(r.peer)
	for _, n := range [...]int64{r.usQueue, r.usMap, r.usMatch, max(0, now-r.receivedAt)} {
		c.int(n)
	}
	c.textBytes(r.report)
	if r.raw == nil {
		c.null()
		return
	}
	c.bytes(r.raw)
}
