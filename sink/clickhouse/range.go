package clickhouse

import (
	"context"
	"fmt"
	"time"
)

// again sends the range that was planned before: nobody knows whether it, or
// part of it, is there already.
func (s *Shipper) again(ctx context.Context, t *term) error {
	if err := s.front(ctx, t); err != nil {
		return err
	}
	if t.rangeTo <= t.through {
		return nil
	}
	rows, err := readRows(ctx, s.cfg.Read, t.through, t.rangeTo, 1<<62)
	if err != nil {
		return err
	}
	return s.send(ctx, t, rows, true)
}

// next collects what there is, for CollectMax at most once there is something,
// and ships it. After a while with nothing it returns, so that its caller can
// look around.
func (s *Shipper) next(ctx context.Context, t *term) (err error) {
	var first time.Time // when something new was seen
	var head int64
	for began := time.Now(); ; pause(ctx, lookEvery) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if head, err = lastChange(ctx, s.cfg.Read); err != nil {
			return err
		}
		if head < t.through {
			return fmt.Errorf("the verdict log ends at change %d and %d were shipped: the store is an older copy of itself; give its activity an empty database", head, t.through)
		}
		if head-t.through >= RangeRowsMax {
			break
		}
		if head > t.through && first.IsZero() {
			first = time.Now()
		}
		if !first.IsZero() && time.Since(first) >= CollectMax {
			break
		}
		if first.IsZero() && time.Since(began) >= CollectMax {
			if err := t.check(ctx, s.cfg.Read); err != nil {
				return err
			}
			s.works()
			return s.look(ctx, t.through, t.lost)
		}
	}
	if err := s.front(ctx, t); err != nil {
		return err
	}
	if t.through >= head {
		return nil
	}
	rows, err := readRows(ctx, s.cfg.Read, t.through, min(head, t.through+RangeRowsMax), RangeBytesMax)
	if err != nil {
		return err
	}
	if err := t.plan(ctx, rows[len(rows)-1].changeSeq, s.cfg.Now()); err != nil {
		return err
	}
	return s.send(ctx, t, rows, false)
}

// front moves past what retention dropped from the front of the log. For a new
// database that is what was there before it; else it is a loss, and said to be.
func (s *Shipper) front(ctx context.Context, t *term) error {
	oldest, err := firstChange(ctx, s.cfg.Read)
	if err != nil || oldest <= t.through+1 {
		return err
	}
	lost := t.through > 0
	if lost {
		s.cfg.Log.Error("verdicts were dropped by retention before they were shipped; activity lacks them", "from", t.through+1, "to", oldest-1)
	}
	return t.skip(ctx, oldest-1, lost)
}

// send ships the rows of the planned range, one insert for each partition of
// each table, and marks it. probe first asks, for each insert, whether it is
// there.
func (s *Shipper) send(ctx context.Context, t *term, rows []row, probe bool) error {
	for i := range rows {
		if s.hider != nil {
			s.hider.row(&rows[i])
		}
		rows[i].clean()
	}
	for _, p := range partsOf(rows) {
		if probe {
			there, err := s.server.holds(ctx, p, t.batch)
			if err != nil {
				return err
			}
			if there {
				continue
			}
		}
		s.block.fill(p.rows, uint64(t.batch))
		token := fmt.Sprintf("%d-%d-%s-%x", t.through+1, t.rangeTo, p.day, t.batch)
		if err := s.server.insert(ctx, p.table, token, s.block); err != nil {
			return err
		}
		t.stored = true
	}
	shipped := t.rangeTo - t.through
	if err := t.done(ctx, s.cfg.Now()); err != nil {
		return err
	}
	s.status.shipped(shipped, s.cfg.Now())
	s.works()
	return s.look(ctx, t.through, t.lost)
}

// works says that a fault is over.
func (s *Shipper) works() {
	if s.status.fine() {
		s.cfg.Log.Info("activity is shipped again")
	}
}
