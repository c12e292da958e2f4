package services

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

// Proxy is a faulty network in front of a server. Its methods may be called
// from any goroutine; what goes wrong in them fails the test.
//
// A fault holds for the connections that there are and for new ones, until
// Clear. Each fault replaces itself (Slow(10) after Slow(20) is 10) and joins
// the others.
type Proxy struct {
	Addr string // host:port to connect to; stays the same through Down and Up

	t     testing.TB
	mu    sync.Mutex
	proxy *toxiproxy.Proxy
}

// NewProxy starts a proxy that ends with the test. Target is host:port; it
// need not answer yet.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	port, err := server.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	nobody := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := &Proxy{Addr: fmt.Sprintf("127.0.0.1:%d", port), t: t}
	p.proxy = toxiproxy.NewProxy(nobody, t.Name(), p.Addr, target)
	p.Up()
	t.Cleanup(p.Down)
	return p
}

// defaultPorts are those of URLs that name none.
var defaultPorts = map[string]string{
	"redis": "6379", "rediss": "6379", "postgres": "5432", "postgresql": "5432", "clickhouse": "9000", "http": "8123", "https": "8443",
}

// Through gives a server's URL that leads through a new proxy.
func Through(t testing.TB, rawURL string) (string, *Proxy) {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal("a server's URL cannot be read; it may hold a password and is not shown")
	}
	target := u.Host
	if u.Port() == "" {
		target = net.JoinHostPort(u.Hostname(), defaultPorts[u.Scheme])
	}
	p := NewProxy(t, target)
	u.Host = p.Addr
	return u.String(), p
}

// Down breaks all connections and refuses new ones.
func (p *Proxy) Down() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Stop()
}

// Up takes connections again.
func (p *Proxy) Up() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proxy.Enabled {
		return
	}
	if err := p.proxy.Start(); err != nil {
		p.t.Errorf("start the proxy at %s: %v", p.Addr, err)
	}
}

// Slow delays each of the server's answers by so many milliseconds.
func (p *Proxy) Slow(latencyMS int) { p.add("latency", "latency", int64(latencyMS)) }

// Reset breaks a connection at the server's first answer, which is lost: the
// request has been carried out. New connections end with a TCP reset, those
// that there were by a close.
func (p *Proxy) Reset() { p.add("reset_peer", "timeout", 0) }

// Cut lets so many bytes of the server's answers through on each connection,
// counted from now, and closes it then: the request has been carried out, its
// answer ends in the middle or does not come.
func (p *Proxy) Cut(bytes int64) { p.add("limit_data", "bytes", bytes) }

// Silence loses the server's answers and leaves the connections open, until
// Clear, which closes them.
func (p *Proxy) Silence() { p.add("timeout", "timeout", 0) }

// Clear takes every fault away; a proxy that is down stays down.
func (p *Proxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proxy.Toxics.ResetToxics(context.WithoutCancel(p.t.Context()))
}

// add puts one fault on the way from the server, in place of the same one.
func (p *Proxy) add(kind, attribute string, value int64) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.proxy.Toxics.GetToxic(kind) != nil {
		if err := p.proxy.Toxics.RemoveToxic(context.WithoutCancel(p.t.Context()), kind); err != nil {
			p.t.Errorf("replace the fault %s: %v", kind, err)
		}
	}
	text := fmt.Sprintf(`{"name": %q, "type": %q, "stream": "downstream", "toxicity": 1, "attributes": {%q: %d}}`, kind, kind, attribute, value)
	if _, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(text)); err != nil {
		p.t.Errorf("set the fault %s: %v", kind, err)
	}
}
