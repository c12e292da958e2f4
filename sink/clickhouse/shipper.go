package clickhouse

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// How ranges are cut, and how often one looks.
const (
	RangeRowsMax  = 10_000
	RangeBytesMax = 32 << 20 // of the rows in memory
	CollectMax    = time.Second
	lookEvery     = 200 * time.Millisecond // for new verdicts
	standbyEvery  = 2 * time.Second        // for a lock that another process has
	seenEvery     = time.Minute
	namesEvery    = 5 * time.Second
	pingEvery     = 5 * time.Second
	backOffMin    = 200 * time.Millisecond
	backOffMax    = 10 * time.Second
)

// Config is what a Shipper needs of the primary store.
type Config struct {
	Read  *sql.DB
	Write *sql.DB
	Pool  *pgxpool.Pool // of a store on Postgres, for the shipping lock; nil on SQLite

	StoreID  string
	Node     string
	KeepDays int // how long ClickHouse keeps an event; 0 is for ever

	// Callers, when not nil, turns a caller's number into what ClickHouse may
	// hold of it. It has to give the same for the same number on every node.
	Callers func(e164 string) string

	// Explain, when not nil, says of an error of Pool what it means, in words
	// that name neither user nor database.
	Explain func(error) error

	Now func() time.Time
	Log *slog.Logger
}

// Shipper ships the verdict log into one Server. Every node runs one; they
// agree among themselves who works.
type Shipper struct {
	server *Server
	cfg    Config
	hider  *callerHider
	block  *block
	status statusBox
}

// NewShipper makes a shipper; Ship runs it.
func NewShipper(s *Server, cfg Config) *Shipper {
	sh := &Shipper{server: s, cfg: cfg, block: newBlock()}
	if cfg.Callers != nil {
		sh.hider = &callerHider{hide: cfg.Callers}
	}
	return sh
}

// Ship ships until ctx ends, whatever happens meanwhile: what fails is told in
// Status and in the log, and tried again with back-off and jitter, without end.
func (s *Shipper) Ship(ctx context.Context) {
	wait := backOffMin
	for ctx.Err() == nil {
		progress, err := s.serve(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil || errors.Is(err, errReplaced):
			wait = standbyEvery
		default:
			if s.status.fault(err, s.cfg.Now()) {
				s.cfg.Log.Warn("activity is not shipped", "error", err)
			}
			_ = s.lookAround(ctx) // the store may be what fails
			if wait = min(wait*2, backOffMax); progress {
				wait = backOffMin
			}
		}
		pause(ctx, wait/2+rand.N(wait))
	}
}

// serve ships for as long as this process may and everything works. It returns
// nil at once when another process has the lock.
func (s *Shipper) serve(ctx context.Context) (progress bool, err error) {
	l, ok, err := tryLock(ctx, s.cfg.Pool)
	if err != nil && s.cfg.Explain != nil {
		err = s.cfg.Explain(err)
	}
	if err != nil {
		return false, err
	}
	if !ok {
		return false, s.standBy(ctx)
	}
	held, lost := context.WithCancelCause(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		lost(l.keep(held))
	}()
	s.status.holding(true)
	progress, err = s.hold(held)
	s.status.holding(false)
	if cause := context.Cause(held); cause != nil && ctx.Err() == nil {
		err = cause
	}
	lost(nil)
	<-kept
	return progress, errors.Join(err, l.release())
}

// standBy follows how another process gets on. A fault of this one's own is
// over when that one gets on and the server answers here too.
func (s *Shipper) standBy(ctx context.Context) error {
	if err := s.lookAround(ctx); err != nil {
		return err
	}
	if s.status.doubtful() && s.server.Ping(ctx) == nil {
		s.works()
	}
	return nil
}

// lookAround looks how far shipping is, whoever does it.
func (s *Shipper) lookAround(ctx context.Context) error {
	through, lost, err := progress(ctx, s.cfg.Read)
	if err != nil {
		return err
	}
	return s.look(ctx, through, lost)
}

// hold is the life of a holder of the lock.
func (s *Shipper) hold(ctx context.Context) (progress bool, err error) {
	t, err := beginTerm(ctx, s.cfg.Write, s.cfg.Node, s.cfg.Now())
	if err != nil {
		return false, err
	}
	err = s.work(ctx, t)
	return t.stored, err
}

// work is what a term is for. It ends with an error.
func (s *Shipper) work(ctx context.Context, t *term) error {
	if err := s.look(ctx, t.through, t.lost); err != nil {
		return err
	}
	origin, err := s.server.Migrate(ctx, s.cfg.StoreID, s.cfg.KeepDays)
	if err != nil {
		return err
	}
	if origin != t.origin {
		if err := t.restart(ctx, origin); err != nil {
			return err
		}
	}
	if t.rangeTo > t.through { // of a process before this one
		if err := s.again(ctx, t); err != nil {
			return err
		}
	}
	var named, seen time.Time
	asked := s.cfg.Now()
	for {
		// With nothing to send one would not notice that the server is gone.
		if now := s.cfg.Now(); now.Sub(asked) >= pingEvery {
			if err := s.server.Ping(ctx); err != nil {
				return err
			}
			asked = now
		}
		if now := s.cfg.Now(); now.Sub(named) >= namesEvery {
			if err := s.shipNames(ctx, t); err != nil {
				return err
			}
			named = now
		}
		if now := s.cfg.Now(); now.Sub(seen) >= seenEvery {
			if err := t.seen(ctx, now); err != nil {
				return err
			}
			seen = now
		}
		if err := s.next(ctx, t); err != nil {
			return err
		}
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
