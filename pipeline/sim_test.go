package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/journal"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/pipeline"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

var errWorld = errors.New("the world is broken for a moment")

// shaky is a ledger whose world fails: before anything happened, or after
// everything did and the answer was lost.
type shaky struct {
	pipeline.Ledger
	rnd   *rand.Rand
	crash context.CancelCauseFunc
}

func (s *shaky) Post(ctx context.Context, b *event.Batch) (sink.Result, error) {
	dice := s.rnd.IntN(10)
	if dice == 0 {
		return sink.Result{}, errWorld
	}
	if dice == 1 {
		s.crash(errWorld)
		return sink.Result{}, errWorld
	}
	res, err := s.Ledger.Post(ctx, b)
	if err != nil || dice > 3 {
		return res, err
	}
	if dice == 2 {
		s.crash(errWorld)
	}
	return sink.Result{}, errWorld
}

type stream struct {
	*journal.Reader
	j *journal.Journal
}

func (s stream) Commit(next uint64) error { return s.j.Commit(next) }

// sim is a node without its HTTP side, which lives through many lives.
type sim struct {
	t       *testing.T
	rnd     *rand.Rand
	db      *store.DB
	journal *journal.Journal
	live    *source.Live
	settled atomic.Int64
}

func openSim(t *testing.T, seed uint64) *sim {
	dir := t.TempDir()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "ledger.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	j, err := journal.Open(journal.Config{Dir: filepath.Join(dir, "journal"), StoreID: db.ID, BallastBytes: -1, SegmentBytes: 1 << 20,
		NewStream: func() (uint32, error) { return db.NewStream(t.Context(), "node", time.Now()) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	src, err := source.Compile(source.Spec{ID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	return &sim{t: t, rnd: rand.New(rand.NewPCG(seed, 1)), db: db, journal: j, live: source.NewLive(source.NewDirectory([]*source.Source{src}, 1))}
}

// life runs the stream from the checkpoint, with an empty index as a start
// has it, until it crashes or everything is committed.
func (s *sim) life() {
	info, err := s.db.Stream(s.t.Context(), s.journal.Stream())
	if err != nil {
		s.t.Fatal(err)
	}
	reader, err := s.journal.Reader(info.NextSeq)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Close()
	policy := func(id string) *event.Policy { return &s.live.Load().ByID(id).Policy }
	ledger, err := sink.OpenLedger(sink.LedgerConfig{SQLite: s.db.Write, Decide: match.Decide, Policy: policy, Now: time.Now})
	if err != nil {
		s.t.Fatal(err)
	}
	defer ledger.Close()
	index := match.NewMemoryIndex(match.MemoryIndexConfig{})
	go index.Rebuild(s.t.Context(), func(ctx context.Context, yield func([]event.Call) error) error {
		return sink.ScanCalls(ctx, s.db.Read, yield)
	}, 0, nil)

	ctx, crash := context.WithCancelCause(s.t.Context())
	p := &pipeline.Pipeline{Journal: stream{reader, s.journal}, Mapper: mapper.NewBuiltin(s.live),
		Matcher: &match.Matcher{Index: index, Dedupe: match.NewMemoryDeduper(match.MemoryDeduperConfig{})},
		Ledger:  &shaky{ledger, s.rnd, crash}, Deliver: func(*event.Batch) {}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		Observe: func(_ *event.Batch, res sink.Result, _ pipeline.Timings) { s.settled.Add(int64(res.Settled)) }}
	p.Start(s.journal.Stream(), info.NextSeq)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	for {
		select {
		case err := <-done:
			if err != nil {
				s.t.Fatal(err)
			}
			return
		case <-time.After(time.Millisecond):
			if last, _ := s.journal.Last(); p.Committed() > last {
				crash(nil)
			}
		}
	}
}

func (s *sim) append(rec *event.Record) {
	if _, err := s.journal.Append(event.AppendRecord(nil, rec)); err != nil {
		s.t.Fatal(err)
	}
}

// TestSimulation: calls and postbacks go to the journal in any order while the
// stream lives and dies over a ledger that fails before and after its commit.
// In the end every record has exactly one verdict, every call the value of
// its last postback, and the books verify.
func TestSimulation(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s := openSim(t, seed)
			const calls = 150
			want := make([]int, calls)
			postbacks := 0
			for round := range 8 {
				for range 60 {
					n := s.rnd.IntN(calls)
					id := fmt.Sprint("call-", n)
					if round < 4 && s.rnd.IntN(2) == 0 || round == 7 {
						s.append(&event.Record{Kind: event.RecordCalls, Body: event.AppendCall(nil, &event.Call{CallID: id, RefID: "ref-" + id, Buyer: "b"})})
					}
					want[n] = 1 + s.rnd.IntN(1_000_000)
					postbacks++
					s.append(&event.Record{Kind: event.RecordPostback, Source: "s", Method: "GET",
						Query: fmt.Sprintf("ref_id=ref-%s&payout=%d.%02d&unique=%d", id, want[n]/100, want[n]%100, postbacks)})
				}
				s.life()
			}
			for n := range calls {
				s.append(&event.Record{Kind: event.RecordCalls, Body: event.AppendCall(nil, &event.Call{CallID: fmt.Sprint("call-", n), RefID: fmt.Sprint("ref-call-", n)})})
			}
			for last, _ := s.journal.Last(); s.checkpoint() <= last; {
				s.life()
			}
			s.check(want, postbacks)
		})
	}
}

func (s *sim) checkpoint() uint64 {
	info, err := s.db.Stream(s.t.Context(), s.journal.Stream())
	if err != nil {
		s.t.Fatal(err)
	}
	return info.NextSeq
}

func (s *sim) check(want []int, postbacks int) {
	var events, open int
	if err := s.db.Read.QueryRow(`SELECT count(*), count(*) FILTER (WHERE NOT final) FROM activity`).Scan(&events, &open); err != nil {
		s.t.Fatal(err)
	}
	if events != postbacks || open != 0 {
		s.t.Errorf("%d events, %d of them open; %d postbacks were taken in", events, open, postbacks)
	}
	for n, cents := range want {
		var value int64
		err := s.db.Read.QueryRow(`SELECT coalesce(s.value, 0) FROM call c LEFT JOIN call_state s ON s.no = c.no WHERE c.call_id = ?`, fmt.Sprint("call-", n)).Scan(&value)
		if err != nil || value != int64(cents)*10_000 {
			s.t.Errorf("call-%d is worth %d, %v; its last postback said %d cents", n, value, err, cents)
		}
	}
	findings, err := sink.Verify(s.t.Context(), s.db.Read, func(string, int64, int64) {})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, c := range findings.Checks {
		if !c.OK {
			s.t.Errorf("%s %s: %s", c.ID, c.Title, c.Fault)
		}
	}
}
