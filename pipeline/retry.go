package pipeline

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tallyhook/tallyhook/sink"
)

// Limits of a retry: the world's faults are tried again without end.
const (
	RetryFirst = 20 * time.Millisecond
	RetryMost  = 5 * time.Second
)

// trouble is what is being tried again.
type trouble struct{ step, text string }

// retry calls try until it works. It gives up only when ctx has ended or when
// another writer owns the stream: trying again could then do harm. It is the
// one place where anything in the stream is tried again.
func (p *Pipeline) retry(ctx context.Context, step string, try func() error) error {
	for wait := RetryFirst; ; wait = min(2*wait, RetryMost) {
		err := try()
		if err == nil {
			if was := p.stuck.Load(); was != nil && was.step == step && p.stuck.CompareAndSwap(was, nil) {
				p.Log.Info("pipeline goes on", "step", step)
			}
			return nil
		}
		if errors.Is(err, sink.ErrFenced) || errors.Is(err, sink.ErrGap) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		now := &trouble{step, err.Error()}
		if was := p.stuck.Swap(now); was == nil || *was != *now {
			p.Log.Warn("pipeline waits and tries again", "step", step, "error", err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait/2 + rand.N(wait/2+1)):
		}
	}
}
