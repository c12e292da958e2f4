package mapper

import (
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a breaker.
const (
	BreakerTrapsMax = 20               // within BreakerWindow; the next one opens it
	BreakerWindow   = time.Minute      //
	BreakerRestMin  = 15 * time.Second // how long it stays open first; doubled each time that a try fails
	BreakerRestMax  = 5 * time.Minute
	breakerTryMax   = 5 * time.Second // within which only one postback is tried
)

// breaker keeps a mapper that breaks again and again from being asked: every
// trap costs a new instance, and a person has to look anyway. While it is open
// one postback now and then is tried.
type breaker struct {
	until atomic.Int64 // when the next try is due, nanoseconds; 0 is closed
	last  atomic.Int64 // when it broke last

	mu    sync.Mutex
	traps [BreakerTrapsMax]int64 // when the last ones were, a ring
	next  int
	rest  time.Duration
}

// allows reports whether the mapper may be asked now.
func (b *breaker) allows(now time.Time) bool {
	until := b.until.Load()
	if until == 0 {
		return true
	}
	at := now.UnixNano()
	return at >= until && b.until.CompareAndSwap(until, at+int64(breakerTryMax))
}

// open reports whether it is.
func (b *breaker) open() bool { return b.until.Load() != 0 }

// worked says that the mapper was asked and answered.
func (b *breaker) worked() {
	if b.until.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.traps, b.rest = [BreakerTrapsMax]int64{}, 0
	b.until.Store(0)
}

// trapped says that it broke.
func (b *breaker) trapped(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := now.UnixNano()
	b.last.Store(at)
	oldest := b.traps[b.next]
	b.traps[b.next] = at
	b.next = (b.next + 1) % len(b.traps)
	if b.until.Load() == 0 && (oldest == 0 || at-oldest > int64(BreakerWindow)) {
		return
	}
	b.rest = min(max(2*b.rest, BreakerRestMin), BreakerRestMax)
	b.until.Store(at + int64(b.rest))
}
