// Package baseline is the bare handler that the bench compares a node with:
// fasthttp reads the same body, counts it and gives an answer like the node's.
// It authenticates nothing and stores nothing.
package baseline

import (
	"fmt"
	"net"
	"strconv"
	"sync/atomic"

	"github.com/valyala/fasthttp"
)

// BodyBytesMax is the node's own limit.
const BodyBytesMax = 64 << 10

// Serve answers on l until that is closed.
func Serve(l net.Listener) error {
	var seq, read atomic.Int64
	server := fasthttp.Server{NoDefaultServerHeader: true, MaxRequestBodySize: BodyBytesMax, Handler: func(ctx *fasthttp.RequestCtx) {
		read.Add(int64(len(ctx.PostBody())))
		var b [96]byte
		answer := strconv.AppendInt(append(b[:0], `{"ok":true,"event":"1-`...), seq.Add(1), 10)
		ctx.SetContentType("application/json")
		ctx.SetBody(append(answer, `","status":"accepted"}`...))
	}}
	if err := server.Serve(l); err != nil {
		return fmt.Errorf("bare handler: %w", err)
	}
	return nil
}
