// Package pipeline carries what the journal holds through mapper, match and
// ledger.
//
//	          ┌─► lane: Map, Find ─┐
//	journal ──┤                    ├──► commit: Post ─► Put ─► Deliver ─► Commit
//	 (read)   └─► lane: Map, Find ─┘     one at a time, in journal order
//
// The reader takes what waits, up to a batch's limits, and never waits to fill
// one: idle, a batch is one event; under load batches grow by themselves. A
// batch is sent to the lanes and, in the same order, to the committer, which
// waits for it to be ready; so lanes overlap and order costs no bookkeeping.
//
// Nothing here is remembered between batches: a crash anywhere replays from
// the stream's checkpoint, which the ledger keeps.
package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// Journal gives synced records in order and forgets those that are committed.
type Journal interface {
	// Next fills b with what waits, and blocks only while nothing does.
	Next(ctx context.Context, b *event.Batch) error
	// Watermark is a time before which no record was received that Next has not
	// given yet; Next sets it in the batches that it fills.
	Watermark() int64
	// Commit says that records below next are in the ledger.
	Commit(next uint64) error
}

// Mapper makes a batch's events from its records.
type Mapper interface {
	Map(ctx context.Context, b *event.Batch) error
}

// Backlog gives records that wait in the ledger for their mapper.
type Backlog interface {
	// Fill adds up to limit of them to b.Waiting, as far as they may be mapped
	// now, and names in b.Queued the sources that have more.
	Fill(ctx context.Context, b *event.Batch, limit int) error
}

// Matcher finds hints for a batch's reports, and learns its calls.
type Matcher interface {
	Find(ctx context.Context, b *event.Batch) error
	Put(ctx context.Context, b *event.Batch, from, through int64) error
}

// Ledger decides and books a batch in one transaction.
type Ledger interface {
	Post(ctx context.Context, b *event.Batch) (sink.Result, error)
}

// Limits of the pipeline.
const (
	LanesMax     = 2
	BatchesMax   = LanesMax + 2    // in flight: one being read, one per lane, one being posted
	TickInterval = time.Second     // how often parked events are looked at while nothing comes
	FinishMax    = 5 * time.Second // how long a stop waits for what was read to be posted

	RetakenMax     = 200                  // records of the backlog in one batch: others' come with them
	retakeInterval = 2 * time.Millisecond // how often the reader looks whether those are done, while nothing else comes
)

// Pipeline is the stream of one journal.
type Pipeline struct {
	Journal Journal
	Mapper  Mapper
	Matcher Matcher
	Ledger  Ledger
	Deliver func(*event.Batch)                       // tells waiting senders their verdicts
	Observe func(*event.Batch, sink.Result, Timings) // for metrics
	InHand  *InHand                                  // nil: poison records are not looked for
	Backlog Backlog                                  // nil: no record ever waits for its mapper
	Waiting *InHand                                  // InHand for records of the backlog
	Now     func() time.Time
	Log     *slog.Logger

	stream    uint32
	committed atomic.Uint64 // first sequence that is not in the ledger
	oldest    atomic.Int64  // received_at of the oldest record being worked on, 0 for none
	stuck     atomic.Pointer[trouble]
	retaking  atomic.Bool // a batch under way has records of the backlog: they are still in it
	backlog   string      // why it could not be read last, "" when it could
}

// Timings of one batch.
type Timings struct {
	Map, Match, Post time.Duration
}

// Start says which stream the journal is and which sequence it gives first; Run
// comes after it.
func (p *Pipeline) Start(stream uint32, from uint64) {
	p.stream = stream
	p.committed.Store(from)
}

// Committed is the first sequence that is not in the ledger yet.
func (p *Pipeline) Committed() uint64 { return p.committed.Load() }

// Lag is how long the oldest record that is being worked on has waited.
func (p *Pipeline) Lag() time.Duration {
	if at := p.oldest.Load(); at != 0 {
		return max(0, p.Now().Sub(time.UnixMicro(at)))
	}
	return 0
}

// Stuck says what the pipeline is retrying, "" when nothing.
func (p *Pipeline) Stuck() string {
	if t := p.stuck.Load(); t != nil {
		return t.step + ": " + t.text
	}
	return ""
}

// job is a batch on its way; ready is signalled when its lane is done.
type job struct {
	batch event.Batch
	ready chan struct{}
	t     Timings
}

// Run works until ctx ends, then finishes what it has read and returns nil.
// Any other error means that this process must not post to the stream any more.
func (p *Pipeline) Run(ctx context.Context) error {
	free := make(chan *job, BatchesMax)
	work := make(chan *job, BatchesMax)
	order := make(chan *job, BatchesMax)
	for range BatchesMax {
		free <- &job{ready: make(chan struct{}, 1)}
	}
	// What was read is finished even after ctx has ended: an answer may wait for it.
	rest, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		// What the world does not let through now, the next start does.
		late := time.AfterFunc(FinishMax, func() { cancel(errLate) })
		context.AfterFunc(rest, func() { late.Stop() })
	})()

	var lanes sync.WaitGroup
	for lane := range LanesMax {
		lanes.Go(func() { p.lane(rest, lane, work) })
	}
	committed := make(chan error, 1)
	go func() {
		err := p.commit(rest, order, free)
		if err != nil {
			cancel(err)
		}
		committed <- err
	}()
	err := p.read(ctx, rest, free, work, order)
	close(work)
	close(order)
	lanes.Wait()
	if errCommit := <-committed; !errors.Is(errCommit, errLate) {
		err = errors.Join(err, errCommit)
	}
	return err
}

var errLate = errors.New("what was read could not be posted before the stop; the next start goes on with it")

// read hands out batches until ctx ends or the committer has given up.
func (p *Pipeline) read(ctx, rest context.Context, free <-chan *job, work, order chan<- *job) error {
	for {
		var j *job
		select {
		case j = <-free:
		case <-ctx.Done():
			return nil
		case <-rest.Done():
			return nil
		}
		j.batch.Reset()
		j.batch.RecordsMax = p.InHand.limit()
		p.takeUp(ctx, &j.batch)
		switch err := p.next(ctx, &j.batch); {
		case ctx.Err() != nil && len(j.batch.Records) == 0:
			return nil
		case err != nil:
			return fmt.Errorf("read journal: %w", err)
		}
		j.batch.BegunAt = p.Now().UnixMicro()
		order <- j
		work <- j
	}
}

// next fills b; while nothing comes it gives an empty batch every TickInterval
// so that parked events end in time.
func (p *Pipeline) next(ctx context.Context, b *event.Batch) error {
	var err error
	for waited := time.Duration(0); waited < TickInterval && len(b.Records) == 0; {
		wait := TickInterval
		switch {
		case len(b.Waiting) > 0:
			wait = time.Millisecond
		case p.retaking.Load(): // until its batch is posted, then more can be taken up
			wait = retakeInterval
		}
		tick, cancel := context.WithTimeout(ctx, wait)
		err = p.Journal.Next(tick, b)
		cancel()
		if waited += wait; len(b.Waiting) > 0 || err != nil && !errors.Is(err, context.DeadlineExceeded) {
			break
		}
		p.takeUp(ctx, b)
	}
	if len(b.Records) > 0 {
		return nil
	}
	if err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	b.Stream, b.Watermark = p.stream, p.Journal.Watermark()
	return nil
}

// takeUp adds what waits for its mapper, unless an earlier batch has it. That
// it cannot be read holds nothing up: it is asked for again with the next batch.
func (p *Pipeline) takeUp(ctx context.Context, b *event.Batch) {
	if p.Backlog == nil || p.retaking.Load() {
		return
	}
	limit := RetakenMax
	if n := p.Waiting.limit(); n > 0 {
		limit = n
	}
	err := p.Backlog.Fill(ctx, b, limit)
	p.retaking.Store(len(b.Waiting) > 0)
	said := ""
	if err != nil && ctx.Err() == nil {
		said = err.Error()
	}
	if said != "" && said != p.backlog {
		p.Log.Warn("what waits for mappers cannot be read now; it is tried again", "error", err)
	}
	p.backlog = said
}

// lane maps and matches batches. Both steps fail only for the world's reasons
// and are tried until they work.
func (p *Pipeline) lane(ctx context.Context, lane int, work <-chan *job) {
	for j := range work {
		start := p.Now()
		p.InHand.take(lane, j.batch.Records)
		p.Waiting.take(lane, j.batch.Waiting)
		p.retry(ctx, "map", func() error {
			j.batch.Events = j.batch.Events[:0]
			return p.Mapper.Map(ctx, &j.batch)
		})
		p.InHand.done(lane)
		p.Waiting.done(lane)
		mapped := p.Now()
		p.retry(ctx, "match", func() error { return p.Matcher.Find(ctx, &j.batch) })
		j.t = Timings{Map: mapped.Sub(start), Match: p.Now().Sub(mapped)}
		j.batch.Mapped, j.batch.Matched = j.t.Map, j.t.Match
		j.ready <- struct{}{}
	}
}

// commit posts batches in order.
func (p *Pipeline) commit(ctx context.Context, order <-chan *job, free chan<- *job) error {
	for j := range order {
		if len(j.batch.Records) > 0 {
			p.oldest.Store(j.batch.Records[0].ReceivedAt)
		}
		<-j.ready
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b, start := &j.batch, p.Now()
		var res sink.Result
		err := p.retry(ctx, "post", func() (err error) {
			res, err = p.Ledger.Post(ctx, b)
			return err
		})
		if err != nil {
			return err
		}
		j.t.Post = p.Now().Sub(start)
		if err := p.retry(ctx, "index", func() error { return p.Matcher.Put(ctx, b, res.CallsFrom, res.CallsThrough) }); err != nil {
			return err
		}
		if len(b.Records) > 0 {
			p.committed.Store(b.Next)
			p.Deliver(b)
			if err := p.Journal.Commit(b.Next); err != nil {
				return fmt.Errorf("trim journal: %w", err)
			}
		}
		if len(b.Waiting) > 0 {
			p.retaking.Store(false)
		}
		p.oldest.Store(0)
		p.Observe(b, res, j.t)
		free <- j
	}
	return nil
}
