package ingest

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"

	"github.com/tallyhook/tallyhook/source"
)

// MemoryLimiterConfig bounds a MemoryLimiter. Zero takes the default.
type MemoryLimiterConfig struct {
	FailuresPerMin int // failed authentications of one address; 100, -1 is off
	PeersMax       int // addresses remembered at once; 65,536
}

// MemoryLimiter is a Limiter for one node. Each bucket holds one minute's
// quota and fills steadily: who was quiet may send a whole minute's worth at
// once, and never more than that on top of the rate.
//
// Memory is bounded. An idle bucket is the same as none, so a newcomer's
// arrival clears away idle ones; when there are none left to clear, the one
// among a few that is nearest to idle makes room, and its address starts anew.
// Buckets of sources stand apart, where no number of addresses can displace them.
type MemoryLimiter struct {
	failures int
	seed     maphash.Seed
	sources  [limiterShards]buckets[string]
	peers    [limiterShards]buckets[peerKey]
}

var _ Limiter = (*MemoryLimiter)(nil)

const (
	limiterShards = 32
	sourcesMax    = 1 << 20 // far above what an operator creates
	sampleMax     = 8       // buckets looked at to make room for one
)

// peerKey is an address at a source; source "" counts failed authentications.
type peerKey struct {
	source string
	peer   netip.Addr
}

func (c *MemoryLimiterConfig) fill() {
	if c.FailuresPerMin == 0 {
		c.FailuresPerMin = 100
	}
	if c.PeersMax == 0 {
		c.PeersMax = 1 << 16
	}
}

// NewMemoryLimiter makes an empty limiter.
func NewMemoryLimiter(cfg MemoryLimiterConfig) *MemoryLimiter {
	cfg.fill()
	l := &MemoryLimiter{failures: cfg.FailuresPerMin, seed: maphash.MakeSeed()}
	for i := range limiterShards {
		l.sources[i] = buckets[string]{free: map[string]int64{}, max: sourcesMax / limiterShards}
		l.peers[i] = buckets[peerKey]{free: map[peerKey]int64{}, max: max(1, cfg.PeersMax/limiterShards)}
	}
	return l
}

// Allow implements Limiter. The address is asked first, so that one that
// floods does not use up the token's quota as well.
func (l *MemoryLimiter) Allow(src *source.Source, peer netip.Addr, now time.Time) (bool, time.Duration) {
	if src.PerIP > 0 {
		if ok, wait := l.peer(src.Spec.ID, peer, src.PerIP, now); !ok {
			return false, wait
		}
	}
	if src.PerToken <= 0 {
		return true, 0
	}
	shard := &l.sources[maphash.String(l.seed, src.Spec.ID)%limiterShards]
	return shard.take(src.Spec.ID, src.PerToken, now.UnixNano())
}

// AllowFailure implements Limiter.
func (l *MemoryLimiter) AllowFailure(peer netip.Addr, now time.Time) (bool, time.Duration) {
	if l.failures < 0 {
		return true, 0
	}
	return l.peer("", peer, l.failures, now)
}

func (l *MemoryLimiter) peer(sourceID string, peer netip.Addr, perMin int, now time.Time) (bool, time.Duration) {
	peer = network(peer)
	raw := peer.As16()
	shard := &l.peers[maphash.Bytes(l.seed, raw[:])%limiterShards]
	return shard.take(peerKey{sourceID, peer}, perMin, now.UnixNano())
}

// buckets are token buckets kept as one number each: the time at which the
// bucket will be full again, in nanoseconds since the Unix epoch. A request
// moves it on by one interval and is refused if that would lie more than a
// whole minute's quota ahead.
type buckets[K comparable] struct {
	mu   sync.Mutex
	free map[K]int64
	max  int
}

func (b *buckets[K]) take(k K, perMin int, now int64) (ok bool, wait time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	full, known := b.free[k]
	if !known {
		b.makeRoom(now)
	}
	full, ok, wait = draw(full, perMin, now)
	b.free[k] = full
	return ok, wait
}

// interval is the time from one token to the next, rounded up, in nanoseconds.
// A bucket holds perMin of them.
func interval(perMin int) int64 { return (int64(time.Minute) + int64(perMin) - 1) / int64(perMin) }

// draw takes a token out of a bucket that will be full again at full, if one
// is left, and gives the time at which it will be full then.
func draw(full int64, perMin int, now int64) (after int64, ok bool, wait time.Duration) {
	every := interval(perMin)
	quota := every * int64(perMin)
	// Further ahead than an empty bucket can only be a clock that was set
	// back, or a limit that was lowered: take it for an empty one.
	full = min(max(full, now), now+quota)
	if full+every <= now+quota {
		return full + every, true, 0
	}
	return full, false, time.Duration(full + every - now - quota)
}

func (b *buckets[K]) makeRoom(now int64) {
	var nearest K
	var nearestFull int64
	seen := 0
	for k, full := range b.free { // starts anywhere
		if full <= now {
			delete(b.free, k)
		} else if nearestFull == 0 || full < nearestFull {
			nearest, nearestFull = k, full
		}
		if seen++; seen == sampleMax {
			break
		}
	}
	if len(b.free) >= b.max {
		delete(b.free, nearest)
	}
}
