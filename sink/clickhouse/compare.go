package clickhouse

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// HourCount is what one side knows of the events received in an hour.
type HourCount struct {
	Events     int64 // distinct ones
	Final      int64 // of those, with a final verdict
	Delta      event.Amount
	ShareDelta event.Amount
}

// Difference is an hour of which the verdict log and ClickHouse say different
// things.
type Difference struct {
	Hour       time.Time
	Ledger     HourCount
	ClickHouse HourCount
}

// Comparison is what Compare found.
type Comparison struct {
	From, Until time.Time // received in these hours; From may be later than asked for
	Through     int64     // change_seq up to which both sides were compared
	Hours       int
	Differences []Difference // in order of time
}

const (
	compareTries = 5
	compareWait  = 500 * time.Millisecond
	compareTime  = 5 * time.Minute
	hourMicros   = 3_600_000_000
)

// Compare counts the events received in the hours from from until until, in
// the verdict log and in ClickHouse, and gives the hours that differ. What is
// not shipped yet counts on neither side. Hours of which retention dropped
// verdicts, on either side, are left out: give from within both.
func Compare(ctx context.Context, read *sql.DB, s *Server, from, until time.Time) (*Comparison, error) {
	ctx, cancel := context.WithTimeout(ctx, compareTime)
	defer cancel()
	c := &Comparison{From: from.UTC().Truncate(time.Hour), Until: until.UTC().Truncate(time.Hour)}
	for try := 1; ; try++ {
		if err := c.compare(ctx, read, s); err != nil {
			return nil, err
		}
		// A range on its way shows on one side only: look again.
		if len(c.Differences) == 0 || try == compareTries {
			return c, nil
		}
		pause(ctx, compareWait)
	}
}

func (c *Comparison) compare(ctx context.Context, read *sql.DB, s *Server) (err error) {
	if c.Through, _, err = progress(ctx, read); err != nil {
		return err
	}
	first, err := c.complete(ctx, read)
	if err != nil {
		return err
	}
	ledger, err := c.ledgerHours(ctx, read, first)
	if err != nil {
		return fmt.Errorf("count the verdict log: %w", err)
	}
	other, err := c.activityHours(ctx, s)
	if err != nil {
		return err
	}
	hours := map[int64]bool{}
	for _, side := range []map[int64]HourCount{ledger, other} {
		for hour := range side {
			hours[hour] = true
		}
	}
	c.Hours, c.Differences = len(hours), nil
	for hour := range hours {
		if ledger[hour] != other[hour] {
			c.Differences = append(c.Differences, Difference{Hour: time.UnixMicro(hour * hourMicros).UTC(), Ledger: ledger[hour], ClickHouse: other[hour]})
		}
	}
	slices.SortFunc(c.Differences, func(a, b Difference) int { return a.Hour.Compare(b.Hour) })
	return nil
}

// clockStepMax is by how much a node's clock may have stepped back while the
// log still counts as being in order of decision.
const clockStepMax = 24 * time.Hour

// complete moves From behind what retention dropped of the log, and gives a
// change before which there is nothing of interest.
func (c *Comparison) complete(ctx context.Context, read *sql.DB) (first int64, err error) {
	oldest, err := firstChange(ctx, read)
	if err != nil {
		return 0, err
	}
	if oldest > 1 {
		decided, err := decidedAt(ctx, read, oldest)
		if err != nil {
			return 0, err
		}
		if whole := decided.Add(clockStepMax).Truncate(time.Hour).Add(time.Hour); whole.After(c.From) {
			c.From = whole
		}
	}
	low, high := oldest, c.Through
	for low <= high {
		mid := low + (high-low)/2
		decided, err := decidedAt(ctx, read, mid)
		if err != nil {
			return 0, err
		}
		if decided.Before(c.From.Add(-clockStepMax)) {
			low = mid + 1
		} else {
			high = mid - 1
		}
	}
	return low, nil
}

func decidedAt(ctx context.Context, read *sql.DB, changeSeq int64) (time.Time, error) {
	at, err := oneNumber(ctx, read, fmt.Sprintf(`SELECT coalesce((SELECT decided_at FROM verdict WHERE change_seq >= %d ORDER BY change_seq LIMIT 1), 0)`, changeSeq))
	return time.UnixMicro(at).UTC(), err
}

// Sums are taken of units and millionths apart: SQLite's sum fails beyond 64 bits.
const ledgerHoursSQL = `SELECT received_at / 3600000000 AS hour,
  sum(CASE WHEN revision = 1 THEN 1 ELSE 0 END), sum(final),
  CAST(sum(delta / 1000000) AS bigint), CAST(sum(delta % 1000000) AS bigint),
  CAST(sum(share_delta / 1000000) AS bigint), CAST(sum(share_delta % 1000000) AS bigint)
FROM verdict WHERE change_seq >= $1 AND change_seq <= $2 AND received_at >= $3 AND received_at < $4
GROUP BY received_at / 3600000000`

func (c *Comparison) ledgerHours(ctx context.Context, read *sql.DB, first int64) (map[int64]HourCount, error) {
	rows, err := read.QueryContext(ctx, ledgerHoursSQL, first, c.Through, c.From.UnixMicro(), c.Until.UnixMicro())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	hours := map[int64]HourCount{}
	for rows.Next() {
		var hour int64
		var h HourCount
		var delta, share [2]int64
		if err := rows.Scan(&hour, &h.Events, &h.Final, &delta[0], &delta[1], &share[0], &share[1]); err != nil {
			return nil, err
		}
		h.Delta = event.Amount(delta[0])*event.Unit + event.Amount(delta[1])
		h.ShareDelta = event.Amount(share[0])*event.Unit + event.Amount(share[1])
		hours[hour] = h
	}
	return hours, rows.Err()
}

func (c *Comparison) activityHours(ctx context.Context, s *Server) (map[int64]HourCount, error) {
	hours := map[int64]HourCount{}
	text := fmt.Sprintf(`SELECT toInt64(intDiv(toUnixTimestamp64Micro(received_at), %d)) AS hour, toInt64(count()), toInt64(countIf(final = 1)), sum(delta_micros), sum(share_delta_micros)
FROM activity WHERE received_at >= %s AND received_at < %s GROUP BY hour SETTINGS max_execution_time = %d`, hourMicros, atLiteral(c.From), atLiteral(c.Until), int(statementTime.Seconds()))
	err := s.rows(ctx, "count activity", text, func(scan func(...any) error) error {
		var hour int64
		var h HourCount
		if err := scan(&hour, &h.Events, &h.Final, (*int64)(&h.Delta), (*int64)(&h.ShareDelta)); err != nil {
			return err
		}
		hours[hour] = h
		return nil
	})
	return hours, err
}

func atLiteral(t time.Time) string {
	return fmt.Sprintf("fromUnixTimestamp64Micro(toInt64(%d), 'UTC')", t.UnixMicro())
}
