package sink

import (
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/tallyhook/tallyhook/event"
)

// The side of Postgres of components, daily totals, held events and conversions.

const (
	pgComponents     = `SELECT key, value FROM component WHERE call = $1`
	pgDayTotal       = `SELECT coalesce(max(amount), 0) FROM day_total WHERE source = $1 AND day = $2 AND currency = $3`
	pgRuled          = `SELECT ` + ruledColumns + `LIMIT $1 FOR UPDATE OF p, d` // in the order of store.Objects.Rule: who decides anew meanwhile finds it done
	pgCurrentGroup   = `SELECT coalesce(max(id), 0) FROM conversion_group WHERE campaign = $1`
	pgGroup          = `SELECT campaign, spec FROM conversion_group WHERE id = $1`
	pgOverdue        = `SELECT no FROM call WHERE convert_by < $1 ORDER BY convert_by, no LIMIT $2`
	pgLastConversion = `SELECT coalesce(max(no), 0) FROM conversion`

	pgPutComponents = `INSERT INTO component (call, key, value) SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bigint[])
ON CONFLICT (call, key) DO UPDATE SET value = excluded.value`
	pgPutDays = `INSERT INTO day_total (source, day, currency, amount) SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
ON CONFLICT (source, day, currency) DO UPDATE SET amount = excluded.amount`
	pgUnheld     = `DELETE FROM held h USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (stream, seq, n) WHERE h.stream = t.stream AND h.seq = t.seq AND h.n = t.n`
	pgRulingDone = `DELETE FROM ruling r USING unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS t (stream, seq, n) WHERE r.stream = t.stream AND r.seq = t.seq AND r.n = t.n`
	pgPutHeld    = `INSERT INTO held (stream, seq, n, source, reason, since, identity)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::bytea[]) ON CONFLICT (stream, seq, n) DO UPDATE SET reason = excluded.reason`
	pgPutConversions = `INSERT INTO conversion (no, call, outcome, at, stream, seq, n)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])`
)

func (t *postgresTx) components(call int64) (map[idKey]event.Amount, error) {
	parts := map[idKey]event.Amount{}
	err := t.each(func(r scanner) error { return scanComponent(r, parts) }, pgComponents, call)
	return parts, err
}

func (t *postgresTx) dayTotal(k dayKey) (amount event.Amount, err error) {
	if err = t.conn.QueryRow(t.ctx, pgDayTotal, storable(k.source), k.day, storable(k.currency)).Scan((*int64)(&amount)); err != nil {
		return 0, fmt.Errorf("daily total of %q: %w", k.source, err)
	}
	return amount, nil
}

func (t *postgresTx) ruled(limit int, scan func(scanner) error) error {
	return t.each(scan, pgRuled, limit)
}

func (t *postgresTx) currentGroup(campaign string) (id int64, err error) {
	if err = t.conn.QueryRow(t.ctx, pgCurrentGroup, storable(campaign)).Scan(&id); err != nil {
		return 0, fmt.Errorf("conversion group of %q: %w", campaign, err)
	}
	return id, nil
}

func (t *postgresTx) group(id int64) (campaign, spec string, err error) {
	if err = t.conn.QueryRow(t.ctx, pgGroup, id).Scan(&campaign, &spec); err != nil {
		return "", "", fmt.Errorf("conversion group %d: %w", id, err)
	}
	return campaign, spec, nil
}

func (t *postgresTx) overdue(at int64, limit int) (nos []int64, err error) {
	err = t.each(func(r scanner) error {
		var no int64
		err := r.Scan(&no)
		nos = append(nos, no)
		return err
	}, pgOverdue, at, limit)
	return nos, err
}

func (t *postgresTx) lastConversion() (no int64, err error) {
	if err = t.conn.QueryRow(t.ctx, pgLastConversion).Scan(&no); err != nil {
		return 0, fmt.Errorf("number of the last conversion: %w", err)
	}
	return no, nil
}

// queueSettlement writes what few batches have.
func (t *postgresTx) queueSettlement(q *pgx.Batch, w *work) {
	if list := w.lastParts(); len(list) > 0 {
		a := newArrays(len(list), 2, 0, 1)
		for i := range list {
			a.addInts(list[i].call, int64(list[i].value))
			a.blobs[0] = append(a.blobs[0], list[i].key[:])
		}
		q.Queue(pgPutComponents, a.ints[0], a.blobs[0], a.ints[1])
	}
	if list := w.dirtyDays(); len(list) > 0 {
		a := newArrays(len(list), 2, 2, 0)
		for _, k := range list {
			a.addInts(k.day, int64(w.days[k].amount))
			a.addTexts(k.source, k.currency)
		}
		q.Queue(pgPutDays, a.texts[0], a.ints[0], a.texts[1], a.ints[1])
	}
	t.queueHeld(q, w)
	if len(w.conversions) > 0 {
		a := newArrays(len(w.conversions), 6, 1, 0)
		for i := range w.conversions {
			c := &w.conversions[i]
			a.addInts(c.no, c.call, c.at, int64(c.id.Stream), int64(c.id.Seq), int64(c.id.N))
			a.addTexts(c.outcome)
		}
		i := a.ints
		q.Queue(pgPutConversions, i[0], i[1], a.texts[0], i[2], i[3], i[4], i[5])
	}
}

// queueHeld takes away what was decided first: it may be held again.
func (t *postgresTx) queueHeld(q *pgx.Batch, w *work) {
	if w.orphans {
		q.Queue(qOrphans)
	}
	if len(w.unheld) > 0 {
		a := newArrays(len(w.unheld), 3, 0, 0)
		for _, id := range w.unheld {
			a.addInts(int64(id.Stream), int64(id.Seq), int64(id.N))
		}
		q.Queue(pgUnheld, a.ints[0], a.ints[1], a.ints[2])
		q.Queue(pgRulingDone, a.ints[0], a.ints[1], a.ints[2])
	}
	if len(w.heldNow) == 0 {
		return
	}
	a := newArrays(len(w.heldNow), 4, 2, 1)
	for i := range w.heldNow {
		h := &w.heldNow[i]
		a.addInts(int64(h.id.Stream), int64(h.id.Seq), int64(h.id.N), w.now)
		a.addTexts(h.source, string(h.reason))
		a.blobs[0] = append(a.blobs[0], h.identity[:])
	}
	i := a.ints
	q.Queue(pgPutHeld, i[0], i[1], i[2], a.texts[0], a.texts[1], i[3], a.blobs[0])
}
