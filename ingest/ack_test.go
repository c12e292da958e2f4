package ingest

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

func committedSource(t testing.TB, reply source.ReplySpec, paused bool) *source.Source {
	t.Helper()
	return testSource(t, source.Spec{ID: "buyer", Ack: source.AckCommitted, Reply: reply, Paused: paused})
}

// ask sends one request past the network and says how long its answer took.
// Inside a synctest bubble that is exact and takes no time.
func (n *node) ask(t testing.TB, method string) (*fasthttp.Response, time.Duration) {
	t.Helper()
	ctx := loadRequest(t, method+" /v1/postbacks/buyer?payout=50 HTTP/1.1\r\nHost: edge.example\r\n\r\n")
	start := time.Now()
	n.handle(ctx)
	return &ctx.Response, time.Since(start)
}

// commitsAfter is a journal's then: a pipeline that commits every record d
// after it was journaled.
func commitsAfter(t *testing.T, n *node, d time.Duration, v event.Verdict) {
	n.journal.then = func(id event.ID, rec []byte) {
		flags := decoded(t, rec).Flags
		go func() {
			time.Sleep(d)
			n.board.Deliver(batchOf(id, flags, v))
		}()
	}
}

// The 2xx comes with the commit, far beyond the wait for a verdict, and says
// what the source's reply asks for.
func TestCommittedInTime(t *testing.T) {
	f := func(method string, reply source.ReplySpec, paused, lag bool, status int, body string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, func(c *Config) { c.Lag = func() bool { return lag } }, committedSource(t, reply, paused))
			commitsAfter(t, n, 4*time.Second, booked)
			resp, took := n.ask(t, method)
			if resp.StatusCode() != status || string(resp.Body()) != body || took != 4*time.Second {
				t.Errorf("%s %+v: %d %s after %s, want %d %s after 4s", method, reply, resp.StatusCode(), resp.Body(), took, status, body)
			}
			if st := n.Stats(); st.CommitWaits.Load() != 1 || st.CommitTimeouts.Load() != 0 || st.VerdictWaits.Load() != 0 {
				t.Errorf("%d waits for a commit, %d in vain, %d for a verdict", st.CommitWaits.Load(), st.CommitTimeouts.Load(), st.VerdictWaits.Load())
			}
		})
	}
	const verdict = `{"ok":true,"event":"1-1","status":"booked","call_id":"c1","value":"50.00","currency":"USD"}`
	const accepted = `{"ok":true,"event":"1-1","status":"accepted"}`
	f("GET", source.ReplySpec{Mode: source.ReplyVerdict}, false, false, 200, verdict)
	f("GET", source.ReplySpec{Mode: source.ReplyVerdict}, false, true, 200, verdict) // a pipeline that lags changes nothing
	f("GET", source.ReplySpec{Mode: source.ReplyAccepted}, false, false, 200, accepted)
	f("GET", source.ReplySpec{Mode: source.ReplyAccepted}, false, true, 200, accepted)
	f("HEAD", source.ReplySpec{Mode: source.ReplyVerdict}, false, false, 200, verdict) // the server leaves a body out
	f("HEAD", source.ReplySpec{Mode: source.ReplyAccepted}, false, false, 200, accepted)
	f("PUT", source.ReplySpec{Mode: source.ReplyAccepted, Classes: map[string]source.Answer{"accepted": {Status: 201, Body: "1"}}}, false, false, 201, "1")
	f("GET", source.ReplySpec{Mode: source.ReplyAccepted}, true, false, 200, `{"ok":false,"reason":"endpoint disabled"}`)
}

// A ledger that does not commit is told as such when the wait is over, and the
// record is on disk all the same.
func TestCommitDoesNotCome(t *testing.T) {
	all := map[string]source.Answer{
		"accepted": {Status: 200, Body: "OK"}, "ok": {Status: 200, Body: "OK"}, "invalid": {Status: 200}, "paused": {Status: 200, Body: "OK"},
		"parked": {Status: 200}, "failed": {Status: 200},
	}
	f := func(method string, reply source.ReplySpec, paused, lag bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			n := newNode(t, func(c *Config) { c.Lag = func() bool { return lag } }, committedSource(t, reply, paused))
			resp, took := n.ask(t, method)
			if resp.StatusCode() != 503 || took != source.CommitWaitMax || string(resp.Header.Peek("Retry-After")) != "10" {
				t.Errorf("%s %+v: %d after %s, Retry-After %q", method, reply, resp.StatusCode(), took, resp.Header.Peek("Retry-After"))
			}
			want := `{"ok":false,"error":"commit_pending","message":"The postback is stored as event 1-1, but the ledger has not committed it yet; ` +
				`send it again later, a repeat counts once.","event":"1-1"}`
			if string(resp.Body()) != want {
				t.Errorf("%s %+v: %s", method, reply, resp.Body())
			}
			if rec := n.journal.last(t); rec.Flags&event.FlagReply == 0 || (rec.Flags&event.FlagPaused != 0) != paused {
				t.Errorf("journaled with flags %b", rec.Flags)
			}
			if st := n.Stats(); st.CommitWaits.Load() != 1 || st.CommitTimeouts.Load() != 1 || n.committing.Load() != 0 {
				t.Errorf("%d waits, %d in vain, %d still there", st.CommitWaits.Load(), st.CommitTimeouts.Load(), n.committing.Load())
			}
			if _, waiting := n.board.kept(); waiting != 0 {
				t.Errorf("%d waiters are left", waiting)
			}
		})
	}
	for _, lag := range []bool{false, true} {
		f("GET", source.ReplySpec{Mode: source.ReplyVerdict}, false, lag)
		f("GET", source.ReplySpec{Mode: source.ReplyAccepted}, false, lag)
		f("POST", source.ReplySpec{Mode: source.ReplyVerdict, Classes: all}, false, lag)
		f("POST", source.ReplySpec{Mode: source.ReplyAccepted, Classes: all}, false, lag)
		f("HEAD", source.ReplySpec{Mode: source.ReplyAccepted}, false, lag)
		f("GET", source.ReplySpec{Mode: source.ReplyAccepted, Classes: all}, true, lag)
	}
}

// A commit that the board had to forget before its sender came for it is not
// known any more, and what is not known is not acknowledged.
func TestCommitForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nil, committedSource(t, source.ReplySpec{Mode: source.ReplyAccepted}, false))
		n.journal.then = func(id event.ID, rec []byte) {
			n.board.Deliver(batchOf(id, decoded(t, rec).Flags, booked))
			for i := range uint64(BoardKeepMax) {
				n.board.Deliver(batchOf(seq(1000+i), event.FlagReply, booked))
			}
		}
		if resp, took := n.ask(t, "GET"); resp.StatusCode() != 503 || took != source.CommitWaitMax {
			t.Errorf("answered %d after %s", resp.StatusCode(), took)
		}
	})
}

// While the ledger stands still, so many senders are kept waiting and no more;
// and one more whose commit is there already gets its 2xx.
func TestCommitWaitsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, nil, committedSource(t, source.ReplySpec{Mode: source.ReplyAccepted}, false))
		var wg sync.WaitGroup
		for range CommitWaitsMax {
			wg.Go(func() {
				if resp, took := n.ask(t, "GET"); resp.StatusCode() != 503 || took != source.CommitWaitMax {
					t.Errorf("one of those who wait: %d after %s", resp.StatusCode(), took)
				}
			})
		}
		synctest.Wait()
		if resp, took := n.ask(t, "GET"); resp.StatusCode() != 503 || took != 0 || n.journal.len() != CommitWaitsMax+1 {
			t.Errorf("one too many: %d after %s, %d records", resp.StatusCode(), took, n.journal.len())
		}
		n.journal.mu.Lock()
		n.journal.then = func(id event.ID, rec []byte) { n.board.Deliver(batchOf(id, decoded(t, rec).Flags, booked)) }
		n.journal.mu.Unlock()
		if resp, took := n.ask(t, "GET"); resp.StatusCode() != 200 || took != 0 {
			t.Errorf("one whose commit is there: %d after %s", resp.StatusCode(), took)
		}
		wg.Wait()
	})
}

// Over a real connection: HEAD has the status and the header, and no body.
func TestCommittedOverTheWire(t *testing.T) {
	n := startNode(t, nil, committedSource(t, source.ReplySpec{Mode: source.ReplyVerdict}, false))
	n.journal.then = func(id event.ID, rec []byte) { n.board.Deliver(batchOf(id, decoded(t, rec).Flags, booked)) }
	if a := n.do(t, "HEAD", "/v1/postbacks/buyer?payout=50", ""); a.status != 200 || a.body != "" {
		t.Errorf("HEAD: %d %q", a.status, a.body)
	}
	if a := n.do(t, "GET", "/v1/postbacks/buyer?payout=50", ""); a.status != 200 || !strings.Contains(a.body, `"status":"booked"`) {
		t.Errorf("GET: %d %q", a.status, a.body)
	}
	n.journal.set(errDisk, nil)
	if a := n.do(t, "GET", "/v1/postbacks/buyer?payout=50", ""); a.status != 503 || !strings.Contains(a.body, "journal_unavailable") || a.header.Get("Retry-After") != "30" {
		t.Errorf("no journal: %d %q", a.status, a.body)
	}
}
