package main

import (
	"context"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/sink"
)

// How often the store is asked which records wait for their mapper, while none
// is known to.
const backlogInterval = 500 * time.Millisecond

// waitingRecords gives the pipeline the records that wait for their mapper, as
// far as that can be asked now. The pipeline's reader alone uses it.
type waitingRecords struct {
	store  *sink.Backlog
	mapper *mapper.Mapper
	asked  time.Time // when the store was asked last and had none worth mapping
}

// Fill implements pipeline.Backlog.
func (w *waitingRecords) Fill(ctx context.Context, b *event.Batch, limit int) error {
	if time.Since(w.asked) < backlogInterval {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, objectsTimeMax)
	defer cancel()
	sources, err := w.store.Sources(ctx)
	if err != nil {
		w.asked = time.Now()
		return err
	}
	for _, s := range sources {
		switch {
		case !w.mapper.MayMap(s.Source, s.Oldest):
		case len(b.Waiting) >= limit:
			b.Queued = append(b.Queued, s.Source)
		default:
			if err := w.store.Add(ctx, b, s.Source, limit-len(b.Waiting)); err != nil {
				return err
			}
		}
	}
	if len(b.Waiting) == 0 {
		w.asked = time.Now()
	}
	return nil
}
