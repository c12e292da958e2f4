package clickhouse

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	sinkName     = "clickhouse"
	storeTimeMax = 10 * time.Second // of one statement of ours in the primary store
)

var errReplaced = errors.New("another process ships now")

// term is the time during which this process may ship: from the moment when
// it raised the fence until somebody else does. Everything it writes into the
// table shipping compares the fence, in the same statement.
//
//	(0, through]         is in ClickHouse
//	(through, rangeTo]   may be there, under the name batch; sent again as it is
//	(rangeTo, head]      waits
type term struct {
	write  *sql.DB
	fence  int64
	stored bool // some insert of this term came through

	origin  string
	through int64
	rangeTo int64
	batch   int64
	names   int64
	lost    int64
}

// beginTerm takes shipping over.
func beginTerm(ctx context.Context, write *sql.DB, node string, now time.Time) (*term, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeMax)
	defer cancel()
	t := &term{write: write}
	err := write.QueryRowContext(ctx, `INSERT INTO shipping (sink, origin, fence, holder, seen_at, through, range_to, batch, names, lost)
VALUES ($1, '', 1, $2, $3, 0, 0, 0, 0, 0)
ON CONFLICT (sink) DO UPDATE SET fence = shipping.fence + 1, holder = excluded.holder, seen_at = excluded.seen_at
RETURNING fence, origin, through, range_to, batch, names, lost`, sinkName, node, now.UnixMicro()).
		Scan(&t.fence, &t.origin, &t.through, &t.rangeTo, &t.batch, &t.names, &t.lost)
	if err != nil {
		return nil, fmt.Errorf("take shipping over: %w", err)
	}
	return t, nil
}

// update changes the row of this term, or fails with errReplaced.
func (t *term) update(ctx context.Context, set string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeMax)
	defer cancel()
	res, err := t.write.ExecContext(ctx, `UPDATE shipping SET `+set+` WHERE sink = '`+sinkName+`' AND fence = $1`, append([]any{t.fence}, args...)...)
	if err != nil {
		return fmt.Errorf("write down what is shipped: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("write down what is shipped: %w", err)
	}
	if n != 1 {
		return errReplaced
	}
	return nil
}

// check fails with errReplaced when the term is over, and writes nothing.
func (t *term) check(ctx context.Context, read *sql.DB) error {
	fence, err := oneNumber(ctx, read, `SELECT fence FROM shipping WHERE sink = '`+sinkName+`'`)
	if err == nil && fence != t.fence {
		err = errReplaced
	}
	return err
}

// restart begins anew: the database is another one than before.
func (t *term) restart(ctx context.Context, origin string) error {
	if err := t.update(ctx, `origin = $2, through = 0, range_to = 0, batch = 0, names = 0, lost = 0`, origin); err != nil {
		return err
	}
	t.origin, t.through, t.rangeTo, t.batch, t.names, t.lost = origin, 0, 0, 0, 0, 0
	return nil
}

// skip leaves out changes that the store no longer has: (through, to].
func (t *term) skip(ctx context.Context, to int64, lost bool) error {
	count := t.lost
	if lost {
		count += to - t.through
	}
	if err := t.update(ctx, `through = $2, range_to = $2, batch = 0, lost = $3`, to, count); err != nil {
		return err
	}
	t.through, t.rangeTo, t.batch, t.lost = to, to, 0, count
	return nil
}

// plan writes the next range down, before any of it is sent.
func (t *term) plan(ctx context.Context, to int64, now time.Time) error {
	batch := rand.Int64N(1<<62) + 1
	if err := t.update(ctx, `range_to = $2, batch = $3, seen_at = $4`, to, batch, now.UnixMicro()); err != nil {
		return err
	}
	t.rangeTo, t.batch = to, batch
	return nil
}

// done marks the range as shipped.
func (t *term) done(ctx context.Context, now time.Time) error {
	if err := t.update(ctx, `through = range_to, batch = 0, seen_at = $2`, now.UnixMicro()); err != nil {
		return err
	}
	t.through, t.batch = t.rangeTo, 0
	return nil
}

// seen says that somebody works on shipping, with or without success: what is
// not shipped has to be kept.
func (t *term) seen(ctx context.Context, now time.Time) error {
	return t.update(ctx, `seen_at = $2`, now.UnixMicro())
}

// named marks the names of a version of the objects as shipped.
func (t *term) named(ctx context.Context, version int64) error {
	if err := t.update(ctx, `names = $2`, version); err != nil {
		return err
	}
	t.names = version
	return nil
}
