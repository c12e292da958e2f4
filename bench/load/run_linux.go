package load

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Run sends until the time is over, Next has nothing left or ctx is done. An
// error means that the server could not be spoken with; statuses are counted.
func Run(ctx context.Context, cfg Config) (Result, error) {
	if err := cfg.check(); err != nil {
		return Result{}, err
	}
	addr, err := netip.ParseAddrPort(cfg.Addr)
	if err != nil {
		return Result{}, fmt.Errorf("load address %q: want IP:port", cfg.Addr)
	}
	loops, errs := make([]loop, cfg.Threads), make([]error, cfg.Threads)
	begin := time.Now()
	var wait sync.WaitGroup
	for i := range loops {
		loops[i] = loop{cfg: &cfg, addr: sockaddr(addr), begin: begin, from: begin.Add(cfg.Warmup)}
		if cfg.Rate > 0 {
			loops[i].gap = time.Duration(float64(time.Second) / cfg.Rate * float64(cfg.Threads))
		}
		if cfg.For > 0 {
			loops[i].until = loops[i].from.Add(cfg.For)
		}
		wait.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			errs[i] = loops[i].run(ctx, i)
		})
	}
	wait.Wait()
	var total Result
	for i := range loops {
		if errs[i] != nil {
			return total, fmt.Errorf("load on %s: %w", cfg.Addr, errs[i])
		}
		total.add(&loops[i].result)
	}
	return total, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// loop is one thread with its connections.
type loop struct {
	cfg         *Config
	addr        unix.Sockaddr
	from, until time.Time // until is zero when Next ends the run
	begin       time.Time
	gap         time.Duration // between requests, 0 without a rate
	sent        int64
	idle        []*sock // wait for their turn
	epoll       int
	socks       map[int32]*sock
	result      Result
}

type sock struct {
	fd      int
	conn    int
	sentAt  time.Time
	request []byte
	unsent  []byte
	buf     []byte
	used    int
}

const tries = 100 // dials in a row before the server counts as gone

func (l *loop) run(ctx context.Context, thread int) (err error) {
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	defer unix.Close(l.epoll)
	l.socks = map[int32]*sock{}
	defer func() {
		for _, s := range l.socks {
			unix.Close(s.fd)
		}
	}()
	for conn := thread; conn < l.cfg.Conns; conn += l.cfg.Threads {
		s := &sock{fd: -1, conn: conn, buf: make([]byte, 4096)}
		if err := l.next(s); err != nil {
			return err
		}
	}
	patience := 100 // ms
	if l.gap > 0 {
		patience = 1
	}
	events := make([]unix.EpollEvent, 256)
	for len(l.socks)+len(l.idle) > 0 {
		if err := l.due(); err != nil {
			return err
		}
		n, err := unix.EpollWait(l.epoll, events, patience)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("epoll: %w", err)
		}
		now := time.Now()
		if ctx.Err() != nil || (!l.until.IsZero() && now.After(l.until)) {
			break
		}
		for _, e := range events[:max(0, n)] {
			if err := l.ready(l.socks[e.Fd]); err != nil {
				return err
			}
		}
	}
	l.result.Took = time.Since(l.from)
	return nil
}

// due sends for idle connections what the rate allows by now.
func (l *loop) due() error {
	for len(l.idle) > 0 && time.Duration(l.sent)*l.gap <= time.Since(l.begin) {
		s := l.idle[len(l.idle)-1]
		l.idle = l.idle[:len(l.idle)-1]
		l.sent++
		if err := l.ask(s); err != nil {
			return err
		}
	}
	return nil
}

// next sends the next request of s, at once or when the rate allows it.
func (l *loop) next(s *sock) error {
	if l.gap > 0 {
		l.idle = append(l.idle, s)
		return nil
	}
	return l.ask(s)
}

// ask sends the next request of s, or ends s.
func (l *loop) ask(s *sock) error {
	if s.request = l.cfg.Next(s.conn); s.request == nil {
		l.drop(s)
		return nil
	}
	return l.send(s)
}

// send sends the request of s from its beginning, dialling first if need be.
func (l *loop) send(s *sock) error {
	if s.fd < 0 {
		if err := l.dial(s); err != nil {
			return err
		}
	}
	s.sentAt, s.unsent, s.used = time.Now(), s.request, 0
	return l.write(s)
}

func (l *loop) dial(s *sock) (err error) {
	for range tries {
		if s.fd, err = unix.Socket(family(l.addr), unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		if err = unix.Connect(s.fd, l.addr); err == nil {
			break
		}
		unix.Close(s.fd)
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err = unix.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err == nil {
		err = unix.SetNonblock(s.fd, true)
	}
	if err == nil {
		err = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLRDHUP, Fd: int32(s.fd)})
	}
	if err != nil {
		unix.Close(s.fd)
		return fmt.Errorf("set up connection: %w", err)
	}
	l.socks[int32(s.fd)] = s
	return nil
}

func family(a unix.Sockaddr) int {
	if _, ok := a.(*unix.SockaddrInet4); ok {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (l *loop) drop(s *sock) {
	if s.fd >= 0 {
		delete(l.socks, int32(s.fd))
		unix.Close(s.fd)
		s.fd = -1
	}
}

// write sends what is unsent. A full socket buffer is waited for: requests are
// far smaller than it, so that is rare.
func (l *loop) write(s *sock) error {
	for len(s.unsent) > 0 {
		n, err := unix.Write(s.fd, s.unsent)
		switch err {
		case nil:
			s.unsent = s.unsent[n:]
		case unix.EINTR:
		case unix.EAGAIN:
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, 1000); err != nil && err != unix.EINTR {
				return fmt.Errorf("poll: %w", err)
			}
		default:
			return l.broken(s)
		}
	}
	return nil
}

// broken counts a connection that ended before its answer, and sends its
// request anew on another one.
func (l *loop) broken(s *sock) error {
	if l.result.Broken++; l.result.Broken > int64(1000+l.cfg.Conns) {
		return fmt.Errorf("%d connections ended before their answer; is the server well?", l.result.Broken)
	}
	l.drop(s)
	return l.send(s)
}

// ready reads what came for s and, when the answer is whole, goes on.
func (l *loop) ready(s *sock) error {
	if s == nil {
		return nil // dropped earlier in the same round
	}
	if s.used == len(s.buf) {
		s.buf = append(s.buf, make([]byte, len(s.buf))...)
	}
	n, err := unix.Read(s.fd, s.buf[s.used:])
	if err == unix.EAGAIN || err == unix.EINTR {
		return nil
	}
	if err != nil || n == 0 {
		return l.broken(s)
	}
	s.used += n
	r, done, err := parseResponse(s.buf[:s.used])
	if err != nil || !done {
		return err
	}
	if now := time.Now(); !now.Before(l.from) {
		l.result.Requests++
		l.result.Latency.Record(now.Sub(s.sentAt))
		if !l.cfg.Judge(r.status, s.buf[r.head:r.size]) {
			l.result.Failed++
			l.result.LastStatus = r.status
		}
	}
	if r.last {
		l.drop(s)
	}
	return l.next(s)
}
