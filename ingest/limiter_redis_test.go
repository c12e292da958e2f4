package ingest

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/tallyhook/tallyhook/bench/services"
)

// redisClient is a client as the product makes it.
func redisClient(t testing.TB, rawURL string) *redis.Client {
	t.Helper()
	logging.Disable() // of the library's own
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries, o.Protocol = true, -1, 1, 2
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = 500*time.Millisecond, time.Second, time.Second
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// openNodeLimiter makes one node's limiter and waits until it shares.
func openNodeLimiter(t testing.TB, cfg RedisLimiterConfig) *RedisLimiter {
	t.Helper()
	if cfg.Patience == 0 {
		cfg.Patience = never
	}
	l := NewRedisLimiter(cfg)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	awaitShared(t, l)
	return l
}

func awaitShared(t testing.TB, l *RedisLimiter) {
	t.Helper()
	await(t, "the limiter to share", func() bool { return !l.Status().Degraded })
}

func await(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(never); !f(); time.Sleep(soon) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// openRedisLimiters makes limiters on one server; each has keys of its own.
func openRedisLimiters(t *testing.T) openLimiter {
	client := redisClient(t, services.Redis(t).URL)
	var n atomic.Int64
	return func(t *testing.T, failuresPerMin int) Limiter {
		return openNodeLimiter(t, RedisLimiterConfig{Client: client, Prefix: fmt.Sprintf("th:%d:", n.Add(1)),
			Memory: MemoryLimiterConfig{FailuresPerMin: failuresPerMin}, CallersClock: true})
	}
}
