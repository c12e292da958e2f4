package run

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
)

const starts = 3 // on a used folder

// edge starts nodes that nobody uses.
func (b *bench) edge(ctx context.Context) error {
	info, err := os.Stat(b.cfg.Binary)
	if err != nil {
		return err
	}
	e := &b.result.Edge
	e.BinaryBytes = info.Size()
	p, took, err := b.start(ctx, "")
	if err != nil {
		return err
	}
	defer os.RemoveAll(p.Data)
	e.FirstReadyMs = took.Seconds() * 1000
	for range starts {
		if err := p.Stop(stopMax); err != nil {
			return err
		}
		if p, took, err = b.start(ctx, p.Data); err != nil {
			return err
		}
		e.ReadyMs = max(e.ReadyMs, took.Seconds()*1000)
	}
	defer p.Kill()
	before, err := load.ReadUsage(p.PID())
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.Exited():
		return fmt.Errorf("the node ended by itself; it said:\n%s", p.Said())
	case <-time.After(b.cfg.IdleFor):
	}
	after, err := load.ReadUsage(p.PID())
	if err != nil {
		return err
	}
	e.IdleRSSBytes, e.IdleRSSPeak = after.RSS, after.RSSPeak
	e.IdleCPUPerMille = 1000 * (after.CPU - before.CPU).Seconds() / b.cfg.IdleFor.Seconds()
	b.say("ready in %.0f ms (first start %.0f), %.1f MB idle, binary %.1f MB", e.ReadyMs, e.FirstReadyMs, float64(e.IdleRSSBytes)/megabyte, float64(e.BinaryBytes)/megabyte)
	return p.Stop(stopMax)
}
