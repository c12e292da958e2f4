package mappers

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/tallyhook/tallyhook/mapper/abi"
	"github.com/tallyhook/tallyhook/mapper/wasm"
)

// MeasureCalls measures what mapping one postback costs.
func MeasureCalls(ctx context.Context, c Config) (r Calls, err error) {
	c.defaults()
	for i := range shapes {
		s, err := c.shape(ctx, &shapes[i])
		if err != nil {
			return r, fmt.Errorf("%s: %w", shapes[i].name, err)
		}
		r.Shapes = append(r.Shapes, s)
	}
	return r, nil
}

// caller is one mapper with all that is measured of it.
type caller struct {
	lang    string
	counted bool
	fuel    int64
	bare    *subject // nil for the built-in mapper
	mapped  *subject
	few     *subject // a smaller batch
	stream  *stream
}

// fewEvents is a batch smaller than BatchEvents, to tell what a postback
// allocates from what a batch does.
const fewEvents = 100

func (c *Config) shape(ctx context.Context, s *shape) (out Shape, err error) {
	engine, err := wasm.Open(ctx, wasm.Config{})
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, engine.Close(context.WithoutCancel(ctx))) }()
	worker := engine.Worker()
	defer worker.Close(ctx)

	input := s.input(0)
	out = Shape{Name: s.name, Pairs: s.pairs(), InputBytes: len(input), Input: input}
	builtin := &caller{lang: BuiltIn}
	if err := builtin.maps(engine, nil, s); err != nil {
		return out, err
	}
	callers := []*caller{builtin}
	for _, lang := range c.langs() {
		for _, counts := range []bool{true, false} {
			k, output, err := c.caller(ctx, engine, worker, lang, counts, s, input)
			if err != nil {
				return out, fmt.Errorf("%s: %w", lang, err)
			}
			if out.Output == nil {
				out.Output = output
			} else if !bytes.Equal(out.Output, output) {
				return out, fmt.Errorf("%s says %q, %s said %q", lang, output, callers[1].lang, out.Output)
			}
			callers = append(callers, k)
		}
	}
	fill := &subject{name: "fill", run: builtin.stream.fill, each: BatchEvents}
	all, few := []*subject{fill}, []*subject{}
	for _, k := range callers {
		if all, few = append(all, k.mapped), append(few, k.few); k.bare != nil {
			all = append(all, k.bare)
		}
	}
	if err := c.measure(ctx, all); err != nil {
		return out, err
	}
	for _, k := range few {
		if err := k.warmed(); err != nil {
			return out, err
		}
	}
	for _, k := range callers {
		out.Calls = append(out.Calls, k.call(fill))
	}
	return out, nil
}

// warmed counts allocations once the subject has met everything.
func (s *subject) warmed() error {
	if err := s.run(5); err != nil {
		return err
	}
	return s.count()
}

// caller loads a language's example and makes its subjects. It gives what the
// example says of the input.
func (c *Config) caller(ctx context.Context, engine *wasm.Engine, worker *wasm.Worker, lang string, counts bool, s *shape, input []byte) (*caller, []byte, error) {
	code, err := c.module(lang)
	if err != nil {
		return nil, nil, err
	}
	as, suffix := counted, ""
	if !counts {
		as, suffix = uncounted, ", original"
	}
	if code, err = as(code); err != nil {
		return nil, nil, err
	}
	p, err := engine.Load(ctx, wasm.Module{Name: lang + suffix, Code: code, FuelPerCall: fuelPerCall})
	if err != nil {
		return nil, nil, err
	}
	k := &caller{lang: lang, counted: counts}
	if err := k.maps(engine, []*wasm.Program{p}, s); err != nil {
		return nil, nil, err
	}
	k.bare = &subject{name: p.Name() + ", bare", each: 1, run: func(times int) error {
		i, err := worker.Instance(ctx, p)
		if err != nil {
			return err
		}
		for range times {
			copy(i.Input(), input)
			out, code, err := i.Map(ctx, len(input))
			if err != nil || len(out) == 0 {
				return fmt.Errorf("%d bytes, code %d: %w", len(out), code, err)
			}
		}
		return nil
	}}
	if err := k.bare.run(1); err != nil {
		return nil, nil, err
	}
	i, err := worker.Instance(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	copy(i.Input(), input)
	out, _, err := i.Map(ctx, len(input))
	if err != nil {
		return nil, nil, err
	}
	k.fuel = i.Fuel()
	out = bytes.Clone(out)
	r := abi.Read(out)
	for _, more := r.Next(); more; _, more = r.Next() {
		continue
	}
	return k, out, r.Err()
}

// maps makes the subjects that map whole batches.
func (k *caller) maps(engine *wasm.Engine, programs []*wasm.Program, s *shape) (err error) {
	name := k.lang + ", mapped"
	if k.stream, err = newStream(engine, programs, 1, s.sample(BatchEvents)); err != nil {
		return err
	}
	few, err := newStream(engine, programs, 1, s.sample(fewEvents))
	if err != nil {
		return err
	}
	k.mapped = &subject{name: name, run: k.stream.run, each: BatchEvents}
	k.few = &subject{name: name, run: few.run, each: fewEvents}
	return nil
}

func (k *caller) call(fill *subject) Call {
	out := Call{Lang: k.lang, Counted: k.counted, Mapped: k.mapped.cost(fill),
		AllocsPerEvent: (k.mapped.allocs - k.few.allocs) / (BatchEvents - fewEvents)}
	if k.counted {
		out.Fuel = k.fuel
	}
	if k.bare != nil {
		bare := k.bare.cost(nil)
		out.Bare = &bare
	}
	return out
}
