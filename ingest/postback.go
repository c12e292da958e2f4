package ingest

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// postback takes one request of a sender. The order is the promise: who it
// is, whether it may, whether we can read it, the disk, the answer.
func (s *Server) postback(ctx *fasthttp.RequestCtx, q *request) {
	src := s.sourceOf(&q.route)
	if src == nil {
		s.unauthenticated(ctx, q, fasthttp.StatusNotFound)
		return
	}
	if !s.enter(ctx, q, src) {
		return
	}
	body, bad := s.content(ctx, q, src.MapperName != "")
	if bad == nil {
		bad = q.nameCall()
	}
	if bad != nil {
		s.fail(ctx, bad.status, bad.code, bad.message)
		s.refuse(ctx, q, src, bad.code, "")
		return
	}

	flags := s.flags(src, q)
	q.encode(ctx, src, flags, body)
	id, err := s.cfg.Journal.Append(q.rec)
	if err != nil {
		if s.journalFailed(ctx, err) == fasthttp.StatusRequestEntityTooLarge {
			s.refuse(ctx, q, src, "record_too_large", "")
		}
		return
	}
	if s.captures.wants(src, q.at) {
		s.captures.accepted(src, s.capture(ctx, q, "", ""))
	}
	src.Seen.Received.Add(1)

	switch {
	case src.Spec.Ack == source.AckCommitted:
		s.replyCommitted(ctx, q, src, id, flags)
	case flags&event.FlagPaused != 0:
		s.replyPaused(ctx, q, src, id)
	case flags&event.FlagReply != 0:
		s.stats.VerdictWaits.Add(1)
		if out, ok := s.cfg.Board.Await(id, source.VerdictWaitMax); ok {
			s.replyVerdict(ctx, q, src, id, out)
			return
		}
		s.stats.WaitTimeouts.Add(1)
		s.replyAccepted(ctx, q, src, id)
	default:
		s.replyAccepted(ctx, q, src, id)
	}
}

// encode makes the record in q.rec. A key that we issued is no part of it.
func (q *request) encode(ctx *fasthttp.RequestCtx, src *source.Source, flags event.Flags, body []byte) {
	rec := event.Record{
		Kind:        event.RecordPostback,
		Flags:       flags,
		Source:      src.Spec.ID,
		Method:      q.method,
		Query:       event.View(q.route.query),
		ContentType: event.View(ctx.Request.Header.ContentType()),
		Peer:        q.peerView(),
		Headers:     q.head.kept,
		Body:        body,
	}
	if q.key != nil {
		rec.Query = event.View(withoutKey(q.route.query, q.key, true))
		rec.Body = withoutKey(body, q.key, isForm(ctx.Request.Header.ContentType(), body))
	}
	q.rec = event.AppendRecord(q.rec[:0], &rec)
}

func (s *Server) flags(src *source.Source, q *request) (f event.Flags) {
	if q.route.test {
		f |= event.FlagTest
	}
	if src.Spec.Paused {
		f |= event.FlagPaused
	}
	if q.key != nil {
		f |= event.FlagKeyed
	}
	switch {
	case src.Spec.Ack == source.AckCommitted:
		f |= event.FlagReply // whatever the reply says, it is held until the commit
	case src.Spec.Paused:
	case src.Spec.Reply.Mode != source.ReplyVerdict:
	case s.cfg.Lag():
		src.Seen.Degraded.Add(1)
	default:
		f |= event.FlagReply
	}
	return f
}

// peerView is the peer's text, a view into q.
func (q *request) peerView() string {
	if !q.peer.IsValid() {
		return ""
	}
	return event.View(q.peer.AppendTo(q.peerText[:0]))
}

// secretLive compares given with every live secret, in a time that depends on
// none of them.
func secretLive(live [][32]byte, given []byte) bool {
	digest := sha256.Sum256(given)
	match := 0
	for i := range live {
		match |= subtle.ConstantTimeCompare(live[i][:], digest[:])
	}
	return match == 1 && len(given) > 0
}

// failure is an answer to a request that cannot be taken.
type failure struct {
	status        int
	code, message string
}

// content gives the body with its encoding undone, or why it cannot be read.
// Only the kind of content is looked at here; what it says is the mapper's, and
// a mapper of the source's own may read any kind.
func (s *Server) content(ctx *fasthttp.RequestCtx, q *request, own bool) ([]byte, *failure) {
	body := ctx.Request.Body()
	if len(body) == 0 {
		return nil, nil
	}
	if kind := mediaType(ctx.Request.Header.ContentType()); !readable(kind) && !own {
		return nil, &failure{fasthttp.StatusUnsupportedMediaType, "unsupported_content_type",
			"The content type " + quote(kind) + " is not supported: send a query string, application/x-www-form-urlencoded or application/json."}
	}
	return s.unpack(ctx, q, s.cfg.Limits.GunzipBytesMax)
}

// unpack undoes the Content-Encoding of a body, once a request. The result is
// the body itself or a fresh copy.
func (s *Server) unpack(ctx *fasthttp.RequestCtx, q *request, bytesMax int) ([]byte, *failure) {
	h := &q.head
	if !h.encoded() {
		return ctx.Request.Body(), nil
	}
	if q.unpacked != nil {
		return q.unpacked, nil
	}
	if h.encodings > 1 || !(isName(h.encoding, "gzip") || isName(h.encoding, "x-gzip")) {
		return nil, &failure{fasthttp.StatusUnsupportedMediaType, "unsupported_content_encoding",
			"The content encoding " + quote(h.encoding) + " is not supported: send gzip or none."}
	}
	body, err := ctx.Request.BodyGunzipWithLimit(bytesMax)
	switch {
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		return nil, &failure{fasthttp.StatusRequestEntityTooLarge, "body_too_large", tooLong("The body", bytesMax, "once unpacked; split it.")}
	case err != nil:
		return nil, &failure{fasthttp.StatusBadRequest, "gzip_broken", "The body is not valid gzip, as Content-Encoding says it is; send it again whole."}
	}
	q.unpacked = body
	return body, nil
}

// mediaType is a content type without its parameters.
func mediaType(contentType []byte) []byte {
	if i := bytes.IndexByte(contentType, ';'); i >= 0 {
		contentType = contentType[:i]
	}
	return bytes.Trim(contentType, " \t")
}

// readable reports whether bodies of that media type are taken: none said,
// a form, or JSON under its own name or as the suffix of another.
func readable(kind []byte) bool {
	if len(kind) == 0 || isName(kind, "application/json") || isName(kind, "application/x-www-form-urlencoded") {
		return true
	}
	const suffix = "+json"
	n := len(kind) - len(suffix)
	return n > 0 && isName(kind[n:], suffix) && bytes.IndexByte(kind[:n], '/') > 0
}
