package mappers

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

// Crowds are the numbers of mappers among which postbacks come in random order.
var Crowds = []int{1, 100, 1000}

// batchesOrdered is how many batches, each in an order of its own, take turns.
const batchesOrdered = 20

// MeasureDistinct measures one postback in batches that belong to many mappers
// in random order, in C and beside it the built-in mapper for as many sources.
func MeasureDistinct(ctx context.Context, c Config) (list []Distinct, err error) {
	c.defaults()
	engine, err := wasm.Open(ctx, wasm.Config{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
	for _, count := range Crowds {
		found, err := c.crowd(ctx, engine, count)
		if err != nil {
			return nil, fmt.Errorf("%d mappers: %w", count, err)
		}
		list = append(list, found...)
	}
	return list, nil
}

func (c *Config) crowd(ctx context.Context, engine *wasm.Engine, count int) (list []Distinct, err error) {
	programs, err := c.variants(ctx, engine, []string{"c"}, count)
	defer func() {
		for _, p := range programs {
			err = errors.Join(err, p.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err != nil {
		return nil, err
	}
	batches := shapes[0].shuffled(count)
	own, err := newStream(engine, programs, count, batches)
	if err != nil {
		return nil, err
	}
	builtin, err := newStream(engine, nil, count, batches)
	if err != nil {
		return nil, err
	}
	fill := &subject{name: "fill", run: builtin.fill, each: BatchEvents}
	ours := &subject{name: "c", run: own.run, each: BatchEvents}
	theirs := &subject{name: BuiltIn, run: builtin.run, each: BatchEvents}
	// Every mapper has its instance before anything is measured, if it may keep it.
	if err := errors.Join(ours.run(batchesOrdered), theirs.run(batchesOrdered)); err != nil {
		return nil, err
	}
	before, mapped := made(programs), 0
	ours.run = func(times int) error { mapped += times * BatchEvents; return own.run(times) }
	if err := c.measure(ctx, []*subject{fill, ours, theirs}); err != nil {
		return nil, err
	}
	return []Distinct{
		{Lang: "c", Mappers: count, Cost: ours.cost(fill), Made: float64(made(programs)-before) / float64(mapped)},
		{Lang: BuiltIn, Mappers: count, Cost: theirs.cost(fill)},
	}, nil
}

// made is how many instances were made of the programs so far.
func made(programs []*wasm.Program) (n int64) {
	for _, p := range programs {
		n += p.Made()
	}
	return n
}

// variants loads so many different modules, of the languages in turn.
func (c *Config) variants(ctx context.Context, engine *wasm.Engine, langs []string, count int) (list []*wasm.Program, err error) {
	for i := range count {
		lang := langs[i%len(langs)]
		code, err := c.module(lang)
		if err != nil {
			return list, err
		}
		if code, err = Variant(code, i); err != nil {
			return list, err
		}
		if code, err = counted(code); err != nil {
			return list, err
		}
		p, err := engine.Load(ctx, wasm.Module{Name: fmt.Sprintf("pairs-%d", i), Code: code, FuelPerCall: fuelPerCall})
		if err != nil {
			return list, err
		}
		list = append(list, p)
	}
	return list, nil
}

// shuffled are batches whose postbacks belong to sources drawn at random, the
// same ones in every run.
func (s *shape) shuffled(sources int) (batches [][]event.Record) {
	draw := rand.New(rand.NewPCG(1, uint64(sources)))
	for range batchesOrdered {
		var list []event.Record
		for i := range BatchEvents {
			list = append(list, s.record(i, sourceID(draw.IntN(sources))))
		}
		batches = append(batches, list)
	}
	return batches
}
