package sink_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/store"
)

// Stories that need several nodes on one ledger.
func TestLedgerShared(t *testing.T) {
	stories := map[string]func(*testing.T, *harness){
		"a node that was replaced posts nothing more":               replaced,
		"a holder of the lock that freezes is thrown out":           frozenHolder,
		"the answer to a commit is lost":                            lostCommit,
		"a parked event waits for what another node's journal has":  waitsForOthers,
		"a posting that is there already fails loudly":              doublePosting,
		"what is booked cannot be changed, by whoever is connected": historyStays,
		"long work is not taken for a frozen holder":                longWork,
		"a node that was replaced ends nothing that waits":          replacedEndsNothing,
		"bytes that are no text":                                    noText,
		"a late retry through another node undoes no price":         lateRetryElsewhere,
		"what was told between a postback and its repeat counts":    betweenLate,
	}
	for name, story := range stories {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			t.Parallel() // most of their time they wait for what the server lets pass
			h := ledgers["postgres"](t)
			story(t, h)
			h.verify()
		})
	}
}

func replaced(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	zombie := h.ledger
	h.ledger = h.another()
	h.post(pays("50", byRef("ref-a")))
	if _, err := zombie.Post(t.Context(), h.batch(pays("60", byRef("ref-a")))); !errors.Is(err, sink.ErrFenced) {
		t.Fatalf("the node that was replaced: %v", err)
	}
	booked(t, h, "a", "50.00", "0.00")
	h.seq-- // its batch was not taken
	status(t, h.post(pays("70", byRef("ref-a"))), "booked")
}

func frozenHolder(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	held, thaw := make(chan bool), make(chan bool)
	stuck := h.openWith(func(r *event.Report, p *event.Policy, at int64, c []event.Candidate) event.Decision {
		held <- true
		<-thaw
		return match.Decide(r, p, at, c)
	})
	frozen := *h
	frozen.newStream()
	b := frozen.batch(pays("60", byRef("ref-a")))
	done := make(chan error, 1)
	go func() {
		_, err := stuck.Post(context.Background(), b)
		done <- err
	}()
	<-held
	status(t, h.post(pays("50", byRef("ref-a"))), "booked") // waits no longer than the server lets a silent holder be
	close(thaw)
	go func() {
		for range held { // it may decide more than once
		}
	}()
	if err := <-done; err == nil {
		t.Fatal("the thawed holder committed")
	}
	booked(t, h, "a", "50.00", "0.00")
	if _, err := stuck.Post(t.Context(), b); err != nil {
		t.Fatalf("tried again: %v", err)
	}
	close(held)
	if s := b.Events[0].Verdict.Status; s != event.Booked {
		t.Errorf("then: %s", s)
	}
}

// openWith opens another ledger that decides with its own rule.
func (h *harness) openWith(decide event.Decide) *sink.Ledger {
	l, err := sink.OpenLedger(sink.LedgerConfig{Postgres: h.db.Pool, Decide: decide, Policy: func(id string) *event.Policy { return h.policy[id] }, Now: time.Now})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { l.Close() })
	return l
}

func lostCommit(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	cfg := h.db.Pool.Config().ConnConfig
	p := cutAtCommit(t, net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port))))
	through := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: p.addr, Path: cfg.Database, RawQuery: "sslmode=disable"}
	db, err := store.Open(t.Context(), through.String())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l, err := sink.OpenLedger(sink.LedgerConfig{Postgres: db.Pool, Decide: match.Decide, Policy: func(id string) *event.Policy { return h.policy[id] }, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	b := h.batch(pays("50", byRef("ref-a")), ended("b", h.now, 80))
	p.cut.Store(true)
	if _, err := l.Post(t.Context(), b); err == nil {
		t.Fatal("the answer was not lost")
	}
	p.cut.Store(false)
	res, err := l.Post(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if v := b.Events[0].Verdict; v.Status != event.Booked || v.ChangeSeq == 0 || b.Events[1].Call.No == 0 {
		t.Errorf("read back: %+v, call %d", v, b.Events[1].Call.No)
	}
	if res.CallsFrom != res.CallsThrough {
		t.Errorf("claims to have told of the changes after %d up to %d: they were another transaction's", res.CallsFrom, res.CallsThrough)
	}
	booked(t, h, "a", "50.00", "0.00")
	var postings int
	if err := h.db.Read.QueryRow(`SELECT count(*) FROM posting`).Scan(&postings); err != nil || postings != 1 {
		t.Errorf("%d postings, %v", postings, err)
	}
}

// cutProxy passes everything to a server but, when told so, its answer to
// COMMIT: then it cuts the connection once the server has answered.
type cutProxy struct {
	addr string
	cut  atomic.Bool
}

func cutAtCommit(t *testing.T, target string) *cutProxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &cutProxy{addr: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", target)
			if err != nil {
				c.Close()
				continue
			}
			go p.pass(c, s)
		}
	}()
	return p
}

func (p *cutProxy) pass(c, s net.Conn) {
	defer c.Close()
	defer s.Close()
	var drop atomic.Bool
	go func() {
		defer c.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := s.Read(buf)
			if err != nil || drop.Load() {
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		if p.cut.Load() && strings.Contains(string(buf[:n]), "COMMIT") {
			drop.Store(true)
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return
		}
		if drop.Load() {
			_, _ = io.Copy(io.Discard, c) // until the other side has cut it
			return
		}
	}
}

func waitsForOthers(t *testing.T, h *harness) {
	other := *h
	other.ledger = h.another()
	other.newStream()
	other.post(ended("elsewhere", h.now, 10)) // the other node has taken in what came until now
	vs := h.post(pays("50", byCaller(90)))
	status(t, vs, "parked")
	h.now += hour
	h.tick()
	h.revisions(vs[0].Event, "parked")
	other.now += minute
	other.post(ended("c", other.now-2*minute, 90)) // it stood in the other journal
	h.revisions(vs[0].Event, "parked", "booked")
	vs = h.post(pays("50", byCaller(1000)))
	h.now += hour
	other.now = h.now
	other.tick()
	h.tick()
	h.revisions(vs[0].Event, "parked", "unmatched")
}

// The key of a transfer is its posting and line: whatever would write a second
// set of lines, as a join on a key that occurs twice in a batch does, fails.
func doublePosting(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.post(pays("50", byRef("ref-a")))
	for _, q := range []string{
		`INSERT INTO transfer SELECT * FROM transfer`,
		`INSERT INTO posting SELECT max(no) + 1, stream, seq, n, call, cause, source, received_at, currency, value, share, delta, share_delta, rule FROM posting GROUP BY stream, seq, n, call, cause, source, received_at, currency, value, share, delta, share_delta, rule`,
	} {
		if _, err := h.db.Write.Exec(q); err == nil || !strings.Contains(err.Error(), "duplicate key") {
			t.Errorf("%s: %v", q, err)
		}
	}
}

func historyStays(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.post(pays("50", byRef("ref-a")))
	for _, q := range []string{`UPDATE posting SET value = 0`, `DELETE FROM posting`, `TRUNCATE posting`, `UPDATE transfer SET amount = 1`, `DELETE FROM transfer`, `TRUNCATE transfer`} {
		if _, err := h.db.Write.Exec(q); err == nil {
			t.Errorf("%s: done", q)
		}
	}
}

// A sender's bytes that Postgres takes for no text end in a verdict like any
// others; they cannot keep a batch from being written.
func noText(t *testing.T, h *harness) {
	r := byRef("ref-\x00\xff")
	r.CallerRaw, r.Status = "\xff\x00", "ok\x00"
	status(t, h.post(pays("50", r)), "parked")
	h.now += hour
	h.tick()
}

// Node 1 takes in 50, node 2 takes in 60 and then a late retry of the 50; node
// 1 books last. The call ends at 60, as on one node.
func lateRetryElsewhere(t *testing.T, h *harness) {
	h.post(ended("a", h.now, 90))
	h.now += minute
	first := h.batch(pays("50", byRef("ref-a"))) // in node 1's journal, not booked yet
	other := *h
	other.ledger = h.another()
	other.newStream()
	other.now += minute
	status(t, other.post(pays("60", byRef("ref-a"))), "booked")
	other.now += minute
	status(t, other.post(pays("50", byRef("ref-a"))), "booked") // the retry
	if _, err := h.ledger.Post(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if v := first.Events[0].Verdict; v.Status != event.Booked || v.Reason != event.ToldFirst || v.Value != 60*event.Unit {
		t.Errorf("the first telling: %s %s %s", v.Status, v.Reason, v.Value)
	}
	booked(t, h, "a", "60.00", "0.00")
	other.now += minute
	status(t, other.post(pays("50", byRef("ref-a"))), "duplicate")
	booked(t, h, "a", "60.00", "0.00")
}

// The same, but what came between is booked after the repeat and after, or
// before, the first telling.
func betweenLate(t *testing.T, h *harness) {
	for _, firstLast := range []bool{true, false} {
		call := map[bool]string{true: "x", false: "y"}[firstLast]
		h.post(ended(call, h.now, 90))
		h.now += minute
		one := h.batch(pays("50", byRef("ref-"+call)))
		two, three := *h, *h
		two.ledger, three.ledger = h.another(), h.another()
		two.newStream()
		three.newStream()
		two.now, three.now = h.now+minute, h.now+2*minute
		between := two.batch(pays("60", byRef("ref-"+call)))
		status(t, three.post(pays("50", byRef("ref-"+call))), "booked")
		posts := []func() (sink.Result, error){
			func() (sink.Result, error) { return h.ledger.Post(t.Context(), one) },
			func() (sink.Result, error) { return two.ledger.Post(t.Context(), between) }}
		if firstLast {
			posts[0], posts[1] = posts[1], posts[0]
		}
		for _, post := range posts {
			if _, err := post(); err != nil {
				t.Fatal(err)
			}
		}
		booked(t, h, call, "60.00", "0.00")
		h.now += 3 * minute
	}
}

// A call that decides very many parked events at once takes longer than a
// frozen holder is given; it is none.
func longWork(t *testing.T, h *harness) {
	var list []told
	for i := range 900 {
		list = append(list, pays(event.Amount(i+1).String(), byCaller(90)))
	}
	h.post(list...)
	slow := h.openWith(func(r *event.Report, p *event.Policy, at int64, c []event.Candidate) event.Decision {
		time.Sleep(1500 * time.Microsecond)
		return match.Decide(r, p, at, c)
	})
	if _, err := slow.Post(t.Context(), h.batch(ended("c", h.now-minute, 90))); err != nil {
		t.Fatal(err)
	}
	booked(t, h, "c", event.Amount(900).String(), "0.00")
}

func replacedEndsNothing(t *testing.T, h *harness) {
	vs := h.post(pays("50", byCaller(90)))
	zombie := h.ledger
	h.ledger = h.another()
	h.post(ended("elsewhere", h.now, 10))
	h.now += hour
	if _, err := zombie.Post(t.Context(), &event.Batch{Stream: h.stream, Watermark: h.now}); !errors.Is(err, sink.ErrFenced) {
		t.Errorf("the node that was replaced: %v", err)
	}
	h.revisions(vs[0].Event, "parked")
}
