package match

import (
	"context"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// link is how a client reaches its servers: it can be led to another one, as
// by a Sentinel, and made slow. Its methods may be called at any time.
type link struct {
	mu    sync.Mutex
	addr  string
	delay time.Duration
	conns []net.Conn
}

func (l *link) client(t testing.TB, rawURL string) *redis.Client {
	o := redisOptions(t, rawURL)
	l.addr = o.Addr
	o.Dialer = l.dial
	return closing(t, redis.NewClient(o))
}

func (l *link) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	l.mu.Lock()
	addr := l.addr
	l.mu.Unlock()
	c, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return &slowConn{Conn: c, link: l}, nil
}

// lead lets all connections break and new ones go elsewhere.
func (l *link) lead(t testing.TB, rawURL string) {
	t.Helper()
	addr := address(t, rawURL)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = addr
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
}

func (l *link) slow(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = d
}

func address(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// slowConn gives every answer late.
type slowConn struct {
	net.Conn
	link *link

	mu       sync.Mutex
	deadline time.Time
}

func (c *slowConn) SetDeadline(at time.Time) error {
	c.remember(at)
	return c.Conn.SetDeadline(at)
}

func (c *slowConn) SetReadDeadline(at time.Time) error {
	c.remember(at)
	return c.Conn.SetReadDeadline(at)
}

func (c *slowConn) remember(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = at
}

func (c *slowConn) Read(p []byte) (int, error) {
	c.link.mu.Lock()
	delay := c.link.delay
	c.link.mu.Unlock()
	c.mu.Lock()
	deadline := c.deadline
	c.mu.Unlock()
	if left := time.Until(deadline); !deadline.IsZero() && left < delay {
		time.Sleep(left)
		return 0, os.ErrDeadlineExceeded
	}
	time.Sleep(delay)
	return c.Conn.Read(p)
}
