package ingest

import (
	"slices"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/source/signature"
)

// fault is why a request is refused: the machine word of the check that failed
// and what it found. Nobody outside reads it.
type fault struct {
	reason string
	detail string // a signature.Reason, or a word of the check's own
	field  string // what the detail is about
}

// enter lets a request through to a source, or answers and remembers why not.
// The cheap checks that need no secret come first, each only if the source asks
// for it:
//
//	address ─ certificate ─ method ─ signature or secret ─ call key ─ rate
//	   401        401        405            401               401      429
//
// What fails before the rate limit counts against its address, not against the
// source: a stranger cannot use up a sender's quota.
func (s *Server) enter(ctx *fasthttp.RequestCtx, q *request, src *source.Source) bool {
	why := s.known(ctx, q, src)
	if why.reason == "" && len(src.Spec.Methods) > 0 && !slices.Contains(src.Spec.Methods, q.method) {
		s.wrongMethod(ctx, strings.Join(src.Spec.Methods, ", "))
		s.refuse(ctx, q, src, reasonMethod, q.method)
		return false
	}
	if why.reason == "" {
		why = s.authentic(ctx, q, src)
	}
	if why.reason == "" && q.route.kind == routeSetValue && (q.route.issued() || src.Spec.CallKeys && s.cfg.CallKey != nil) {
		// Under the source's own URL the key may be one from elsewhere, which
		// the ledger compares.
		if bad := s.keyed(ctx, q); q.route.issued() {
			why = bad
		}
	}
	switch why.reason {
	case "":
	case reasonCallID:
		s.fail(ctx, badCallID.status, badCallID.code, badCallID.message)
		s.refuse(ctx, q, src, why.reason, "")
		return false
	default:
		s.unauthorized(ctx, q, src)
		s.refuse(ctx, q, src, why.reason, detailOf(why))
		return false
	}
	if ok, after := s.cfg.Limiter.Allow(src, q.peer, q.at); !ok {
		s.limitedBy(ctx, q, src, after, "This URL received more requests than its limit; wait and send again.")
		s.refuse(ctx, q, src, codeLimited, "")
		return false
	}
	return true
}

func detailOf(why fault) string {
	if why.field == "" {
		return why.detail
	}
	return why.detail + ": " + why.field
}

// known checks what needs no secret: where a request comes from and whose
// certificate its connection shows.
func (s *Server) known(ctx *fasthttp.RequestCtx, q *request, src *source.Source) fault {
	if len(src.Allow) > 0 && !allowed(src, q) {
		return fault{reasonIP, "address_not_allowed", ""}
	}
	if name := src.Spec.ClientName; name != "" {
		if detail := s.certificateFault(ctx, name, q.at); detail != "" {
			return fault{reasonCertificate, detail, ""}
		}
	}
	return fault{}
}

func allowed(src *source.Source, q *request) bool {
	for i := range src.Allow {
		if src.Allow[i].Contains(q.peer) {
			return true
		}
	}
	return false
}

// authentic checks the signature, or the secret of a source that has none.
func (s *Server) authentic(ctx *fasthttp.RequestCtx, q *request, src *source.Source) fault {
	if src.Verifier == nil {
		switch {
		case len(src.Secrets) == 0, secretLive(src.Secrets, q.head.secret):
			return fault{}
		case len(q.head.secret) == 0:
			return fault{reasonSecret, "secret_missing", ""}
		}
		return fault{reasonSecret, "secret_wrong", ""}
	}
	if !signable(src.Signing, q) {
		if src.Spec.SignatureOptional {
			return fault{}
		}
		return fault{reasonSignature, string(signature.SecretMissing), ""}
	}
	out := s.verify(ctx, q, src)
	if !out.OK {
		return fault{reasonSignature, string(out.Reason), out.Field}
	}
	q.keepSigned(src.Spec.Signature)
	return fault{}
}

// signable reports whether there is a live secret to check against.
func signable(secrets *signature.Secrets, q *request) bool {
	return secrets != nil && (len(secrets.Current) > 0 || len(secrets.Keys) > 0 || secrets.Lookup != nil ||
		len(secrets.Previous) > 0 && (secrets.PreviousUntil.IsZero() || q.at.Before(secrets.PreviousUntil)))
}

// verify checks the signature over the bytes as they were sent. A body that was
// compressed is read unpacked, so that a signature over its fields, or of the
// URL alone, must hold for the unpacked one, or fields that it does not vouch
// for could be brought in; a signature over the body as a whole may be of
// either, as senders compress before or after they sign.
func (s *Server) verify(ctx *fasthttp.RequestCtx, q *request, src *source.Source) signature.Outcome {
	r := &q.signed
	*r = signature.Request{Method: q.method, URL: event.View(q.route.target), Scheme: s.schemeOf(ctx, q), Host: event.View(ctx.Request.Header.Host()),
		PublicBase: s.cfg.SignedBase, ContentType: event.View(ctx.Request.Header.ContentType()), Header: q.headerValue, Query: q.route.query, Body: ctx.Request.Body()}
	defer func() { *r = signature.Request{} }()
	out := src.Verifier.Verify(r, src.Signing, q.at)
	if len(r.Body) == 0 || !q.head.encoded() {
		return out
	}
	if out.OK && slices.Contains(src.Verifier.SignedFields(), "body") && src.Verifier.Covers("json:x") == signature.CoverFull {
		return out
	}
	body, bad := s.unpack(ctx, q, s.cfg.Limits.GunzipBytesMax)
	if bad != nil {
		return out // it will not be read either
	}
	r.Body = body
	return src.Verifier.Verify(r, src.Signing, q.at)
}

// schemeOf is what stood before the host in the URL that the sender called: our
// own, or what a trusted proxy says of its own.
func (s *Server) schemeOf(ctx *fasthttp.RequestCtx, q *request) string {
	if ctx.IsTLS() {
		return "https"
	}
	if len(s.cfg.TrustedProxies) > 0 && s.trusted(connectionPeer(ctx)) {
		if v, ok := q.head.value("X-Forwarded-Proto"); ok && strings.EqualFold(v, "https") {
			return "https"
		}
	}
	return "http"
}

// keepSigned keeps the headers that hold the message's id and time, which are
// of use to the mapper and to who debugs a sender: as far as they hold nothing
// that could be sent again as a signature.
func (q *request) keepSigned(spec *signature.Spec) {
	q.keepPlaces(spec, spec.Signature.In)
	for i := range spec.Alternatives {
		q.keepPlaces(&spec.Alternatives[i], spec.Signature.In)
	}
}

func (q *request) keepPlaces(spec *signature.Spec, signedIn string) {
	if spec.ID != nil {
		q.keepPlace(spec.ID.In, signedIn, spec.Signature.In)
	}
	if spec.Timestamp != nil {
		q.keepPlace(spec.Timestamp.In, signedIn, spec.Signature.In)
	}
}

func (q *request) keepPlace(in string, signatures ...string) {
	name, ok := strings.CutPrefix(in, "header:")
	if !ok || event.SecretHeader(name) {
		return
	}
	for _, other := range signatures {
		if strings.EqualFold(in, other) {
			return
		}
	}
	if v, ok := q.head.value(name); ok {
		q.head.keepAs(strings.ToLower(name), v)
	}
}

// unauthorized answers a request that a source does not let in, as the source
// wants that: 401, or 429 once its address has failed too often.
func (s *Server) unauthorized(ctx *fasthttp.RequestCtx, q *request, src *source.Source) {
	s.stats.AuthFailures.Add(1)
	if ok, after := s.cfg.Limiter.AllowFailure(q.peer, q.at); !ok {
		s.limitedBy(ctx, q, src, after, tooManyFailures)
		return
	}
	q.reply = appendFailure(q.reply[:0], "unauthorized", "Unauthorized.")
	s.send(ctx, q, src, fasthttp.StatusUnauthorized, &Outcome{}, "unauthorized", "unauthorized", "")
}

// limitedBy answers 429, or what the source wants in its place, and always how
// long to wait.
func (s *Server) limitedBy(ctx *fasthttp.RequestCtx, q *request, src *source.Source, after time.Duration, message string) {
	q.reply = appendFailure(q.reply[:0], codeLimited, message)
	s.send(ctx, q, src, fasthttp.StatusTooManyRequests, &Outcome{}, "limited", "limited", "")
	retryAfter(ctx, after)
}

// encoded reports whether the body is not what was meant, but packed.
func (h *header) encoded() bool {
	return h.encodings > 0 && len(h.encoding) > 0 && !isName(h.encoding, "identity")
}
