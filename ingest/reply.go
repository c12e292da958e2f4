package ingest

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

const (
	contentJSON = "application/json"
	codeLimited = "rate_limited"
)

// fail answers {"ok":false,"error":code,"message":message}.
func (s *Server) fail(ctx *fasthttp.RequestCtx, status int, code, message string) {
	send(ctx, status, contentJSON, appendFailure(make([]byte, 0, 256), code, message))
}

func appendFailure(b []byte, code, message string) []byte {
	b = event.AppendJSONString(append(b, `{"ok":false,"error":`...), code)
	b = event.AppendJSONString(append(b, `,"message":`...), message)
	return append(b, '}')
}

func (s *Server) failf(ctx *fasthttp.RequestCtx, status int, code, format string, args ...any) {
	s.fail(ctx, status, code, fmt.Sprintf(format, args...))
}

// limited answers 429 with the seconds to wait, rounded up.
func (s *Server) limited(ctx *fasthttp.RequestCtx, after time.Duration, message string) {
	s.fail(ctx, fasthttp.StatusTooManyRequests, codeLimited, message)
	retryAfter(ctx, after)
}

func retryAfter(ctx *fasthttp.RequestCtx, after time.Duration) {
	seconds := max(1, int64((after+time.Second-1)/time.Second))
	ctx.Response.Header.Set("Retry-After", strconv.FormatInt(seconds, 10))
}

// journalRetryAfter is when a sender should come back to a journal that is
// full or failing: long enough for a disk to be made room on.
const journalRetryAfter = 30 * time.Second

// journalFailed answers a record that the journal did not take and returns the status.
func (s *Server) journalFailed(ctx *fasthttp.RequestCtx, err error) int {
	s.stats.JournalErrors.Add(1)
	var big interface{ TooLarge() bool }
	if errors.As(err, &big) && big.TooLarge() {
		s.fail(ctx, fasthttp.StatusRequestEntityTooLarge, "record_too_large", "The request is larger than what the journal takes; split it.")
		return fasthttp.StatusRequestEntityTooLarge
	}
	if now := s.cfg.Now().Unix(); s.loggedAt.Swap(now) != now { // a line a second says enough
		s.cfg.Log.Error("journal does not take records; senders are told to retry", "error", err)
	}
	s.fail(ctx, fasthttp.StatusServiceUnavailable, "journal_unavailable", "Nothing can be stored at the moment, and nothing of this request was; send it again later.")
	retryAfter(ctx, journalRetryAfter)
	return fasthttp.StatusServiceUnavailable
}

func (s *Server) replyAccepted(ctx *fasthttp.RequestCtx, q *request, src *source.Source, id event.ID) {
	b := append(q.reply[:0], `{"ok":true,"event":"`...)
	b = id.Append(b)
	q.reply = append(b, `","status":"accepted"}`...)
	s.send(ctx, q, src, fasthttp.StatusOK, &Outcome{Event: id}, "accepted", "accepted", "")
}

func (s *Server) replyPaused(ctx *fasthttp.RequestCtx, q *request, src *source.Source, id event.ID) {
	q.reply = append(q.reply[:0], `{"ok":false,"reason":"endpoint disabled"}`...)
	s.send(ctx, q, src, fasthttp.StatusOK, &Outcome{Event: id, Reason: event.SourcePaused}, "ignored", "paused", "")
}

// replyVerdict tells one outcome, or lists several. The classes of a custom
// answer to several are those that hold for all of them.
func (s *Server) replyVerdict(ctx *fasthttp.RequestCtx, q *request, src *source.Source, id event.ID, out []Outcome) {
	status, class, same := fasthttp.StatusBadRequest, "invalid", true
	for i := range out {
		if out[i].Status != event.Invalid {
			status, class = fasthttp.StatusOK, "ok"
		}
		same = same && out[i].Status == out[0].Status
	}
	if len(out) == 1 {
		q.reply = appendOutcome(q.reply[:0], &out[0])
	} else {
		b := append(q.reply[:0], `{"ok":`...)
		b = strconv.AppendBool(b, class == "ok")
		b = append(b, `,"event":"`...)
		b = id.Append(b)
		b = append(b, `","events":[`...)
		for i := range out {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendOutcome(b, &out[i])
		}
		q.reply = append(b, "]}"...)
	}
	first := class
	if same {
		first = out[0].Status.String()
	}
	o := out[0]
	o.Event = id
	s.send(ctx, q, src, status, &o, o.Status.String(), first, class)
}

// appendOutcome renders one outcome as a JSON object.
func appendOutcome(b []byte, o *Outcome) []byte {
	b = append(b, `{"ok":`...)
	b = strconv.AppendBool(b, o.Status != event.Invalid)
	b = append(b, `,"event":"`...)
	b = o.Event.Append(b)
	b = append(b, `","status":"`...)
	b = append(b, o.Status.String()...)
	b = append(b, '"')
	if o.CallID != "" {
		b = event.AppendJSONString(append(b, `,"call_id":`...), o.CallID)
		if o.Currency != "" {
			b = o.Value.Append(append(b, `,"value":"`...))
			b = event.AppendJSONString(append(b, `","currency":`...), o.Currency)
		}
	}
	if o.Reason != event.NoReason {
		b = event.AppendJSONString(append(b, `,"reason":`...), string(o.Reason))
		b = event.AppendJSONString(append(b, `,"message":`...), event.Sentence(o.Status, o.Reason, o.Detail))
	}
	return append(b, '}')
}

// send answers with q.reply, or as the source wants it for the first of the
// two classes that it says something of. word is what {status} stands for.
func (s *Server) send(ctx *fasthttp.RequestCtx, q *request, src *source.Source, status int, o *Outcome, word, class, orClass string) {
	contentType := contentJSON
	if classes := src.Spec.Reply.Classes; len(classes) > 0 {
		a, ok := classes[class]
		if !ok {
			a = classes[orClass]
		}
		if a.Status != 0 {
			status = a.Status
		}
		if a.ContentType != "" {
			contentType = a.ContentType
		}
		if a.Body != "" {
			q.reply = s.render(ctx, q, a.Body, contentType, o, word)
		}
	}
	send(ctx, status, contentType, q.reply)
}

// send copies body into the response.
func send(ctx *fasthttp.RequestCtx, status int, contentType string, body []byte) {
	ctx.SetStatusCode(status)
	ctx.Response.Header.SetContentType(contentType)
	ctx.Response.SetBody(body)
}

// quote renders what a sender sent for a sentence, cut to 64 bytes.
func quote(p []byte) string { return strconv.Quote(string(p[:min(len(p), 64)])) }

func tooLong(what string, bytesMax int, rest string) string {
	return what + " is longer than " + strconv.Itoa(bytesMax) + " bytes " + rest
}
