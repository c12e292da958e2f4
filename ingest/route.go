package ingest

import (
	"bytes"
	"crypto/sha256"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// Paths of the ingest listener. Nothing else is served here.
const (
	callsPath       = "/v1/calls"
	postbacksPrefix = "/v1/postbacks/"
	testSuffix      = "/test"
	tokenBytesMax   = 128
)

type routeKind uint8

const (
	routeNone routeKind = iota
	routePostback
	routeCalls
	routeSetValue // a call's value, by its id
)

// route is where a request target leads, as views into it.
type route struct {
	kind   routeKind
	test   bool
	token  []byte // none: a call's value under a key that we issued
	callID []byte // of routeSetValue, escapes and all
	target []byte // path and query as a sender may have signed them
	query  []byte
}

func routeOf(h *fasthttp.RequestHeader) route {
	target := originForm(h.RequestURI())
	path, query := splitTarget(target)
	if string(path) == callsPath {
		return route{kind: routeCalls, query: query}
	}
	rt := route{kind: routePostback, query: query, target: target}
	if n := len(path) - len(testSuffix); n > 0 && string(path[n:]) == testSuffix {
		path, rt.test = path[:n], true
	}
	var ok bool
	if rt.callID, ok = splitSetValue(path); ok {
		rt.kind = routeSetValue
		return rt
	}
	if rt.token, ok = bytes.CutPrefix(path, []byte(postbacksPrefix)); !ok || len(rt.token) == 0 {
		return route{}
	}
	if i := bytes.IndexByte(rt.token, '/'); i >= 0 {
		if rt.callID, ok = splitSetValue(rt.token[i:]); !ok || i == 0 {
			return route{}
		}
		rt.token, rt.kind = rt.token[:i], routeSetValue
	}
	if len(rt.token) > tokenBytesMax {
		return route{}
	}
	return rt
}

// request is the working memory of one request; see getRequest.
type request struct {
	at     time.Time
	peer   netip.Addr
	method string
	route  route
	head   header

	rec      []byte // the encoded record
	reply    []byte
	peerText [64]byte

	key         []byte            // that we issued and the request has shown
	unpacked    []byte            // the body, if it was packed and has been unpacked
	signed      signature.Request // what a Verifier reads
	headerValue func(name string) (value string, ok bool)
}

// A request keeps its buffers for the next one up to this size.
const keepBytesMax = 128 << 10

// getRequest gives an empty request. putRequest takes it back; nothing may
// hold a view into it after that.
func (s *Server) getRequest() *request {
	if q, ok := s.scratch.Get().(*request); ok {
		return q
	}
	q := new(request)
	q.headerValue = q.head.value // bound once: it would be an allocation each time
	return q
}

func (s *Server) putRequest(q *request) {
	if cap(q.rec) > keepBytesMax || cap(q.reply) > keepBytesMax {
		return
	}
	q.route, q.method, q.key, q.unpacked = route{}, "", nil, nil
	q.head.raw = nil
	s.scratch.Put(q)
}

// handle answers one request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	defer s.recovered(ctx)
	q := s.getRequest()
	s.answer(ctx, q)
	s.putRequest(q) // not deferred: after a panic it is not fit for another
	s.stats.answered(ctx.Response.StatusCode())
	s.stats.BodyBytes.Add(int64(len(ctx.Request.Body())))
}

func (s *Server) answer(ctx *fasthttp.RequestCtx, q *request) {
	fault := s.open(ctx, q)
	if fault != "" {
		s.fail(ctx, fasthttp.StatusBadRequest, "bad_request", fault)
		ctx.SetConnectionClose()
		if src := s.sourceOf(&q.route); src != nil {
			s.refuse(ctx, q, src, "bad_request", "")
		}
		return
	}
	switch q.route.kind {
	case routePostback:
		if q.method == "" {
			s.wrongMethod(ctx, "GET, POST, PUT, PATCH, HEAD")
			return
		}
		s.postback(ctx, q)
	case routeSetValue:
		if q.method != fasthttp.MethodGet && q.method != fasthttp.MethodPost { // HEAD is how such calls are announced to a buyer
			s.wrongMethod(ctx, setValueAllow)
			return
		}
		s.postback(ctx, q)
	case routeCalls:
		if q.method != fasthttp.MethodPost {
			s.wrongMethod(ctx, "POST")
			return
		}
		s.calls(ctx, q)
	default:
		s.fail(ctx, fasthttp.StatusNotFound, "not_found", "There is nothing here.")
	}
}

// open looks at everything but the content of a request, and says what is
// wrong with its framing, if anything.
func (s *Server) open(ctx *fasthttp.RequestCtx, q *request) (fault string) {
	fault = q.head.scan(ctx.Request.Header.RawHeaders())
	q.at = s.cfg.Now()
	q.peer = s.peerOf(ctx, &q.head)
	q.method = methodOf(ctx.Method())
	q.route = routeOf(&ctx.Request.Header)
	return fault
}

// methodOf gives the method's name, or "" for one that no route takes.
func methodOf(m []byte) string {
	for _, name := range [...]string{fasthttp.MethodGet, fasthttp.MethodPost, fasthttp.MethodPut, fasthttp.MethodPatch, fasthttp.MethodHead} {
		if string(m) == name {
			return name
		}
	}
	return ""
}

func (s *Server) wrongMethod(ctx *fasthttp.RequestCtx, allow string) {
	s.fail(ctx, fasthttp.StatusMethodNotAllowed, "method_not_allowed", "Use one of the methods "+allow+".")
	ctx.Response.Header.Set("Allow", allow)
}

// sourceOf finds the source that a route leads to, nil when there is none.
func (s *Server) sourceOf(rt *route) *source.Source {
	switch {
	case rt.issued():
		return s.setValueSource()
	case len(rt.token) == 0:
		return nil
	}
	return s.cfg.Live.Load().ByToken(source.HashToken(rt.token))
}

const tooManyFailures = "Too many requests from this address failed to authenticate."

// unauthenticated answers a request that did not show who it is, with status
// or, once its address has failed too often, 429. It tells nothing more. An
// address over the limit is not shut out otherwise: many senders share the
// addresses of their platforms, and one with a wrong secret must not cost the
// others their money.
func (s *Server) unauthenticated(ctx *fasthttp.RequestCtx, q *request, status int) {
	s.stats.AuthFailures.Add(1)
	if ok, after := s.cfg.Limiter.AllowFailure(q.peer, q.at); !ok {
		s.limited(ctx, after, tooManyFailures)
		return
	}
	if status == fasthttp.StatusUnauthorized {
		s.fail(ctx, status, "unauthorized", "Unauthorized.")
		ctx.Response.Header.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
		return
	}
	s.fail(ctx, status, "not_found", "There is nothing here.")
}

// callsKeyGood reports whether auth, the value of an Authorization header, is
// "Bearer" and a key that may post calls.
func (s *Server) callsKeyGood(auth []byte) bool {
	const scheme = "bearer "
	if len(auth) <= len(scheme) || !bytes.EqualFold(auth[:len(scheme)], []byte(scheme)) {
		return false
	}
	return s.cfg.CallsKey(sha256.Sum256(bytes.Trim(auth[len(scheme):], " ")))
}

// recovered answers 500 when a handler panicked. Whether its record was
// journaled is not known to the sender, who comes again; a repeat is harmless.
func (s *Server) recovered(ctx *fasthttp.RequestCtx) {
	r := recover()
	if r == nil {
		return
	}
	s.stats.Panics.Add(1)
	s.cfg.Log.Error("request handler panicked", "panic", r, "stack", event.View(debug.Stack()))
	ctx.Response.Reset()
	s.fail(ctx, fasthttp.StatusInternalServerError, "internal_error", "Something broke on our side; send the request again.")
	ctx.SetConnectionClose()
	s.stats.answered(fasthttp.StatusInternalServerError)
}
