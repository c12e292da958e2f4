package ingest

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// listener is what a Server accepts on. It bounds the connections of one
// address (fasthttp's own bound reuses a connection's memory while a Shutdown
// still closes it), and it outlasts a shortage of descriptors or memory:
// without that, the first such failure would end Serve, and one flood the intake.
type listener struct {
	net.Listener
	perIPMax int // 0 is off
	log      *slog.Logger

	mu   sync.Mutex
	open map[netip.Addr]int // connections by address, an IPv6 one by its /64
}

func newListener(ln net.Listener, perIPMax int, log *slog.Logger) *listener {
	return &listener{Listener: ln, perIPMax: perIPMax, log: log, open: map[netip.Addr]int{}}
}

// tooManyConns is the whole answer to a connection over the bound.
const tooManyConns = "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	const waitMin, waitMax = 5 * time.Millisecond, time.Second
	wait := waitMin
	for {
		c, err := l.Listener.Accept()
		switch {
		case err == nil && l.perIPMax == 0:
			return c, nil
		case err == nil:
			if counted := l.count(c); counted != nil {
				return counted, nil
			}
			turnAway(c)
			wait = waitMin
		case shortage(err):
			l.log.Warn("accept failed, trying again; raise the limit of open files if this lasts", "error", err, "wait", wait)
			time.Sleep(wait)
			wait = min(2*wait, waitMax)
		default:
			return nil, err
		}
	}
}

// turnAway says why and closes. What is left of errors is the sender's.
func turnAway(c net.Conn) {
	if c.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.WriteString(c, tooManyConns)
	}
	_ = c.Close()
}

// count takes a connection into account, or gives nil when its address has
// too many.
func (l *listener) count(c net.Conn) net.Conn {
	tcp, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return c
	}
	ip := network(tcp.AddrPort().Addr().Unmap().WithZone(""))
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[ip] >= l.perIPMax {
		return nil
	}
	l.open[ip]++
	return &countedConn{Conn: c, l: l, ip: ip}
}

// countedConn gives its place back when it is closed first.
type countedConn struct {
	net.Conn
	l      *listener
	ip     netip.Addr
	closed sync.Once
}

func (c *countedConn) Close() error {
	c.closed.Do(func() {
		c.l.mu.Lock()
		defer c.l.mu.Unlock()
		if c.l.open[c.ip]--; c.l.open[c.ip] == 0 {
			delete(c.l.open, c.ip)
		}
	})
	return c.Conn.Close()
}

// network is what an address counts as: itself, or the /64 of an IPv6 one, as
// a customer is given a /64 and could use each of its addresses once.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(64)
	if err != nil {
		panic("bug: network of " + a.String() + ": " + err.Error())
	}
	return p.Addr()
}

func shortage(err error) bool {
	for _, e := range [...]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ECONNABORTED} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
