package ingest

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/source"
)

// openNodes makes n nodes that share limits under one prefix.
func openNodes(t testing.TB, client redis.UniversalClient, prefix string, n int, callersClock bool) []*RedisLimiter {
	t.Helper()
	nodes := make([]*RedisLimiter, n)
	for i := range nodes {
		nodes[i] = openNodeLimiter(t, RedisLimiterConfig{Client: client, Prefix: prefix, CallersClock: callersClock})
	}
	return nodes
}

// Below ten a second, nodes together let through what one would: not a request
// more, and not one less, whoever asks and however many at once.
func TestNodesShareExactLimits(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	f := func(perToken, perIP, want int) {
		t.Helper()
		nodes := openNodes(t, client, fmt.Sprintf("%d:%d:", perToken, perIP), 3, true)
		var granted atomic.Int64
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				src := limitedSource(t, "a", perToken, perIP)
				for range 200 {
					if ok, _ := nodes[i%3].Allow(src, peerA, testStart); ok {
						granted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if granted.Load() != int64(want) {
			t.Errorf("%d of %d were granted, with %d an address", granted.Load(), perToken, perIP)
		}
		src := limitedSource(t, "a", perToken, perIP)
		if ok, after := nodes[1].Allow(src, peerA, testStart.Add(time.Minute)); !ok {
			t.Errorf("refused a minute later, wait %s", after)
		}
		for i, n := range nodes {
			if n.Status().Local != 0 {
				t.Errorf("node %d decided %d by itself", i, n.Status().Local)
			}
		}
	}
	f(599, -1, 599)
	f(120, -1, 120)
	f(1, -1, 1)
	f(-1, 50, 50)
	f(500, 50, 50)
	f(30, 50, 30)
	f(12_000, 50, 50)
}

// What one node was refused, another is refused as well, with the same wait.
func TestNodesAgreeOnTheWait(t *testing.T) {
	nodes := openNodes(t, redisClient(t, services.Redis(t).URL), "th:", 2, true)
	src := limitedSource(t, "a", 60, -1)
	spend(t, nodes[0], src, peerA, testStart)
	if ok, after := nodes[1].Allow(src, peerB, testStart); ok || after != time.Second {
		t.Errorf("the other node: %v, wait %s", ok, after)
	}
	if ok, _ := nodes[1].Allow(src, peerB, testStart.Add(time.Second)); !ok {
		t.Error("refused after the wait that was asked for")
	}
	if ok, after := nodes[0].Allow(src, peerA, testStart.Add(time.Second)); ok || after != time.Second {
		t.Errorf("the first node then: %v, wait %s", ok, after)
	}
}

// settle waits until nodes have no question under way. A clock that the test
// moves must stand still meanwhile: a question asked before a step and answered
// after it would set Redis' time back.
func settle(t testing.TB, nodes []*RedisLimiter) {
	t.Helper()
	for _, l := range nodes {
		for i := range limiterShards {
			for _, b := range l.sources[i].all() {
				await(t, "an answer", func() bool { b.mu.Lock(); defer b.mu.Unlock(); return !b.asking })
			}
		}
	}
}

// tally remembers when tokens were granted and finds the fullest minute.
type tally struct {
	at []time.Duration // in order
	n  []int
}

func (s *tally) add(at time.Duration, n int) { s.at, s.n = append(s.at, at), append(s.n, n) }

func (s *tally) total() (n int) {
	for _, k := range s.n {
		n += k
	}
	return n
}

func (s *tally) fullest(window time.Duration) (most int) {
	in, from := 0, 0
	for i := range s.at {
		in += s.n[i]
		for s.at[i]-s.at[from] > window {
			in -= s.n[from]
			from++
		}
		most = max(most, in)
	}
	return most
}

// However requests fall on nodes: below ten a second never above rate and
// burst; from there on within 1 % in any minute, and the credit of the nodes in
// all.
func TestNodesNeverAbove(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	var run atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		nodes := openNodes(t, client, fmt.Sprintf("th:%d:", run.Add(1)), rapid.IntRange(2, 6).Draw(rt, "nodes"), true)
		perMin := rapid.OneOf(rapid.IntRange(1, 599), rapid.IntRange(600, 6000)).Draw(rt, "per minute")
		src := limitedSource(t, "a", perMin, -1)
		var s tally
		elapsed := time.Duration(0)
		for range rapid.IntRange(1, 100).Draw(rt, "steps") {
			elapsed += time.Duration(rapid.OneOf(rapid.Int64Range(0, int64(10*time.Millisecond)), rapid.Int64Range(0, int64(3*time.Second))).Draw(rt, "pause"))
			node := nodes[rapid.IntRange(0, len(nodes)-1).Draw(rt, "node")]
			n := 0
			for most := rapid.IntRange(1, 500).Draw(rt, "requests"); n < most; n++ {
				if ok, _ := node.Allow(src, peerA, testStart.Add(elapsed)); !ok {
					break
				}
			}
			s.add(elapsed, n)
			settle(t, nodes)
		}
		credit := 0.0
		if perMin >= SharedExactPerMin {
			credit = float64(len(nodes) * max(1, perMin/creditPart))
		}
		if most := float64(perMin) + elapsed.Minutes()*float64(perMin) + credit; float64(s.total()) > most {
			rt.Fatalf("%d granted in %s at %d a minute by %d nodes", s.total(), elapsed, perMin, len(nodes))
		}
		if most := 1.01 * 2 * float64(perMin); perMin >= SharedExactPerMin && float64(s.fullest(time.Minute)) > most {
			rt.Fatalf("%d granted in one minute at %d a minute by %d nodes", s.fullest(time.Minute), perMin, len(nodes))
		}
		for _, n := range nodes {
			if err := n.Close(); err != nil {
				rt.Fatal(err)
			}
		}
	})
}

// Nodes that are asked for far more than the limit, for minutes, let through
// the limit: no more than 1 % above it and no more than 1 % below.
func TestNodesKeepTheRate(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	f := func(perMin, perStep int, step time.Duration) {
		t.Helper()
		nodes := openNodes(t, client, fmt.Sprintf("th:%d:", perMin), 4, true)
		src := limitedSource(t, "a", perMin, -1)
		var s tally
		const length = 3 * time.Minute
		for at := time.Duration(0); at < length; at += step {
			n := 0
			for i := range nodes {
				for range perStep {
					if ok, _ := nodes[(i+int(at/step))%len(nodes)].Allow(src, peerA, testStart.Add(at)); ok {
						n++
					}
				}
			}
			s.add(at, n)
			settle(t, nodes)
		}
		want := float64(perMin) * (1 + length.Minutes())
		if got := float64(s.total()); math.Abs(got-want) > want/100 {
			t.Errorf("%v granted in %s at %d a minute: want %v", got, length, perMin, want)
		}
		burst := s.n[0]
		s.at, s.n = s.at[1:], s.n[1:]
		if got, most := s.fullest(time.Minute), 1.01*float64(2*perMin-burst); float64(got) > most {
			t.Errorf("%d granted in one minute at %d a minute, after %d at once", got, perMin, burst)
		}
	}
	f(600, 40, 50*time.Millisecond)
	f(6000, 40, 20*time.Millisecond)
	f(60_000, 100, 20*time.Millisecond)
}

// lease makes a node lease tokens: a hundred requests in a tenth of a second,
// of which all are let through. It gives the time after them and what is left.
func lease(t *testing.T, l *RedisLimiter, src *source.Source, at time.Time) (after time.Time, left int64) {
	t.Helper()
	for range 100 {
		if ok, _ := l.Allow(src, peerA, at); !ok {
			t.Fatal("refused below the limit")
		}
		settle(t, []*RedisLimiter{l})
		at = at.Add(time.Millisecond)
	}
	b := l.source(src.Spec.ID, at.UnixNano())
	if b.tokens < 50 {
		t.Fatalf("%d tokens are leased; this test wants more", b.tokens)
	}
	return at, b.tokens
}

// Leases that are not used come back: with the node's next request, or at its
// end. What nobody spent is there for others.
func TestUnusedLeasesComeBack(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	f := func(perMin int, back func(l *RedisLimiter, src *source.Source, at time.Time) (time.Time, int)) {
		t.Helper()
		nodes := openNodes(t, client, fmt.Sprintf("th:%d:", perMin), 2, true)
		src := limitedSource(t, "a", perMin, -1)
		spend(t, nodes[1], src, peerA, testStart) // it never gets full again, so each token that is lost shows
		at, _ := lease(t, nodes[0], src, testStart.Add(30*time.Second))
		at, used := back(nodes[0], src, at)
		settle(t, nodes)
		used += int(nodes[0].source(src.Spec.ID, at.UnixNano()).tokens) // leased anew, for 200 ms
		n, _ := spend(t, nodes[1], src, peerA, at)
		want := int(at.Sub(testStart).Minutes()*float64(perMin)) - 100 - used
		if n < want-1 || n > want+1 {
			t.Errorf("%d were left at %d a minute, want %d", n, perMin, want)
		}
	}
	f(60_000, func(l *RedisLimiter, src *source.Source, at time.Time) (time.Time, int) {
		at = at.Add(leaseTime)
		if ok, _ := l.Allow(src, peerA, at); !ok {
			t.Error("refused below the limit")
		}
		return at, 1
	})
	f(30_000, func(l *RedisLimiter, _ *source.Source, at time.Time) (time.Time, int) {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		return at, 0
	})
}

// A lease is worth nothing any more when its tokens have come back by
// themselves: it is neither spent nor given back on top of a full bucket.
func TestOldLeasesAreVoid(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	const perMin, credit = 60_000, 60_000 / creditPart
	f := func(name string, order ...int) {
		t.Helper()
		nodes := openNodes(t, client, name, 2, true)
		src := limitedSource(t, "a", perMin, -1)
		at, left := lease(t, nodes[0], src, testStart)
		at = at.Add(time.Minute)
		total := 0
		for _, i := range order {
			n, _ := spend(t, nodes[i], src, peerA, at)
			settle(t, nodes)
			total += n
		}
		if total < perMin || total > perMin+2*credit {
			t.Errorf("%s: %d granted at once of %d, with a lease of %d before", name, total, perMin, left)
		}
	}
	f("spent", 0, 1)
	f("given back", 1, 0, 1)
}

// Nodes whose clocks are hours apart share a limit all the same: the server's
// clock rules. Time passes here, so the bounds are of the time that it took.
func TestNodesClocksDiffer(t *testing.T) {
	f := func(perMin int) {
		t.Helper()
		nodes := openNodes(t, redisClient(t, services.Redis(t).URL), "th:", 3, false)
		skew := []time.Duration{0, -3 * time.Second, 5 * time.Hour}
		var granted atomic.Int64
		begun := time.Now()
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				src := limitedSource(t, "a", perMin, -1)
				for granted.Load() < int64(perMin) || time.Since(begun) < 500*time.Millisecond {
					if ok, _ := nodes[i].Allow(src, peerA, time.Now().Add(skew[i])); ok {
						granted.Add(1)
					}
				}
			})
		}
		wg.Wait()
		most := 1.01 * float64(perMin) * (1 + time.Since(begun).Minutes())
		if n := float64(granted.Load()); n > most+3 {
			t.Errorf("%v granted at %d a minute: at most %v", n, perMin, most)
		}
	}
	f(300)
	f(6000)
}

// Addresses stay on Redis for two minutes at most, and those that have not
// authenticated do not come there at all.
func TestKeysExpire(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	l := openNodeLimiter(t, RedisLimiterConfig{Client: client, Prefix: "th:", CallersClock: true})
	for i := range 1000 {
		l.AllowFailure(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), testStart)
	}
	before, err := client.DBSize(t.Context()).Result()
	if err != nil || before != 1 { // that of the first attempt
		t.Errorf("%d keys after failures only, %v", before, err)
	}
	src := limitedSource(t, "a", 60, 30)
	for i := range 100 {
		l.Allow(src, netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), testStart)
	}
	keys, err := client.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 62 { // and the source, and the 60 addresses that it let through
		t.Errorf("%d keys, %v", len(keys), err)
	}
	for _, k := range keys {
		ttl, err := client.PTTL(t.Context(), k).Result()
		if err != nil || ttl <= 0 || ttl > 2*time.Minute {
			t.Errorf("%q lives for %s, %v", k, ttl, err)
		}
	}
}

// What a node remembers of shared buckets is bounded as on a MemoryLimiter.
func TestRedisLimiterIsBounded(t *testing.T) {
	const peersMax = 256
	l := openNodeLimiter(t, RedisLimiterConfig{Client: redisClient(t, services.Redis(t).URL), CallersClock: true,
		Memory: MemoryLimiterConfig{PeersMax: peersMax}})
	src := limitedSource(t, "a", -1, 5000)
	for i := range 10 * peersMax {
		if ok, _ := l.Allow(src, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), testStart); !ok {
			t.Fatalf("address %d is refused", i)
		}
	}
	n := 0
	for i := range l.peers {
		n += len(l.peers[i].all())
	}
	if n > peersMax || n < peersMax/2 {
		t.Errorf("%d buckets are kept of at most %d", n, peersMax)
	}
}

// The script counts time modulo 4e6 seconds; nothing happens when it wraps.
func TestScriptTimeWraps(t *testing.T) {
	wrap := time.Unix(450*4_000_000, 0)
	nodes := openNodes(t, redisClient(t, services.Redis(t).URL), "th:", 1, true)
	f := func(src *source.Source, at time.Duration, want int) {
		t.Helper()
		if n, _ := spend(t, nodes[0], src, peerA, wrap.Add(at)); n != want {
			t.Errorf("%s at %s: %d granted, want %d", src.Spec.ID, at, n, want)
		}
	}
	src := limitedSource(t, "a", 60, -1)
	f(src, -2*time.Second, 60)
	f(src, -time.Second, 1)
	f(src, 0, 1)
	f(src, 30*time.Second, 30)
	back := limitedSource(t, "b", 60, -1)
	f(back, time.Second, 60)
	f(back, -time.Second, 0) // set back over the wrap
	f(back, 0, 1)
}
