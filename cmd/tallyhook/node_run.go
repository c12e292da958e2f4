package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// Limits of stopping and of noticing changes.
const (
	drainTimeMax   = 10 * time.Second // what waits in the journal may still be decided
	stopTimeMax    = 15 * time.Second // requests under way may still be answered
	reloadInterval = time.Second      // how often objects changed elsewhere are looked for
	backlogBehind  = 4000             // records without a verdict from which nobody is kept waiting for one
)

// run serves until ctx ends, then drains and stops. An error means that the
// node could not go on.
func (n *node) run(ctx context.Context) error {
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	fatal := make(chan error, 4)
	var background sync.WaitGroup
	goOn := func(f func(context.Context) error) {
		background.Go(func() {
			if err := f(work); err != nil && work.Err() == nil {
				n.fail(err)
				fatal <- err
			}
		})
	}
	goOn(n.watchObjects)
	goOn(n.rebuildIndex)
	if !n.cfg.PausePipeline {
		goOn(func(ctx context.Context) error { return n.pipeline.Run(ctx) })
	}
	goOn(func(ctx context.Context) error { return n.ingest.Serve(n.listen) })
	admin := n.console.Server()
	goOn(func(context.Context) error {
		if err := admin.Serve(n.admin); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})

	var err error
	select {
	case <-ctx.Done():
		n.log.Info("stopping: no new requests are taken, what is on disk is being decided")
	case err = <-fatal:
	case <-n.journal.Failed():
		err = n.journal.Err()
		n.fail(err)
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeMax)
	defer cancel()
	errStop := n.ingest.Shutdown(stop)
	if err == nil {
		n.drain()
	}
	stopWork()
	errStop = errors.Join(errStop, admin.Shutdown(stop))
	// A server that was stopped before it began to serve does not know its
	// listener and would wait there for ever.
	_, _ = n.listen.Close(), n.admin.Close()
	background.Wait()
	if err != nil {
		return err
	}
	return errStop
}

// drain waits until what is on disk has its verdicts, or drainTimeMax.
func (n *node) drain() {
	if n.cfg.PausePipeline {
		return
	}
	deadline := time.Now().Add(drainTimeMax)
	for time.Now().Before(deadline) {
		if last, _ := n.journal.Last(); n.pipeline.Committed() > last {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	n.log.Warn("stopped with records that have no verdict yet; the next start goes on with them", "records", n.backlog())
}

// rebuildIndex fills the index from the store; until it is whole, look-ups are
// confirmed there.
func (n *node) rebuildIndex(ctx context.Context) error {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		through, err := sink.CallsThrough(ctx, n.db.Read)
		if err == nil {
			begun, count := time.Now(), 0
			err = n.index.Rebuild(ctx, func(ctx context.Context, yield func([]event.Call) error) error {
				return sink.ScanCalls(ctx, n.db.Read, yield)
			}, through, func(calls int) { count = calls })
			if err == nil {
				n.log.Debug("call index is complete", "calls", count, "took", time.Since(begun))
				return nil
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		n.log.Warn("call index could not be rebuilt, look-ups go to the store meanwhile", "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// reload puts the store's objects in force.
func (n *node) reload(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	dir, err := n.objects.Directory(ctx, n.live.Load())
	if err != nil {
		return err
	}
	n.live.Swap(dir)
	n.keys.forget()
	return nil
}

// watchObjects notices changes that another process made, and secrets that
// have run out.
func (n *node) watchObjects(ctx context.Context) error {
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		version, err := n.objects.Version(ctx)
		if err == nil {
			expiry, some, errExpiry := n.objects.NextExpiry(ctx)
			err = errExpiry
			if err == nil && (version != n.live.Load().Version || (some && !time.Now().Before(expiry))) {
				err = n.reload(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			n.log.Warn("objects could not be read again; those in force stay", "error", err)
		}
	}
}
