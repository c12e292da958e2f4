package ingest

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
)

// patientClient waits for answers for so long that only a limiter's own
// patience can end a wait within a test.
func patientClient(t testing.TB, rawURL string) *redis.Client {
	t.Helper()
	o := *redisClient(t, rawURL).Options()
	o.ReadTimeout, o.WriteTimeout, o.DialTimeout, o.PoolTimeout = time.Hour, time.Hour, time.Hour, time.Hour
	c := redis.NewClient(&o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// inTime fails the test unless f returns.
func inTime(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(never):
		t.Fatalf("%s does not return", what)
	}
}

// However Redis goes, the node decides by itself within its patience, from
// where all nodes stood; and it shares again when Redis is back.
func TestRedisGone(t *testing.T) {
	f := func(name string, away, back func(*services.Server, *services.Proxy)) {
		t.Run(name, func(t *testing.T) {
			server := services.Redis(t)
			through, proxy := services.Through(t, server.URL)
			other := openNodes(t, redisClient(t, server.URL), "th:", 1, true)[0]
			l := openNodeLimiter(t, RedisLimiterConfig{Client: patientClient(t, through), Prefix: "th:", CallersClock: true, Patience: 100 * time.Millisecond})
			slow, quick := limitedSource(t, "slow", 120, -1), limitedSource(t, "quick", 6000, -1)
			for _, n := range []*RedisLimiter{other, l} { // together 80 of 120, and the node knows
				for range 40 {
					if ok, _ := n.Allow(slow, peerA, testStart); !ok {
						t.Fatal("refused below the limit")
					}
				}
			}
			for range 100 {
				l.Allow(quick, peerA, testStart)
			}
			before := l.Status()

			away(server, proxy)
			inTime(t, "a limiter whose Redis is away", func() {
				if n, after := spend(t, l, slow, peerA, testStart); n != 40 || after != 500*time.Millisecond {
					t.Errorf("%d granted and then wait %s, want the 40 that are left of 120", n, after)
				}
				if n, _ := spend(t, l, quick, peerA, testStart); n > 5900 || n < 5800 {
					t.Errorf("%d granted of the 5900 that are left of 6000", n)
				}
			})
			s := l.Status()
			if !s.Degraded || s.Since.IsZero() || s.Err == "" || s.Local < before.Local+40 {
				t.Errorf("status %+v, and before %+v", s, before)
			}

			back(server, proxy)
			awaitShared(t, l)
			awaitShared(t, other)
			again, total := limitedSource(t, "again", 60, -1), 0
			for _, n := range []*RedisLimiter{l, other} {
				n, _ := spend(t, n, again, peerA, testStart)
				total += n
			}
			if total != 60 {
				t.Errorf("%d granted of 60 after the outage", total)
			}
		})
	}
	f("stopped", func(s *services.Server, _ *services.Proxy) { s.Stop() }, func(s *services.Server, _ *services.Proxy) { s.Start() })
	f("frozen", func(s *services.Server, _ *services.Proxy) { s.Freeze() }, func(s *services.Server, _ *services.Proxy) { s.Thaw() })
	f("slow", func(_ *services.Server, p *services.Proxy) { p.Slow(5000) }, func(_ *services.Server, p *services.Proxy) { p.Clear() })
	f("silent", func(_ *services.Server, p *services.Proxy) { p.Silence() }, func(_ *services.Server, p *services.Proxy) { p.Clear() })
	f("resetting", func(_ *services.Server, p *services.Proxy) { p.Reset() }, func(_ *services.Server, p *services.Proxy) { p.Clear() })
	f("unreachable", func(_ *services.Server, p *services.Proxy) { p.Down() }, func(_ *services.Server, p *services.Proxy) { p.Up() })
}

// A server that answers but refuses to write is no help either, and its state
// does not flap with each attempt.
func TestRedisRefuses(t *testing.T) {
	f := func(name, want string, away, back func(context.Context, *redis.Client) error) {
		t.Run(name, func(t *testing.T) {
			client := redisClient(t, services.Redis(t).URL)
			l := openNodeLimiter(t, RedisLimiterConfig{Client: client, Prefix: "th:", CallersClock: true})
			if err := away(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			src := limitedSource(t, "a", 60, -1)
			if n, _ := spend(t, l, src, peerA, testStart); n != 60 {
				t.Errorf("%d granted of 60", n)
			}
			if s := l.Status(); !s.Degraded || !strings.Contains(s.Err, want) || s.Local != 60 {
				t.Errorf("status %+v, want an error with %s", s, want)
			}
			var n line // that would find nothing wrong if its attempts only read
			n.prepare(&RedisLimiterConfig{Client: client, Patience: never, Now: time.Now}, nil)
			defer n.again.Stop()
			n.suspect = "th:ta"
			if n.attempt(); !n.down.Load() {
				t.Error("an attempt succeeds")
			}
			if err := back(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			awaitShared(t, l)
			if s := l.Status(); !s.Since.IsZero() || !strings.Contains(s.Err, want) {
				t.Errorf("status %+v, want the latest trouble", s)
			}
		})
	}
	f("replica", "READONLY", func(ctx context.Context, c *redis.Client) error {
		return c.ReplicaOf(ctx, "127.0.0.1", "1").Err()
	}, func(ctx context.Context, c *redis.Client) error {
		return c.ReplicaOf(ctx, "no", "one").Err()
	})
	f("full", "OOM", func(ctx context.Context, c *redis.Client) error {
		return c.ConfigSet(ctx, "maxmemory", "1mb").Err()
	}, func(ctx context.Context, c *redis.Client) error {
		return c.ConfigSet(ctx, "maxmemory", "0").Err()
	})
	f("another's key", "WRONGTYPE", func(ctx context.Context, c *redis.Client) error {
		return c.LPush(ctx, "th:ta", "x").Err()
	}, func(ctx context.Context, c *redis.Client) error {
		return c.Del(ctx, "th:ta").Err()
	})
	f("scripts forbidden", "NOPERM", func(ctx context.Context, c *redis.Client) error {
		return c.Do(ctx, "ACL", "SETUSER", "default", "-@scripting").Err()
	}, func(ctx context.Context, c *redis.Client) error {
		return c.Do(ctx, "ACL", "SETUSER", "default", "+@all").Err()
	})
}

// What makes no difference is not noticed: scripts forgotten, a damaged value.
func TestRedisForgetsScripts(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	nodes := openNodes(t, client, "th:", 2, true)
	total := 0
	for i := range 120 {
		if i%7 == 0 {
			if err := client.ScriptFlush(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if ok, _ := nodes[i%2].Allow(limitedSource(t, "a", 60, -1), peerA, testStart); ok {
			total++
		}
	}
	if err := client.Set(t.Context(), "th:tb", "what is this?", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if n, _ := spend(t, nodes[0], limitedSource(t, "b", 60, -1), peerA, testStart); n != 60 || total != 60 {
		t.Errorf("%d and %d granted of 60", total, n)
	}
	for _, n := range nodes {
		if s := n.Status(); s.Degraded || s.Local != 0 || s.Err != "" {
			t.Errorf("status %+v", s)
		}
	}
}

// A Redis that was emptied gives no burst on nodes that knew better.
func TestRedisEmptied(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	nodes := openNodes(t, client, "th:", 2, true)
	for _, perMin := range []int{60, 6000} {
		src := limitedSource(t, fmt.Sprint(perMin), perMin, -1)
		for _, n := range nodes {
			spend(t, n, src, peerA, testStart)
		}
		settle(t, nodes)
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		for i, n := range nodes {
			if n, _ := spend(t, n, src, peerA, testStart); n != 0 {
				t.Errorf("node %d granted %d more of %d", i, n, perMin)
			}
		}
	}
}

// A node starts without its Redis, and shares once that is there.
func TestRedisComesLater(t *testing.T) {
	server := services.Redis(t)
	server.Stop()
	l := NewRedisLimiter(RedisLimiterConfig{Client: patientClient(t, server.URL), Prefix: "th:", CallersClock: true})
	defer l.Close()
	src := limitedSource(t, "a", 60, -1)
	inTime(t, "a limiter without its Redis", func() {
		if n, _ := spend(t, l, src, peerA, testStart); n != 60 {
			t.Errorf("%d granted of 60", n)
		}
	})
	if s := l.Status(); !s.Degraded || s.Local != 60 {
		t.Errorf("status %+v", s)
	}
	server.Start()
	awaitShared(t, l)
	if ok, _ := l.Allow(src, peerA, testStart.Add(time.Second)); !ok || l.Status().Local != 60 {
		t.Errorf("later: %v, status %+v", ok, l.Status())
	}
}

// Attempts become rarer, and the first failure after one that succeeded is
// followed by an early one again.
func TestLineRests(t *testing.T) {
	server := services.Redis(t)
	client := redisClient(t, server.URL)
	server.Stop()
	var n line
	n.prepare(&RedisLimiterConfig{Client: client, Patience: never, Now: time.Now}, nil)
	defer n.again.Stop()
	f := func(want time.Duration) {
		t.Helper()
		n.attempt()
		if n.rest != want || !n.down.Load() || !n.status().Degraded {
			t.Errorf("the next attempt is in %s, want %s; status %+v", n.rest, want, n.status())
		}
	}
	f(500 * time.Millisecond)
	f(time.Second)
	f(2 * time.Second)
	f(4 * time.Second)
	f(5 * time.Second)
	f(5 * time.Second)
	server.Start()
	await(t, "an attempt that succeeds", func() bool { n.attempt(); return !n.down.Load() })
	n.fail(context.DeadlineExceeded, lineRestMin)
	if s := n.status(); n.rest != 500*time.Millisecond || !s.Degraded || s.Err != "no answer within 1m0s" {
		t.Errorf("the next attempt is in %s; status %+v", n.rest, s)
	}
}

// No goroutine outlives Close, and whoever still asks is answered.
func TestRedisLimiterCloses(t *testing.T) {
	server := services.Redis(t)
	client := redisClient(t, server.URL)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	f := func(name string, away func()) {
		t.Helper()
		l := openNodeLimiter(t, RedisLimiterConfig{Client: client, Prefix: name, Patience: time.Second})
		src := limitedSource(t, "a", 60, 60)
		for i := range 200 {
			l.Allow(src, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), time.Now())
		}
		away()
		inTime(t, "Close", func() {
			for range 2 {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
		inTime(t, "a closed limiter", func() {
			if n, _ := spend(t, l, limitedSource(t, "b", 60, -1), peerA, time.Now()); n != 60 {
				t.Errorf("%d granted of 60", n)
			}
		})
	}
	f("up", func() {})
	f("gone", server.Stop)
	await(t, "its goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
}

// Errors that Redis repeats do not carry keys, and no password is told.
func TestLimiterErrorsAreSafe(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	if err := client.ConfigSet(t.Context(), "requirepass", "right-password").Err(); err != nil {
		t.Fatal(err)
	}
	o := *client.Options()
	o.Password = "wrong-password"
	wrong := redis.NewClient(&o)
	defer wrong.Close()
	l := NewRedisLimiter(RedisLimiterConfig{Client: wrong, Prefix: "th:"})
	defer l.Close()
	await(t, "a refusal", func() bool { return strings.Contains(l.Status().Err, "WRONGPASS") })
	if strings.Contains(l.Status().Err, "wrong-password") {
		t.Errorf("status %+v", l.Status())
	}
	f := func(in, want string) {
		t.Helper()
		if got := l.line.plain(fmt.Errorf("ask: %w", redis.ErrClosed)); got != "ask: redis: client is closed" {
			t.Errorf("got %q", got)
		}
		if got := l.line.plain(fmt.Errorf("%s", in)); got != want {
			t.Errorf("%q is told as %q, want %q", in, got, want)
		}
	}
	f("ERR unknown command 'evalsha', with args beginning with: 'abc' '\x00secret'", "ERR unknown command 'evalsha'")
	f("line\nbreak\x00", "line break ")
	f(strings.Repeat("ä", 300), strings.Repeat("ä", 100))
}
