package ingest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/redis/go-redis/v9"
)

const (
	lineBatchMax = 512                    // buckets asked for in one round trip
	lineRestMin  = 500 * time.Millisecond // from a failure to the next attempt
	lineRestMax  = 5 * time.Second        // to which that doubles
	probeTimeMax = time.Second            // an attempt may have to connect first
	closeTimeMax = time.Second            // for giving back leases
	errTextMax   = 200
)

const notAsked = "not asked yet"

// line is the way of a RedisLimiter to its Redis: buckets stand in it, one
// goroutine takes what stands there, up to lineBatchMax, asks for all of it in
// one pipeline and hands out the answers. Under load the batches grow by
// themselves.
//
//	up ──failure, or slower than patience──► down ──after a rest──► attempt ──success──► up
//	                                          ▲                        │
//	                                          └───failure: rest twice──┘
//
// While it is down, nobody waits.
type line struct {
	client   redis.UniversalClient
	patience time.Duration
	callers  bool // the caller's clock rules
	now      func() time.Time
	free     func(*patient)

	down atomic.Bool

	mu    sync.Mutex
	queue []*sharedBucket
	state LimiterStatus

	wake    chan struct{} // of one
	stopped context.Context
	stop    context.CancelFunc
	ended   chan struct{}
	once    sync.Once

	// Of the goroutine.
	batch   []*sharedBucket
	asks    []ask
	suspect string // key of a bucket that could not be asked for
	rest    time.Duration
	again   *time.Timer
}

// prepare makes a line that is down and has an attempt ahead of it.
func (n *line) prepare(cfg *RedisLimiterConfig, free func(*patient)) {
	n.client, n.patience, n.callers, n.now, n.free = cfg.Client, cfg.Patience, cfg.CallersClock, cfg.Now, free
	n.down.Store(true)
	n.state = LimiterStatus{Degraded: true, Since: n.now(), Err: notAsked}
	n.suspect = cfg.Prefix + "probe"
	n.wake, n.ended = make(chan struct{}, 1), make(chan struct{})
	n.stopped, n.stop = context.WithCancel(context.Background())
	n.again = time.NewTimer(0)
	n.rest = lineRestMin / 2
}

func (n *line) run() {
	defer close(n.ended)
	defer n.again.Stop()
	for {
		select {
		case <-n.stopped.Done():
			n.serve() // nobody shall wait in vain
			return
		case <-n.wake:
			n.serve()
		case <-n.again.C:
			n.attempt()
		}
	}
}

// end stops the goroutine, and then calls last if Redis was there.
func (n *line) end(last func(context.Context)) {
	n.once.Do(func() {
		wasDown := n.down.Swap(true)
		n.stop()
		<-n.ended
		n.down.Store(true) // an attempt may just have succeeded
		if wasDown {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeMax)
		defer cancel()
		last(ctx)
	})
}

func (n *line) status() LimiterStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

// join puts b into the line, if it does not stand there. The caller holds b's lock.
func (n *line) join(b *sharedBucket) {
	if b.asking {
		return
	}
	b.asking = true
	n.mu.Lock()
	n.queue = append(n.queue, b)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// take moves the head of the line into batch.
func (n *line) take() []*sharedBucket {
	n.mu.Lock()
	defer n.mu.Unlock()
	most := min(len(n.queue), lineBatchMax)
	n.batch = append(n.batch[:0], n.queue[:most]...)
	rest := copy(n.queue, n.queue[most:])
	clear(n.queue[rest:])
	n.queue = n.queue[:rest]
	return n.batch
}

// serve works until nobody stands in line.
func (n *line) serve() {
	for {
		batch := n.take()
		if len(batch) == 0 {
			return
		}
		if n.down.Load() {
			for _, b := range batch {
				b.abandon(n.free)
			}
			continue
		}
		ctx, cancel := context.WithTimeout(n.stopped, n.patience)
		err := n.exchange(ctx, batch)
		cancel()
		if err != nil {
			n.fail(err, lineRestMin)
		}
	}
}

// exchange asks for a batch of buckets and hands out the answers.
func (n *line) exchange(ctx context.Context, batch []*sharedBucket) error {
	n.asks = n.asks[:0]
	for _, b := range batch {
		n.asks = append(n.asks, b.begin())
	}
	cmds := n.send(ctx, func(i int) string { return batch[i].key }, n.asks)
	var failed error
	for i, b := range batch {
		r, err := replyOf(cmds[i])
		if err != nil {
			if failed == nil {
				failed, n.suspect = err, b.key
			}
			b.abandon(n.free)
			continue
		}
		if b.settle(&n.asks[i], r, n.free) {
			n.mu.Lock()
			n.queue = append(n.queue, b)
			n.mu.Unlock()
		}
	}
	return failed
}

// attempt asks for the bucket that failed, twice: the first time may include
// the making of a connection, the second must be as fast as requests need it.
func (n *line) attempt() {
	touch := []ask{{every: int64(time.Second), perMin: 60, back: 1, epoch: -1}} // changes nothing, but writes
	for _, patience := range [...]time.Duration{max(probeTimeMax, n.patience), n.patience} {
		ctx, cancel := context.WithTimeout(n.stopped, patience)
		_, err := replyOf(n.send(ctx, func(int) string { return n.suspect }, touch)[0])
		cancel()
		if err != nil {
			n.fail(err, min(2*n.rest, lineRestMax))
			return
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped.Err() != nil {
		return
	}
	n.state.Degraded, n.state.Since = false, time.Time{}
	if n.state.Err == notAsked {
		n.state.Err = ""
	}
	n.down.Store(false)
}

// fail takes the line down and plans the next attempt.
func (n *line) fail(err error, rest time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.stopped.Err() != nil {
		return // the error is ours
	}
	n.down.Store(true)
	n.state.Err = n.plain(err)
	if !n.state.Degraded {
		n.state.Degraded, n.state.Since = true, n.now()
	}
	n.rest = rest
	n.again.Reset(rest)
}

// plain renders an error for people. A server repeats commands that it does
// not know with their arguments: these are left out.
func (n *line) plain(err error) string {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Sprintf("no answer within %s", n.patience)
	}
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	return strings.ToValidUTF8(text[:min(len(text), errTextMax)], "")
}

// giveBack returns the leases of buckets, at the limiter's end.
func (n *line) giveBack(ctx context.Context, list []*sharedBucket) {
	var leased []*sharedBucket
	for _, b := range list {
		b.mu.Lock()
		b.void()
		b.used = 0
		if b.stale+b.debt > 0 {
			leased = append(leased, b)
		}
		b.mu.Unlock()
	}
	for len(leased) > 0 {
		batch := leased[:min(len(leased), lineBatchMax)]
		leased = leased[len(batch):]
		if n.exchange(ctx, batch) != nil {
			return // the leases run out by themselves
		}
	}
}
