package sink

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Weak identities are recorded in the verdict log, by the revision that holds
// or gives back each one. Looking them up there would take an index over
// random digests, and every event would dirty a page of its own in it: that
// was half of all bytes written. So the look-up goes to a temporary table of
// the writing connection. It belongs to the same transaction, rolls back with
// it, costs no log and no sync, and goes to a temporary file when it outgrows
// its cache.
//
// It is no cache that may be wrong: weak_through says up to which change of
// the log it was brought, and every transaction first brings it up to the
// log's end, whoever wrote there. On a new connection it begins empty and is
// filled from the log.
const (
	weakCacheKiB = 64 << 10
	weakTables   = `PRAGMA temp_store = 1;
CREATE TEMP TABLE IF NOT EXISTS weak (
  key BLOB NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL, n INTEGER NOT NULL, change INTEGER NOT NULL,
  received_at INTEGER NOT NULL, until INTEGER NOT NULL, call INTEGER NOT NULL, PRIMARY KEY (key, stream, seq, n)) WITHOUT ROWID;
CREATE TEMP TABLE IF NOT EXISTS weak_through (change INTEGER NOT NULL);`

	qWeak        = `SELECT key, stream, seq, n, received_at, call, change FROM temp.weak WHERE key IN `
	qWeakThrough = `SELECT coalesce((SELECT change FROM temp.weak_through), -1)`
	// The floor is the time of the last record that this stream has committed:
	// no later one can be older. A new stream asks with what the newest knows,
	// less an hour for a clock that was put back.
	qWeakFloor = `SELECT coalesce((SELECT nullif(received_at, 0) FROM stream WHERE stream = ?),
  (SELECT max(received_at) FROM stream) - 3600000000, 0)`
	weakHeld    = `weak IS NOT NULL AND status NOT IN ('unmatched', 'failed')`
	weakInto    = `INSERT INTO temp.weak (key, stream, seq, n, change, received_at, until, call) SELECT weak, stream, seq, n, change_seq, received_at, weak_until, coalesce(call, 0) FROM verdict`
	weakNewer   = ` ON CONFLICT (key, stream, seq, n) DO UPDATE SET change = excluded.change, received_at = excluded.received_at, until = excluded.until, call = excluded.call`
	qWeakFill   = weakInto + ` INDEXED BY verdict_weak WHERE weak_until > ? AND ` + weakHeld + ` ORDER BY change_seq` + weakNewer
	qWeakTake   = weakInto + ` WHERE change_seq > ? AND ` + weakHeld + ` ORDER BY change_seq` + weakNewer
	qWeakGiven  = `DELETE FROM temp.weak WHERE (key, stream, seq, n) IN (SELECT weak, stream, seq, n FROM verdict WHERE change_seq > ? AND weak IS NOT NULL AND status IN ('unmatched', 'failed'))`
	qWeakPurge  = `DELETE FROM temp.weak WHERE (key, stream, seq, n) IN (SELECT weak, stream, seq, n FROM verdict WHERE weak IS NOT NULL AND weak_until > ? AND status IN ('unmatched', 'failed'))`
	qWeakForget = `DELETE FROM temp.weak WHERE key >= ? AND key < ? AND until <= ?`
	qWeakClear  = `DELETE FROM temp.weak_through`
	qWeakMark   = `INSERT INTO temp.weak_through (change) VALUES (?)`
)

// makeWeak makes the tables on the one connection of db.
func makeWeak(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, weakTables+fmt.Sprintf("PRAGMA temp.cache_size = -%d; PRAGMA temp.journal_mode = MEMORY;", weakCacheKiB)); err != nil {
		return fmt.Errorf("make the table of weak identities: %w", err)
	}
	return nil
}

// syncWeak brings the table up to the end of the verdict log as it is now.
func (t *sqliteTx) syncWeak(w *work) error {
	var through int64
	if err := t.stmt(qWeakThrough).QueryRowContext(t.ctx).Scan(&through); err != nil {
		return fmt.Errorf("weak identities: %w", err)
	}
	switch {
	case through == w.change:
		return nil
	case through >= 0:
		return t.bringWeak(through, w.change)
	}
	var floor int64
	if err := t.stmt(qWeakFloor).QueryRowContext(t.ctx, int64(w.b.Stream)).Scan(&floor); err != nil {
		return fmt.Errorf("weak identities: %w", err)
	}
	if w.oldest != 0 {
		floor = min(floor, w.oldest)
	}
	if err := t.exec(qWeakFill, floor); err != nil {
		return err
	}
	if err := t.exec(qWeakPurge, floor); err != nil {
		return err
	}
	return t.markWeak(w.change)
}

// takeWeak brings this transaction's own verdicts into the table.
func (t *sqliteTx) takeWeak(w *work) error {
	was := w.change - int64(len(w.verdicts))
	if len(w.verdicts) > 0 {
		if err := t.bringWeak(was, w.change); err != nil {
			return err
		}
	}
	return t.forgetWeak(w)
}

// bringWeak applies the verdicts after change was, up to change to.
func (t *sqliteTx) bringWeak(was, to int64) error {
	if err := t.exec(qWeakTake, was); err != nil {
		return err
	}
	if err := t.exec(qWeakGiven, was); err != nil {
		return err
	}
	return t.markWeak(to)
}

func (t *sqliteTx) markWeak(change int64) error {
	if err := t.exec(qWeakClear); err != nil {
		return err
	}
	return t.exec(qWeakMark, change)
}

// weakSlice is how much stream time passes before the next of 256 slices of
// the table is cleared of what is forgotten.
const weakSlice = int64(time.Second / time.Microsecond)

func (t *sqliteTx) forgetWeak(w *work) error {
	now := w.b.Watermark
	if w.oldest != 0 {
		now = min(now, w.oldest) // what waits for its mapper will be asked about as of then
	}
	if now-w.l.swept < weakSlice {
		return nil
	}
	from, to := []byte{w.l.slice}, []byte{w.l.slice + 1}
	if w.l.slice == 0xFF {
		to = append([]byte{0xFF}, make([]byte, 16)...)
		for i := range to {
			to[i] = 0xFF
		}
	}
	w.l.swept, w.l.slice = now, w.l.slice+1
	return t.exec(qWeakForget, from, to, now)
}
