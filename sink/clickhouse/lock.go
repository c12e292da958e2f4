package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The shipping lock is an advisory lock of Postgres on a session of its own:
// it is gone when its connection is. The session says something every
// lockPulse, and the server ends it when it was silent for lockIdleMax, so
// that a frozen node does not hold it for ever; should that node thaw, the
// fence in the table shipping (term.go) keeps it from marking anything.
const (
	shippingLock = 0x74_61_6c_6c_79_73_68_70 // "tallyshp"
	lockPulse    = 3 * time.Second
	lockIdleMax  = 15 * time.Second
	lockTimeMax  = 5 * time.Second // of one statement of the lock's session
)

// lock is the shipping lock in hand.
type lock struct{ conn *pgx.Conn } // nil: an embedded store has one process

// tryLock takes the lock if nobody has it; ok is false if somebody does.
func tryLock(ctx context.Context, pool *pgxpool.Pool) (l *lock, ok bool, err error) {
	if pool == nil {
		return &lock{}, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lockTimeMax)
	defer cancel()
	c, err := pool.Acquire(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("take the shipping lock: %w", err)
	}
	if err := c.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(shippingLock)).Scan(&ok); err != nil || !ok {
		if err != nil {
			// Whether the lock was taken is not known: the session must not
			// go back to the pool with it.
			err = errors.Join(fmt.Errorf("take the shipping lock: %w", err), closeConn(c.Hijack()))
		} else {
			c.Release()
		}
		return nil, false, err
	}
	l = &lock{conn: c.Hijack()}
	// Servers that do not know the setting keep the lock of a frozen node as
	// long as its connection stands.
	_, _ = l.conn.Exec(ctx, fmt.Sprintf("SET idle_session_timeout = '%ds'", int(lockIdleMax.Seconds())))
	if l.conn.IsClosed() {
		return nil, false, errors.New("take the shipping lock: the connection broke")
	}
	return l, true, nil
}

// keep says that the holder lives until ctx ends. It returns why the lock was
// lost, nil when ctx ended. Nothing else uses the session meanwhile.
func (l *lock) keep(ctx context.Context) error {
	if l.conn == nil {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(lockPulse)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		// Not under ctx: ending a statement midway would end the session.
		pulse, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeMax)
		_, err := l.conn.Exec(pulse, "SELECT 1")
		cancel()
		if err != nil {
			return fmt.Errorf("the shipping lock was lost: %w", err)
		}
	}
}

// release gives the lock back by ending its session.
func (l *lock) release() error {
	if l.conn == nil {
		return nil
	}
	return closeConn(l.conn)
}

func closeConn(c *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(context.Background(), lockTimeMax)
	defer cancel()
	return c.Close(ctx)
}
