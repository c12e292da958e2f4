package sink

import (
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

// The embedded store's side of components, daily totals, held events and
// conversions.

const (
	qComponents     = `SELECT key, value FROM component WHERE call = ?`
	qDayTotal       = `SELECT coalesce(max(amount), 0) FROM day_total WHERE source = ? AND day = ? AND currency = ?`
	qRuled          = `SELECT ` + ruledColumns + `LIMIT ?`
	qCurrentGroup   = `SELECT coalesce(max(id), 0) FROM conversion_group WHERE campaign = ?`
	qGroup          = `SELECT campaign, spec FROM conversion_group WHERE id = ?`
	qOverdue        = `SELECT no FROM call WHERE convert_by < ? ORDER BY convert_by, no LIMIT ?`
	qLastConversion = `SELECT coalesce(max(no), 0) FROM conversion`
	qUnheld         = `DELETE FROM held WHERE stream = ? AND seq = ? AND n = ?`
	qOrphans        = `DELETE FROM ruling WHERE NOT EXISTS (SELECT 1 FROM held h WHERE h.stream = ruling.stream AND h.seq = ruling.seq AND h.n = ruling.n)`
	qRulingDone     = `DELETE FROM ruling WHERE stream = ? AND seq = ? AND n = ?`
)

var (
	insertComponent  = newInsert("component", "call, key, value", `ON CONFLICT (call, key) DO UPDATE SET value = excluded.value`)
	insertDay        = newInsert("day_total", "source, day, currency, amount", `ON CONFLICT (source, day, currency) DO UPDATE SET amount = excluded.amount`)
	insertHeld       = newInsert("held", "stream, seq, n, source, reason, since, identity", `ON CONFLICT (stream, seq, n) DO UPDATE SET reason = excluded.reason`)
	insertConversion = newInsert("conversion", "no, call, outcome, at, stream, seq, n", "")
)

func (t *sqliteTx) components(call int64) (map[idKey]event.Amount, error) {
	parts := map[idKey]event.Amount{}
	err := t.rows(qComponents, func(r scanner) error { return scanComponent(r, parts) }, call)
	return parts, err
}

// scanComponent reads a key and a value into parts.
func scanComponent(r scanner, parts map[idKey]event.Amount) error {
	var key []byte
	var value int64
	if err := r.Scan(&key, &value); err != nil {
		return err
	}
	if len(key) != len(idKey{}) {
		return fmt.Errorf("component has a key of %d bytes", len(key))
	}
	parts[idKey(key)] = event.Amount(value)
	return nil
}

func (t *sqliteTx) dayTotal(k dayKey) (amount event.Amount, err error) {
	if err = t.stmt(qDayTotal).QueryRowContext(t.ctx, k.source, k.day, k.currency).Scan((*int64)(&amount)); err != nil {
		return 0, fmt.Errorf("daily total of %q: %w", k.source, err)
	}
	return amount, nil
}

func (t *sqliteTx) ruled(limit int, scan func(scanner) error) error {
	return t.rows(qRuled, scan, limit)
}

func (t *sqliteTx) currentGroup(campaign string) (id int64, err error) {
	if err = t.stmt(qCurrentGroup).QueryRowContext(t.ctx, campaign).Scan(&id); err != nil {
		return 0, fmt.Errorf("conversion group of %q: %w", campaign, err)
	}
	return id, nil
}

func (t *sqliteTx) group(id int64) (campaign, spec string, err error) {
	if err = t.stmt(qGroup).QueryRowContext(t.ctx, id).Scan(&campaign, &spec); err != nil {
		return "", "", fmt.Errorf("conversion group %d: %w", id, err)
	}
	return campaign, spec, nil
}

func (t *sqliteTx) overdue(at int64, limit int) (nos []int64, err error) {
	err = t.rows(qOverdue, func(r scanner) error {
		var no int64
		err := r.Scan(&no)
		nos = append(nos, no)
		return err
	}, at, limit)
	return nos, err
}

func (t *sqliteTx) lastConversion() (no int64, err error) {
	if err = t.stmt(qLastConversion).QueryRowContext(t.ctx).Scan(&no); err != nil {
		return 0, fmt.Errorf("number of the last conversion: %w", err)
	}
	return no, nil
}

func (t *sqliteTx) flushComponents(w *work) error {
	list := w.lastParts()
	return insertComponent.run(t, len(list), func(dst []any, i int) []any {
		return append(dst, list[i].call, list[i].key[:], int64(list[i].value))
	})
}

func (t *sqliteTx) flushDays(w *work) error {
	list := w.dirtyDays()
	return insertDay.run(t, len(list), func(dst []any, i int) []any {
		return append(dst, list[i].source, list[i].day, list[i].currency, int64(w.days[list[i]].amount))
	})
}

// flushHeld takes away what was decided first: it may be held again.
func (t *sqliteTx) flushHeld(w *work) error {
	if w.orphans {
		if err := t.exec(qOrphans); err != nil {
			return err
		}
	}
	for _, id := range w.unheld {
		for _, q := range []string{qUnheld, qRulingDone} {
			if err := t.exec(q, int64(id.Stream), int64(id.Seq), int64(id.N)); err != nil {
				return err
			}
		}
	}
	return insertHeld.run(t, len(w.heldNow), func(dst []any, i int) []any {
		h := &w.heldNow[i]
		return append(dst, int64(h.id.Stream), int64(h.id.Seq), int64(h.id.N), h.source, string(h.reason), w.now, h.identity[:])
	})
}

func (t *sqliteTx) flushConversions(w *work) error {
	return insertConversion.run(t, len(w.conversions), func(dst []any, i int) []any {
		c := &w.conversions[i]
		return append(dst, c.no, c.call, c.outcome, c.at, int64(c.id.Stream), int64(c.id.Seq), int64(c.id.N))
	})
}
