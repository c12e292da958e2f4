package match

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"time"
	"unicode"
)

// CacheStatus is how the caches behind a Matcher do.
type CacheStatus struct {
	Degraded bool      // they are in trouble and batches go without hints
	Since    time.Time // when that began
	Err      string    // the latest trouble, also when it is over; at most 200 bytes, without secrets
	Failures uint64    // batches that asked in vain, since the start
	Skipped  uint64    // batches that did not ask because of earlier trouble, since the start
}

const (
	restMin    = 500 * time.Millisecond // from the first failure to the next attempt
	restMax    = 5 * time.Second        // to which that doubles
	errTextMax = 200
)

// circuit keeps a stream from waiting for a cache that is in trouble:
//
//	closed ──failure──► open ──after a rest──► half open ──success──► closed
//	                      ▲                        │
//	                      └──failure: rest twice───┘
//
// Half open, one batch is let through and the others go on without.
type circuit struct {
	mu      sync.Mutex
	status  CacheStatus
	rest    time.Duration
	again   time.Time // when the next attempt may be made
	probing bool
}

// attempt says how a batch may ask.
type attempt uint8

const (
	skipped attempt = iota // it may not
	regular
	probe
)

func (c *circuit) begin(now time.Time) attempt {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.status.Degraded:
		return regular
	case c.probing || now.Before(c.again):
		c.status.Skipped++
		return skipped
	}
	c.probing = true
	return probe
}

// end takes in how an attempt went. After an error that is the caller's own
// nothing is known of the cache.
func (c *circuit) end(a attempt, now time.Time, err error, own bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a == probe {
		c.probing = false
	}
	switch {
	case own:
	case err == nil:
		if a == probe {
			c.status.Degraded, c.status.Since = false, time.Time{}
		}
	default:
		c.status.Failures++
		c.status.Err = plain(err)
		switch {
		case !c.status.Degraded:
			c.status.Degraded, c.status.Since = true, now
			c.rest = restMin
			c.again = now.Add(c.rest)
		case a == probe:
			c.rest = min(2*c.rest, restMax)
			c.again = now.Add(c.rest)
		}
	}
}

func (c *circuit) now() CacheStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// plain renders an error for people, on one line and not too long. A server
// repeats unknown commands with their arguments: these are left out.
func plain(err error) string {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return "no answer in time"
	}
	text, _, _ := strings.Cut(err.Error(), ", with args beginning with")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if len(text) > errTextMax {
		text = strings.ToValidUTF8(text[:errTextMax], "")
	}
	return text
}
