package run

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

// corpus hands out the postbacks of a traffic, rendered ahead, in its order.
type corpus struct {
	bytes   []byte
	ends    []int  // of each request in bytes
	matched []bool // it is about a call that is known
	next    atomic.Int64
}

// callsPerRequest is how many calls one upload holds.
const callsPerRequest = 1000

// corpusOf renders the scripts from first on until they hold calls calls: the
// uploads that tell the calls in full, and the postbacks. It gives the number
// of the first script that it left.
func corpusOf(seed, first uint64, base time.Time, calls int, host, authorization string, paths []string) (uploads [][]byte, c *corpus, rest uint64) {
	gen, c := traffic.New(seed, base, traffic.DefaultMix()), new(corpus)
	var s traffic.Script
	var lines []byte
	inLines := 0
	upload := func() {
		uploads = append(uploads, load.AppendRequest(nil, "POST", "/v1/calls", host, "application/x-ndjson", lines, authorization))
		lines, inLines = lines[:0], 0
	}
	for rest = first; calls > 0; rest++ {
		gen.Script(rest, &s)
		for i := range s.Calls {
			lines = append(traffic.AppendCall(lines, &s.Calls[i], true, true), '\n')
			if inLines++; inLines == callsPerRequest {
				upload()
			}
		}
		calls -= len(s.Calls)
		for i := range s.Steps {
			if st := &s.Steps[i]; st.Kind.Postback() {
				c.add(st, host, paths)
			}
		}
	}
	if inLines > 0 {
		upload()
	}
	return uploads, c, rest
}

func (c *corpus) add(st *traffic.Step, host string, paths []string) {
	r, target := &st.Request, paths[st.Buyer]
	if r.Query != "" {
		target += "?" + r.Query
	}
	c.bytes = load.AppendRequest(c.bytes, r.Method, target, host, r.ContentType, r.Body)
	c.ends = append(c.ends, len(c.bytes))
	c.matched = append(c.matched, st.Call >= 0 && !st.Report.Unreadable)
}

// request gives the next postback, nil when there is none left.
func (c *corpus) request(int) []byte {
	i := int(c.next.Add(1)) - 1
	if i >= len(c.ends) {
		return nil
	}
	from := 0
	if i > 0 {
		from = c.ends[i-1]
	}
	return c.bytes[from:c.ends[i]:c.ends[i]]
}

// matchedOf counts the matching ones among the first n.
func (c *corpus) matchedOf(n int64) (matched int64) {
	for _, m := range c.matched[:min(n, int64(len(c.matched)))] {
		if m {
			matched++
		}
	}
	return matched
}

// sendCalls sends uploads one after another.
func sendCalls(addr string, uploads [][]byte) error {
	conn := load.NewConn(addr)
	defer conn.Close()
	for i, u := range uploads {
		status, body, err := conn.Do(u, time.Minute)
		if err != nil {
			return fmt.Errorf("upload %d of calls: %w", i, err)
		}
		if status < 200 || status > 299 {
			return fmt.Errorf("upload %d of calls: status %d: %.300s", i, status, body)
		}
	}
	return nil
}
