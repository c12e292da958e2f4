package main

import (
	"context"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/admission"
	modules "github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

// Limits of timing. A batch stays far below what a node allows a source.
const (
	timeOfVector = 20 * time.Millisecond
	timeOfAll    = 3 * time.Second
	timeOfBatch  = mapper.SourceTimeMax / 5

	recordsOfBatch = 200
)

// timed is the name under which a module is timed.
const timed = "timed"

// timeVectors calls an admitted module again and again, as a node's stream
// does, and puts the time of a call beside each vector in place of that of the
// few calls of its admission. cache is the folder that admission compiled to.
func timeVectors(ctx context.Context, up *upload, v *admission.Verdict, cache string) error {
	code, _, err := modules.Rewrite(up.code, modules.Default())
	if err != nil {
		return fmt.Errorf("time the module: %w", err)
	}
	engine, err := wasm.Open(ctx, wasm.Config{CacheDir: cache})
	if err != nil {
		return fmt.Errorf("time the module: %w", err)
	}
	defer engine.Close(context.WithoutCancel(ctx))
	program, err := engine.Load(ctx, wasm.Module{Name: timed, Code: code, Config: up.config, FuelPerCall: v.FuelLimit})
	if err != nil {
		return fmt.Errorf("time the module: %w", err)
	}
	each := min(timeOfVector, timeOfAll/time.Duration(len(up.cases)))
	for n := range up.cases {
		v.Vectors[n].Nanos, err = timeVector(ctx, engine, program, &up.cases[n].Record, up.cases[n].Source, each)
		if err != nil {
			return fmt.Errorf("time vector %s: %w", up.cases[n].Name, err)
		}
	}
	return nil
}

// timeVector gives the nanoseconds that one call takes of a node: the request
// is written into the module's memory, the module maps it, its answer is
// copied.
func timeVector(ctx context.Context, engine *wasm.Engine, program *wasm.Program, rec *event.Record, src *source.Source, limit time.Duration) (nanos int64, err error) {
	own := *src
	own.MapperName = timed
	version := mapper.NewVersion(timed, 1)
	version.Ready(program)
	m := mapper.New(source.NewLive(source.NewDirectory([]*source.Source{&own}, 1)), engine, time.Now)
	m.Swap(mapper.Set{timed: {Active: version, Versions: map[int]*mapper.Version{1: version}}})

	encoded := event.AppendRecord(nil, rec)
	var batch event.Batch
	batchOf := func(records int64) (took int64, err error) {
		batch.Reset()
		for n := range records {
			if err := batch.Add(event.ID{Stream: 1, Seq: uint64(n + 1)}, rec.ReceivedAt, encoded); err != nil {
				return 0, err
			}
		}
		before := version.Stats.Nanos.Load()
		err = m.Map(ctx, &batch)
		return (version.Stats.Nanos.Load() - before) / records, err
	}
	if _, err := batchOf(1); err != nil { // makes the instance
		return 0, err
	}
	records := int64(1)
	for begun := time.Now(); ; {
		took, err := batchOf(records)
		if err != nil {
			return 0, err
		}
		if nanos == 0 || took < nanos { // the quietest batch: the machine does other things too
			nanos = max(took, 1)
		}
		if records = min(max(int64(timeOfBatch)/nanos, 1), recordsOfBatch); time.Since(begun) >= limit {
			return nanos, nil
		}
	}
}
