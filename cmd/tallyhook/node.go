package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/journal"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/pipeline"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
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

	journal  *journal.Journal
	ledger   *sink.Ledger
	shipper  *clickhouse.Shipper // nil: activity is views over the verdict log
	analysts *clickhouse.Server  // the same server, to be asked
	inHand   *pipeline.InHand
	pipeline *pipeline.Pipeline
	ingest   *ingest.Server
	console  *console.Console
	tally    console.Tally
	steps    console.Steps

	listen, admin net.Listener
	started       time.Time
	snap          atomic.Pointer[store.Snapshot] // the objects in force
	prepared      bool                           // the store was there at the start
	attached      atomic.Bool                    // the store was reached, the stream goes on
	reached       chan struct{}                  // closed when attached
	first         *firstStart
	closers       []func() error
	store         health
	ships         health
	caches        caches
	mappers       *mappers

	reloading sync.Mutex
	mu        sync.Mutex
	failed    string
	stopping  bool
	expires   time.Time // when the next secret in force ends; zero is never
}

// openNode binds both addresses and opens everything; nothing runs yet. The
// addresses come first: where they are taken, no data folder is begun. Who
// connects early waits until run serves.
func openNode(ctx context.Context, opt *Options, cfg serveCmd, log *slog.Logger) (n *node, err error) {
	n = &node{opt: opt, cfg: cfg, log: log, started: time.Now(), reached: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	for _, step := range []func(context.Context) error{n.bind, n.openStore, n.openJournal, n.openCaches, n.openActivity, n.openMappers, n.openStream, n.openConsole} {
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

// openStream makes the pipeline. It runs once the store has been reached
// (attach), which knows where to begin.
func (n *node) openStream(context.Context) (err error) {
	policy := func(id string) *event.Policy {
		if src := n.live.Load().ByID(id); src != nil {
			return &src.Policy
		}
		return nil
	}
	cfg := sink.LedgerConfig{Postgres: n.db.Pool, Decide: match.Decide, Policy: policy, Now: time.Now}
	if !n.db.Postgres() {
		cfg.SQLite = n.db.Write
	}
	if n.ledger, err = sink.OpenLedger(cfg); err != nil {
		return err
	}
	n.onClose(n.ledger.Close)
	if n.inHand, err = pipeline.OpenInHand(filepath.Join(n.opt.Data, "in-hand"), false); err != nil {
		return err
	}
	n.onClose(n.inHand.Close)
	waiting, err := pipeline.OpenInHand(filepath.Join(n.opt.Data, "in-hand-waiting"), true)
	if err != nil {
		return err
	}
	n.onClose(waiting.Close)
	board := ingest.NewBoard(time.Now)
	n.pipeline = &pipeline.Pipeline{
		Mapper:  n.mappers.mapper,
		Matcher: n.caches.matcher,
		Ledger:  explained{n.ledger, n.db},
		Deliver: board.Deliver,
		Observe: n.observe,
		InHand:  n.inHand,
		Waiting: waiting,
		Now:     time.Now,
		Log:     n.log,
	}
	return n.openIntake(board)
}

// explained says of a store that cannot be reached where it is and what to do,
// in place of the driver's words.
type explained struct {
	*sink.Ledger
	db *store.DB
}

func (l explained) Post(ctx context.Context, b *event.Batch) (sink.Result, error) {
	res, err := l.Ledger.Post(ctx, b)
	return res, l.db.Explain(err)
}

// openIntake makes the HTTP tier that appends to the journal.
func (n *node) openIntake(board *ingest.Board) error {
	proxies, err := ingest.ParseTrustedProxies(n.opt.TrustedProxies)
	if err != nil {
		return usageError{err}
	}
	var ends *ingest.TLS
	if n.opt.TLSCert != "" {
		if ends, err = ingest.NewTLS(ingest.TLSFiles{Cert: n.opt.TLSCert, Key: n.opt.TLSKey, ClientCA: n.opt.ClientCA}, n.log, nil); err != nil {
			return err
		}
	}
	n.ingest = ingest.New(ingest.Config{
		Live: n.live, Journal: n.journal, Board: board, TrustedProxies: proxies, TLS: ends,
		Limiter:  n.caches.limiter,
		CallsKey: n.knows,
		CallKey:  callKeys(n.objects.Seal), PublicURL: n.base(), SignedBase: n.opt.signedBase(),
		Lag:    n.behind,
		Limits: ingest.Limits{ConnsPerIPMax: n.cfg.ConnsPerIPMax},
		Log:    n.log,
	})
	return nil
}

// callKeys gives the key of a call: half of a keyed digest of its id, so that
// every node with the same key file gives the same and none has to look it up.
func callKeys(seal *store.Seal) func(callID string) string {
	pepper := seal.Pepper("call key")
	return func(callID string) string {
		m := hmac.New(sha256.New, pepper)
		m.Write([]byte(callID))
		return hex.EncodeToString(m.Sum(nil)[:sha256.Size/2])
	}
}

func (n *node) openConsole(context.Context) (err error) {
	registry := prometheus.NewRegistry()
	metrics := &console.Metrics{Node: n.Status, Live: n.live,
		Verdicts: &n.tally, Steps: &n.steps, Version: version}
	if err := errors.Join(metrics.Register(registry), registry.Register(mapperMetrics{n.mappers.mapper}), registry.Register(intakeMetrics{n.ingest.Stats()})); err != nil {
		return err
	}
	cfg := console.Config{
		Objects: n.objects, Activity: &sink.Activity{DB: n.db.Read}, Books: &sink.Books{DB: n.db.Read}, VerifyDB: n.db.Read,
		Node: n, PostbackBase: n.base(), Changed: n.changed, Registry: registry, Log: n.log, Version: version,
	}
	cfg.Keys = func(hash [32]byte) (store.Key, bool) { return n.snap.Load().KeyByHash(hash) }
	cfg.Admitter = n.mappers
	if n.analysts != nil {
		cfg.Query = n.analysts.Query
	}
	n.teach(&cfg)
	n.console, err = console.New(cfg)
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
