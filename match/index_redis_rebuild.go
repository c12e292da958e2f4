package match

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

const (
	rebuildLease    = 30 * time.Second // after which a rebuilder that says nothing counts as gone
	rebuildNamesMax = 1 << 22          // gathered, 16 bytes each, before the size of the table is chosen
	rebuildPart     = 2000             // names written at once
	giveUpTimeout   = time.Second

	rebuildSweepsLess = 8 // there is little to sweep, but how full the table gets must be seen
)

// errRebuildLost means that what was put is not all there any more.
var errRebuildLost = errors.New("the server was flushed, replaced or taken over by another rebuild meanwhile; it begins again")

// Rebuild implements Index. Only one node at a time has its way, the others
// get ErrRebuilding; one that dies is replaced after half a minute.
//
// Every part that is put is counted in the state, together with the part
// itself, and the end compares: a server that was flushed, or replaced by a
// replica that had not seen the latest parts, does not end up complete.
func (x *RedisIndex) Rebuild(ctx context.Context, scan Scan, through int64, progress func(calls int)) error {
	begun := x.now()
	r := &rebuild{x: x, token: rand.Text()}
	taken, err := redisBegin.Run(ctx, x.client, []string{x.state}, r.token, int64(rebuildLease/time.Second), x.stateLife()).Int64()
	if err != nil {
		return fmt.Errorf("rebuild call index: take its lease on Redis: %w", err)
	}
	if taken == 0 {
		return ErrRebuilding
	}
	held, letGo := r.hold(ctx)
	defer letGo()

	calls := 0
	err = scan(held, func(c []event.Call) error {
		if err := r.add(held, c); err != nil {
			return err
		}
		calls += len(c)
		if progress != nil {
			progress(calls)
		}
		return context.Cause(held)
	})
	if err == nil {
		err = r.flush(held, true)
	}
	if err == nil {
		err = r.end(held, through, begun.Add(-x.keep).UnixMicro())
	}
	if err != nil {
		r.giveUp(ctx)
		if cause := context.Cause(held); cause != nil && ctx.Err() == nil {
			err = cause // why the rest was cut short
		}
		return fmt.Errorf("rebuild call index after %d calls: %w", calls, err)
	}
	return nil
}

// rebuild is one rebuild under way.
type rebuild struct {
	x     *RedisIndex
	token string
	names []callName // not written yet
	sized bool       // the table has been chosen
	parts int64      // written
}

// hold keeps the lease until letGo. The context ends when it is lost.
func (r *rebuild) hold(ctx context.Context) (held context.Context, letGo func()) {
	held, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(rebuildLease / 3)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			// An error is no loss yet: the parts themselves tell how the server does.
			kept, err := redisHold.Run(held, r.x.client, []string{r.x.state}, r.token, int64(rebuildLease/time.Second)).Int64()
			if err == nil && kept == 0 {
				cancel(errRebuildLost)
			}
		}
	}()
	return held, func() {
		cancel(nil)
		<-done
	}
}

// add gathers the names of calls and writes them once there are enough.
func (r *rebuild) add(ctx context.Context, calls []event.Call) error {
	r.names = r.x.appendNames(r.names, calls)
	if len(r.names) >= rebuildNamesMax || r.sized && len(r.names) >= rebuildPart {
		return r.flush(ctx, false)
	}
	return nil
}

// flush writes what was gathered, the first time into a table that has room
// for it: for all there is, or for four times as much when more will come.
func (r *rebuild) flush(ctx context.Context, last bool) error {
	if !r.sized {
		expect := float64(len(r.names))
		if !last {
			expect *= 1 << tableBitsStep
		}
		if err := r.size(ctx, bitsFor(expect)); err != nil {
			return err
		}
	}
	for names := r.names; len(names) > 0; {
		n := min(len(names), rebuildPart)
		reply, err := r.x.put(ctx, names[:n], redisBuilt, r.token, int64(rebuildLease/time.Second))
		if err != nil {
			return err
		}
		if reply < 0 {
			return errRebuildLost
		}
		r.parts++
		names = names[n:]
		r.x.sweep(ctx, n/rebuildSweepsLess)
	}
	if cap(r.names) > 2*rebuildPart {
		r.names = nil
	}
	r.names = r.names[:0]
	return nil
}

// size makes sure of a table of that many buckets, as powers of two, at least.
func (r *rebuild) size(ctx context.Context, bits int) error {
	layout, err := r.x.open(ctx, nil, bits) // the first, or what there is
	if err == nil && layout.tables[0].bits < bits {
		_, err = r.x.open(ctx, layout, bits)
	}
	r.sized = err == nil
	return err
}

func (r *rebuild) end(ctx context.Context, through, whole int64) error {
	done, err := redisEnd.Run(ctx, r.x.client, []string{r.x.state}, r.token, r.parts, through, whole).Int64()
	if err != nil {
		return err
	}
	if done == 0 {
		return errRebuildLost
	}
	return nil
}

// giveUp lets another rebuild begin at once; if it cannot, the lease ends.
func (r *rebuild) giveUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveUpTimeout)
	defer cancel()
	_ = redisEnd.Run(ctx, r.x.client, []string{r.x.state}, r.token, -1, 0, 0).Err()
}

// Through implements Index. It is the number of the state in a Cluster too,
// where Find claims none: gaps are to be closed there as well.
func (x *RedisIndex) Through(ctx context.Context) (int64, error) {
	s, err := x.Status(ctx)
	return s.Through, err
}

// NeedsRebuild reports whether the index is missing, incomplete or younger
// than what it should keep, and no node is at work on that. A server that may
// evict keys needs none: it would not last.
func (x *RedisIndex) NeedsRebuild(ctx context.Context) (bool, error) {
	s, err := x.Status(ctx)
	return err == nil && !s.Complete && !s.Rebuilding && x.distrust.Load() == nil, err
}

// RedisIndexStatus is what is worth showing of a RedisIndex.
type RedisIndexStatus struct {
	Complete   bool   // holds all recent calls
	Through    int64  // change number up to which it is complete, 0 while it is not
	Rebuilding bool   // by any node
	Tables     int    // that a look-up reads
	NamesAbout int64  // estimated in the newest table, 0 until enough was put by this process
	Distrust   string // why Find claims no completeness although the index has it, "" when it does
}

// Status asks the server how the index stands.
func (x *RedisIndex) Status(ctx context.Context) (s RedisIndexStatus, err error) {
	x.checkedAt.Store(0)
	pipe := x.client.Pipeline()
	if check := x.check(ctx, pipe); check != nil {
		if _, err := pipe.Exec(ctx); err != nil && !refused(err) {
			return s, fmt.Errorf("ask for the state of the call index on Redis: %w", err)
		}
		if err := x.checked(ctx, check); err != nil {
			return s, err
		}
	}
	reply, err := redisStatus.Run(ctx, x.client, []string{x.state}).Slice()
	if err != nil {
		return s, fmt.Errorf("read the state of the call index on Redis: %w", err)
	}
	if why := x.distrust.Load(); why != nil {
		s.Distrust = *why
	} else if x.cluster {
		s.Distrust = "the shards of a Cluster may lose different seconds when they fail over"
	}
	running, _ := reply[len(reply)-1].(int64)
	s.Rebuilding = running == 1
	state, err := parseState(reply)
	if err != nil || state == nil {
		return s, err
	}
	s.Tables = len(state.tables)
	if s.Complete = state.complete(x.horizon(0)); s.Complete {
		s.Through = state.through
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sweeps.table == state.tables[0].id {
		s.NamesAbout = int64(x.sweeps.names)
	}
	return s, nil
}
