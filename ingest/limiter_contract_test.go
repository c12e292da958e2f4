package ingest

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tallyhook/tallyhook/source"
)

// openLimiter makes an empty limiter that allows failuresPerMin failed
// authentications of one address.
type openLimiter func(t *testing.T, failuresPerMin int) Limiter

// limiters are the backends that must keep the promises below.
var limiters = map[string]func(t *testing.T) openLimiter{
	"memory": func(*testing.T) openLimiter {
		return func(_ *testing.T, failuresPerMin int) Limiter {
			return NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: failuresPerMin})
		}
	},
	"redis": openRedisLimiters,
}

func limitedSource(t testing.TB, id string, perToken, perIP int) *source.Source {
	t.Helper()
	return testSource(t, source.Spec{ID: id, Limits: source.Limits{PerTokenPerMin: perToken, PerIPPerMin: perIP}})
}

var (
	peerA = netip.MustParseAddr("192.0.2.1")
	peerB = netip.MustParseAddr("192.0.2.2")
)

// spend asks until it is refused and returns how often it was not.
func spend(t *testing.T, l Limiter, src *source.Source, peer netip.Addr, now time.Time) (n int, after time.Duration) {
	t.Helper()
	for n < 1_000_000 {
		ok, after := l.Allow(src, peer, now)
		if !ok {
			if after <= 0 {
				t.Fatalf("refused with a wait of %s", after)
			}
			return n, after
		}
		n++
	}
	t.Fatal("never refused")
	return 0, 0
}

func TestLimiter(t *testing.T) {
	for name, backend := range limiters {
		t.Run(name, func(t *testing.T) {
			open := backend(t)
			t.Run("a minute's quota at once, then the rate", func(t *testing.T) { limiterRate(t, open(t, 100)) })
			t.Run("never above rate and burst", func(t *testing.T) { limiterNeverAbove(t, open) })
			t.Run("sources do not disturb each other", func(t *testing.T) { limiterApart(t, open(t, 100)) })
			t.Run("addresses", func(t *testing.T) { limiterAddresses(t, open(t, 100)) })
			t.Run("failures", func(t *testing.T) { limiterFailures(t, open(t, 3)) })
			t.Run("clock set back", func(t *testing.T) { limiterClockBack(t, open(t, 100)) })
			t.Run("limit lowered", func(t *testing.T) { limiterLowered(t, open(t, 100)) })
			t.Run("concurrently", func(t *testing.T) { limiterConcurrently(t, open(t, 100)) })
		})
	}
}

func limiterRate(t *testing.T, l Limiter) {
	src := limitedSource(t, "a", 60, -1)
	now := testStart
	if n, after := spend(t, l, src, peerA, now); n != 60 || after != time.Second {
		t.Errorf("%d at once, then wait %s", n, after)
	}
	if ok, after := l.Allow(src, peerA, now.Add(time.Second-1)); ok || after != 1 {
		t.Errorf("a moment before the wait is over: %v, wait %s", ok, after)
	}
	if ok, _ := l.Allow(src, peerA, now.Add(time.Second)); !ok {
		t.Error("refused after the wait that was asked for")
	}
	if n, _ := spend(t, l, src, peerA, now.Add(31*time.Second)); n != 30 {
		t.Errorf("%d after half a minute", n)
	}
	if n, _ := spend(t, l, src, peerA, now.Add(time.Hour)); n != 60 {
		t.Errorf("%d after an hour of quiet", n)
	}
	off := limitedSource(t, "off", -1, -1)
	for range 100_000 {
		if ok, _ := l.Allow(off, peerA, now); !ok {
			t.Fatal("refused though limits are off")
		}
	}
}

func limiterNeverAbove(t *testing.T, open openLimiter) {
	rapid.Check(t, func(rt *rapid.T) {
		l := open(t, 100)
		perMin := rapid.IntRange(1, 5000).Draw(rt, "per minute")
		src := limitedSource(t, "a", perMin, -1)
		elapsed, granted, wait := time.Duration(0), 0, time.Duration(0)
		for range rapid.IntRange(1, 200).Draw(rt, "bursts") {
			step := time.Duration(rapid.Int64Range(0, int64(10*time.Second)).Draw(rt, "pause"))
			elapsed += step
			ok, after := l.Allow(src, peerA, testStart.Add(elapsed))
			if !ok && step >= wait && wait > 0 {
				rt.Fatalf("refused after a wait of %s, and %s was asked for", step, wait)
			}
			for ok {
				granted++
				ok, after = l.Allow(src, peerA, testStart.Add(elapsed))
			}
			wait = after
			if most := float64(perMin) + elapsed.Minutes()*float64(perMin); float64(granted) > most {
				rt.Fatalf("%d granted in %s at %d a minute", granted, elapsed, perMin)
			}
		}
	})
}

func limiterApart(t *testing.T, l Limiter) {
	a, b := limitedSource(t, "a", 10, -1), limitedSource(t, "b", 20, -1)
	spend(t, l, a, peerA, testStart)
	if n, _ := spend(t, l, b, peerA, testStart); n != 20 {
		t.Errorf("%d of b's 20 are left after a spent its own", n)
	}
	if n, _ := spend(t, l, a, peerB, testStart); n != 0 {
		t.Errorf("another address got %d more of a's spent quota", n)
	}
}

func limiterAddresses(t *testing.T, l Limiter) {
	src := limitedSource(t, "a", 1000, 5)
	f := func(peer string, want int) {
		t.Helper()
		if n, _ := spend(t, l, src, netip.MustParseAddr(peer), testStart); n != want {
			t.Errorf("%s got %d, want %d", peer, n, want)
		}
	}
	f("192.0.2.1", 5)
	f("192.0.2.2", 5)
	f("192.0.2.1", 0)
	f("2001:db8::1", 5)
	f("2001:db8::ffff:2", 0) // the same /64
	f("2001:db8:0:1::1", 5)
	other := limitedSource(t, "b", 1000, 5)
	if n, _ := spend(t, l, other, peerA, testStart); n != 5 {
		t.Errorf("an address spent %d of another source's 5", 5-n)
	}
	// a flood from one address takes none of the token's quota
	wide := limitedSource(t, "c", 20, 5)
	for range 100 {
		l.Allow(wide, peerA, testStart)
	}
	for i := range 3 {
		if n, _ := spend(t, l, wide, netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), testStart); n != 5 {
			t.Errorf("address %d got %d of 5", i, n)
		}
	}
	if ok, _ := l.Allow(wide, peerB, testStart); ok {
		t.Error("the token's quota was passed")
	}
}

func limiterFailures(t *testing.T, l Limiter) {
	f := func(peer netip.Addr, want bool, wantAfter time.Duration) {
		t.Helper()
		if ok, after := l.AllowFailure(peer, testStart); ok != want || after != wantAfter {
			t.Errorf("%s: %v, wait %s; want %v, %s", peer, ok, after, want, wantAfter)
		}
	}
	for range 3 {
		f(peerA, true, 0)
	}
	f(peerA, false, 20*time.Second)
	f(peerB, true, 0)
	src := limitedSource(t, "a", 10, 10)
	if n, _ := spend(t, l, src, peerA, testStart); n != 10 {
		t.Errorf("failures took %d of a source's quota", 10-n)
	}
}

// A clock that steps back an hour must not shut anybody out for an hour.
func limiterClockBack(t *testing.T, l Limiter) {
	src := limitedSource(t, "a", 60, -1)
	spend(t, l, src, peerA, testStart)
	back := testStart.Add(-time.Hour)
	ok, after := l.Allow(src, peerA, back)
	if ok || after != time.Second {
		t.Errorf("after the step: %v, wait %s", ok, after)
	}
	if ok, _ := l.Allow(src, peerA, back.Add(time.Second)); !ok {
		t.Error("refused after the wait that was asked for")
	}
	if n, _ := spend(t, l, src, peerA, back.Add(time.Minute)); n != 59 {
		t.Errorf("%d a minute after the step", n)
	}
}

func limiterLowered(t *testing.T, l Limiter) {
	spend(t, l, limitedSource(t, "a", 6000, -1), peerA, testStart)
	low := limitedSource(t, "a", 60, -1)
	if ok, after := l.Allow(low, peerA, testStart); ok || after > time.Second {
		t.Errorf("%v, wait %s", ok, after)
	}
	if n, _ := spend(t, l, low, peerA, testStart.Add(time.Minute)); n > 60 {
		t.Errorf("%d a minute later", n)
	}
}

func limiterConcurrently(t *testing.T, l Limiter) {
	var granted atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			src := limitedSource(t, "a", 500, -1) // every reader may hold another version of the source
			for i := range 500 {
				if ok, _ := l.Allow(src, peerA, testStart); ok {
					granted.Add(1)
				}
				l.AllowFailure(netip.AddrFrom4([4]byte{10, byte(g), byte(i >> 8), byte(i)}), testStart)
			}
		})
	}
	wg.Wait()
	if granted.Load() != 500 {
		t.Errorf("%d of 500 were granted", granted.Load())
	}
}

// However many addresses come, memory is bounded; and while there are idle
// ones, nobody who is not idle is forgotten for them.
func TestMemoryLimiterIsBounded(t *testing.T) {
	const peersMax = 1024
	l := NewMemoryLimiter(MemoryLimiterConfig{FailuresPerMin: 100, PeersMax: peersMax})
	kept := func() (n int) {
		for i := range l.peers {
			n += len(l.peers[i].free)
		}
		return n
	}
	now := testStart
	for i := range 20 * peersMax {
		l.AllowFailure(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if n := kept(); n > peersMax || n < peersMax/2 {
		t.Errorf("%d buckets are kept of at most %d", n, peersMax)
	}
	now = now.Add(time.Hour)
	for i := range peersMax {
		l.AllowFailure(netip.AddrFrom4([4]byte{11, 0, byte(i >> 8), byte(i)}), now)
		now = now.Add(10 * time.Second) // each is idle long before the next few come
	}
	if n := kept(); n > peersMax/8 {
		t.Errorf("%d buckets are kept though all but a few are idle", n)
	}
}

func TestMemoryLimiterAllocates(t *testing.T) {
	l := NewMemoryLimiter(MemoryLimiterConfig{})
	src := limitedSource(t, "a", 1000, 1000)
	peer6 := netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(1000, func() {
		l.Allow(src, peerA, testStart)
		l.Allow(src, peer6, testStart)
		l.AllowFailure(peerA, testStart)
	}); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
}

func BenchmarkMemoryLimiter(b *testing.B) {
	l := NewMemoryLimiter(MemoryLimiterConfig{})
	for _, perIP := range []int{-1, 1_000_000} {
		b.Run(fmt.Sprintf("per_ip=%d", perIP), func(b *testing.B) {
			src := limitedSource(b, "a", 12_000, perIP)
			b.ReportAllocs()
			for b.Loop() {
				l.Allow(src, peerA, testStart)
			}
		})
	}
}
