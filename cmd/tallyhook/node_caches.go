package main

import (
	"context"
	"errors"
	"time"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/match"
	"github.com/tallyhook/tallyhook/sink"
)

// Limits of keeping the call index whole.
const (
	feedInterval    = 500 * time.Millisecond // how often the index is compared with the store; what it lacks for two rounds is brought
	feedTimeMax     = 30 * time.Second       // of closing one gap
	rebuildPauseMax = time.Minute
	indexAskMax     = 200 * time.Millisecond // for a status
	dedupeHintMax   = time.Hour              // how long Redis remembers who told something: most retries come within; later ones only cost a look-up
)

// caches are what may forget: the index of recent calls with the dedupe hints,
// and the rate limits. Of each, one of the two backends is there.
type caches struct {
	matcher *match.Matcher
	limiter ingest.Limiter

	memory *match.MemoryIndex
	redis  *match.RedisIndex
	shared *ingest.RedisLimiter
}

// rebuilder is an index that knows whether it lacks something.
type rebuilder interface {
	match.Index
	NeedsRebuild(ctx context.Context) (bool, error)
}

// openCaches makes index and limiter. Redis is connected when it is first
// asked something: a node starts without it.
func (n *node) openCaches(context.Context) error {
	limits := ingest.MemoryLimiterConfig{FailuresPerMin: n.cfg.AuthFailuresPerMin}
	if n.opt.Index == "memory:" {
		index := match.NewMemoryIndex(match.MemoryIndexConfig{})
		n.caches = caches{memory: index, limiter: ingest.NewMemoryLimiter(limits),
			matcher: &match.Matcher{Index: index, Dedupe: match.NewMemoryDeduper(match.MemoryDeduperConfig{})}}
		return nil
	}
	client, err := openRedis(n.opt.Index)
	if err != nil {
		return usageError{err}
	}
	n.onClose(client.Close)
	prefix := "th:" + n.db.ID + ":"
	cfg := match.RedisIndexConfig{Client: client, Prefix: prefix}
	if n.cfg.HashCallers {
		cfg.Pepper = n.objects.Seal.Pepper("index")
	}
	index := match.NewRedisIndex(cfg)
	limiter := ingest.NewRedisLimiter(ingest.RedisLimiterConfig{Client: client, Prefix: prefix, Memory: limits})
	n.onClose(limiter.Close)
	n.caches = caches{redis: index, limiter: limiter, shared: limiter,
		matcher: &match.Matcher{Index: index, Dedupe: match.NewRedisDeduper(match.RedisDeduperConfig{Client: client, Prefix: prefix, Window: dedupeHintMax})}}
	return nil
}

func (c *caches) kept() rebuilder {
	if c.redis != nil {
		return c.redis
	}
	return c.memory
}

func (c *caches) index() console.BackendStatus {
	if c.redis == nil {
		return console.BackendStatus{Role: "index", Kind: "memory", Up: true}
	}
	s := c.matcher.Cache()
	return inRedis("index", s.Degraded, s.Since, s.Err)
}

func (c *caches) limits() console.BackendStatus {
	if c.shared == nil {
		return console.BackendStatus{Role: "limits", Kind: "memory", Up: true}
	}
	s := c.shared.Status()
	return inRedis("limits", s.Degraded, s.Since, s.Err)
}

// inRedis is the status of what lies in Redis; fault may be an old one.
func inRedis(role string, degraded bool, since time.Time, fault string) console.BackendStatus {
	b := console.BackendStatus{Role: role, Kind: "redis", Up: !degraded, Since: since}
	if degraded {
		b.Fault = fault
	}
	return b
}

func (c *caches) indexStatus() console.IndexStatus {
	if c.redis == nil {
		names, _ := c.memory.Size()
		return console.IndexStatus{Names: int64(names), Complete: c.memory.Complete()}
	}
	ctx, cancel := context.WithTimeout(context.Background(), indexAskMax)
	defer cancel()
	s, err := c.redis.Status(ctx)
	if err != nil {
		return console.IndexStatus{} // its backend's status says why
	}
	return console.IndexStatus{Names: s.NamesAbout, Complete: s.Complete}
}

func (c *caches) limitsStatus() (s console.LimitsStatus) {
	if c.shared != nil {
		s.Local = c.shared.Status().Local
	}
	return s
}

// feedIndex keeps the index whole: it rebuilds it when it is new or was
// emptied, and brings it what a node committed and could not put. Until it is
// whole, look-ups are confirmed in the store.
func (n *node) feedIndex(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.reached:
	}
	index, pause, lacking := n.caches.kept(), feedInterval, int64(0)
	for {
		rebuilt, err := n.rebuildIndex(ctx, index)
		if err == nil && !rebuilt {
			lacking, err = n.closeGap(ctx, index, lacking)
		}
		pause = feedInterval
		if err != nil && ctx.Err() == nil && !n.caches.matcher.Cache().Degraded {
			n.log.Warn("call index could not be brought up to the store, look-ups go there meanwhile", "error", err)
			pause = min(10*feedInterval, rebuildPauseMax)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// rebuildIndex fills the index from the store if it needs that and no other
// node is at it.
func (n *node) rebuildIndex(ctx context.Context, index rebuilder) (rebuilt bool, err error) {
	ask, cancel := context.WithTimeout(ctx, feedTimeMax)
	needs, err := index.NeedsRebuild(ask)
	cancel()
	if err != nil || !needs {
		return false, err
	}
	through, err := sink.CallsThrough(ctx, n.db.Read) // after the question: what is put from now on, nodes put themselves
	if err != nil {
		return false, err
	}
	begun, count, said := time.Now(), 0, time.Now()
	err = index.Rebuild(ctx, func(ctx context.Context, yield func([]event.Call) error) error {
		return sink.ScanCalls(ctx, n.db.Read, yield)
	}, through, func(calls int) {
		if count = calls; time.Since(said) > 5*time.Second {
			n.log.Info("call index is being rebuilt", "calls", calls)
			said = time.Now()
		}
	})
	if errors.Is(err, match.ErrRebuilding) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	n.log.Info("call index is complete", "calls", count, "took", time.Since(begun).Round(time.Millisecond))
	return true, nil
}

// closeGap brings the index what it lacks, once it has lacked the same since
// the last time. It gives what the index lacks from now.
func (n *node) closeGap(ctx context.Context, index match.Index, lacking int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, feedTimeMax)
	defer cancel()
	has, err := index.Through(ctx)
	if err != nil || has == 0 {
		return 0, err
	}
	head, err := sink.CallsThrough(ctx, n.db.Read)
	if err != nil || head <= has {
		return 0, err
	}
	if lacking != has {
		return has, nil // those on their way are given a moment
	}
	through, err := sink.CallsSince(ctx, n.db.Read, has, func(calls []event.Call) error {
		return index.Put(ctx, calls, has, has) // claims nothing yet
	})
	if err == nil {
		err = index.Put(ctx, nil, has, through)
	}
	return 0, err
}
