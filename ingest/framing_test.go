package ingest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// A second request must never hide in the body of the first: whatever two
// readers could split in two ways is refused, and the connection closed.
func TestFraming(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "buyer"}))
	const (
		line   = "POST /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\n"
		hidden = "GET /v1/postbacks/buyer?hidden=1 HTTP/1.1\r\nHost: x\r\n\r\n"
	)
	f := func(name, text string, want ...int) {
		t.Helper()
		before := n.journal.len()
		got, closed := n.raw(t, text, max(1, len(want)))
		if !slices.Equal(got, want) {
			t.Errorf("%s: answered %v, want %v", name, got, want)
		}
		accepted := 0
		for _, status := range want {
			if status == 200 {
				accepted++
			}
		}
		if kept := n.journal.len() - before; kept != accepted {
			t.Errorf("%s: journaled %d", name, kept)
		}
		if !closed && len(want) > 0 && want[len(want)-1] != 200 {
			t.Errorf("%s: the connection stays open", name)
		}
	}
	f("two requests in one go", line+"Content-Length: 1\r\n\r\nx"+hidden, 200, 200)
	f("chunked", line+"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"+hidden, 200, 200)
	f("absolute form", "GET http://x/v1/postbacks/buyer?a=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200)

	f("expect", line+"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx"+hidden, 100, 200, 200)

	f("expect and too large", line+"Expect: 100-continue\r\nContent-Length: 65537\r\n\r\n", 100, 413)
	f("length and chunked", line+"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"+hidden, 400)
	f("chunked and length", line+"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n1\r\nx\r\n0\r\n\r\n"+hidden, 400)
	f("length and empty chunked", line+"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("length and identity", line+"Content-Length: 1\r\nTransfer-Encoding: identity\r\n\r\nx"+hidden, 400)
	f("length zero and chunked on GET", "GET /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("both to nowhere", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("both to calls", "POST /v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("two lengths", line+"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx"+hidden, 400)
	f("two lengths that differ", line+"Content-Length: 1\r\nContent-Length: 60\r\n\r\nx"+hidden, 400)
	f("two encodings", line+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("encoding list", line+"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("odd encoding", line+"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("signed length", line+"Content-Length: +1\r\n\r\nx"+hidden, 400)
	f("negative length", line+"Content-Length: -1\r\n\r\nx"+hidden, 400)
	f("hex length", line+"Content-Length: 0x1\r\n\r\nx"+hidden, 400)
	f("negative chunk", line+"Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n"+hidden, 400)
	f("broken chunk", line+"Transfer-Encoding: chunked\r\n\r\n1\r\nxx\r\n0\r\n\r\n"+hidden, 400)
	f("chunked in HTTP/1.0", "POST /v1/postbacks/buyer HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+hidden, 400)
	f("bare LF", "GET /v1/postbacks/buyer HTTP/1.1\nHost: x\n\n"+hidden, 400)
	f("one bare LF", "GET /v1/postbacks/buyer HTTP/1.1\r\nHost: x\nA: b\r\n\r\n"+hidden, 400)
	f("blank line after bare LF", line+"A: b\n\r\nContent-Length: 60\r\n\r\n"+hidden, 400)
	f("bare CR", line+"A: b\rContent-Length: 60\r\n\r\n"+hidden, 400)
	f("NUL", line+"A: b\x00c\r\n\r\n"+hidden, 400)
	f("folded header", line+"A: b\r\n c\r\n\r\n"+hidden, 400)
	f("folded length", line+"A: b\r\n\tContent-Length: 60\r\n\r\n"+hidden, 400)
	f("space before colon", line+"Content-Length : 60\r\n\r\n"+hidden, 400)
	f("no host", "GET /v1/postbacks/buyer HTTP/1.1\r\n\r\n"+hidden, 400)
	f("two hosts", "GET /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"+hidden, 400)
	f("no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n\r\n", 400)
	f("chunked body too large", line+"Transfer-Encoding: chunked\r\n\r\n10001\r\n"+strings.Repeat("x", 64<<10+1)+"\r\n0\r\n\r\n"+hidden, 413)
}

// FuzzHeader: scan never panics, and never lets both lengths pass.
func FuzzHeader(f *testing.F) {
	f.Add("Host: x\r\nContent-Length: 1\r\n\r\n")
	f.Add("Host: x\r\n\tb\r\nTransfer-Encoding: chunked\r\n\r\n")
	f.Add("x-forwarded-for: a, b\r\nX-Webhook-Secret:\r\nUser-Agent: \xff\r\n\n")
	f.Fuzz(func(t *testing.T, raw string) {
		var h header
		if h.scan([]byte(raw)) != "" {
			return
		}
		lower := "\r\n" + strings.ToLower(raw)
		if strings.Contains(lower, "\r\ncontent-length:") && strings.Contains(lower, "\r\ntransfer-encoding:") {
			t.Errorf("both lengths pass in %q", raw)
		}
		if len(h.kept) > keptMax {
			t.Errorf("%d headers kept", len(h.kept))
		}
	})
}

// A sender that stalls is let go; how far it got does not matter.
func TestSlowSenders(t *testing.T) {
	n := startNode(t, func(c *Config) {
		c.Limits.ReadTimeout, c.Limits.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond
	}, testSource(t, source.Spec{ID: "buyer"}))
	f := func(text string, want ...int) {
		t.Helper()
		got, closed := n.raw(t, text, len(want)+1)
		if !slices.Equal(got, want) || !closed {
			t.Errorf("%q: answered %v, closed %v", text, got, closed)
		}
	}
	f("GET /v1/postb", 408)
	f("GET /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\nA: ", 408)
	f("POST /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\npayout=5", 408)
	f("POST /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\npay", 408)
	f("GET /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\n\r\n", 200)
	if n.journal.len() != 1 {
		t.Errorf("%d records of one whole request", n.journal.len())
	}
}

// X-Forwarded-For is walked from the right, and only for a trusted peer.
func TestPeer(t *testing.T) {
	f := func(trusted []string, want string, lines ...string) {
		t.Helper()
		proxies, err := ParseTrustedProxies(trusted)
		if err != nil {
			t.Fatal(err)
		}
		n := startNode(t, func(c *Config) { c.TrustedProxies = proxies }, testSource(t, source.Spec{ID: "buyer"}))
		text := "GET /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\n"
		for _, l := range lines {
			text += l + "\r\n"
		}
		if got, _ := n.raw(t, text+"\r\n", 1); !slices.Equal(got, []int{200}) {
			t.Fatalf("%v", got)
		}
		if got := n.journal.last(t).Peer; got != want {
			t.Errorf("trusting %v, with %q: peer %s, want %s", trusted, lines, got, want)
		}
	}
	local := []string{"127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32", "::ffff:192.168.0.0/112"}
	f(nil, "127.0.0.1", "X-Forwarded-For: 1.2.3.4")
	f([]string{"10.0.0.0/8"}, "127.0.0.1", "X-Forwarded-For: 1.2.3.4")
	f([]string{"127.0.0.1"}, "1.2.3.4", "X-Forwarded-For: 1.2.3.4")
	f(local, "127.0.0.1")
	f(local, "1.2.3.4", "X-Forwarded-For: 1.2.3.4")
	f(local, "5.6.7.8", "X-Forwarded-For: 1.2.3.4, 5.6.7.8")
	f(local, "5.6.7.8", "X-Forwarded-For: 1.2.3.4,5.6.7.8 ,10.1.1.1")
	f(local, "5.6.7.8", "X-Forwarded-For: 1.2.3.4", "A: b", "x-forwarded-for: 5.6.7.8, 10.0.0.1", "X-Forwarded-For: 10.0.0.2")
	f(local, "1.2.3.4", "X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 10.0.0.2")
	f(local, "10.0.0.1", "X-Forwarded-For: 10.0.0.1, 10.0.0.2")
	f(local, "10.0.0.2", "X-Forwarded-For: 1.2.3.4, unknown, 10.0.0.2")
	f(local, "10.0.0.2", "X-Forwarded-For: 1.2.3.4,, 10.0.0.2")
	f(local, "127.0.0.1", "X-Forwarded-For: ")
	f(local, "1.2.3.4", "X-Forwarded-For: 1.2.3.4:5678")
	f(local, "1.2.3.4", "X-Forwarded-For: ::ffff:1.2.3.4, 192.168.255.1")
	f(local, "2001:dead::1", "X-Forwarded-For: [2001:dead::1]:443, 2001:db8::5")
	f(local, "2001:dead::1", "X-Forwarded-For: [2001:dead::1%eth0]")
}

// What a trailer says comes after whatever a proxy has checked, and is not
// taken for a header.
func TestTrailersAreNotHeaders(t *testing.T) {
	proxies, err := ParseTrustedProxies([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	n := startNode(t, func(c *Config) { c.TrustedProxies = proxies }, testSource(t, source.Spec{ID: "open"}), testSource(t, source.Spec{ID: "locked"}, "right"))
	f := func(token, trailer string, want int) {
		t.Helper()
		text := "POST /v1/postbacks/" + token + " HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + trailer + "\r\n\r\n"
		if got, _ := n.raw(t, text, 1); !slices.Equal(got, []int{want}) {
			t.Errorf("%s with trailer %q: %v", token, trailer, got)
		}
	}
	f("open", "X-Request-Id: r1", 200)
	if r := n.journal.last(t); r.Peer != "1.2.3.4" || len(r.Headers) != 0 {
		t.Errorf("record %+v", r)
	}
	f("open", "X-Forwarded-For: 9.9.9.9", 400)
	f("locked", "X-Webhook-Secret: right", 401)
}

func TestParseTrustedProxies(t *testing.T) {
	f := func(list []string, want string) {
		t.Helper()
		got, err := ParseTrustedProxies(list)
		text := fmt.Sprint(got)
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, want) {
			t.Errorf("%q: got %s, want %s", list, text, want)
		}
	}
	f(nil, "[]")
	f([]string{"10.1.2.3/8", " 127.0.0.1 ", "::1", "::ffff:10.0.0.0/104"}, "[10.0.0.0/8 127.0.0.1/32 ::1/128 10.0.0.0/8]")
	f([]string{"0.0.0.0/0"}, "trusts every sender")
	f([]string{"::/0"}, "trusts every sender")
	f([]string{"10.0.0.0/8", "::ffff:0.0.0.0/96"}, "trusts every sender")
	f([]string{"proxy.example"}, `trusted proxy "proxy.example": want an address`)
	f([]string{"10.0.0.0/33"}, "want an address or a prefix")
	f([]string{""}, "want an address or a prefix")
}

// scarceListener fails as a process does that ran out of descriptors.
type scarceListener struct {
	net.Listener
	errs []error
}

func (l *scarceListener) Accept() (net.Conn, error) {
	if len(l.errs) == 0 {
		return nil, io.EOF
	}
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, &net.OpError{Op: "accept", Err: err}
}

// Serve outlasts a shortage; anything else ends it.
func TestAcceptOutlastsShortage(t *testing.T) {
	l := newListener(&scarceListener{errs: []error{syscall.EMFILE, syscall.ENFILE, syscall.EBADF}}, 0, slog.New(slog.DiscardHandler))
	if _, err := l.Accept(); !errors.Is(err, syscall.EBADF) {
		t.Errorf("got %v", err)
	}
	if _, err := l.Accept(); err != io.EOF {
		t.Errorf("got %v", err)
	}
}

// Many connections at once are all served, each request once.
func TestManyConnections(t *testing.T) {
	n := startNode(t, nil, testSource(t, source.Spec{ID: "buyer"}))
	const conns, each = 16, 20
	done := make(chan []int, conns)
	for range conns {
		go func() {
			got, _ := n.raw(t, strings.Repeat("POST /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\npayout=50", each), each)
			done <- got
		}()
	}
	for range conns {
		if got := <-done; len(got) != each || slices.ContainsFunc(got, func(s int) bool { return s != 200 }) {
			t.Errorf("answered %v", got)
		}
	}
	for _, rec := range n.journal.recs {
		if r := decoded(t, rec); r.Kind != event.RecordPostback || string(r.Body) != "payout=50" {
			t.Fatalf("record %+v", r)
		}
	}
	if n.journal.len() != conns*each {
		t.Errorf("journaled %d of %d", n.journal.len(), conns*each)
	}
}

// One address holds so many connections and no more; a closed one makes room.
func TestConnsPerIP(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Limits.ConnsPerIPMax = 2 }, testSource(t, source.Spec{ID: "buyer"}))
	const request = "GET /v1/postbacks/buyer HTTP/1.1\r\nHost: x\r\n\r\n"
	open := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", n.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		return c
	}
	ask := func(c net.Conn) int {
		t.Helper()
		_, _ = io.WriteString(c, request) // it may be closed already; the answer tells
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0
		}
		return resp.StatusCode
	}
	a, b := open(), open()
	defer b.Close()
	if x, y := ask(a), ask(b); x != 200 || y != 200 {
		t.Errorf("within the bound: %d, %d", x, y)
	}
	c := open()
	defer c.Close()
	if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("over the bound: %+v, %v", resp, err)
	}
	a.Close()
	status := 0
	for range 1000 { // the server learns of the close in its own time
		d := open()
		status = ask(d)
		d.Close()
		if status == 200 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if status != 200 {
		t.Errorf("after a close: %d", status)
	}
}
