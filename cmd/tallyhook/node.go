package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
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

// openNode binds both addresses and opens everything; nothing runs yet. The
// addresses come first: where they are taken, no data folder is begun. Who
// connects early waits until run serves.
func openNode(ctx context.Context, opt *Options, cfg serveCmd, log *slog.Logger) (n *node, err error) {
	n = &node{opt: opt, cfg: cfg, log: log, started: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for _, step := range []func(context.Context) error{n.bind, n.openStore, n.openJournal, n.openStream, n.openConsole} {
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
