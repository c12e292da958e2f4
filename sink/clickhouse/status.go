package clickhouse

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Status is how shipping gets on, as this process saw it last.
type Status struct {
	Holding   bool          // this process ships; otherwise another one does, or none can
	Through   int64         // change_seq up to which everything is in ClickHouse
	Head      int64         // last change_seq of the verdict log
	LagRows   int64         // changes that are not there yet
	Lag       time.Duration // age of the oldest of them
	Lost      int64         // changes that retention dropped before they were shipped
	At        time.Time     // when Through and Head were read
	Rows      int64         // shipped by this process since it started
	Ranges    int64
	Faults    int64     // since this process started
	LastError string    // of the newest fault, "" when shipping has worked since; no credentials in it
	LastFault time.Time // when that was
	LastRange time.Time // when this process shipped a range last
}

// Status gives the newest state. It asks nobody; Lag grows with the clock.
func (s *Shipper) Status() Status {
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	st := s.status.st
	if st.LagRows > 0 {
		st.Lag = max(0, s.cfg.Now().Sub(s.status.oldest))
	}
	return st
}

type statusBox struct {
	mu     sync.Mutex
	st     Status
	oldest time.Time // decision of the oldest change that is not shipped
	stuck  int64     // Through at the last fault
}

func (b *statusBox) holding(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.st.Holding = yes
}

// fault keeps err and tells whether it is another one than before.
func (b *statusBox) fault(err error, now time.Time) (fresh bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	fresh = text != b.st.LastError
	b.st.Faults++
	b.st.LastError, b.st.LastFault, b.stuck = text, now, b.st.Through
	return fresh
}

func (b *statusBox) shipped(rows int64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.st.Rows += rows
	b.st.Ranges++
	b.st.LastRange = now
}

// fine forgets the last fault and tells whether there was one: what was to do
// is done, or another one does it.
func (b *statusBox) fine() (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	again = b.st.LastError != ""
	b.st.LastError = ""
	return again
}

// doubtful tells whether a fault stands although shipping, by whomever, has got
// further since, or has nothing to do.
func (b *statusBox) doubtful() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.st.LastError != "" && (b.st.Through > b.stuck || b.st.LagRows == 0)
}

// look reads how far the log goes beyond through.
func (s *Shipper) look(ctx context.Context, through, lost int64) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeMax)
	defer cancel()
	head, err := lastChange(ctx, s.cfg.Read)
	if err != nil {
		return err
	}
	var decided int64
	if head > through {
		err := s.cfg.Read.QueryRowContext(ctx, `SELECT decided_at FROM verdict WHERE change_seq > $1 ORDER BY change_seq LIMIT 1`, through).Scan(&decided)
		if err != nil {
			return fmt.Errorf("read the verdict log: %w", err)
		}
	}
	s.status.mu.Lock()
	defer s.status.mu.Unlock()
	s.status.oldest = time.UnixMicro(decided)
	st := &s.status.st
	st.Through, st.Head, st.LagRows, st.Lost, st.At = through, head, max(0, head-through), lost, s.cfg.Now()
	return nil
}

// lastChange is the newest change of the verdict log, 0 if there is none.
func lastChange(ctx context.Context, read *sql.DB) (n int64, err error) {
	return oneNumber(ctx, read, `SELECT coalesce(max(change_seq), 0) FROM verdict`)
}

// firstChange is the oldest change that the log still has, 0 if there is none.
func firstChange(ctx context.Context, read *sql.DB) (n int64, err error) {
	return oneNumber(ctx, read, `SELECT coalesce(min(change_seq), 0) FROM verdict`)
}

func oneNumber(ctx context.Context, read *sql.DB, query string) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeMax)
	defer cancel()
	if err := read.QueryRowContext(ctx, query).Scan(&n); err != nil {
		return 0, fmt.Errorf("read the verdict log: %w", err)
	}
	return n, nil
}
