package main

import (
	"context"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/sink"
)

// How often the store is asked which records wait for their mapper, while none
// is worth mapping.
const backlogInterval = 500 * time.Millisecond

// waitingRecords gives the pipeline the records that wait for their mapper, as
// far as that can be asked now. The pipeline's reader alone uses it.
type waitingRecords struct {
	store  *sink.Backlog
	mapper *mapper.Mapper
	asked  time.Time // when the store was asked last and had none worth mapping
	turn   int       // which lane begins
}

// Fill implements pipeline.Backlog: every source has its share, and none waits
// for another's backlog.
func (w *waitingRecords) Fill(ctx context.Context, b *event.Batch, limit int) error {
	if time.Since(w.asked) < backlogInterval {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, objectsTimeMax)
	defer cancel()
	all, err := w.store.Lanes(ctx)
	if err != nil {
		w.asked = time.Now()
		return err
	}
	lanes := all[:0]
	for _, l := range all {
		if w.mapper.MayMap(l.Source, l.Oldest) {
			lanes = append(lanes, l)
		}
	}
	if len(lanes) == 0 {
		w.asked = time.Now()
		return nil
	}
	share := max(1, limit/len(lanes))
	w.turn++
	for i := range lanes {
		l := lanes[(i+w.turn)%len(lanes)]
		if len(b.Waiting) >= limit {
			if l.Stream == w.store.Stream {
				b.Queued = append(b.Queued, l.Source)
			}
			continue
		}
		if err := w.store.Add(ctx, b, l, min(share, limit-len(b.Waiting))); err != nil {
			return err
		}
	}
	return nil
}
