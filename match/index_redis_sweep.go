package match

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	namesPerSweep = 16  // put for each bucket that is swept; so half of that many dead names lie in a bucket
	sweepsMin     = 32  // fewer wait for the next Put
	sweepsMost    = 512 // at once
	sweepsCounted = 512 // buckets looked at before the table's size is judged
)

// sweeper walks the buckets of the newest table, from anywhere round and
// round, as names are put. What it sees on the way says how full the table is.
type sweeper struct {
	table  string
	next   uint32
	due    int // names put since the last sweep
	looked int // buckets looked at since the size was judged, and names in them
	seen   int64

	counted int     // how often the size was judged
	names   float64 // in the whole table, when it was judged last
}

// take gives the buckets that are due, those that are too full first.
func (s *sweeper) take(t *redisTable, put int, overfull []uint32) (buckets []uint32) {
	if s.table != t.id {
		*s = sweeper{table: t.id, next: rand.Uint32(), counted: s.counted, names: s.names}
	}
	s.due += put
	n := min(s.due/namesPerSweep, sweepsMost)
	if n < sweepsMin && len(overfull) == 0 {
		return nil
	}
	s.due = max(0, min(s.due-n*namesPerSweep, sweepsMost*namesPerSweep))
	buckets = append(make([]uint32, 0, n+len(overfull)), overfull...)
	for range n {
		buckets = append(buckets, s.next&(1<<t.bits-1))
		s.next++
	}
	return buckets
}

// count takes in what was left in the buckets that were walked, and says
// whether the table is too full.
func (s *sweeper) count(t *redisTable, looked int, seen int64) (full bool) {
	if s.table != t.id {
		return false
	}
	s.looked, s.seen = s.looked+looked, s.seen+seen
	if s.looked < sweepsCounted {
		return false
	}
	each := float64(s.seen) / float64(s.looked)
	s.counted++
	s.names = each * float64(int(1)<<t.bits)
	s.looked, s.seen = 0, 0
	return each > bucketNamesMost
}

// sweep drops what is no longer kept from the buckets that are due after a put
// of so many names, and opens a larger table when this one is too full.
//
// The names are in when it is called. What fails here is not lost on anybody:
// the next command to the server fails as well, and buckets come round again.
func (x *RedisIndex) sweep(ctx context.Context, put int) {
	layout := x.layout.Load()
	if layout == nil {
		return
	}
	table := &layout.tables[0]
	x.mu.Lock()
	walked := x.sweeps.take(table, put, x.overfull)
	over := len(x.overfull)
	x.overfull = x.overfull[:0]
	x.mu.Unlock()
	if len(walked) == 0 {
		return
	}
	pipe := x.client.Pipeline()
	replies := make([]*redis.Cmd, len(walked))
	dead, keep, life := x.horizon(time.Hour), int64((x.keep+time.Hour)/time.Second), x.life(table)
	for i, bucket := range walked {
		key := string(x.appendBucket(nil, table, bucket))
		replies[i] = redisSweep.EvalSha(ctx, pipe, []string{key}, dead, keep, life)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		if redis.HasErrorPrefix(err, "NOSCRIPT") {
			_ = loadScripts(ctx, x.client)
		}
		return
	}
	var seen int64
	for _, r := range replies[over:] { // the overfull ones are no sample
		n, _ := r.Int64()
		seen += n
	}
	x.mu.Lock()
	full := x.sweeps.count(table, len(replies)-over, seen)
	x.mu.Unlock()
	if full && table.bits < tableBitsMax && len(layout.tables) < tablesMost {
		_, _ = x.open(ctx, layout, 0)
	}
}
