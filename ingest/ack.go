package ingest

import (
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// CommitWaitsMax is how many senders of sources with source.AckCommitted may
// wait for the ledger at once. While the ledger stands still, each of them
// keeps a connection for source.CommitWaitMax; beyond this many, senders are
// told at once, so that connections are left for all other sources.
const CommitWaitsMax = 4096

// commitRetryAfter is when a sender should come back to a ledger that is late:
// long enough for a backlog to drain, and well inside every dedupe window.
const commitRetryAfter = 10 * time.Second

// replyCommitted answers for the ledger, not for the journal. It waits even
// when the pipeline is known to be behind: most backlogs are gone within the
// wait, and a sender that is sent away comes back with one record more. What it
// never does is to answer something weaker: no class of a custom reply stands
// for a commit that has not been seen.
func (s *Server) replyCommitted(ctx *fasthttp.RequestCtx, q *request, src *source.Source, id event.ID, flags event.Flags) {
	wait := source.CommitWaitMax
	if s.committing.Add(1) > CommitWaitsMax {
		wait = 0 // it may be there already
	}
	out, ok := s.cfg.Board.Await(id, wait)
	s.committing.Add(-1)
	s.stats.CommitWaits.Add(1)
	switch {
	case !ok:
		s.stats.CommitTimeouts.Add(1)
		s.commitPending(ctx, id)
	case flags&event.FlagPaused != 0:
		s.replyPaused(ctx, q, src, id)
	case src.Spec.Reply.Mode == source.ReplyVerdict:
		s.replyVerdict(ctx, q, src, id, out)
	default:
		s.replyAccepted(ctx, q, src, id)
	}
}

// commitPending answers 503: the postback is on disk and will be decided, but
// that is not what its source's 2xx stands for.
func (s *Server) commitPending(ctx *fasthttp.RequestCtx, id event.ID) {
	b := append(make([]byte, 0, 256), `{"ok":false,"error":"commit_pending","message":"The postback is stored as event `...)
	b = id.Append(b)
	b = append(b, `, but the ledger has not committed it yet; send it again later, a repeat counts once.","event":"`...)
	b = id.Append(b)
	send(ctx, fasthttp.StatusServiceUnavailable, contentJSON, append(b, `"}`...))
	retryAfter(ctx, commitRetryAfter)
}
