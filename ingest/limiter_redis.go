package ingest

import (
	"context"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/source"
)

// RedisLimiterConfig says where a RedisLimiter keeps its buckets.
//
// Of Client's options this package needs ContextTimeoutEnabled, so that
// Patience ends a read, and MaxRetries -1. Nodes that share limits agree on
// Prefix. The client remains the caller's.
type RedisLimiterConfig struct {
	Client   redis.UniversalClient // single, Sentinel or Cluster: every command has one key
	Prefix   string                // of every key, with the store's id in it: two stores may share a server
	Patience time.Duration         // longest that Allow waits for Redis; default 20 ms
	Memory   MemoryLimiterConfig   // of what stays on the node; PeersMax bounds what it remembers of shared addresses too

	// CallersClock makes the now given to Allow rule in place of the server's
	// clock. It is for callers that have one clock for all nodes, as tests do.
	CallersClock bool

	Now func() time.Time // for LimiterStatus; default time.Now
}

// LimiterStatus is how a RedisLimiter does.
type LimiterStatus struct {
	Degraded bool      // Redis is in trouble, or was not asked yet: this node decides by itself
	Since    time.Time // when that began; zero when it is not so
	Err      string    // the latest trouble, also when it is over; without secrets
	Local    uint64    // requests for which this node decided by itself, since the start
}

// RedisLimiter is the Limiter that nodes share. Each bucket means the same as
// in MemoryLimiter: a minute's quota at once, then the rate.
//
//   - Limits below SharedExactPerMin are exact across nodes. A request that the
//     node cannot refuse by what it knows waits for Redis, with all others that
//     wait at that moment in one round trip.
//   - From there on a node leases tokens ahead of need, as many as it spent of
//     late in a tenth of a second and at most one second's worth, and renews
//     before they are spent; no request waits then. The first ones after a pause
//     are let through on credit and paid for afterwards. A lease is spent within
//     400 ms or given back, so all nodes together pass, in any minute, what the
//     limit allows in 60.4 s, and one token (a six-thousandth of the quota, if
//     that is more) of credit for each node: within 1 % for eight nodes at 600 a
//     minute, for dozens at 6,000.
//
// A node keeps a bucket of its own beside each shared one, with what it let
// through itself and what Redis said last. When Redis does not answer within
// Patience, that bucket decides: the node goes on from the state that all nodes
// were in, without a fresh burst, and each node then grants up to the whole
// rate. Redis is asked again after 500 ms, and then ever more rarely, up to
// every 5 s. Nodes also refuse by their own buckets first, so a flood causes
// no traffic to Redis, and a Redis that was emptied gives nobody a burst on a
// node that knew better.
//
// The server's clock rules; nodes' clocks only measure how long ago something
// was and may differ by any amount. A server's clock that steps back makes
// nobody wait longer; one that jumps ahead refills buckets.
//
// Limits per address are shared as well. Only requests that have authenticated
// reach them, and a key lives for two minutes at most. Failed authentications
// are counted by each node for itself: a stranger shall not be able to fill a
// Redis, nor to make it work.
type RedisLimiter struct {
	failures *MemoryLimiter
	seed     maphash.Seed
	prefix   string
	patience time.Duration
	patients sync.Pool // of *patient
	sources  [limiterShards]sharedBuckets[string]
	peers    [limiterShards]sharedBuckets[peerKey]

	line  line
	local atomic.Uint64
}

var _ Limiter = (*RedisLimiter)(nil)

// SharedExactPerMin is the limit from which on a RedisLimiter leases: ten a second.
const SharedExactPerMin = 600

// NewRedisLimiter makes a limiter and begins to ask its Redis. Until the first
// answer it is degraded and the node decides by itself. Close it.
func NewRedisLimiter(cfg RedisLimiterConfig) *RedisLimiter {
	if cfg.Client == nil {
		panic("bug: ingest: a RedisLimiter needs a client")
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 20 * time.Millisecond
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cfg.Memory.fill()
	l := &RedisLimiter{failures: NewMemoryLimiter(cfg.Memory), seed: maphash.MakeSeed(), prefix: cfg.Prefix, patience: cfg.Patience}
	l.patients.New = newPatient
	for i := range limiterShards {
		l.sources[i].init(sourcesMax / limiterShards)
		l.peers[i].init(max(1, cfg.Memory.PeersMax/limiterShards))
	}
	l.line.prepare(&cfg, l.putPatient)
	go l.line.run()
	return l
}

// Close gives back what is leased and ends the limiter's goroutine; it takes
// no longer than about a second. Allow may still be called: the node decides by itself then.
func (l *RedisLimiter) Close() error {
	l.line.end(func(ctx context.Context) {
		for i := range limiterShards {
			l.line.giveBack(ctx, l.sources[i].all())
			l.line.giveBack(ctx, l.peers[i].all())
		}
	})
	return nil
}

// Status tells whether limits are shared at the moment.
func (l *RedisLimiter) Status() LimiterStatus {
	s := l.line.status()
	s.Local = l.local.Load()
	return s
}

// Allow implements Limiter. As in MemoryLimiter the address is asked first;
// but a token whose quota is known to be spent refuses before that, so that
// requests in vain leave no trace of their addresses on Redis.
func (l *RedisLimiter) Allow(src *source.Source, peer netip.Addr, now time.Time) (bool, time.Duration) {
	if src.PerIP <= 0 && src.PerToken <= 0 {
		return true, 0
	}
	v := visit{l: l, at: now.UnixNano()}
	ok, wait := v.allow(src, peer)
	if v.patient != nil {
		l.putPatient(v.patient)
	}
	if v.alone {
		l.local.Add(1)
	}
	return ok, wait
}

// AllowFailure implements Limiter, on this node alone.
func (l *RedisLimiter) AllowFailure(peer netip.Addr, now time.Time) (bool, time.Duration) {
	return l.failures.AllowFailure(peer, now)
}

func (l *RedisLimiter) source(id string, at int64) *sharedBucket {
	shard := &l.sources[maphash.String(l.seed, id)%limiterShards]
	if b := shard.find(id); b != nil {
		return b
	}
	return shard.add(id, l.prefix+"t"+id, at)
}

func (l *RedisLimiter) peer(sourceID string, peer netip.Addr, at int64) *sharedBucket {
	peer = network(peer)
	raw := peer.As16()
	k := peerKey{sourceID, peer}
	shard := &l.peers[maphash.Bytes(l.seed, raw[:])%limiterShards]
	if b := shard.find(k); b != nil {
		return b
	}
	return shard.add(k, l.prefix+"p"+string(raw[:])+sourceID, at)
}

// sharedBuckets is a bounded map of buckets. One that is forgotten loses what
// it had leased, and begins anew with what Redis knows.
type sharedBuckets[K comparable] struct {
	mu    sync.Mutex
	byKey map[K]*sharedBucket
	max   int
}

func (t *sharedBuckets[K]) init(most int) { t.byKey, t.max = map[K]*sharedBucket{}, most }

func (t *sharedBuckets[K]) find(k K) *sharedBucket {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.byKey[k]
}

// add makes a bucket, or gives the one that another goroutine has just made.
// It makes room as a MemoryLimiter does.
func (t *sharedBuckets[K]) add(k K, key string, at int64) *sharedBucket {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b := t.byKey[k]; b != nil {
		return b
	}
	var nearest K
	var nearestFull int64
	seen := 0
	for k, b := range t.byKey { // starts anywhere
		if full := b.fullAt(); full <= at {
			delete(t.byKey, k)
		} else if nearestFull == 0 || full < nearestFull {
			nearest, nearestFull = k, full
		}
		if seen++; seen == sampleMax {
			break
		}
	}
	if len(t.byKey) >= t.max {
		delete(t.byKey, nearest)
	}
	b := &sharedBucket{key: key}
	t.byKey[k] = b
	return b
}

func (t *sharedBuckets[K]) all() []*sharedBucket {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*sharedBucket, 0, len(t.byKey))
	for _, b := range t.byKey {
		list = append(list, b)
	}
	return list
}
