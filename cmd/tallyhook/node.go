package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/journal"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/pipeline"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// node is one running Tallyhook: the rooms, wired.
//
//	ingest ─► journal ─► pipeline (mapper, match, ledger) ─► board ─► ingest
//	                        └── store ──► console
//
// openNode opens from the store up; close goes the other way.
type node struct {
	opt *Options
	cfg serveCmd
	log *slog.Logger

	db      *store.DB
	objects *store.Objects
	live    *source.Live
	keys    keyring

	journal  *journal.Journal
	reader   *journal.Reader
	ledger   *sink.Ledger
	index    *match.MemoryIndex
	inHand   *pipeline.InHand
	pipeline *pipeline.Pipeline
	ingest   *ingest.Server
	console  *console.Console
	tally    console.Tally
	steps    console.Steps

	listen, admin net.Listener
	started       time.Time
	next          uint64 // checkpoint of the stream when it was opened
	first         *firstStart
	closers       []func() error

	mu     sync.Mutex
	failed string
}

// openNode opens everything and binds both addresses; nothing runs yet.
func openNode(ctx context.Context, opt *Options, cfg serveCmd, log *slog.Logger) (n *node, err error) {
	n = &node{opt: opt, cfg: cfg, log: log, started: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for _, step := range []func(context.Context) error{n.openStore, n.openJournal, n.openStream, n.bind, n.openConsole} {
		if err := step(ctx); err != nil {
			return n, err
		}
	}
	return n, nil
}

// onClose remembers what has to be closed; close runs them in reverse.
func (n *node) onClose(f func() error) { n.closers = append(n.closers, f) }

func (n *node) close() error {
	var errs []error
	for i := len(n.closers) - 1; i >= 0; i-- {
		errs = append(errs, n.closers[i]())
	}
	n.closers = nil
	return errors.Join(errs...)
}

// openStore opens the primary store and, on the first start, makes what an
// operator needs to begin.
func (n *node) openStore(ctx context.Context) error {
	if err := os.MkdirAll(n.opt.Data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	var err error
	if n.db, err = store.Open(ctx, n.opt.Store); err != nil {
		return err
	}
	n.onClose(n.db.Close)
	seal, err := store.LoadSeal(n.opt.KeyFile, true)
	if err != nil {
		return err
	}
	n.objects = &store.Objects{DB: n.db, Seal: seal}
	if err := n.objects.Check(ctx); err != nil {
		return err
	}
	if n.first, err = begin(ctx, n.objects, n.opt); err != nil {
		return err
	}
	dir, err := n.objects.Directory(ctx, nil)
	if err != nil {
		return err
	}
	n.live = source.NewLive(dir)
	n.keys.objects = n.objects
	return nil
}

func (n *node) openJournal(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		host = "node"
	}
	n.journal, err = journal.Open(journal.Config{
		Dir: filepath.Join(n.opt.Data, "journal"), StoreID: n.db.ID, Log: n.log,
		NewStream: func() (uint32, error) { return n.db.NewStream(ctx, host, time.Now()) },
		BytesMax:  int64(n.cfg.JournalMaxMB) << 20, RetainFor: n.cfg.JournalRetain,
	})
	if err != nil {
		return err
	}
	n.onClose(n.journal.Close)
	info, err := n.db.Stream(ctx, n.journal.Stream())
	if err != nil {
		return fmt.Errorf("the journal in %s belongs to stream %d, which the store does not know; move the folder away to begin a new one: %w",
			filepath.Join(n.opt.Data, "journal"), n.journal.Stream(), err)
	}
	n.next = info.NextSeq
	if n.reader, err = n.journal.Reader(n.next); err != nil {
		return err
	}
	n.onClose(func() error { n.reader.Close(); return nil })
	return nil
}

// stream is the journal as the pipeline sees it.
type stream struct {
	*journal.Reader
	j *journal.Journal
}

func (s stream) Commit(next uint64) error { return s.j.Commit(next) }

func (n *node) openStream(ctx context.Context) (err error) {
	policy := func(id string) *event.Policy {
		if src := n.live.Load().ByID(id); src != nil {
			return &src.Policy
		}
		return nil
	}
	if n.ledger, err = sink.OpenLedger(ctx, n.db.Write, match.Decide, policy, time.Now); err != nil {
		return err
	}
	n.onClose(n.ledger.Close)
	if n.inHand, err = pipeline.OpenInHand(filepath.Join(n.opt.Data, "in-hand")); err != nil {
		return err
	}
	n.onClose(n.inHand.Close)
	n.index = match.NewMemoryIndex(match.MemoryIndexConfig{})
	board := ingest.NewBoard(time.Now)
	n.pipeline = &pipeline.Pipeline{
		Journal: stream{n.reader, n.journal},
		Mapper:  mapper.NewBuiltin(n.live),
		Matcher: &match.Matcher{Index: n.index, Dedupe: match.NewMemoryDeduper(match.MemoryDeduperConfig{})},
		Ledger:  n.ledger,
		Deliver: board.Deliver,
		Observe: n.observe,
		InHand:  n.inHand,
		Now:     time.Now,
		Log:     n.log,
	}
	n.pipeline.Start(n.next)
	return n.openIntake(board)
}

// openIntake makes the HTTP tier that appends to the journal.
func (n *node) openIntake(board *ingest.Board) error {
	proxies, err := ingest.ParseTrustedProxies(n.opt.TrustedProxies)
	if err != nil {
		return usageError{err}
	}
	n.ingest = ingest.New(ingest.Config{
		Live: n.live, Journal: n.journal, Board: board, TrustedProxies: proxies,
		Limiter:  ingest.NewMemoryLimiter(ingest.MemoryLimiterConfig{FailuresPerMin: n.cfg.AuthFailuresPerMin}),
		CallsKey: n.keys.good,
		Lag:      n.behind,
		Limits:   ingest.Limits{ConnsPerIPMax: n.cfg.ConnsPerIPMax},
		Log:      n.log,
	})
	return nil
}

func (n *node) openConsole(context.Context) (err error) {
	registry := prometheus.NewRegistry()
	metrics := &console.Metrics{Node: n.Status, Live: n.live,
		Verdicts: &n.tally, Steps: &n.steps, Version: version}
	if err := metrics.Register(registry); err != nil {
		return err
	}
	n.console, err = console.New(console.Config{
		Objects: n.objects, Activity: &sink.Activity{DB: n.db.Read}, Books: &sink.Books{DB: n.db.Read}, VerifyDB: n.db.Read,
		Node: n, PostbackBase: n.base(), Changed: n.reload, Registry: registry, Log: n.log, Version: version,
	})
	return err
}

func (n *node) bind(ctx context.Context) (err error) {
	var lc net.ListenConfig
	if n.listen, err = lc.Listen(ctx, "tcp", n.opt.Listen); err != nil {
		return fmt.Errorf("listen %s: %w; is another node running there? choose another address with --listen", n.opt.Listen, err)
	}
	n.onClose(func() error { n.listen.Close(); return nil })
	if n.admin, err = lc.Listen(ctx, "tcp", n.opt.Admin); err != nil {
		return fmt.Errorf("admin %s: %w; is another node running there? choose another address with --admin", n.opt.Admin, err)
	}
	n.onClose(func() error { n.admin.Close(); return nil })
	return nil
}

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
