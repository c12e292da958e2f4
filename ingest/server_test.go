package ingest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// memoryJournal keeps what it is given and numbers it.
type memoryJournal struct {
	mu     sync.Mutex
	recs   [][]byte
	err    error                         // given instead, when set
	before func()                        // called before each append
	then   func(id event.ID, rec []byte) // called with each record
}

// set changes what the journal does next.
func (j *memoryJournal) set(err error, before func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err, j.before = err, before
}

func (j *memoryJournal) Append(rec []byte) (event.ID, error) {
	return j.AppendAll([][]byte{rec})
}

func (j *memoryJournal) AppendAll(recs [][]byte) (event.ID, error) {
	j.mu.Lock()
	before := j.before
	j.mu.Unlock()
	if before != nil {
		before()
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return event.ID{}, j.err
	}
	first := event.ID{Stream: 1, Seq: uint64(len(j.recs)) + 1}
	for i, rec := range recs {
		j.recs = append(j.recs, bytes.Clone(rec))
		if j.then != nil {
			j.then(event.ID{Stream: 1, Seq: first.Seq + uint64(i)}, j.recs[len(j.recs)-1])
		}
	}
	return first, nil
}

func (j *memoryJournal) len() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.recs)
}

func (j *memoryJournal) last(t *testing.T) *event.Record {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.recs) == 0 {
		t.Fatal("nothing was journaled")
	}
	return decoded(t, j.recs[len(j.recs)-1])
}

func decoded(t *testing.T, rec []byte) *event.Record {
	t.Helper()
	r := new(event.Record)
	if err := event.DecodeRecord(r, rec); err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	_ Journal = (*memoryJournal)(nil)

	testStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	errDisk   = errors.New("disk on fire")
	tooBig    = largeError{}
)

type largeError struct{}

func (largeError) Error() string  { return "record too large" }
func (largeError) TooLarge() bool { return true }

// node is a Server on loopback with its parts at hand.
type node struct {
	*Server
	journal *memoryJournal
	board   *Board
	addr    string
}

const goodKey = "a-key-for-calls"

// testSource compiles a source whose token is its id.
func testSource(t testing.TB, spec source.Spec, secrets ...string) *source.Source {
	t.Helper()
	if spec.Reply.Mode == "" {
		spec.Reply.Mode = source.ReplyAccepted
	}
	src, err := source.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	src.TokenHash = source.HashToken([]byte(spec.ID))
	for _, s := range secrets {
		src.Secrets = append(src.Secrets, source.HashToken([]byte(s)))
	}
	return src
}

// newNode makes a node whose clock stands still; change may be nil.
func newNode(t testing.TB, change func(*Config), sources ...*source.Source) *node {
	n := &node{journal: &memoryJournal{}, board: NewBoard(time.Now)}
	cfg := Config{
		Live:     source.NewLive(source.NewDirectory(sources, 1)),
		Journal:  n.journal,
		Limiter:  NewMemoryLimiter(MemoryLimiterConfig{}),
		Board:    n.board,
		CallsKey: func(h [32]byte) bool { return h == source.HashToken([]byte(goodKey)) },
		Now:      func() time.Time { return testStart },
	}
	if change != nil {
		change(&cfg)
	}
	n.Server = New(cfg)
	return n
}

// startNode makes a node and serves it until the test ends.
func startNode(t testing.TB, change func(*Config), sources ...*source.Source) *node {
	t.Helper()
	n := newNode(t, change, sources...)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.addr = ln.Addr().String()
	done := make(chan error, 1)
	go func() { done <- n.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return n
}

// answer is a response read whole.
type answer struct {
	status int
	body   string
	header http.Header
}

// do sends one request; header lines are "Name: value".
func (n *node) do(t testing.TB, method, target, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+n.addr+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(text), resp.Header}
}

// raw writes bytes to a fresh connection and reads every answer until the
// server closes it, or until want answers were read.
func (n *node) raw(t *testing.T, text string, want int) (statuses []int, closed bool) {
	t.Helper()
	c, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for len(statuses) < want {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return statuses, true
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		statuses = append(statuses, resp.StatusCode)
		if resp.Close {
			_, err := r.ReadByte()
			return statuses, err != nil
		}
	}
	return statuses, false
}

// loadRequest parses text as the server would, into a fresh context.
func loadRequest(t testing.TB, text string) *fasthttp.RequestCtx {
	t.Helper()
	ctx := new(fasthttp.RequestCtx)
	ctx.Init(new(fasthttp.Request), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5}, nil)
	if err := ctx.Request.Read(bufio.NewReader(strings.NewReader(text))); err != nil {
		t.Fatal(err)
	}
	return ctx
}

func contains(list []event.Pair, name, value string) bool {
	return slices.Contains(list, event.Pair{Name: name, Value: value})
}
