package mappers

import (
	"context"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

// fuelPerCall is far above what the example needs in any language.
const fuelPerCall = 50_000_000

// stream maps batches of postbacks again and again.
type stream struct {
	mapper  *mapper.Mapper
	batches [][]event.Record // taken in turn
	next    int
	batch   event.Batch
}

// newStream makes sources "s0", "s1", … , one for each program, or count ones
// without a mapper of their own when there are none.
func newStream(engine *wasm.Engine, programs []*wasm.Program, count int, batches [][]event.Record) (*stream, error) {
	var sources []*source.Source
	set := mapper.Set{}
	for i := range max(count, len(programs)) {
		spec := source.Spec{ID: sourceID(i)}
		if len(programs) > 0 {
			name := fmt.Sprintf("pairs-%d", i)
			spec.Mapper = name
			v := mapper.NewVersion(name, 1)
			v.Ready(programs[i])
			set[name] = &mapper.Named{Active: v, Versions: map[int]*mapper.Version{1: v}}
		}
		src, err := source.Compile(spec)
		if err != nil {
			return nil, err
		}
		sources = append(sources, src)
	}
	s := &stream{mapper: mapper.New(source.NewLive(source.NewDirectory(sources, 1)), engine, patientClock()), batches: batches}
	s.mapper.Swap(set)
	return s, nil
}

// patientClock costs what the clock on the wall costs and goes a thousand times
// slower: on a busy machine, postbacks would else be put off for want of time,
// and what is put off costs nothing.
func patientClock() func() time.Time {
	begin := time.Now()
	return func() time.Time { return begin.Add(time.Since(begin) / 1000) }
}

func sourceID(i int) string { return fmt.Sprintf("s%d", i) }

// fill is what run does beside mapping.
func (s *stream) fill(times int) error {
	for range times {
		s.refill()
	}
	return nil
}

func (s *stream) refill() {
	s.batch.Reset()
	s.batch.Records = append(s.batch.Records, s.batches[s.next]...)
	s.next = (s.next + 1) % len(s.batches)
}

// run maps some batches, and fails when an event is not what it has to be.
func (s *stream) run(times int) error {
	for range times {
		s.refill()
		if err := s.mapper.Map(context.Background(), &s.batch); err != nil {
			return err
		}
		if n := len(s.batch.Events); n != len(s.batch.Records) {
			return fmt.Errorf("%d events of %d postbacks", n, len(s.batch.Records))
		}
		for i := range s.batch.Events {
			if r := &s.batch.Events[i].Report; r.Invalid != "" || r.Payout.Amount < 10_000_000 {
				return fmt.Errorf("event %d: %s %+v, payout %d", i, r.Invalid, r.Detail, r.Payout.Amount)
			}
		}
	}
	return nil
}

// sample is one batch whose postbacks all belong to the first source.
func (s *shape) sample(events int) [][]event.Record {
	var list []event.Record
	for i := range events {
		list = append(list, s.record(i, sourceID(0)))
	}
	return [][]event.Record{list}
}
