package main

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime/debug"

	"github.com/tallyhook/tallyhook/mapper/admission"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/store"
)

// loadOne compiles one version, or takes it from the cache. Its panic, should the
// compiler have one, is its own trouble.
func (m *mappers) loadOne(ctx context.Context, r *loadedVersion) (p *wasm.Program, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("loading it panicked: %v\n%s", p, debug.Stack())
		}
	}()
	up, err := m.module(ctx, r.live.SHA256)
	if err != nil {
		return nil, err
	}
	code, _, err := rewrite.Rewrite(up.Code, rewrite.Default())
	if err != nil {
		return nil, fmt.Errorf("this build does not take the module any more: %w", err)
	}
	cached, err := m.engine.Cached(code)
	if err != nil {
		return nil, err
	}
	if !cached { // it was admitted by another node, or another build: compiling is done in a process that can be killed
		verdict, err := m.judge(ctx, up, admission.FuelMaxLarge)
		switch {
		case err != nil:
			return nil, err
		case !verdict.Admitted:
			return nil, fmt.Errorf("this build refuses it: %s", verdict.Reasons[0].Text)
		}
	}
	return m.engine.Load(ctx, wasm.Module{Name: r.version.Name, Code: code, Config: up.Config, FuelPerCall: r.live.FuelLimit})
}

func (m *mappers) judge(ctx context.Context, up store.MapperUpload, fuelMax int64) (*admission.Verdict, error) {
	child, err := admissionChild()
	if err != nil {
		return nil, err
	}
	return admission.Run(ctx, child, admission.Request{Code: up.Code, Config: up.Config, Vectors: up.Vectors,
		FuelMax: fuelMax, CacheDir: m.native, Limits: rewrite.Default()})
}

// Admit implements console.Admitter.
func (m *mappers) Admit(ctx context.Context, up store.MapperUpload, tier string) (verdict json.RawMessage, admitted bool, fuelLimit int64, err error) {
	v, err := m.judge(ctx, up, fuelOf(store.Tier(tier)))
	if err != nil {
		return nil, false, 0, err
	}
	if verdict, err = json.Marshal(v); err != nil {
		return nil, false, 0, err
	}
	return verdict, v.Admitted, v.FuelLimit, nil
}

func fuelOf(t store.Tier) int64 {
	if t == store.TierLarge {
		return admission.FuelMaxLarge
	}
	return admission.FuelMaxStandard
}
