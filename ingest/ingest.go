// Package ingest is the HTTP tier: everything that must come before the disk,
// and the answer.
//
//	framing ─ token ─ address ─ certificate ─ method ─ signature ─ rate ─ content ─ record ─ Journal ─ reply
//	  400      404      401        401         405        401      429    413/415             503     200/400
//
// A refused request leaves no trace but counters, a line in its source's
// Refused list, and a copy in memory to learn from (Captured). An accepted one
// is on disk, synced, before its sender reads a 2xx. No database stands in
// between. Signatures are checked over the bytes as they came. The answer to
// calls tells what to pass on to their buyers, see setvalue.go. A sender whose
// source wants the verdict waits at the Board, where the pipeline delivers it
// after the ledger's commit.
package ingest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Journal is where accepted records go. A nil error means that they are on
// disk, synced. The records are the caller's again when a method returns.
//
// An error that has a method TooLarge() bool, true, is answered 413: the
// record can never be taken. Every other error is answered 503 and the sender
// comes back.
type Journal interface {
	Append(rec []byte) (event.ID, error)

	// AppendAll appends all of recs or none, under consecutive sequences, and
	// gives the id of the first.
	AppendAll(recs [][]byte) (first event.ID, err error)
}

// Limiter bounds what one source and one address may send. It waits for nothing
// longer than a moment: when its backend is out of reach, the node decides by
// what it knows. retryAfter is how
// long until the same request would be let through; it is positive when ok is
// false. Addresses of IPv6 count by their /64.
type Limiter interface {
	// Allow counts one request of src from peer against src.PerIP and src.PerToken.
	Allow(src *source.Source, peer netip.Addr, now time.Time) (ok bool, retryAfter time.Duration)

	// AllowFailure counts one failed authentication of peer.
	AllowFailure(peer netip.Addr, now time.Time) (ok bool, retryAfter time.Duration)
}

// Config is what a Server needs. Live, Journal, Limiter and Board must be set.
type Config struct {
	Live    *source.Live
	Journal Journal
	Limiter Limiter
	Board   *Board

	// CallsKey says whether a key, given by the SHA-256 of its text, may post
	// calls. Nil refuses every key.
	CallsKey func(hash [32]byte) bool

	// CallKey gives the key of a call, see setvalue.go. It must not keep callID.
	// Nil issues none and refuses all of them.
	CallKey func(callID string) string

	// PublicURL is what the URLs begin with that are given to calls' buyers:
	// https://in.example.com.
	PublicURL string

	// SignedBase is what the URLs begin with that senders sign, where a proxy
	// changes scheme or host. "" takes both as the request shows them.
	SignedBase string

	// TLS ends TLS for Serve's listener. Nil: plain HTTP, and sources that ask
	// for a client certificate refuse everything.
	TLS *TLS

	// TrustedProxies are the peers whose X-Forwarded-For is believed, see
	// ParseTrustedProxies.
	TrustedProxies []netip.Prefix

	// Lag says whether the pipeline is so far behind that nobody should wait
	// for a verdict. Nil is never.
	Lag func() (behind bool)

	DefaultRegion string // of callers without a country code in calls; "" is source.DefaultRegion
	Limits        Limits
	Log           *slog.Logger     // nil discards
	Now           func() time.Time // nil is time.Now
}

// Limits bound one connection and one request. Zero takes the default.
type Limits struct {
	PostbackBytesMax int // body on the wire; 64 KiB
	GunzipBytesMax   int // postback body once unpacked; 256 KiB
	CallsBytesMax    int // body of /v1/calls, on the wire and unpacked; 8 MiB
	HeaderBytesMax   int // request line and headers together; 8 KiB

	ReadTimeout      time.Duration // of a whole request; 5 s
	CallsReadTimeout time.Duration // the same for /v1/calls with a good key; 60 s
	WriteTimeout     time.Duration // 5 s
	IdleTimeout      time.Duration // between two requests of a connection; 30 s

	RequestsPerConnMax int // then the connection is closed; 10,000
	ConnsMax           int // open at once; 20,000

	// ConnsPerIPMax bounds the connections of one address; -1 is off. The
	// default is 1,024, or off when there are trusted proxies: behind a proxy
	// all connections have its address. Load tests from one machine with more
	// connections need -1 as well.
	ConnsPerIPMax int
}

func (l *Limits) fill(proxied bool) {
	for _, v := range []struct {
		p   *int
		def int
	}{
		{&l.PostbackBytesMax, 64 << 10},
		{&l.GunzipBytesMax, 256 << 10},
		{&l.CallsBytesMax, 8 << 20},
		{&l.HeaderBytesMax, 8 << 10},
		{&l.RequestsPerConnMax, 10_000},
		{&l.ConnsMax, 20_000},
	} {
		if *v.p == 0 {
			*v.p = v.def
		}
	}
	for _, v := range []struct {
		p   *time.Duration
		def time.Duration
	}{
		{&l.ReadTimeout, 5 * time.Second},
		{&l.CallsReadTimeout, 60 * time.Second},
		{&l.WriteTimeout, 5 * time.Second},
		{&l.IdleTimeout, 30 * time.Second},
	} {
		if *v.p == 0 {
			*v.p = v.def
		}
	}
	switch {
	case l.ConnsPerIPMax < 0 || (l.ConnsPerIPMax == 0 && proxied):
		l.ConnsPerIPMax = 0 // the listener's word for off
	case l.ConnsPerIPMax == 0:
		l.ConnsPerIPMax = 1024
	}
}

// Server answers senders. Make one with New.
type Server struct {
	cfg        Config
	http       *fasthttp.Server
	stats      Stats
	refused    refusedLists
	captures   captures
	scratch    sync.Pool    // of *request, see getRequest
	loggedAt   atomic.Int64 // second of the last line about the journal
	committing atomic.Int64 // senders that wait for the ledger's commit
}

// New makes a Server; it panics when a part that must be set is nil.
func New(cfg Config) *Server {
	if cfg.Live == nil || cfg.Journal == nil || cfg.Limiter == nil || cfg.Board == nil {
		panic("bug: ingest: Live, Journal, Limiter and Board must be set")
	}
	if cfg.CallsKey == nil {
		cfg.CallsKey = func([32]byte) bool { return false }
	}
	if cfg.Lag == nil {
		cfg.Lag = func() bool { return false }
	}
	if cfg.DefaultRegion == "" {
		cfg.DefaultRegion = source.DefaultRegion
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Limits.fill(len(cfg.TrustedProxies) > 0)
	s := &Server{cfg: cfg, refused: refusedLists{bySource: map[string]*refusedList{}}}
	s.http = s.transport()
	return s
}

// Serve answers on ln until Shutdown, then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	ln = newListener(ln, s.cfg.Limits.ConnsPerIPMax, s.cfg.Log)
	if s.cfg.TLS != nil {
		ln = tls.NewListener(ln, s.cfg.TLS.config())
	}
	return s.http.Serve(ln)
}

// Shutdown stops accepting, lets what is in flight finish, and returns; or
// returns the context's error when that takes longer than ctx allows. A
// connection that has sent nothing yet may take ReadTimeout to be let go.
func (s *Server) Shutdown(ctx context.Context) error { return s.http.ShutdownWithContext(ctx) }

// Stats gives the server's counters; they run while the server does.
func (s *Server) Stats() *Stats { return &s.stats }

// Refused lists the last refused requests of a source, newest first.
func (s *Server) Refused(sourceID string) []Refusal { return s.refused.list(sourceID) }
