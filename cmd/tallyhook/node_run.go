package main

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Limits of stopping and of noticing changes.
const (
	drainTimeMax  = 10 * time.Second // what waits in the journal may still be decided
	stopTimeMax   = 15 * time.Second // requests under way may still be answered
	backlogBehind = 4000             // records without a verdict from which nobody is kept waiting for one
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
	goOn(n.mappers.run)
	goOn(n.runStream)
	goOn(n.feedIndex)
	goOn(n.watchHealth)
	goOn(n.ship)
	goOn(n.forget)
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
	n.mu.Lock()
	n.stopping = true // a balancer shall look elsewhere
	n.mu.Unlock()
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
	if n.cfg.PausePipeline || !n.attached.Load() {
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
