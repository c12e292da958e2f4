package mapper

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/mapper/wasm"
	"github.com/tallyhook/tallyhook/source"
)

// Version is one version of a partner's mapper as this node runs it. It is
// safe for concurrent use, and outlives the Set that holds it: what is known of
// its health goes from one Set to the next.
type Version struct {
	Mapper string
	Number int
	Name   string // "acme@3"

	state   atomic.Pointer[state]
	breaker breaker
	nanos   atomic.Int64 // that a postback takes, a moving mean
	Stats   Stats
}

type state struct {
	program *wasm.Program // nil: it cannot run
	why     string
}

// Stats are a version's totals since the start of the process.
type Stats struct {
	Calls, Nanos, Fuel atomic.Int64
	Traps              [TrapKinds]atomic.Int64 // by TrapKind
	Waited             atomic.Int64            // postbacks that were put off
}

// TrapKind says how a mapper broke.
type TrapKind uint8

// Kinds of traps.
const (
	TrapFuel   TrapKind = iota // more fuel than its limit
	TrapDepth                  // calls too deep
	TrapCrash                  // unreachable, out of bounds and the like
	TrapResult                 // said what cannot be read
	TrapKinds
)

var trapKinds = [TrapKinds]string{"fuel", "depth", "crash", "result"}

func (k TrapKind) String() string { return trapKinds[k] }

// NewVersion makes a version that cannot run yet.
func NewVersion(mapper string, number int) *Version {
	v := &Version{Mapper: mapper, Number: number, Name: mapper + "@" + strconv.Itoa(number)}
	v.Unready("it is being made ready")
	return v
}

// Ready lets v run by p from now on.
func (v *Version) Ready(p *wasm.Program) { v.state.Store(&state{program: p}) }

// Unready says why v cannot run: a part of a sentence of at most GotBytesMax
// bytes, which senders may read.
func (v *Version) Unready(why string) { v.state.Store(&state{why: why}) }

// Program gives what runs, nil when v cannot.
func (v *Version) Program() *wasm.Program { return v.state.Load().program }

// Trouble says why postbacks wait for v, "" when they need not.
func (v *Version) Trouble() string {
	s := v.state.Load()
	switch {
	case s.program == nil:
		return s.why
	case v.breaker.open():
		return "it broke too often of late and is tried now and then"
	}
	return ""
}

// trustedCalls is how many postbacks a version has to map before its outputs
// are read only when they are told.
const trustedCalls = 1000

// suspect reports whether an output has to be read at once, before the next
// postback is asked for: of a version that is new, or that broke of late.
func (v *Version) suspect(now time.Time) bool {
	return v.Stats.Calls.Load() < trustedCalls || now.UnixNano()-v.breaker.last.Load() < int64(BreakerWindow)
}

// Broken reports whether v is kept from running for having trapped too often.
func (v *Version) Broken() bool { return v.breaker.open() }

// mayRun reports whether allowed would give something.
func (v *Version) mayRun(now time.Time) bool {
	return v.Program() != nil && v.breaker.until.Load() <= now.UnixNano()
}

// allowed gives what v runs by, nil when it may not be asked now.
func (v *Version) allowed(now time.Time) *wasm.Program {
	if s := v.state.Load(); s.program != nil && v.breaker.allows(now) {
		return s.program
	}
	return nil
}

func (v *Version) trapped(kind TrapKind, now time.Time) {
	v.Stats.Traps[kind].Add(1)
	v.breaker.trapped(now)
}

// took accounts for n postbacks.
func (v *Version) took(n int, d time.Duration) {
	v.Stats.Calls.Add(int64(n))
	v.Stats.Nanos.Add(int64(d))
	was := v.nanos.Load()
	v.nanos.Store(was + (int64(d)/int64(n)-was)/8)
}

// Named are the versions of one mapper that a node has to be able to run.
type Named struct {
	Active, Previous, Shadow *Version // nil: there is none
	Versions                 map[int]*Version
}

// Set is all partners' mappers at one moment, by name. It does not change.
type Set map[string]*Named

// of gives the version that maps for src, and what stands in for it.
func (s Set) of(src *source.Source) (v, instead *Version, n *Named) {
	n = s[src.MapperName]
	if n == nil {
		return nil, nil, nil
	}
	if src.MapperVersion != 0 {
		return n.Versions[src.MapperVersion], nil, n
	}
	if src.Spec.MapperFallback == source.FallbackPrevious {
		instead = n.Previous
	}
	return n.Active, instead, n
}
