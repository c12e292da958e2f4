// Package console is what people and programs use to run a node: the admin
// API under /api/v1/, health, metrics and profiles, and a page for the
// browser at /.
//
// A Console is an http.Handler without a listener: a node serves it on its
// admin listener, and the command line calls it in its own process when no
// node runs. What needs a running node then answers 503 node_not_running.
//
// Every route stands in one table (routes.go) with the query parameters that
// it knows; the table makes the mux, and the OpenAPI document is tested
// against it in both directions. A request passes, in this order: headers and
// panics (serve.go), route, key (auth.go), query parameters (params.go), the
// handler, which writes an answer or returns an error (answer.go).
package console

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source/learn"
	"github.com/tallyhook/tallyhook/store"
)

// Limits of the console.
const (
	BodyBytesMax     = 1 << 20
	HeaderBytesMax   = 32 << 10
	ListRowsMax      = store.ListRowsMax
	ListRowsDefault  = store.ListRowsDefault
	QueryRowsDefault = 1000 // of up to sink.QueryRowsMax
	QueriesMax       = 2    // run at once; others wait for their turn
	RequestTimeMax   = 30 * time.Second
	VerifyTimeMax    = time.Hour
	ProfileTimeMax   = 5 * time.Minute
)

// Config is what a Console stands on. Objects, Activity, Books and Log are
// required.
type Config struct {
	Objects  *store.Objects
	Activity *sink.Activity
	Books    *sink.Books

	// VerifyDB is a handle for the ledger's verification, which reads for
	// long; nil answers 503.
	VerifyDB *sql.DB

	// Query asks the activity store, where there is one beside the primary
	// store; nil asks Activity.
	Query func(ctx context.Context, text string, rowsMax int) (*sink.Table, error)

	// Keys knows the access keys as of the last time that the store was there;
	// it is asked while the store is away. nil knows none.
	Keys func(hash [32]byte) (store.Key, bool)

	// Node is the running node, nil when none runs in this process.
	Node Node

	// Admitter looks at mappers that are pushed; nil answers pushes with 503.
	Admitter Admitter

	// Captured lists the last requests of a source that the node has whole, the
	// newest first; nil knows none.
	Captured func(sourceID string) []learn.Request

	// Tryer runs trials on the node; nil when none runs in this process.
	Tryer Tryer

	// PostbackBase is the public address of the intake, for example
	// http://127.0.0.1:8080, from which sources' URLs are made.
	PostbackBase string

	// SignedBase is what stands before the path in URLs that senders sign, as
	// the intake has it; empty is what each request says of its host.
	SignedBase string

	// Changed is called after each change of an object and before its answer
	// goes out, so that a node works by the change when its caller reads of
	// it. nil when no node runs.
	Changed func(ctx context.Context) error

	// Registry holds what /metrics shows; nil makes an empty one. The console
	// adds its own request metrics to it.
	Registry *prometheus.Registry

	Log     *slog.Logger
	Now     func() time.Time // nil is time.Now
	Version string
}

// Console serves the admin API. It is safe for concurrent use.
type Console struct {
	cfg        Config
	requests   *requestMetrics
	verifying  sync.Mutex    // held while a verification runs
	queries    chan struct{} // one token per running query
	admissions *admissions
	handler    http.Handler
}

// New makes a console of cfg and registers its metrics. It fails when they are
// registered already.
func New(cfg Config) (*Console, error) {
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	c := &Console{cfg: cfg, queries: make(chan struct{}, QueriesMax), admissions: newAdmissions()}
	var err error
	if c.requests, err = newRequestMetrics(cfg.Registry); err != nil {
		return nil, err
	}
	c.handler = c.serve(c.mux())
	return c, nil
}

// Handler is the whole console: API, health, metrics, profiles and page.
func (c *Console) Handler() http.Handler { return c.handler }

// Server wraps the console in a server with limits on what a slow or greedy
// client may hold. Its caller gives it a listener and shuts it down. Answers
// have no common deadline: each route sets its own.
func (c *Console) Server() *http.Server {
	return &http.Server{
		Handler:           c.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       RequestTimeMax,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    HeaderBytesMax,
		ErrorLog:          slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// changed tells the node of a change that is in the store already. When the
// node cannot follow now, the answer says so: the change itself stands.
func (c *Console) changed(ctx context.Context) error {
	if c.cfg.Changed == nil {
		return nil
	}
	// The change is made: a client that has gone must not keep the node from it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), RequestTimeMax)
	defer cancel()
	if err := c.cfg.Changed(ctx); err != nil {
		return &failure{status: http.StatusServiceUnavailable, code: "not_in_force",
			message: "the change is stored, but the node could not take it up yet: it does so by itself when the cause is gone, or after a restart; its log names the cause", cause: err}
	}
	return nil
}
