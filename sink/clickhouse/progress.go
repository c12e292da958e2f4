package clickhouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// AbandonedAfter is how long retention waits for a ClickHouse on which no node
// works any more: one that was taken out of the configuration.
const AbandonedAfter = 7 * 24 * time.Hour

// progress reads how far shipping has come, 0 before it began.
func progress(ctx context.Context, read *sql.DB) (through, lost int64, err error) {
	err = read.QueryRowContext(ctx, `SELECT through, lost FROM shipping WHERE sink = '`+sinkName+`'`).Scan(&through, &lost)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, 0, fmt.Errorf("read what is shipped: %w", err)
	}
	return through, lost, nil
}

// KeepFrom is the first change of the verdict log that has to stay for
// shipping: retention may drop what is before it. held is false when nothing
// has to stay, because no ClickHouse is in use.
func KeepFrom(ctx context.Context, read *sql.DB, now time.Time) (changeSeq int64, held bool, err error) {
	var through, seen int64
	err = read.QueryRowContext(ctx, `SELECT through, seen_at FROM shipping WHERE sink = '`+sinkName+`'`).Scan(&through, &seen)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, false, nil
	case err != nil:
		return 0, false, fmt.Errorf("read what is shipped: %w", err)
	case now.Sub(time.UnixMicro(seen)) > AbandonedAfter:
		return 0, false, nil
	}
	return through + 1, true, nil
}

// Rewind has everything behind the change through shipped again, for a
// ClickHouse that has lost some of it. What is there already stays as it is,
// and is counted once.
func Rewind(ctx context.Context, write *sql.DB, through int64) error {
	// The fence rises, so that a range under way is not marked as done.
	res, err := write.ExecContext(ctx, `UPDATE shipping SET fence = fence + 1, through = $1, range_to = $1, batch = 0, names = 0
WHERE sink = '`+sinkName+`' AND through >= $1`, through)
	if err != nil {
		return fmt.Errorf("ship again from change %d: %w", through+1, err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(fmt.Errorf("ship again from change %d: no more than that was shipped", through+1), err)
	}
	return nil
}
