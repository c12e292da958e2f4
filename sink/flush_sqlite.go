package sink

import (
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

var (
	insertCall = newInsert("call", "no, call_id, ref_id, key, network_ids, caller, started_at, ended_at, duration, campaign, publisher, buyer, qualified, ranks, change_seq, target, convert_by, converts",
		`ON CONFLICT (no) DO UPDATE SET ref_id = excluded.ref_id, key = excluded.key, network_ids = excluded.network_ids, caller = excluded.caller,
started_at = excluded.started_at, ended_at = excluded.ended_at, duration = excluded.duration, campaign = excluded.campaign, publisher = excluded.publisher,
buyer = excluded.buyer, qualified = excluded.qualified, ranks = excluded.ranks, change_seq = excluded.change_seq, convert_by = excluded.convert_by, converts = excluded.converts`)
	insertCallKey = newInsert("call_key", "hash, at, no", "ON CONFLICT DO NOTHING")
	insertState   = newInsert("call_state", "no, currency, value, share, status, rule, buyer_account, publisher_account, priced_by, rank_at, rank_stream, rank_seq, rank_n, last_posting, parts, word, share_currency",
		`ON CONFLICT (no) DO UPDATE SET currency = excluded.currency, value = excluded.value, share = excluded.share, status = excluded.status, rule = excluded.rule,
buyer_account = excluded.buyer_account, publisher_account = excluded.publisher_account, priced_by = excluded.priced_by, rank_at = excluded.rank_at,
rank_stream = excluded.rank_stream, rank_seq = excluded.rank_seq, rank_n = excluded.rank_n, last_posting = excluded.last_posting,
parts = excluded.parts, word = excluded.word, share_currency = excluded.share_currency`)
	insertPosting  = newInsert("posting", "no, stream, seq, n, call, cause, source, received_at, currency, value, share, delta, share_delta, rule, share_currency", "")
	insertTransfer = newInsert("transfer", "posting, line, debit_account, credit_account, amount, currency", "")
	insertIdentity = newInsert("identity", "key, stream, seq, n, money, received_at, call, reversed_by",
		`ON CONFLICT (key) DO UPDATE SET stream = excluded.stream, seq = excluded.seq, n = excluded.n, money = excluded.money,
received_at = excluded.received_at, call = excluded.call, reversed_by = excluded.reversed_by`)
	insertVerdict = newInsert("verdict", `change_seq, stream, seq, n, revision, final, status, reason, detail, weak, weak_until, source, received_at, decided_at, kind, strategy, candidates, considered,
call, call_id, call_caller, caller, duration, payout, currency, value, delta, share_delta, mapper, fuel, peer, us_queue, us_map, us_match, us_total, report, raw`, "")
	insertParked    = newInsert("parked", "stream, seq, n, deadline, identity", "")
	insertParkedKey = newInsert("parked_key", "hash, stream, seq, n", "ON CONFLICT DO NOTHING")
	insertUnmapped  = newInsert("unmapped", "stream, seq, source, flags, received_at", "")
)

const (
	qDropKey      = `DELETE FROM call_key WHERE hash = ? AND at = ? AND no = ?`
	qDropIdentity = `DELETE FROM identity WHERE key = ?`
	qUnpark       = `DELETE FROM parked WHERE stream = ? AND seq = ? AND n = ?`
	qUnparkKey    = `DELETE FROM parked_key WHERE stream = ? AND seq = ? AND n = ?`
	qMapped       = `DELETE FROM unmapped WHERE stream = ? AND seq = ?`
	qCallChange   = `INSERT INTO meta (key, value) VALUES ('call_change', ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
	qBalances     = `INSERT INTO balance (account, debits, credits, last_posting)
SELECT account, sum(d), sum(c), max(posting) FROM (
  SELECT debit_account AS account, amount AS d, 0 AS c, posting FROM transfer WHERE posting > ?1
  UNION ALL SELECT credit_account, 0, amount, posting FROM transfer WHERE posting > ?1)
WHERE true GROUP BY account
ON CONFLICT (account) DO UPDATE SET debits = debits + excluded.debits, credits = credits + excluded.credits, last_posting = excluded.last_posting`
	qAdvance = `UPDATE stream SET next_seq = ?1, received_at = ?2, writer = ?3 WHERE stream = ?4 AND next_seq = ?5 AND (?6 OR writer = ?3)`
)

// writes lists the writing statements that are prepared once.
func writes() []string {
	list := []string{qDropKey, qDropIdentity, qUnpark, qUnparkKey, qMapped, qCallChange, qWeakFill, qWeakTake, qWeakGiven, qWeakPurge, qWeakForget, qWeakClear, qWeakMark, qBalances, qAdvance, qUnheld, qRulingDone, qOrphans}
	for _, i := range []insert{insertCall, insertCallKey, insertState, insertPosting, insertTransfer, insertIdentity, insertVerdict, insertParked, insertParkedKey, insertUnmapped, insertComponent, insertDay, insertHeld, insertConversion} {
		list = append(list, i.one, i.many)
	}
	return list
}

// flush writes everything that w changed and moves the stream's checkpoint.
func (t *sqliteTx) flush(w *work) error {
	for _, step := range []func(*work) error{t.flushCalls, t.flushStates, t.flushPostings, t.flushIdentities, t.flushVerdicts, t.takeWeak, t.flushParked, t.flushUnmapped, t.flushComponents, t.flushDays, t.flushHeld, t.flushConversions, t.flushCheckpoint} {
		if err := step(w); err != nil {
			return err
		}
	}
	return nil
}

// flushCalls writes calls by rising number, so that new ones append.
func (t *sqliteTx) flushCalls(w *work) error {
	dirty := w.dirtyCalls()
	if len(dirty) == 0 {
		return nil
	}
	err := insertCall.run(t, len(dirty), func(dst []any, i int) []any {
		c := dirty[i]
		var duration, qualified any
		if c.Duration.OK {
			duration = int64(c.Duration.N)
		}
		if c.Qualified != event.Unknown {
			qualified = int64(event.No - c.Qualified)
		}
		return append(dst, c.No, c.CallID, text(c.RefID), text(c.Key), networksJSON(c.NetworkIDs), text(c.Caller), moment(c.StartedAt), moment(c.EndedAt), duration,
			text(c.Campaign), text(c.Publisher), text(c.Buyer), qualified, appendRanks([]byte{}, c.ranks), c.change, text(c.target), moment(c.convertBy), int64(c.converts))
	})
	if err != nil {
		return err
	}
	if err := t.flushCallKeys(dirty); err != nil {
		return err
	}
	return t.exec(qCallChange, fmt.Sprint(w.callChange))
}

// flushCallKeys writes the names that calls have gained and drops those lost.
func (t *sqliteTx) flushCallKeys(dirty []*callRow) error {
	gained, lost := namesChanged(dirty)
	for _, n := range lost {
		if err := t.exec(qDropKey, int64(n.key), n.at, n.no); err != nil {
			return err
		}
	}
	return insertCallKey.run(t, len(gained), func(dst []any, i int) []any {
		return append(dst, int64(gained[i].key), gained[i].at, gained[i].no)
	})
}

func (t *sqliteTx) flushStates(w *work) error {
	dirty := w.dirtyStates()
	return insertState.run(t, len(dirty), func(dst []any, i int) []any {
		c, s := dirty[i], &dirty[i].state
		return append(dst, c.No, s.currency, int64(s.value), int64(s.share), s.status.String(), s.rule, s.buyerAccount, s.publisherAccount, s.pricedBy,
			s.rank.At, int64(s.rank.ID.Stream), int64(s.rank.ID.Seq), int64(s.rank.ID.N), s.lastPosting,
			int64(s.parts), s.word, s.shareCurrency)
	})
}

// flushPostings writes postings and transfers; the balances follow from what
// the database then holds.
func (t *sqliteTx) flushPostings(w *work) error {
	if len(w.postings) == 0 {
		return nil
	}
	err := insertPosting.run(t, len(w.postings), func(dst []any, i int) []any {
		p := &w.postings[i]
		return append(dst, p.no, int64(p.id.Stream), int64(p.id.Seq), int64(p.id.N), p.call, p.cause, p.source, p.receivedAt, p.currency,
			int64(p.value), int64(p.share), int64(p.delta), int64(p.shareDlt), p.rule, text(p.shareCurrency))
	})
	if err != nil {
		return err
	}
	err = insertTransfer.run(t, len(w.transfers), func(dst []any, i int) []any {
		r := &w.transfers[i]
		return append(dst, r.posting, int64(r.line), r.debit, r.credit, int64(r.amount), r.currency)
	})
	if err != nil {
		return err
	}
	return t.exec(qBalances, w.postingWas)
}

func (t *sqliteTx) flushIdentities(w *work) error {
	keys, drop := w.dirtyIdentities()
	for _, k := range drop {
		if err := t.exec(qDropIdentity, k[1:]); err != nil {
			return err
		}
	}
	return insertIdentity.run(t, len(keys), func(dst []any, n int) []any {
		i := w.ids[keys[n]]
		return append(dst, keys[n][1:], int64(i.id.Stream), int64(i.id.Seq), int64(i.id.N), i.money[:], i.receivedAt, i.call, i.reversedBy)
	})
}

func (t *sqliteTx) flushVerdicts(w *work) error {
	return insertVerdict.run(t, len(w.verdicts), func(dst []any, i int) []any {
		r := &w.verdicts[i]
		v, id := &r.v, r.v.Event
		var call, caller, value, payout, duration any
		if r.call != nil {
			call, caller = r.call.No, text(r.call.Caller)
		}
		if r.hasValue {
			value = int64(v.Value)
		}
		if r.hasPayout {
			payout = int64(r.payout)
		}
		if r.duration.OK {
			duration = int64(r.duration.N)
		}
		var weak, weakUntil any
		if r.weakUntil != 0 {
			weak, weakUntil = r.weak[:], r.weakUntil
		}
		return append(dst, v.ChangeSeq, int64(id.Stream), int64(id.Seq), int64(id.N), int64(v.Revision), r.final(), v.Status.String(), string(v.Reason), bytesText(v.Detail.JSON()), weak, weakUntil,
			r.source, r.receivedAt, w.now, r.kind.String(), v.Strategy.String(), int64(v.Candidates), bytesText(r.considered),
			call, text(v.CallID), caller, text(r.caller), duration, payout, text(r.currencyText()), value, int64(v.Delta), int64(v.ShareDelta),
			r.mapper, r.fuel, r.peer, r.usQueue, r.usMap, r.usMatch, max(0, w.now-r.receivedAt), bytesText(r.report), blob(r.raw))
	})
}

func (t *sqliteTx) flushParked(w *work) error {
	err := insertParked.run(t, len(w.park), func(dst []any, i int) []any {
		p := &w.park[i]
		return append(dst, int64(p.id.Stream), int64(p.id.Seq), int64(p.id.N), p.deadline, p.identity[:])
	})
	if err != nil {
		return err
	}
	for _, p := range w.park {
		err := insertParkedKey.run(t, len(p.keys), func(dst []any, i int) []any {
			return append(dst, int64(p.keys[i]), int64(p.id.Stream), int64(p.id.Seq), int64(p.id.N))
		})
		if err != nil {
			return err
		}
	}
	for _, u := range w.unpark {
		for _, q := range []string{qUnpark, qUnparkKey} {
			if err := t.exec(q, int64(u.Stream), int64(u.Seq), int64(u.N)); err != nil {
				return err
			}
		}
	}
	return nil
}

// flushCheckpoint moves the stream on; hitting no row means that somebody else
// has moved it, and nothing of this transaction may stand. The first time, this
// process takes the stream over.
func (t *sqliteTx) flushCheckpoint(w *work) error {
	b := w.b
	if !w.advances() {
		return nil
	}
	last := b.Records[len(b.Records)-1].ReceivedAt
	res, err := t.stmt(qAdvance).ExecContext(t.ctx, int64(b.Next), last, w.l.writer, int64(b.Stream), int64(w.next), !w.l.mine[b.Stream])
	if err != nil {
		return fmt.Errorf("move checkpoint of stream %d: %w", b.Stream, err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%w (stream %d, from %d to %d)", ErrFenced, b.Stream, w.next, b.Next)
	}
	w.claims = true
	return nil
}

// text, moment, bytesText and blob give NULL for what is absent.
func text(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func moment(at int64) any {
	if at == 0 {
		return nil
	}
	return at
}

func bytesText(p []byte) any {
	if p == nil {
		return nil
	}
	return event.View(p)
}

func blob(p []byte) any {
	if p == nil {
		return nil
	}
	return p
}

func networksJSON(ids []event.Pair) any {
	if len(ids) == 0 {
		return nil
	}
	dst := []byte{'{'}
	for i, p := range ids {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = event.AppendJSONString(append(event.AppendJSONString(dst, p.Name), ':'), p.Value)
	}
	return string(append(dst, '}'))
}
