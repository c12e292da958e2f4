package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/mapper"
	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/store"
)

// Limits of partners' mappers on a node.
const (
	mappersFolder       = "mappers"
	mapperWarmMax       = time.Second      // how long the stream waits for mappers at the start
	mapperSettleMax     = 3 * time.Second  // how long a change waits for them
	mapperTryAgain      = 10 * time.Second // after a version could not be made ready
	mapperLinger        = 15 * time.Second // how long a version that nobody names is kept
	shadowFlushInterval = 3 * time.Second
)

// mappers keeps a node able to run every version of a partner's mapper that
// the objects in force name.
//
//	objects ─► want ─► load, one after the other, the small ones first ─► swap
//	             └── known: what runs already goes on
//
// A mapper's new versions come into force when the active one of them has been
// tried, so that postbacks do not wait for it while the one before could map.
// Under the data folder lie modules by digest, and native code:
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

	known   map[string]*loadedVersion // by versionKey; run's own, as is the next
	loading *loadedVersion            // by another goroutine at the moment
}

// loadedVersion is a version as this node runs it.
type loadedVersion struct {
	version *mapper.Version
	program *wasm.Program // nil until it is loaded
	live    store.LiveVersion
	active  bool          // of its mapper
	bytes   int           // of the module, 0 until it is known
	failed  time.Time     // when it could not be loaded last
	pause   time.Duration // until it is tried again
	leftAt  time.Time     // since when nobody names it
	broken  bool          // left alone, when last looked at
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

// run keeps what is wanted in force until ctx ends. Loading goes on beside it,
// so that a roll-back does not wait for another mapper's compiler.
func (m *mappers) run(ctx context.Context) error {
	tick := time.NewTicker(shadowFlushInterval)
	defer tick.Stop()
	defer m.flushShadow(context.WithoutCancel(ctx))
	loaded := make(chan func())
	for {
		if next := m.settle(ctx); next != nil && m.loading == nil {
			m.loading = next
			go func() {
				p, err := m.loadOne(ctx, next)
				loaded <- func() { m.loadedOne(p, err) }
			}()
		}
		for again := false; !again; {
			select {
			case <-ctx.Done():
				if m.loading != nil {
					(<-loaded)()
				}
				return nil
			case take := <-loaded:
				take()
				again = true
			case <-m.wake:
				again = true
			case <-tick.C:
				m.flushShadow(ctx)
				m.watchHealth()
				again = m.due()
			}
		}
	}
}

func versionKey(name string, v *store.LiveVersion) string {
	return fmt.Sprintf("%s@%d %s %d", name, v.Version, v.SHA256, v.FuelLimit)
}

// settle puts in force what is wanted and ready, and gives what has to be loaded
// next: active versions first, the small ones first, for a mapper in Go takes as
// long as a hundred in C. A mapper whose active version is yet to be loaded goes
// on as it was.
func (m *mappers) settle(ctx context.Context) (next *loadedVersion) {
	m.mu.Lock()
	want, asked := m.want, m.asked
	m.mu.Unlock()
	now, before := time.Now(), m.mapper.Set()
	set, wanted := mapper.Set{}, map[string]bool{}
	for i := range want {
		w := &want[i]
		named := &mapper.Named{Versions: map[int]*mapper.Version{}}
		ready := true
		for j := range w.Versions {
			live := &w.Versions[j]
			key := versionKey(w.Name, live)
			wanted[key] = true
			r := m.known[key]
			if r == nil {
				r = &loadedVersion{version: mapper.NewVersion(w.Name, live.Version), live: *live, bytes: m.moduleBytes(live.SHA256)}
				m.known[key] = r
			}
			r.leftAt, r.active = time.Time{}, live.Version == w.Active
			if r.program == nil && now.Sub(r.failed) >= r.pause {
				ready = ready && !r.active
				if r != m.loading && (next == nil || r.before(next)) {
					next = r
				}
			}
			named.Versions[live.Version] = r.version
		}
		named.Active, named.Previous, named.Shadow = named.Versions[w.Active], named.Versions[w.Previous], named.Versions[w.Shadow]
		if set[w.Name] = named; !ready && before[w.Name] != nil {
			set[w.Name] = before[w.Name]
		}
	}
	m.mapper.Swap(set)
	m.letGo(ctx, wanted, now)
	if next == nil && m.loading == nil {
		m.atRest(asked)
	}
	return next
}

// watchHealth logs when a version begins and ends to be left alone.
func (m *mappers) watchHealth() {
	for _, r := range m.known {
		switch broken := r.version.Broken(); {
		case broken && !r.broken:
			m.node.log.Warn("a mapper breaks again and again: it is left alone and tried now and then, its postbacks wait", "mapper", r.version.Name)
		case !broken && r.broken:
			m.node.log.Info("a mapper works again; what waited for it is mapped", "mapper", r.version.Name)
		}
		r.broken = r.version.Broken()
	}
}

// atRest tells those who wait that everything that was wanted has been tried.
func (m *mappers) atRest(asked int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.asked == asked {
		close(m.settled)
		m.settled = make(chan struct{})
	}
	select {
	case <-m.warm:
	default:
		close(m.warm)
	}
}

// before says which of two versions is loaded first.
func (r *loadedVersion) before(o *loadedVersion) bool {
	if r.active != o.active {
		return r.active
	}
	return r.bytes < o.bytes
}

// loadedOne takes in how the load under way has ended.
func (m *mappers) loadedOne(p *wasm.Program, err error) {
	r := m.loading
	if m.loading = nil; err == nil {
		r.program = p
		r.version.Ready(p)
		return
	}
	if r.failed, r.pause = time.Now(), mapperTryAgain; errors.Is(err, store.ErrUnavailable) {
		r.pause = attachPauseMax // it is there when the store is
	}
	r.version.Unready("it cannot run on this node, whose log says why")
	m.node.log.Warn("a mapper cannot run on this node; its postbacks wait", "mapper", r.version.Name, "error", err)
}

// letGo closes what nobody has named for a while: a batch under way may still
// be at it.
func (m *mappers) letGo(ctx context.Context, wanted map[string]bool, now time.Time) {
	for key, r := range m.known {
		switch {
		case wanted[key] || r == m.loading:
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
		if !r.leftAt.IsZero() && now.Sub(r.leftAt) > mapperLinger || r.leftAt.IsZero() && r.program == nil && now.Sub(r.failed) >= r.pause {
			return true
		}
	}
	return false
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
