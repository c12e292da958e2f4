package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/admission"
	"github.com/tallyhook/tallyhook/mapper/rewrite"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/store"
)

// Limits of partners' mappers on a node.
const (
	mappersFolder       = "mappers"
	mapperWarmMax       = time.Second      // how long the stream waits for mappers at the start
	mapperSettleMax     = 3 * time.Second  // how long a change waits for them
	mapperTryAgain      = 30 * time.Second // after a version could not be made ready
	mapperLinger        = 15 * time.Second // how long a version that nobody names is kept
	shadowFlushInterval = 3 * time.Second
)

// mappers keeps a node able to run every version of a partner's mapper that
// the objects in force name.
//
//	objects ─► want ─► load, one after the other, the small ones first ─► swap
//	             └── known: what runs already goes on
//
// The mappers in force are swapped when all that the new ones need has been
// tried, so that postbacks do not wait for a version while the one before it
// could map. Under the data folder lie modules by digest, and native code:
//
//	mappers/modules/DIGEST   what was pushed
//	mappers/native/          of mapper/wasm
type mappers struct {
	node   *node
	engine *wasm.Engine
	mapper *mapper.Mapper
	native string
	wake   chan struct{}
	warm   chan struct{} // closed when everything was tried once

	mu      sync.Mutex
	want    []store.LiveMapper
	asked   int64         // how often want has changed
	settled chan struct{} // closed when what was wanted by then is in force

	known map[string]*loadedVersion // by versionKey; the loader's own
}

// loadedVersion is a version as this node runs it.
type loadedVersion struct {
	version *mapper.Version
	program *wasm.Program // nil until it is loaded
	live    store.LiveVersion
	bytes   int       // of the module, 0 until it is known
	failed  time.Time // when it could not be loaded last
	leftAt  time.Time // since when nobody names it
}

func (n *node) openMappers(ctx context.Context) error {
	m := &mappers{node: n, native: filepath.Join(n.opt.Data, mappersFolder, "native"),
		wake: make(chan struct{}, 1), warm: make(chan struct{}), settled: make(chan struct{}), known: map[string]*loadedVersion{}}
	var err error
	if err = makeFolder(filepath.Join(n.opt.Data, mappersFolder, "modules")); err != nil {
		return err
	}
	if m.engine, err = wasm.Open(ctx, wasm.Config{CacheDir: m.native}); err != nil {
		return err
	}
	n.onClose(func() error { return m.engine.Close(context.WithoutCancel(ctx)) })
	m.mapper = mapper.New(n.live, m.engine, time.Now)
	n.mappers = m
	m.update(n.snap.Load())
	return nil
}

// update takes note of what the objects in force name.
func (m *mappers) update(snap *store.Snapshot) {
	m.mu.Lock()
	same := m.asked > 0 && reflect.DeepEqual(m.want, snap.Mappers())
	if !same {
		m.want = snap.Mappers()
		m.asked++
	}
	m.mu.Unlock()
	if same {
		return
	}
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// changed puts changed objects in force, and waits a moment until their mappers
// are: who has activated a version wants the next postback to be mapped by it.
func (n *node) changed(ctx context.Context) error {
	settled, asked := n.mappers.state()
	if err := n.reload(ctx); err != nil {
		return err
	}
	if _, now := n.mappers.state(); now == asked {
		return nil
	}
	select {
	case <-settled:
	case <-ctx.Done():
	case <-time.After(mapperSettleMax):
	}
	return nil
}

func (m *mappers) state() (settled <-chan struct{}, asked int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settled, m.asked
}

// run loads what is wanted until ctx ends.
func (m *mappers) run(ctx context.Context) error {
	tick := time.NewTicker(shadowFlushInterval)
	defer tick.Stop()
	defer m.flushShadow(context.WithoutCancel(ctx))
	for first := true; ; first = false {
		m.settle(ctx)
		if first {
			close(m.warm)
		}
		for again := false; !again; {
			select {
			case <-ctx.Done():
				return nil
			case <-m.wake:
				again = true
			case <-tick.C:
				m.flushShadow(ctx)
				again = m.due()
			}
		}
	}
}

func versionKey(name string, v *store.LiveVersion) string {
	return fmt.Sprintf("%s@%d %s %d", name, v.Version, v.SHA256, v.FuelLimit)
}

// settle makes everything ready that is wanted, and puts it in force.
func (m *mappers) settle(ctx context.Context) {
	m.mu.Lock()
	want, asked := m.want, m.asked
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		if m.asked == asked {
			close(m.settled)
			m.settled = make(chan struct{})
		}
		m.mu.Unlock()
	}()
	now := time.Now()
	set := mapper.Set{}
	wanted := map[string]bool{}
	var load []*loadedVersion
	for i := range want {
		w := &want[i]
		named := &mapper.Named{Versions: map[int]*mapper.Version{}}
		set[w.Name] = named
		for j := range w.Versions {
			live := &w.Versions[j]
			key := versionKey(w.Name, live)
			wanted[key] = true
			r := m.known[key]
			if r == nil {
				r = &loadedVersion{version: mapper.NewVersion(w.Name, live.Version), live: *live}
				m.known[key] = r
			}
			if r.leftAt = (time.Time{}); r.program == nil && now.Sub(r.failed) >= mapperTryAgain {
				load = append(load, r)
			}
			named.Versions[live.Version] = r.version
		}
		named.Active, named.Previous, named.Shadow = named.Versions[w.Active], named.Versions[w.Previous], named.Versions[w.Shadow]
	}
	if len(m.mapper.Set()) == 0 {
		m.mapper.Swap(set) // there is nothing that could go on meanwhile
	}
	m.load(ctx, load)
	m.mapper.Swap(set)
	m.letGo(ctx, wanted, now)
}

// load makes versions ready, the small ones first: a mapper in Go takes as long
// as a hundred in C.
func (m *mappers) load(ctx context.Context, list []*loadedVersion) {
	for _, r := range list {
		r.bytes = m.moduleBytes(r.live.SHA256)
	}
	slices.SortStableFunc(list, func(a, b *loadedVersion) int { return a.bytes - b.bytes })
	for _, r := range list {
		if ctx.Err() != nil {
			return
		}
		err := m.loadOne(ctx, r)
		if err == nil {
			continue
		}
		r.failed = time.Now()
		r.version.Unready("it cannot run on this node, whose log says why")
		m.node.log.Warn("a mapper cannot run on this node; its postbacks wait", "mapper", r.version.Name, "error", err)
	}
}

// letGo closes what nobody has named for a while: a batch under way may still
// be at it.
func (m *mappers) letGo(ctx context.Context, wanted map[string]bool, now time.Time) {
	for key, r := range m.known {
		switch {
		case wanted[key]:
		case r.leftAt.IsZero():
			r.leftAt = now
		case now.Sub(r.leftAt) > mapperLinger:
			if r.program != nil {
				_ = r.program.Close(ctx)
			}
			delete(m.known, key)
		}
	}
}

// due says whether settle has something to do by the clock.
func (m *mappers) due() bool {
	now := time.Now()
	for _, r := range m.known {
		if !r.leftAt.IsZero() && now.Sub(r.leftAt) > mapperLinger || r.leftAt.IsZero() && r.program == nil && now.Sub(r.failed) >= mapperTryAgain {
			return true
		}
	}
	return false
}

// loadOne makes one version ready. Its panic, should the compiler have one, is
// its own trouble.
func (m *mappers) loadOne(ctx context.Context, r *loadedVersion) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("loading it panicked: %v\n%s", p, debug.Stack())
		}
	}()
	up, err := m.module(ctx, r.live.SHA256)
	if err != nil {
		return err
	}
	code, _, err := rewrite.Rewrite(up.Code, rewrite.Default())
	if err != nil {
		return fmt.Errorf("this build does not take the module any more: %w", err)
	}
	cached, err := m.engine.Cached(code)
	if err != nil {
		return err
	}
	if !cached { // it was admitted by another node, or another build: compiling is done in a process that can be killed
		verdict, err := m.judge(ctx, up, admission.FuelMaxLarge)
		switch {
		case err != nil:
			return err
		case !verdict.Admitted:
			return fmt.Errorf("this build refuses it: %s", verdict.Reasons[0].Text)
		}
	}
	p, err := m.engine.Load(ctx, wasm.Module{Name: r.version.Name, Code: code, Config: up.Config, FuelPerCall: r.live.FuelLimit})
	if err != nil {
		return err
	}
	r.program = p
	r.version.Ready(p)
	return nil
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

// flushShadow adds what candidates were counted to what the store has.
func (m *mappers) flushShadow(ctx context.Context) {
	counts := m.mapper.TakeShadow()
	if len(counts) == 0 {
		return
	}
	list := make([]store.ShadowCount, len(counts))
	for i, c := range counts {
		list[i] = store.ShadowCount(c)
	}
	ctx, cancel := context.WithTimeout(ctx, objectsTimeMax)
	defer cancel()
	if err := m.node.objects.AddShadowCounts(ctx, list); err != nil && !errors.Is(err, store.ErrUnavailable) {
		m.node.log.Warn("what a shadowed mapper said otherwise could not be counted", "error", err)
	}
}
