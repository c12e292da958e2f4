package ingest

import (
	"sync"
	"time"
)

// Sizes of a lease, for limits from SharedExactPerMin on.
const (
	leaseTime   = 200 * time.Millisecond // after which a lease is void; what was renewed meanwhile gets as much again
	leaseAhead  = 100 * time.Millisecond // of spending, as it was of late, is leased at once
	leasePerSec = 60                     // and at most the quota divided by this: one second's worth
	creditPart  = 6000                   // of the quota, at least one token, is let through before it is paid
	refusedRest = 5 * time.Millisecond   // a bucket that had too few tokens is asked again after so long
)

// sharedBucket is what a node knows of one bucket on Redis.
//
//	full, the node's own bucket  =  the shared one  −  tokens (paid there, not spent here)
//	                                                +  debt and who waits (spent here, not paid there)
//
// as far as the node knows: others have spent more since it was told.
type sharedBucket struct {
	key string // on Redis

	mu      sync.Mutex
	perMin  int
	every   int64 // interval(perMin)
	at      int64 // of the latest request, nanoseconds since the Unix epoch, as all times here
	full    int64 // see draw
	tokens  int64 // leased
	until   int64 // from then on tokens are void
	low     int64 // at so many tokens more are asked for
	epoch   int64 // of the newest lease, see limiterScript
	fresh   int64 // of tokens: leased in that epoch, the only ones that may be given back
	stale   int64 // void ones to give back
	debt    int64 // let through and not paid
	owing   int64 // the same, and being paid by the question under way
	used    int64 // since askedAt
	askedAt int64
	rest    int64 // not asked again before

	asking  bool // stands in line, or is being asked for
	inLine  []*patient
	waiting []*patient // for the next round trip
}

// spent is how long the node knows the bucket to be empty; 0 when it is not.
func (b *sharedBucket) spent(perMin int, at int64) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, _, wait := draw(b.full, perMin, at)
	return wait
}

func (b *sharedBucket) fullAt() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.full
}

func (b *sharedBucket) leases() bool { return b.perMin >= SharedExactPerMin }

// setLimit drops the lease when the limit has changed: its tokens were worth
// something else.
func (b *sharedBucket) setLimit(perMin int) {
	if perMin != b.perMin {
		b.perMin, b.every = perMin, interval(perMin)
		b.tokens, b.fresh, b.stale, b.rest = 0, 0, 0, 0
	}
}

// resting is how long the bucket is not asked for because it was just found
// empty. A rest that is far ahead is of a clock that was set back since.
func (b *sharedBucket) resting(at int64) time.Duration {
	if d := time.Duration(b.rest - at); d > 0 && d <= time.Second {
		return d
	}
	return 0
}

// pay spends a leased token, if there is one that is not void.
func (b *sharedBucket) pay(at int64) bool {
	if b.tokens == 0 {
		return false
	}
	if at >= b.until || at < b.until-2*int64(leaseTime) {
		b.void()
		return false
	}
	b.tokens--
	b.fresh = min(b.fresh, b.tokens) // the older ones are spent first
	b.used++
	return true
}

func (b *sharedBucket) void() {
	b.stale += b.fresh
	b.tokens, b.fresh = 0, 0
}

// lend lets a request through before it is paid for, as long as the bucket was
// at least half full when last heard of, and little is owed.
func (b *sharedBucket) lend(at int64) bool {
	if !b.leases() || b.debt+b.owing >= max(1, int64(b.perMin)/creditPart) || b.full-at > b.every*int64(b.perMin)/2 {
		return false
	}
	b.debt++
	b.used++
	return true
}

// chunk is how many tokens to lease beyond what is in hand.
func (b *sharedBucket) chunk() int64 {
	if !b.leases() || b.used == 0 {
		return 0
	}
	most := int64(b.perMin) / leasePerSec
	if passed := b.at - b.askedAt; passed > 0 {
		most = min(most, int64(float64(b.used)*float64(leaseAhead)/float64(passed)))
	}
	return max(0, most-b.tokens)
}

// begin makes the next question of what has gathered.
func (b *sharedBucket) begin() ask {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inLine, b.waiting = b.waiting, b.inLine[:0]
	want := b.chunk()
	for _, w := range b.inLine {
		if !w.gone { // else it is in debt
			want++
		}
	}
	a := ask{every: b.every, perMin: int64(b.perMin), want: want, must: b.debt, back: b.stale, epoch: b.epoch, at: b.at}
	b.debt, b.owing, b.stale, b.used, b.askedAt = 0, b.debt, 0, 0, b.at
	return a
}

// settle takes in the answer to a, and reports whether b has to ask again for
// who came meanwhile.
func (b *sharedBucket) settle(a *ask, r reply, free func(*patient)) (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.epoch != b.epoch {
		b.fresh, b.stale, b.epoch = 0, 0, r.epoch
	}
	b.owing = 0
	b.tokens += r.granted
	b.fresh += r.granted
	b.until = a.at + int64(leaseTime)
	wait := max(1, time.Duration(r.ahead+b.every-b.every*int64(b.perMin)))
	short := r.granted < a.want
	if short && b.leases() {
		wait = max(wait, refusedRest)
		b.rest = a.at + int64(wait)
	}
	b.serve(b.inLine, free, short, wait) // all of them: what was asked for came, or the bucket is empty
	b.inLine = b.inLine[:0]
	paid := min(b.debt, b.tokens)
	b.debt, b.tokens = b.debt-paid, b.tokens-paid
	// Who came since may be refused by an answer to a question of their own only.
	b.waiting = b.waiting[:b.serve(b.waiting, free, false, 0)]
	if !b.leases() {
		b.tokens = 0
	}
	b.fresh, b.low = min(b.fresh, b.tokens), b.tokens/4
	b.full = max(b.full, a.at+r.ahead+(b.debt+int64(len(b.waiting))-b.tokens)*b.every)
	b.asking = len(b.waiting) > 0
	return b.asking
}

// serve hands tokens to who waits, in order. If there are too few, the rest is
// refused when the bucket is empty; else it moves to the front of list, and
// serve gives their number.
func (b *sharedBucket) serve(list []*patient, free func(*patient), empty bool, wait time.Duration) (left int) {
	for _, w := range list {
		switch {
		case w.gone:
			free(w)
		case b.tokens > 0:
			b.tokens--
			w.tell(decision{ok: true})
		case empty:
			b.full -= b.every
			w.tell(decision{wait: wait})
		default:
			list[left] = w
			left++
		}
	}
	return left
}

// abandon tells who waits that Redis does not answer. Whether what is owed was
// charged is not known; it is forgotten rather than charged twice.
func (b *sharedBucket) abandon(free func(*patient)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, list := range [...]*[]*patient{&b.inLine, &b.waiting} {
		for _, w := range *list {
			if w.gone {
				free(w)
			} else {
				w.tell(decision{ok: true, alone: true})
			}
		}
		*list = (*list)[:0]
	}
	b.debt, b.owing, b.asking = 0, 0, false
}
