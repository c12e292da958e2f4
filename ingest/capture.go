package ingest

import (
	"bytes"
	"container/list"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// Limits of what is kept of requests for learning: in memory only, per source
// and for all together. What is oldest goes first, whosesoever it is.
const (
	AcceptedMax            = 5        // requests per source that were let through
	CaptureBodyBytesMax    = 8 << 10  // of one
	CaptureHeadersMax      = 64       // of one
	CaptureHeadersBytesMax = 8 << 10  // of one, names and values
	CapturesBytesMax       = 32 << 20 // of all sources' captures together

	acceptedPerSecond = AcceptedMax // more of a busy source would show nothing new
	captureBytesMin   = 256         // what one takes beside its texts
)

// Capture is a request as it came, for a program to learn from: it holds the
// token in its target, signatures, and whatever the sender sent. It must not be
// printed, logged or answered with. Its texts are shared: nobody may write to
// Body.
type Capture struct {
	Method      string
	Target      string // path and raw query
	Host        string
	Scheme      string // http or https, as the sender called us
	ContentType string
	Headers     []event.Pair // in order; the values of what carries a secret as such are masked
	Body        []byte       // as sent, cut to CaptureBodyBytesMax
	BodyCut     bool
	Peer        string
	At          time.Time
	Reason      string // "" of one that was let through
	Detail      string // as in Refusal
}

func (c *Capture) bytes() int {
	n := captureBytesMin + len(c.Method) + len(c.Target) + len(c.Host) + len(c.ContentType) + len(c.Body) + len(c.Detail)
	for i := range c.Headers {
		n += 32 + len(c.Headers[i].Name) + len(c.Headers[i].Value)
	}
	return n
}

// captures keeps the last captures of each source.
//
//	source ─► refused  ring of RefusedMax   ┐
//	       └► accepted ring of AcceptedMax  ┴─► age: all of them, the oldest first, at most CapturesBytesMax
type captures struct {
	bySource sync.Map // *source.Counters, which all versions of a source share → *sourceCaptures

	mu    sync.Mutex
	age   list.List // of *Capture
	bytes int
}

type sourceCaptures struct {
	second atomic.Int64 // Unix second << 8 | requests of it that were kept

	refused, accepted captureRing // under captures.mu
}

type captureRing struct {
	at []*list.Element // a taken place may have left captures.age since; its Value is then nil
	n  int             // ever added
}

func (c *captures) of(src *source.Source) *sourceCaptures {
	if sc, ok := c.bySource.Load(src.Seen); ok {
		return sc.(*sourceCaptures)
	}
	sc, _ := c.bySource.LoadOrStore(src.Seen, new(sourceCaptures))
	return sc.(*sourceCaptures)
}

func (c *captures) refused(src *source.Source, one *Capture) {
	sc := c.of(src)
	c.add(&sc.refused, RefusedMax, one)
}

// wants reports whether a request of src that is let through should be kept: a
// few a second, so that a busy source pays next to nothing.
func (c *captures) wants(src *source.Source, at time.Time) bool {
	sc := c.of(src)
	was, now := sc.second.Load(), at.Unix()<<8
	if was&^0xff == now {
		now = was
	}
	return now&0xff < acceptedPerSecond && sc.second.CompareAndSwap(was, now+1)
}

func (c *captures) accepted(src *source.Source, one *Capture) {
	sc := c.of(src)
	c.add(&sc.accepted, AcceptedMax, one)
}

func (c *captures) add(ring *captureRing, most int, one *Capture) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.age.PushBack(one)
	c.bytes += one.bytes()
	if len(ring.at) < most {
		ring.at = append(ring.at, e)
	} else {
		c.drop(ring.at[ring.n%most])
		ring.at[ring.n%most] = e
	}
	ring.n++
	for c.bytes > CapturesBytesMax {
		c.drop(c.age.Front())
	}
}

// drop forgets a capture, wherever its ring still points to it.
func (c *captures) drop(e *list.Element) {
	if e.Value == nil {
		return
	}
	c.bytes -= e.Value.(*Capture).bytes()
	c.age.Remove(e)
	e.Value = nil
}

// list gives the captures of a source, refused ones first, the newest first.
func (c *captures) list(src *source.Source) []Capture {
	sc := c.of(src)
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Capture
	for _, ring := range [...]*captureRing{&sc.refused, &sc.accepted} {
		for i := range ring.at {
			if e := ring.at[(ring.n-1-i)%len(ring.at)]; e.Value != nil {
				out = append(out, *e.Value.(*Capture))
			}
		}
	}
	return out
}

// Captured gives the last requests of a source for learning from: those that
// were refused for what they said or did not show, then those that were let
// through, each the newest first. They are raw, see Capture.
func (s *Server) Captured(sourceID string) []Capture {
	src := s.cfg.Live.Load().ByID(sourceID)
	if src == nil {
		return nil
	}
	return s.captures.list(src)
}

// capture copies a request.
func (s *Server) capture(ctx *fasthttp.RequestCtx, q *request, reason, detail string) *Capture {
	body := ctx.Request.Body()
	c := &Capture{Method: q.method, Target: string(q.route.target), Host: string(ctx.Request.Header.Host()), Scheme: s.schemeOf(ctx, q),
		ContentType: string(ctx.Request.Header.ContentType()), Peer: strings.Clone(q.peerView()), At: q.at, Reason: reason, Detail: detail,
		Body: bytes.Clone(body[:min(len(body), CaptureBodyBytesMax)]), BodyCut: len(body) > CaptureBodyBytesMax}
	room := CaptureHeadersBytesMax
	q.head.each(func(name, value []byte) bool {
		p := event.Pair{Name: string(name), Value: maskedHeader(event.View(name), value)}
		if room -= len(p.Name) + len(p.Value); room < 0 {
			return false
		}
		c.Headers = append(c.Headers, p)
		return len(c.Headers) < CaptureHeadersMax
	})
	return c
}

// maskedHeader gives a header's value, or what shows no more than that it was
// there. Signatures stay: to learn from them is what captures are for.
func maskedHeader(name string, value []byte) string {
	switch {
	case strings.EqualFold(name, "Authorization"):
		if scheme, _, ok := bytes.Cut(value, []byte(" ")); ok && (isName(scheme, "basic") || isName(scheme, "bearer")) {
			return string(scheme) + " " + event.Redacted
		}
	case strings.EqualFold(name, "Cookie"), strings.EqualFold(name, "Set-Cookie"), strings.EqualFold(name, "X-Webhook-Secret"),
		len(name) >= 6 && strings.EqualFold(name[:6], "Proxy-"):
	default:
		return string(value)
	}
	return event.Redacted
}
