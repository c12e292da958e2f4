package sink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// Retention takes from the beginning of the verdict log, in two stages: the raw
// requests first (DropRaw), then whole verdicts (Prune). Money, calls and strong
// identities stay for ever.
//
//	change_seq  1 ············ 4,000 ········ 90,000 ············ 120,000
//	            pruned         no raw requests          everything
const (
	pruneStepRows = 500 // in one transaction: who posts waits no longer than that

	// How far the journals have come. One that has been silent for the whole time
	// of retention is one that nobody goes on with.
	// What waits for its mapper is as old as it was received.
	qJournalsAt = `SELECT min(at) FROM (SELECT coalesce(min(received_at), CAST($1 AS BIGINT)) AS at FROM stream WHERE received_at >= $1
  UNION ALL SELECT min(received_at) FROM unmapped) AS t WHERE at IS NOT NULL`
	// What begins the kept part of the log. An event that has not ended is needed
	// to end it; a weak identity counts until the journals are beyond it.
	qFirstKept = `SELECT v.change_seq FROM verdict v WHERE v.change_seq BETWEEN $1 AND $2
  AND (v.decided_at >= $3 OR v.received_at >= $3 OR v.weak_until > $4 OR ` + unended + `) ORDER BY v.change_seq LIMIT 1`
	unended = `v.final = 0 AND 0 = (SELECT max(w.final) FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n)`

	qFirstYoung = `SELECT change_seq FROM verdict WHERE change_seq BETWEEN $1 AND $2 AND decided_at >= $3 ORDER BY change_seq LIMIT 1`
	// The first revision of a record's first event keeps the request.
	qDropRaw = `UPDATE verdict SET raw = NULL WHERE n = 0 AND revision = 1 AND raw IS NOT NULL AND (stream, seq) IN (
  SELECT w.stream, w.seq FROM verdict w WHERE w.change_seq BETWEEN $1 AND $2 AND w.final = 1 AND w.n = 0)`
	qRawDropped = `SELECT coalesce((SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'raw_dropped'), 0)`
	qMarkRaw    = `INSERT INTO meta (key, value) VALUES ('raw_dropped', $1) ON CONFLICT (key) DO UPDATE SET value = excluded.value`
)

// Prune deletes verdicts from the beginning of the log in short transactions,
// rowsMax at most, until one has to stay: it was received or decided at or after
// before (microseconds), its change is beyond through (up to which the log has
// been shipped), its event is parked or held, its weak identity still counts,
// or it is the newest of all. Fewer than rowsMax means that no more can go now;
// see Unended for what may be in the way. db is the store's write handle.
func Prune(ctx context.Context, db *sql.DB, before, through int64, rowsMax int) (pruned int, err error) {
	for pruned < rowsMax {
		gone, more, err := pruneStep(ctx, db, before, through, min(rowsMax-pruned, pruneStepRows))
		if err != nil {
			return pruned, fmt.Errorf("prune the verdict log: %w", err)
		}
		if pruned += gone; !more {
			break
		}
	}
	return pruned, nil
}

func pruneStep(ctx context.Context, db *sql.DB, before, through int64, rows int) (gone int, more bool, err error) {
	err = inWrite(ctx, db, func(tx *sql.Tx) error {
		s, err := changes(ctx, tx)
		if err != nil {
			return err
		}
		var journals int64
		if err := tx.QueryRowContext(ctx, qJournalsAt, before).Scan(&journals); err != nil {
			return err
		}
		// The numbering goes on from the newest row.
		s.to = min(s.to-1, through, s.from+int64(rows)-1)
		if more, err = s.endBefore(ctx, tx, qFirstKept, before, journals); err != nil || s.to < s.from {
			return err
		}
		done, err := tx.ExecContext(ctx, `DELETE FROM verdict WHERE change_seq BETWEEN $1 AND $2`, s.from, s.to)
		if err != nil {
			return err
		}
		n, err := done.RowsAffected()
		gone = int(n)
		return err
	})
	return gone, more, err
}

// endBefore lets s end before the first change that a query finds in it; more
// says that there is none, and something in s.
func (s *span) endBefore(ctx context.Context, tx *sql.Tx, query string, args ...any) (more bool, err error) {
	if s.to < s.from {
		return false, nil
	}
	var first int64
	err = tx.QueryRowContext(ctx, query, append([]any{s.from, s.to}, args...)...).Scan(&first)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	s.to = first - 1
	return false, err
}

// inWrite runs fn in one transaction of the write handle.
func inWrite(ctx context.Context, db *sql.DB, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after a commit this does nothing
	if err := withIndex(ctx, db, tx, fn); err != nil {
		return err
	}
	return tx.Commit()
}

// Unended gives the event with which the log begins when it waits for its call
// or for a person, though it is older than before: nothing behind it can be
// pruned until it has ended. The zero ID says that there is none.
func Unended(ctx context.Context, db *sql.DB, before int64) (id event.ID, status string, err error) {
	err = db.QueryRowContext(ctx, `SELECT v.stream, v.seq, v.n, v.status FROM verdict v
WHERE v.change_seq = (SELECT min(change_seq) FROM verdict) AND v.decided_at < $1 AND `+unended, before).Scan(&id.Stream, &id.Seq, &id.N, &status)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return event.ID{}, "", fmt.Errorf("read the beginning of the verdict log: %w", err)
	}
	return id, status, nil
}

// DropRaw takes the raw requests out of verdicts decided before a time
// (microseconds), and goes through rowsMax changes at most, in short
// transactions. passed is how many it went through; fewer than rowsMax means
// that it has come to younger ones. The request of an event that has not ended
// stays until it has. db is the store's write handle.
func DropRaw(ctx context.Context, db *sql.DB, before int64, rowsMax int) (passed int, err error) {
	for passed < rowsMax {
		n, more, err := dropRawStep(ctx, db, before, min(rowsMax-passed, pruneStepRows))
		if err != nil {
			return passed, fmt.Errorf("drop raw requests: %w", err)
		}
		if passed += n; !more {
			break
		}
	}
	return passed, nil
}

func dropRawStep(ctx context.Context, db *sql.DB, before int64, rows int) (passed int, more bool, err error) {
	err = inWrite(ctx, db, func(tx *sql.Tx) error {
		s, err := changes(ctx, tx)
		if err != nil {
			return err
		}
		var through int64
		if err := tx.QueryRowContext(ctx, qRawDropped).Scan(&through); err != nil {
			return err
		}
		s.from = max(s.from, through+1)
		s.to = min(s.to, s.from+int64(rows)-1)
		if more, err = s.endBefore(ctx, tx, qFirstYoung, before); err != nil || s.to < s.from {
			return err
		}
		passed = int(s.to - s.from + 1)
		if _, err := tx.ExecContext(ctx, qDropRaw, s.from, s.to); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, qMarkRaw, strconv.FormatInt(s.to, 10))
		return err
	})
	return passed, more, err
}

// notInLog says why an event has no verdict, as far as that can be known: it
// was decided and then pruned, it was told as a call, or it never was.
func notInLog(ctx context.Context, tx *sql.Tx, id event.ID) error {
	plain := notFound("event %q is not in the verdict log", id)
	var begins, next, oldest, posting int64
	err := tx.QueryRowContext(ctx, `SELECT coalesce((SELECT decided_at FROM verdict WHERE change_seq > 1 ORDER BY change_seq LIMIT 1), 0),
  coalesce((SELECT next_seq FROM stream WHERE stream = $1), 0),
  coalesce((SELECT min(seq) FROM verdict WHERE stream = $1 AND revision = 1), $4),
  coalesce((SELECT no FROM posting WHERE stream = $1 AND seq = $2 AND n = $3 AND cause <> 'call'), 0)
WHERE NOT EXISTS (SELECT 1 FROM verdict WHERE change_seq = 1)`, append(eventKey(id), int64(math.MaxInt64))...).Scan(&begins, &next, &oldest, &posting)
	since := time.UnixMicro(begins).UTC().Format(time.RFC3339)
	switch {
	case errors.Is(err, sql.ErrNoRows): // nothing has been pruned
		return plain
	case err != nil:
		return err
	case posting != 0:
		return notFound("event %q was pruned: the verdict log begins at %s (verdicts-keep); what it booked is posting %d", id, since, posting)
	case begins != 0 && int64(id.Seq) < next && int64(id.Seq) < oldest:
		return notFound("event %q is not in the verdict log: unless it told of calls, it was pruned; the log begins at %s (verdicts-keep)", id, since)
	}
	return plain
}
