package load

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// serve answers with h on loopback until the test ends.
func serve(t *testing.T, s *fasthttp.Server) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(ln)
	t.Cleanup(func() { s.Shutdown() })
	return ln.Addr().String()
}

func TestRunSendsEachRequestOnceAndCountsAnswers(t *testing.T) {
	var seen [500]atomic.Int32
	addr := serve(t, &fasthttp.Server{MaxRequestsPerConn: 7, Handler: func(c *fasthttp.RequestCtx) {
		n := c.QueryArgs().GetUintOrZero("n")
		seen[n].Add(1)
		if n%10 == 0 {
			c.SetStatusCode(429)
		}
		c.SetBodyString(strings.Repeat("x", n*30)) // some answers exceed the first buffer
	}})
	var requests [500][]byte
	for i := range requests {
		requests[i] = AppendRequest(nil, "POST", fmt.Sprintf("/x?n=%d", i), addr, "text/plain", []byte("hello"))
	}
	var next atomic.Int32
	res, err := Run(context.Background(), Config{Addr: addr, Conns: 16, Threads: 2, Next: func(int) []byte {
		if i := int(next.Add(1)) - 1; i < len(requests) {
			return requests[i]
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests != 500 || res.Failed != 50 || res.LastStatus != 429 || res.Latency.Count() != 500 || res.Broken != 0 {
		t.Errorf("result %d requests, %d failed, last %d, %d latencies, %d broken", res.Requests, res.Failed, res.LastStatus, res.Latency.Count(), res.Broken)
	}
	for i := range seen {
		if n := seen[i].Load(); n != 1 {
			t.Errorf("request %d came %d times", i, n)
		}
	}
}

// patience is how long a test waits for what has to happen at last.
const patience = time.Minute

func TestRunEndsAfterItsTime(t *testing.T) {
	addr := serve(t, &fasthttp.Server{Handler: func(c *fasthttp.RequestCtx) { c.SetBodyString("ok") }})
	request := AppendRequest(nil, "GET", "/", addr, "", nil)
	res, err := Run(context.Background(), Config{Addr: addr, Conns: 4, Warmup: 20 * time.Millisecond, For: 500 * time.Millisecond,
		Next: func(int) []byte { return request }})
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests == 0 || res.Took < 500*time.Millisecond || res.PerSecond() <= 0 {
		t.Errorf("%d requests in %s", res.Requests, res.Took)
	}
}

// The rate is an upper bound: what it allows in the time, and no more.
func TestRunKeepsToItsRate(t *testing.T) {
	addr := serve(t, &fasthttp.Server{Handler: func(c *fasthttp.RequestCtx) { c.SetBodyString("ok") }})
	request := AppendRequest(nil, "GET", "/", addr, "", nil)
	res, err := Run(context.Background(), Config{Addr: addr, Conns: 8, Threads: 2, For: 500 * time.Millisecond, Rate: 500,
		Next: func(int) []byte { return request }})
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(500*res.Took.Seconds()) + 2; res.Requests > most || res.Requests == 0 {
		t.Errorf("%d requests in %s, at most %d allowed", res.Requests, res.Took, most)
	}
	left := 20
	res, err = Run(context.Background(), Config{Addr: addr, Conns: 4, Rate: 10_000, Next: func(int) []byte {
		if left--; left < 0 {
			return nil
		}
		return request
	}})
	if err != nil || res.Requests != 20 {
		t.Errorf("%d requests of 20, %v", res.Requests, err)
	}
}

func TestRunSaysWhenNobodyAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	if _, err := Run(context.Background(), Config{Addr: addr, Conns: 1, Next: func(int) []byte { return []byte("x") }}); err == nil {
		t.Error("no error without a server")
	}
	if _, err := Run(context.Background(), Config{Addr: "localhost:1", Conns: 1, Next: func(int) []byte { return nil }}); err == nil {
		t.Error("no error for a name instead of an address")
	}
	if _, err := Run(context.Background(), Config{Addr: addr, Next: func(int) []byte { return nil }}); err == nil {
		t.Error("no error without connections")
	}
}

func TestConnReadsAnswersAndDialsAnew(t *testing.T) {
	addr := serve(t, &fasthttp.Server{MaxRequestsPerConn: 2, Handler: func(c *fasthttp.RequestCtx) {
		c.SetStatusCode(201)
		fmt.Fprintf(c, "%s %s", c.Request.Header.Peek("X-Key"), strings.Repeat("y", 5000))
	}})
	c := NewConn(addr)
	defer c.Close()
	for i := range 7 {
		status, body, err := c.Do(AppendRequest(nil, "GET", "/", addr, "", nil, fmt.Sprintf("X-Key: %d", i)), patience)
		if err != nil || status != 201 || string(body) != fmt.Sprintf("%d %s", i, strings.Repeat("y", 5000)) {
			t.Fatalf("request %d: %d %.20q %v", i, status, body, err)
		}
	}
	if _, _, err := NewConn("127.0.0.1:1").Do([]byte("x"), patience); err == nil {
		t.Error("no error without a server")
	}
}

func TestParseResponse(t *testing.T) {
	f := func(in string, want response, done, bad bool) {
		t.Helper()
		got, ok, err := parseResponse([]byte(in))
		if got.status != want.status && !bad || ok != done || (err != nil) != bad {
			t.Errorf("%q: %+v %v %v", in, got, ok, err)
		}
		if done && got != want {
			t.Errorf("%q: %+v, want %+v", in, got, want)
		}
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", response{200, 38, 40, false}, true, false)
	f("HTTP/1.1 200 OK\r\ncontent-LENGTH:2\r\nConnection: close\r\n\r\nok", response{200, 56, 58, true}, true, false)
	f("HTTP/1.1 204 No Content\r\n\r\n", response{204, 27, 27, false}, true, false)
	f("HTTP/1.1 503 Sorry\r\nContent-Length: 2\r\n\r\no", response{503, 41, 43, false}, false, false)
	f("HTTP/1.1 200 OK\r\nContent-Le", response{}, false, false)
	f("", response{}, false, false)
	f("HTTP/1.1 200 OK\r\n\r\n", response{}, false, true)
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", response{}, false, true)
	f("HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\n", response{}, false, true)
	f("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", response{}, false, true)
	f("SSH-2.0-OpenSSH\r\n\r\n", response{}, false, true)
	f("x\r\n\r\n", response{}, false, true)
}

func FuzzParseResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, done, err := parseResponse(p)
		if done && (err != nil || r.size > len(p) || r.head > r.size) {
			t.Errorf("%q: %+v %v", p, r, err)
		}
	})
}

func TestHistogramAgreesWithSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, other Histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(r.ExpFloat64() * float64(time.Millisecond))
		all = append(all, d)
		if i%2 == 0 {
			h.Record(d)
		} else {
			other.Record(d)
		}
	}
	h.Merge(&other)
	slices.Sort(all)
	for _, q := range []float64{0, 0.001, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(0, int(q*float64(len(all))+0.999999)-1)]
		if got := h.Quantile(q); got < want || got > want+want/64+1 {
			t.Errorf("quantile %g: %d, want %d", q, got, want)
		}
	}
	if h.Count() != 20_000 || h.Max() != all[len(all)-1] {
		t.Errorf("count %d, max %s", h.Count(), h.Max())
	}
}

func TestHistogramEdges(t *testing.T) {
	var h Histogram
	if h.Quantile(0.5) != 0 {
		t.Error("an empty histogram has a median")
	}
	for _, d := range []time.Duration{-5, 0, 1, 127, 128, 129, 1<<63 - 1} {
		b := bucketOf(d)
		if d > 0 && (top(b) < d || (b > 0 && top(b-1) >= d)) {
			t.Errorf("%d lies in bucket %d, from %d to %d", d, b, top(b-1)+1, top(b))
		}
		h.Record(d)
	}
	if h.Count() != 7 || h.Quantile(1) != 1<<63-1 {
		t.Errorf("count %d, greatest %d", h.Count(), h.Quantile(1))
	}
	if n := testing.AllocsPerRun(100, func() { h.Record(time.Millisecond) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func TestParseStat(t *testing.T) {
	f := func(in string, want time.Duration, bad bool) {
		t.Helper()
		if got, err := parseStat([]byte(in), ownTimes); got != want || (err != nil) != bad {
			t.Errorf("%q: %s %v", in, got, err)
		}
	}
	f("42 (tally) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0", 3*time.Second, false)
	f("42 (a) b) (c) S 1 2 3 4 5 6 7 8 9 10 1 2 0 0", 30*time.Millisecond, false)
	f("42 (tally) S 1 2", 0, true)
	f("42 (tally) S 1 2 3 4 5 6 7 8 9 10 x 50 0 0", 0, true)
	f("", 0, true)
}

func TestParseStatus(t *testing.T) {
	text := []byte("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n")
	if n, err := parseStatus(text, "VmRSS:"); n != 1<<20 || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if _, err := parseStatus(text, "VmSwap:"); err == nil {
		t.Error("a missing line is no error")
	}
}

func TestReadUsageOfOurselves(t *testing.T) {
	before, err := ReadUsage(os.Getpid())
	if err != nil || before.RSS < 1<<20 || before.RSSPeak < before.RSS {
		t.Fatalf("%+v %v", before, err)
	}
	after := before
	for begin := time.Now(); after.CPU <= before.CPU && time.Since(begin) < patience; { // others may have the processor
		if after, err = ReadUsage(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after.CPU <= before.CPU {
		t.Errorf("CPU %s, then %s", before.CPU, after.CPU)
	}
	if _, err := ReadUsage(1 << 30); err == nil {
		t.Error("no error for a process that cannot exist")
	}
}

func TestRunJudgesAnswers(t *testing.T) {
	addr := serve(t, &fasthttp.Server{Handler: func(c *fasthttp.RequestCtx) {
		c.SetStatusCode(c.QueryArgs().GetUintOrZero("s"))
		c.SetBody(c.QueryArgs().Peek("b"))
	}})
	requests := [][]byte{ // in this order, on one connection
		AppendRequest(nil, "GET", "/?s=200&b=fine", addr, "", nil),
		AppendRequest(nil, "GET", "/?s=400&b=fine", addr, "", nil),
		AppendRequest(nil, "GET", "/?s=200&b=bad", addr, "", nil),
	}
	sent := 0
	res, err := Run(t.Context(), Config{Addr: addr, Conns: 1, Judge: func(_ int, body []byte) bool { return string(body) == "fine" }, Next: func(int) []byte {
		if sent++; sent > len(requests) {
			return nil
		}
		return requests[sent-1]
	}})
	if err != nil || res.Requests != 3 || res.Failed != 1 || res.LastStatus != 200 {
		t.Errorf("%d requests, %d failed, last %d, %v", res.Requests, res.Failed, res.LastStatus, err)
	}
}

// A child's time counts while it lives and, once it has been waited for, as
// its parent's.
func TestReadCPUKeepsTheTimeOfEndedProcesses(t *testing.T) {
	cmd := exec.Command("sh", "-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
	ours := func() []int { return []int{os.Getpid()} }
	before, err := ReadCPU(ours)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	after, err := ReadCPU(ours)
	if err != nil || spent < 5*tick || after-before < spent-2*tick {
		t.Errorf("%s more after a child that took %s, %v", after-before, spent, err)
	}
	gone := cmd.Process.Pid
	if _, err := ReadCPU(func() []int { return []int{gone} }); err == nil {
		t.Error("a server that has ended has a time")
	}
	if _, err := ReadCPU(func() []int { return nil }); err == nil {
		t.Error("no process has a time")
	}
	asked := 0
	if _, err := ReadCPU(func() []int {
		if asked++; asked == 1 {
			return []int{os.Getpid(), gone}
		}
		return []int{os.Getpid()}
	}); err != nil || asked != 2 {
		t.Errorf("asked %d times, %v", asked, err)
	}
}
