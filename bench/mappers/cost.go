package mappers

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// subject is something whose cost is measured beside that of others.
type subject struct {
	name string
	run  func(times int) error
	each int // operations that one of these times holds

	times  int
	rounds []float64 // nanoseconds of processor time for one of its times
	allocs float64   // of one of its times
	bytes  float64
}

// measure lets the subjects take turns, so that what others do on the machine
// meets all of them alike.
func (c *Config) measure(ctx context.Context, list []*subject) error {
	for _, s := range list {
		if err := s.calibrate(c.Round); err != nil {
			return err
		}
	}
	for range c.Rounds {
		for _, s := range list {
			if err := ctx.Err(); err != nil {
				return err
			}
			took, err := s.turn(s.times)
			if err != nil {
				return err
			}
			s.rounds = append(s.rounds, float64(took)/float64(s.times))
		}
	}
	for _, s := range list {
		if err := s.count(); err != nil {
			return err
		}
	}
	return nil
}

// calibrate finds how often a subject runs in one turn, and warms it up.
func (s *subject) calibrate(round time.Duration) error {
	for s.times = 1; ; {
		took, err := s.turn(s.times)
		if err != nil {
			return err
		}
		if took >= round/2 {
			s.times = max(1, int(float64(s.times)*float64(round)/float64(took)))
			return nil
		}
		s.times *= 2
	}
}

// turn gives the processor time of some runs, garbage of others collected first.
func (s *subject) turn(times int) (time.Duration, error) {
	before, err := processorTime()
	if err != nil {
		return 0, err
	}
	if err := s.run(times); err != nil {
		return 0, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := processorTime()
	return after - before, err
}

// count finds what one run allocates: the least of some, for what another part
// of the process allocates meanwhile is not its own.
func (s *subject) count() error {
	const tries, runs = 4, 3
	s.allocs = -1
	for range tries {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if err := s.run(runs); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		runtime.ReadMemStats(&after)
		allocs, bytes := float64(after.Mallocs-before.Mallocs)/runs, float64(after.TotalAlloc-before.TotalAlloc)/runs
		if s.allocs < 0 || allocs < s.allocs {
			s.allocs, s.bytes = allocs, bytes
		}
	}
	return nil
}

// cost is that of one operation, without what fill, which may be nil, cost in
// the same rounds.
func (s *subject) cost(fill *subject) Cost {
	c := Cost{Allocs: s.allocs / float64(s.each), Bytes: s.bytes / float64(s.each)}
	less := 0.0
	if fill != nil {
		less = slices.Min(fill.rounds)
	}
	for _, ns := range s.rounds {
		c.Rounds = append(c.Rounds, (ns-less)/float64(s.each))
	}
	sorted := slices.Sorted(slices.Values(c.Rounds))
	c.Nanos, c.Median = sorted[0], sorted[len(sorted)/2]
	return c
}
