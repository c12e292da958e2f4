//go:build !race

// The race detector makes pools forget at random, so allocations are counted without it.

package ingest

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// countingJournal gives ids and keeps nothing.
type countingJournal struct{ n uint64 }

func (j *countingJournal) Append(rec []byte) (event.ID, error) {
	j.n++
	return event.ID{Stream: 1, Seq: j.n}, nil
}

func (j *countingJournal) AppendAll(recs [][]byte) (event.ID, error) { return j.Append(nil) }

const hotRequest = "POST /v1/postbacks/buyer?sub=7 HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: ringba/1.0\r\nAccept: */*\r\n" +
	"X-Request-Id: 0123456789\r\nX-Forwarded-For: 192.0.2.77\r\nX-Webhook-Secret: right\r\nContent-Type: application/json\r\nContent-Length: 72\r\n\r\n" +
	`{"caller_id":"+13055551234","duration":90,"payout":50,"ref_id":"abc12345`

func hotNode(t testing.TB) *node {
	proxies, err := ParseTrustedProxies([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	return newNode(t, func(c *Config) {
		c.Journal, c.TrustedProxies = new(countingJournal), proxies
	}, testSource(t, source.Spec{ID: "buyer", Limits: source.Limits{PerTokenPerMin: source.PerMinuteMax, PerIPPerMin: source.PerMinuteMax}}, "left", "right"))
}

// The ack path allocates nothing of its own.
func TestAcceptedPostbackAllocates(t *testing.T) {
	n, ctx := hotNode(t), loadRequest(t, hotRequest)
	if got := testing.AllocsPerRun(1000, func() { n.handle(ctx) }); got != 0 {
		t.Errorf("%v allocations a postback", got)
	}
	if ctx.Response.StatusCode() != 200 {
		t.Errorf("answered %d %s", ctx.Response.StatusCode(), ctx.Response.Body())
	}
}

// signedHotNode is a node whose sender signs, and one of its requests.
func signedHotNode(t testing.TB, system string) (*node, *fasthttp.RequestCtx) {
	src := testSource(t, source.Spec{ID: "buyer", Signature: systemScheme(t, system), Limits: source.Limits{PerTokenPerMin: source.PerMinuteMax, PerIPPerMin: source.PerMinuteMax}})
	src.Signing = sharedSecret()
	n := newNode(t, func(c *Config) { c.Journal = new(countingJournal) }, src)
	n.addr = "edge.example"
	c, _, _ := n.signed(t, src, asked(system), testStart)
	text := c.method + " " + c.target + " HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: sender/1.0\r\n" + strings.Join(append(c.header, fmt.Sprint("Content-Length: ", len(c.body))), "\r\n")
	ctx := loadRequest(t, text+"\r\n\r\n"+c.body)
	n.handle(ctx)
	if ctx.Response.StatusCode() != 200 {
		t.Fatalf("%s: answered %d %s", system, ctx.Response.StatusCode(), ctx.Response.Body())
	}
	return n, ctx
}

// Checking a signature costs the copy of the message's id, and the lower-case
// name of a header that is kept for the scheme.
func TestSignedPostbackAllocates(t *testing.T) {
	f := func(system string, most float64) {
		t.Helper()
		n, ctx := signedHotNode(t, system)
		if got := testing.AllocsPerRun(1000, func() { n.handle(ctx) }); got > most {
			t.Errorf("%s: %v allocations a postback, want %v", system, got, most)
		}
	}
	f("bitlabs", 0)
	f("adgem-post", 0)
	f("pubscale", 1)
	f("standard-webhooks", 1)
}

// BenchmarkSigned is what the handler takes when the sender signs; compare it
// with BenchmarkHandler, whose sender shows a secret.
func BenchmarkSigned(b *testing.B) {
	for _, system := range []string{"shared-secret-header", "pubscale", "bitlabs", "adgem-post", "ayet", "standard-webhooks"} {
		n, ctx := signedHotNode(b, system)
		b.Run(system, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n.handle(ctx)
			}
		})
	}
}

// A shared limit in its steady state allocates nothing either; its renewals do,
// ten or twenty times a second.
func TestLeasedLimiterAllocates(t *testing.T) {
	l := openNodeLimiter(t, RedisLimiterConfig{Client: redisClient(t, services.Redis(t).URL), Prefix: "th:"})
	src := limitedSource(t, "a", source.PerMinuteMax, source.PerMinuteMax)
	refused := 0
	if got := testing.AllocsPerRun(100_000, func() {
		if ok, _ := l.Allow(src, peerA, time.Now()); !ok {
			refused++
		}
	}); got != 0 || refused > 0 {
		t.Errorf("%v allocations a request, %d refused", got, refused)
	}
}

// BenchmarkLimiters compares a node's own limits with shared ones: leased, as
// they are from ten a second on, and exact, with a round trip for each request
// or for as many as wait at once.
func BenchmarkLimiters(b *testing.B) {
	client := redisClient(b, services.Redis(b).URL)
	var sources atomic.Int64
	f := func(name string, l Limiter, perMin, senders int) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(senders)
			b.RunParallel(func(pb *testing.PB) {
				var src *source.Source
				for i := 0; pb.Next(); i++ {
					if i%perMin == 0 { // the quota is spent: go on with another bucket
						src = limitedSource(b, fmt.Sprintf("s%d", sources.Add(1)), perMin, -1)
					}
					l.Allow(src, peerA, time.Now())
				}
			})
		})
	}
	shared := openNodeLimiter(b, RedisLimiterConfig{Client: client, Prefix: "th:"})
	f("memory", NewMemoryLimiter(MemoryLimiterConfig{}), source.PerMinuteMax, 1)
	f("leased", shared, source.PerMinuteMax, 1)
	f("exact-1-a-core", shared, SharedExactPerMin-1, 1)
	f("exact-64-a-core", shared, SharedExactPerMin-1, 64)
}

// BenchmarkHandler is what a postback costs beyond fasthttp itself, in mode
// accepted with a secret, both limits and a trusted proxy.
func BenchmarkHandler(b *testing.B) {
	n, ctx := hotNode(b), loadRequest(b, hotRequest)
	b.ReportAllocs()
	for b.Loop() {
		n.handle(ctx)
	}
}

// BenchmarkLoopback compares a node with a bare handler that reads the body
// and answers, both over keep-alive connections of loopback.
func BenchmarkLoopback(b *testing.B) {
	f := func(b *testing.B, serve func(net.Listener) error) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer ln.Close()
		go func() {
			if err := serve(ln); err != nil {
				b.Error(err)
			}
		}()
		b.RunParallel(func(pb *testing.PB) {
			client := &fasthttp.HostClient{Addr: ln.Addr().String(), MaxConns: 1}
			var req fasthttp.Request
			var resp fasthttp.Response
			if err := req.Read(bufio.NewReader(strings.NewReader(hotRequest))); err != nil {
				b.Error(err)
				return
			}
			for pb.Next() {
				if err := client.Do(&req, &resp); err != nil || resp.StatusCode() != 200 {
					b.Errorf("%v, %d", err, resp.StatusCode())
					return
				}
			}
		})
	}
	b.Run("bare", func(b *testing.B) {
		s := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
			if len(ctx.PostBody()) > 0 {
				ctx.SetBodyString(`{"ok":true}`)
			}
		}}
		f(b, s.Serve)
	})
	b.Run("node", func(b *testing.B) { f(b, hotNode(b).Serve) })
}
