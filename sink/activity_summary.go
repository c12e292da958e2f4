package sink

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// Summary counts what happened since a time.
type Summary struct {
	Events   int64          `json:"events"`
	Matched  int64          `json:"matched"` // events that found their call
	Statuses []StatusCount  `json:"statuses"`
	Money    []CurrencySum  `json:"money"`
	Latency  SummaryLatency `json:"latency_us"`
	Since    Instant        `json:"since"`
}

// StatusCount is how many events ended as Status for Reason, and Matched of
// them with a call.
type StatusCount struct {
	Status  string `json:"status"`
	Reason  string `json:"reason"`
	Events  int64  `json:"events"`
	Matched int64  `json:"matched"`
}

// CurrencySum is by how much events changed the value of calls, and the
// publishers' shares.
type CurrencySum struct {
	Currency string       `json:"currency"`
	Value    event.Amount `json:"value"`
	Share    event.Amount `json:"share"`
}

// SummaryLatency is the time from receipt to the first verdict, microseconds,
// to three digits. Events that waited for their call count until they waited.
type SummaryLatency struct {
	P50 int64 `json:"p50"`
	P99 int64 `json:"p99"`
}

const (
	// The few revisions that follow another are of that span too, which lets
	// Postgres keep them at hand while it walks.
	summaryStatusSQL = `SELECT v.status, v.reason, count(*), count(v.call) FROM verdict v
WHERE v.change_seq >= $1 AND v.received_at >= $2 AND NOT EXISTS (
  SELECT 1 FROM verdict w WHERE w.stream = v.stream AND w.seq = v.seq AND w.n = v.n AND w.revision > v.revision AND w.revision > 1 AND w.change_seq >= $1)
GROUP BY v.status, v.reason`

	// Sums are taken of units and millionths apart: SQLite's sum fails beyond 64
	// bits, and that of Postgres is of another type.
	summaryMoneySQL = `SELECT currency, CAST(sum(delta / 1000000) AS BIGINT), CAST(sum(delta % 1000000) AS BIGINT),
  CAST(sum(share_delta / 1000000) AS BIGINT), CAST(sum(share_delta % 1000000) AS BIGINT) FROM (
  SELECT coalesce(currency, '') AS currency, delta, CASE WHEN call_id IS NULL THEN 0 ELSE share_delta END AS share_delta FROM verdict
  WHERE change_seq >= $1 AND received_at >= $2 AND (delta <> 0 OR share_delta <> 0)) AS moved GROUP BY currency`

	// Three leading digits make few enough groups to count in.
	summaryLatencySQL = `SELECT us, count(*) FROM (
  SELECT CASE WHEN us_total < 1000 THEN us_total WHEN us_total < 10000 THEN us_total / 10 * 10 WHEN us_total < 100000 THEN us_total / 100 * 100
    WHEN us_total < 1000000 THEN us_total / 1000 * 1000 WHEN us_total < 10000000 THEN us_total / 10000 * 10000 ELSE us_total / 1000000 * 1000000 END AS us
  FROM verdict WHERE change_seq >= $1 AND received_at >= $2 AND revision = 1) AS first GROUP BY us ORDER BY us`
)

// Summary sums up the events received since a time; the zero time is all of
// them. It reads every change since then.
func (a *Activity) Summary(ctx context.Context, since time.Time) (*Summary, error) {
	s := &Summary{Statuses: []StatusCount{}, Money: []CurrencySum{}}
	if !since.IsZero() {
		s.Since = Instant(since.UnixMicro())
	}
	var h histogram
	err := readOnly(ctx, a.DB, func(tx *sql.Tx) error {
		all, err := changes(ctx, tx)
		if err != nil {
			return err
		}
		from, err := firstSince(ctx, tx, all, since)
		if err != nil {
			return err
		}
		for query, scan := range map[string]func(*sql.Rows) error{summaryStatusSQL: s.addStatus, summaryMoneySQL: s.addMoney, summaryLatencySQL: h.add} {
			if err := eachRow(ctx, tx, query, scan, from, int64(s.Since)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("sum up activity: %w", err)
	}
	// Texts are put in order here: databases have orders of their own.
	slices.SortFunc(s.Statuses, func(a, b StatusCount) int {
		return cmp.Or(cmp.Compare(b.Events, a.Events), cmp.Compare(a.Status, b.Status), cmp.Compare(a.Reason, b.Reason))
	})
	slices.SortFunc(s.Money, func(a, b CurrencySum) int { return cmp.Compare(a.Currency, b.Currency) })
	s.Latency = SummaryLatency{P50: h.quantile(50), P99: h.quantile(99)}
	return s, nil
}

func eachRow(ctx context.Context, tx *sql.Tx, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (s *Summary) addStatus(rows *sql.Rows) error {
	var c StatusCount
	if err := rows.Scan(&c.Status, &c.Reason, &c.Events, &c.Matched); err != nil {
		return err
	}
	s.Events, s.Matched = s.Events+c.Events, s.Matched+c.Matched
	s.Statuses = append(s.Statuses, c)
	return nil
}

func (s *Summary) addMoney(rows *sql.Rows) error {
	var c CurrencySum
	var value, share [2]int64
	err := rows.Scan(&c.Currency, &value[0], &value[1], &share[0], &share[1])
	if err != nil {
		return err
	}
	if c.Value, err = joinUnits(value); err != nil {
		return err
	}
	if c.Share, err = joinUnits(share); err != nil {
		return err
	}
	s.Money = append(s.Money, c)
	return nil
}

// joinUnits puts a sum of units and one of millionths together.
func joinUnits(parts [2]int64) (event.Amount, error) {
	units, rest := uint64(max(parts[0], -parts[0])), parts[1]
	hi, lo := bits.Mul64(units, uint64(event.Unit))
	if whole := int64(lo); hi == 0 && whole >= 0 {
		if parts[0] < 0 {
			whole = -whole
		}
		if sum, ok := addChecked(whole, rest); ok {
			return event.Amount(sum), nil
		}
	}
	return 0, fmt.Errorf("a sum of %d units is beyond 64 bits: ask for a shorter time", parts[0])
}

// histogram counts events by latency, in rising order.
type histogram struct {
	us, events []int64
	total      int64
}

func (h *histogram) add(rows *sql.Rows) error {
	var us, n int64
	err := rows.Scan(&us, &n)
	h.us, h.events, h.total = append(h.us, us), append(h.events, n), h.total+n
	return err
}

// quantile gives the latency that percent of the events do not exceed.
func (h *histogram) quantile(percent int64) int64 {
	below := int64(0)
	for i, n := range h.events {
		if below += n; below*100 >= h.total*percent {
			return h.us[i]
		}
	}
	return 0
}
