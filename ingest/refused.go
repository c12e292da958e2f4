package ingest

import (
	"bytes"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// RefusedMax is how many refused requests are remembered per source.
const RefusedMax = 50

const refusedQueryBytesMax = 512

// Refusal is what people are shown of a request that was not journaled, to find
// out why a sender's postbacks do not arrive.
type Refusal struct {
	At     time.Time `json:"at"`
	Peer   string    `json:"peer"`
	Method string    `json:"method"`
	Status int       `json:"status"`
	Reason string    `json:"reason"`           // machine word of the check that failed
	Query  string    `json:"query"`            // without the values of what may be a secret, cut short
	Detail string    `json:"detail,omitempty"` // what it found: "signature_wrong", "field_missing: user_id"
	Advice string    `json:"advice,omitempty"` // what to do about it, a sentence
}

// refusedLists holds the last refusals of each source. Its size is bounded by
// the number of sources.
type refusedLists struct {
	mu       sync.Mutex
	bySource map[string]*refusedList
}

type refusedList struct {
	ring [RefusedMax]Refusal
	n    int // ever added
}

// refuse counts the refused request against its source and remembers it. The
// answer must have been set. detail is a word, or a word and what it is about.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, q *request, src *source.Source, reason, detail string) {
	status := ctx.Response.StatusCode()
	if ctx.Response.Header.Peek("Retry-After") != nil {
		src.Seen.Limited.Add(1)
	} else {
		src.Seen.Refused.Add(1)
	}
	s.stats.refusedFor(reason, detail)
	peer := ""
	if q.peer.IsValid() {
		peer = q.peer.String()
	}
	s.refused.add(src.Spec.ID, Refusal{At: q.at, Peer: peer, Method: q.method, Status: status, Reason: reason, Query: redactQuery(q.route.query),
		Detail: strings.ToValidUTF8(detail, "\ufffd"), Advice: advice(reason, detail)})
	if reason != codeLimited { // it has passed all checks, as what is accepted, and there may be very many of them
		s.captures.refused(src, s.capture(ctx, q, reason, detail))
	}
}

func (l *refusedLists) add(sourceID string, r Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.bySource[sourceID]
	if list == nil {
		list = new(refusedList)
		l.bySource[sourceID] = list
	}
	list.ring[list.n%RefusedMax] = r
	list.n++
}

func (l *refusedLists) list(sourceID string) []Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.bySource[sourceID]
	if list == nil {
		return nil
	}
	out := make([]Refusal, 0, RefusedMax)
	for i := list.n - 1; i >= 0 && i >= list.n-RefusedMax; i-- {
		out = append(out, list.ring[i%RefusedMax])
	}
	return out
}

// redactQuery gives a query for people to read: values whose name smells of a
// secret are starred out, and the whole is cut to a line.
func redactQuery(query []byte) string {
	var out []byte
	for part := range bytes.SplitSeq(query, []byte("&")) {
		if len(out) > 0 {
			out = append(out, '&')
		}
		name, value, ok := bytes.Cut(part, []byte("="))
		out = append(out, name...)
		if ok {
			if secretName(event.View(name)) {
				value = []byte("***")
			}
			out = append(append(out, '='), value...)
		}
		if len(out) > refusedQueryBytesMax {
			out = append(out[:refusedQueryBytesMax], "…"...)
			break
		}
	}
	return strings.ToValidUTF8(string(out), "\ufffd")
}

// secretName reports whether a field of that name may hold a secret. A name
// that cannot be read may, too.
func secretName(name string) bool {
	plain, err := url.QueryUnescape(name)
	if err != nil {
		return true
	}
	return event.SecretName(plain) || strings.Contains(strings.ToLower(plain), "token")
}
