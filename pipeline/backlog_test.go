package pipeline_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/pipeline"
	"github.com/tallyhook/tallyhook/sink"
)

type idle struct{}

func (idle) Next(ctx context.Context, b *event.Batch) error { <-ctx.Done(); return ctx.Err() }
func (idle) Watermark() int64                               { return 1 }
func (idle) Commit(uint64) error                            { return nil }

type none struct{}

func (none) Map(context.Context, *event.Batch) error               { return nil }
func (none) Find(context.Context, *event.Batch) error              { return nil }
func (none) Put(context.Context, *event.Batch, int64, int64) error { return nil }

type counting struct{ left int }

func (c *counting) Post(_ context.Context, b *event.Batch) (sink.Result, error) {
	time.Sleep(5 * time.Millisecond) // a commit
	c.left -= len(b.Waiting)
	return sink.Result{}, nil
}

type much struct{}

func (much) Fill(_ context.Context, b *event.Batch, limit int) error {
	for range limit {
		b.Waiting = append(b.Waiting, event.Record{})
	}
	return nil
}

func TestABacklogDrainsWithoutTraffic(t *testing.T) {
	c := &counting{}
	p := &pipeline.Pipeline{Journal: idle{}, Mapper: none{}, Matcher: none{}, Ledger: c, Deliver: func(*event.Batch) {},
		Observe: func(*event.Batch, sink.Result, pipeline.Timings) {}, Backlog: much{}, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	p.Start(1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := p.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if taken := -c.left; taken < 5*pipeline.RetakenMax { // one batch each second would be one
		t.Errorf("a second without traffic: %d records of the backlog were taken up", taken)
	}
}
