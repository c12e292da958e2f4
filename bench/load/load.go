// Package load sends HTTP/1.1 requests over loopback as cheaply as it can, so
// that on a small machine the server gets most of the processor.
//
// Requests are rendered beforehand; one thread per Threads watches its share
// of the connections with epoll, reads an answer (status and Content-Length,
// no more), notes its latency and writes the next request. Loops are closed:
// a connection has one request in flight, so a slow server lowers the rate,
// and latencies show service at that concurrency. With a Rate, connections
// wait for their turn, and latencies count from the sending.
//
// Conn is one plain connection for those who need the answers. ReadUsage and
// Histogram do the measuring. Everything but the epoll loop is portable.
package load

import (
	"fmt"
	"strconv"
	"time"
)

// Config says what to send and for how long.
type Config struct {
	Addr    string        // host:port, a literal IP
	Conns   int           // connections, each with one request in flight
	Threads int           // default 1
	Warmup  time.Duration // sent, not counted
	For     time.Duration // counted; 0 until Next gives nothing
	Rate    float64       // requests a second at most; 0 is no bound

	// Next gives the request that connection conn sends next, or nil to end
	// it. The bytes must stay as they are until the next call for the same
	// connection. Threads call it for their own connections side by side.
	Next func(conn int) []byte

	// Judge says whether an answer counts as one that succeeded; nil takes
	// every status from 200 to 299. Threads call it side by side, with a body
	// that is valid during the call.
	Judge func(status int, body []byte) bool
}

// Result is what was seen after the warm-up.
type Result struct {
	Requests   int64 // answered
	Failed     int64 // answered otherwise than with success, see Config.Judge
	Broken     int64 // connections that ended in the middle; their request was sent anew
	Took       time.Duration
	Latency    Histogram
	LastStatus int // of a failed one, to say what went wrong
}

// PerSecond is the throughput.
func (r *Result) PerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Requests) / r.Took.Seconds()
}

func (r *Result) add(o *Result) {
	r.Requests += o.Requests
	r.Failed += o.Failed
	r.Broken += o.Broken
	r.Took = max(r.Took, o.Took)
	r.LastStatus = max(r.LastStatus, o.LastStatus)
	r.Latency.Merge(&o.Latency)
}

// AppendRequest renders a request. target begins with a slash and may hold a
// query; headers are whole lines without their end; a body needs a contentType.
func AppendRequest(dst []byte, method, target, host, contentType string, body []byte, headers ...string) []byte {
	dst = append(append(append(append(dst, method...), ' '), target...), " HTTP/1.1\r\nHost: "...)
	dst = append(append(dst, host...), "\r\n"...)
	for _, h := range headers {
		dst = append(append(dst, h...), "\r\n"...)
	}
	if contentType != "" {
		dst = append(append(append(dst, "Content-Type: "...), contentType...), "\r\n"...)
	}
	if body != nil || method == "POST" {
		dst = strconv.AppendInt(append(dst, "Content-Length: "...), int64(len(body)), 10)
		dst = append(dst, "\r\n"...)
	}
	return append(append(dst, "\r\n"...), body...)
}

func (c *Config) check() error {
	switch {
	case c.Conns < 1 || c.Conns > 20_000:
		return fmt.Errorf("%d connections: want 1 to 20000", c.Conns)
	case c.Next == nil:
		return fmt.Errorf("nothing to send: set Next")
	case c.Threads < 0 || c.Threads > c.Conns:
		return fmt.Errorf("%d threads for %d connections: want at most one each", c.Threads, c.Conns)
	}
	c.Threads = max(1, c.Threads)
	if c.Judge == nil {
		c.Judge = func(status int, _ []byte) bool { return status >= 200 && status <= 299 }
	}
	return nil
}
