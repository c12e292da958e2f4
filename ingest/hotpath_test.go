//go:build !race

// The race detector makes pools forget at random, so allocations are counted without it.

package ingest

import (
	"bufio"
	"net"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

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
