package faults

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
)

// relay passes TCP connections on to a server, and does two things that a
// proxy which knows nothing of what it carries cannot: it loses the answer to
// exactly what it is told to, after the server has given it, and it leads to
// another server from one moment to the next.
type relay struct {
	addr string

	mu     sync.Mutex
	target string
	lose   func(asked, answer []byte) bool
	lost   int
	links  map[*link]bool
}

// link is one connection.
type link struct {
	*relay
	client, server net.Conn

	mu       sync.Mutex
	asked    []byte // the head of what the client said last
	answered bool
}

const askedBytesMax = 2 << 10

// newRelay starts one to the server at target, host:port. It ends with the test.
func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), target: target, links: map[*link]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return // closed
			}
			all.Go(func() { r.carry(client) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		r.turn("")
		all.Wait()
	})
	return r
}

// turn leads to another server: connections to the one before break, "" takes
// none.
func (r *relay) turn(target string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = target
	for k := range r.links {
		k.close()
	}
}

// losing says which answers are lost: the connection breaks in their stead.
// asked is the head of what the client said before. nil loses none. Calls come
// one at a time.
func (r *relay) losing(lose func(asked, answer []byte) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lose = lose
}

// lostSoFar is how many answers were lost.
func (r *relay) lostSoFar() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// carry serves one client until either side ends.
func (r *relay) carry(client net.Conn) {
	defer client.Close()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	if target == "" {
		return
	}
	server, err := net.Dial("tcp", target)
	if err != nil {
		return // as the client sees it: the server is not there
	}
	k := &link{relay: r, client: client, server: server}
	r.mu.Lock()
	stays := r.target == target
	if stays {
		r.links[k] = true
	}
	r.mu.Unlock()
	if stays {
		var wait sync.WaitGroup
		wait.Go(func() { k.pump(server, client, k.listen) })
		k.pump(client, server, k.answer)
		wait.Wait()
	}
	k.close()
	r.mu.Lock()
	delete(r.links, k)
	r.mu.Unlock()
}

func (k *link) close() {
	_ = errors.Join(k.client.Close(), k.server.Close()) // the other end may have gone already
}

// pump copies what comes until it ends or is not let through, and then breaks
// the link.
func (k *link) pump(dst io.Writer, src io.Reader, let func([]byte) bool) {
	defer k.close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if !let(buf[:n]) {
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// listen remembers what the client asks.
func (k *link) listen(p []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.answered {
		k.asked, k.answered = k.asked[:0], false
	}
	k.asked = append(k.asked, p[:min(len(p), askedBytesMax-min(len(k.asked), askedBytesMax))]...)
	return true
}

// answer says whether the server's answer reaches the client.
func (k *link) answer(p []byte) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answered = true
	k.relay.mu.Lock()
	defer k.relay.mu.Unlock()
	if k.lose == nil || !k.lose(k.asked, p) {
		return true
	}
	k.lost++
	return false
}
