package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/valyala/fasthttp"
)

// transport sets up fasthttp. Bodies are never parsed by it, and it says
// nothing about itself.
func (s *Server) transport() *fasthttp.Server {
	l := &s.cfg.Limits
	return &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.transportError,
		HeaderReceived:               s.headerReceived,
		Logger:                       transportLog{s.cfg.Log},
		ReadBufferSize:               l.HeaderBytesMax,
		MaxRequestBodySize:           l.PostbackBytesMax,
		ReadTimeout:                  l.ReadTimeout,
		WriteTimeout:                 l.WriteTimeout,
		IdleTimeout:                  l.IdleTimeout,
		MaxRequestsPerConn:           l.RequestsPerConnMax,
		Concurrency:                  l.ConnsMax,
		DisablePreParseMultipartForm: true,
		NoDefaultServerHeader:        true,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true, // URLs hold tokens
	}
}

// headerReceived widens the limits for a batch of calls, and only for one
// that shows a good key, so that nobody else can make us hold 8 MiB.
func (s *Server) headerReceived(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if path, _ := splitTarget(h.RequestURI()); string(path) != callsPath || !s.callsKeyGood(h.Peek(fasthttp.HeaderAuthorization)) {
		return fasthttp.RequestConfig{}
	}
	return fasthttp.RequestConfig{ReadTimeout: s.cfg.Limits.CallsReadTimeout, MaxRequestBodySize: s.cfg.Limits.CallsBytesMax}
}

// transportError answers what never became a request. fasthttp closes the
// connection after it.
func (s *Server) transportError(ctx *fasthttp.RequestCtx, err error) {
	defer s.recovered(ctx)
	ctx.Response.Reset()
	var small *fasthttp.ErrSmallBuffer
	var netErr net.Error
	switch {
	case errors.As(err, &small):
		s.failf(ctx, fasthttp.StatusRequestHeaderFieldsTooLarge, "header_too_large",
			"The request line and headers together are longer than %d bytes; send the fields in the body instead of the URL.", s.cfg.Limits.HeaderBytesMax)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		s.bodyTooLarge(ctx)
		drain(ctx.Conn(), s.cfg.Limits.CallsBytesMax)
	case errors.As(err, &netErr) && netErr.Timeout():
		s.fail(ctx, fasthttp.StatusRequestTimeout, "request_timeout", "The request did not arrive in time; send it again in one go.")
	default:
		s.fail(ctx, fasthttp.StatusBadRequest, "bad_request", badFraming)
	}
	s.stats.answered(ctx.Response.StatusCode())
}

// bodyTooLarge answers a body that was not read. The header is still there
// when its Content-Length said so; a chunked body that grew too large has
// taken it along, and then the refusal cannot be put down to a source.
func (s *Server) bodyTooLarge(ctx *fasthttp.RequestCtx) {
	q := s.getRequest()
	defer s.putRequest(q)
	s.open(ctx, q)
	if q.route.kind == routeCalls && !s.callsKeyGood(q.head.auth) {
		s.unauthenticated(ctx, q, fasthttp.StatusUnauthorized)
		return
	}
	s.failf(ctx, fasthttp.StatusRequestEntityTooLarge, "body_too_large",
		"The body is too large: a postback may have %d bytes, a batch of calls %d; split it.", s.cfg.Limits.PostbackBytesMax, s.cfg.Limits.CallsBytesMax)
	if src := s.sourceOf(&q.route); src != nil {
		s.refuse(ctx, q, src, "body_too_large", "")
	}
}

// drain reads what a sender is still sending before the connection is closed
// on it. Closing a socket with unread bytes resets it, and the sender would
// lose the answer that tells what was wrong.
func drain(c net.Conn, bytesMax int) {
	const quiet, most = 100 * time.Millisecond, time.Second
	end := time.Now().Add(most)
	buf := make([]byte, 16<<10)
	for bytesMax > 0 {
		next := time.Now().Add(quiet)
		if next.After(end) || c.SetReadDeadline(next) != nil {
			return
		}
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		bytesMax -= n
	}
}

// originForm is a request target from its path on, without a fragment: what of
// it we read, and what a sender can have signed.
func originForm(target []byte) []byte {
	if len(target) > 0 && target[0] != '/' { // absolute form, as to a proxy
		for _, scheme := range [...]string{"http://", "https://"} {
			if len(target) > len(scheme) && string(target[:len(scheme)]) == scheme {
				rest := target[len(scheme):]
				target = rest[len(rest):]
				if i := bytes.IndexByte(rest, '/'); i >= 0 {
					target = rest[i:]
				}
				break
			}
		}
	}
	if i := bytes.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	return target
}

// splitTarget splits a request target into its raw path and query. Nothing is
// decoded or normalised: our paths need neither, and /a/../b is not /b here.
func splitTarget(target []byte) (path, query []byte) {
	target = originForm(target)
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		return target[:i], target[i+1:]
	}
	return target, nil
}

// transportLog takes what fasthttp has to say: mostly broken requests of
// strangers, so it is for debugging only.
type transportLog struct{ log *slog.Logger }

func (l transportLog) Printf(format string, args ...any) {
	l.log.Debug("http transport", "message", fmt.Sprintf(format, args...))
}
