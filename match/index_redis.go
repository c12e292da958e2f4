package match

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/event"
)

// RedisIndexConfig says where a RedisIndex lives.
//
// Of Client's options this package needs ContextTimeoutEnabled, so that a
// deadline ends a read, and MaxRetries -1, since a batch is not worth a second
// wait: the Matcher asks again by itself. Dials should not be retried either
// (DialerRetries 1) and give up within a second. Four connections are enough:
// two lanes, the committer, and whoever rebuilds or closes gaps.
type RedisIndexConfig struct {
	Client redis.UniversalClient // single, Sentinel or Cluster
	Prefix string                // of every key, with the store's id in it: two stores may share a server
	Keep   time.Duration         // for how long after its start a call is found; default 72 h; indexes with another Keep are others
	Now    func() time.Time      // default time.Now; nodes' clocks should agree within minutes

	// Pepper, when not empty, is 32 bytes that nodes share and Redis never sees:
	// names are then digested with it, so that who has the server's memory
	// cannot try out caller numbers. With another one an index is another index.
	Pepper []byte
}

// RedisIndex is the Index that nodes share. A call with four names takes 120
// to 300 bytes of the server's memory, by how full its table is.
//
// # Format
//
// A name is a member of a small sorted set, its bucket. All scores are zero,
// so a bucket is in order of bytes, one range of it holds the calls of one
// name, newest first, and a put is one ZADD that neither reads nor races:
//
//	PREFIX n TABLE BUCKET  →  {member…}          up to 128 members: one listpack
//	         4     3 bytes
//
//	member     0        6           9              14
//	           | name   | ^slice    | ^call number |     big endian; ^ is all bits turned
//	            48 bits   ten minutes of the start
//
// The name is spread with a seed that is drawn when the index begins, so that
// no sender can choose names that meet in one bucket. Its upper bits choose
// the bucket, its lower 48 stand in the member.
//
// A table has a fixed number of buckets and takes names in until it is too
// full or a multiple of Keep old; then the next one, of a size that fits what
// was counted, takes over, and the old one is read for as long as its calls
// are kept. A look-up reads all tables: one as a rule, two for Keep after a
// change. A bucket carries one expiry, the end of its table's life. Within that
// life every Put sweeps some buckets, in turn, of calls that are no longer
// kept: the more is put, the more is swept.
//
// One hash holds the state; its key names Keep, in minutes:
//
//	PREFIX i KEEP  →  gen      seed of names, 16 hex digits; another one is another index
//	                  tables   newest first: ID:BITS:OPENED:ENDS …   8 hex digits, log₂ buckets, seconds
//	                  through  changes up to this number are in
//	                  ranges   and FROM-THROUGH … beyond it
//	                  whole    from this start on (microseconds) calls are complete; absent while they are not
//	                  rebuild, lease, built   who rebuilds, until when it is believed, and how many parts it has put
//	                  put:TOKEN               how many parts of a large Put are in, until it ends
//
// # Completeness
//
// The state is written after the names that it vouches for, in one MULTI. What
// a replica has is a beginning of what its primary did, so when one is
// promoted that lost seconds, state and names go back to the same moment.
// After a flush there is no state, and with it no claim; a Put that began
// before the flush cannot record its range, because gen is another. And since
// gen stands at the end of a look-up as at its beginning, no flush fell
// between the claim and the names.
//
// Two things break that, and then Find claims nothing (0, so that each look-up
// is confirmed in the store): a Cluster, whose shards may lose different
// seconds and have no MULTI over them all, and a server that may evict keys
// one by one (a maxmemory-policy other than noeviction).
//
// A call whose start changes is found until the latest start that it was ever
// put with leaves Keep: a Put needs no order among nodes then.
type RedisIndex struct {
	client  redis.UniversalClient
	cluster bool
	prefix  string
	state   string       // key
	pepper  cipher.Block // nil: names as they are
	keep    time.Duration
	now     func() time.Time

	layout    atomic.Pointer[redisLayout] // as the state said last; nil is unknown
	distrust  atomic.Pointer[string]      // why the server cannot be trusted to keep keys; nil when it can
	checkedAt atomic.Int64                // when that was looked at, microseconds

	mu       sync.Mutex
	marks    expiryMarks
	sweeps   sweeper
	overfull []uint32 // buckets of the newest table that a look-up found with too many calls of a name
}

var _ Index = (*RedisIndex)(nil)

const (
	memberBytes  = 14
	nameSize     = 6             // of a name in a member
	membersMost  = 128           // asked for per name and table; sweeping keeps it to CandidatesMax
	tableLives   = 10            // a table takes names in for so many times Keep
	expirySlack  = 6 * time.Hour // buckets outlive their last call by this much: clocks differ
	checkEvery   = 10 * time.Second
	overfullMost = 64
)

// NewRedisIndex makes an index on an open client; it asks nothing yet.
func NewRedisIndex(c RedisIndexConfig) *RedisIndex {
	if c.Keep <= 0 {
		c.Keep = 72 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	_, cluster := c.Client.(*redis.ClusterClient)
	x := &RedisIndex{
		client: c.Client, cluster: cluster, prefix: c.Prefix, keep: c.Keep, now: c.Now,
		state: fmt.Sprintf("%si%d", c.Prefix, int64((c.Keep+time.Minute-1)/time.Minute)),
	}
	if len(c.Pepper) > 0 {
		block, err := aes.NewCipher(c.Pepper)
		if err != nil || len(c.Pepper) != 32 {
			panic(fmt.Sprintf("bug: a pepper of %d bytes: want 32", len(c.Pepper)))
		}
		x.pepper = block
		var mark [aes.BlockSize]byte
		block.Encrypt(mark[:], mark[:])
		x.state += fmt.Sprintf(":%x", mark[:4])
	}
	return x
}

// spread gives the name as it stands in the server.
func (x *RedisIndex) spread(key event.CallKey, seed uint64) uint64 {
	if x.pepper != nil {
		var b [aes.BlockSize]byte
		binary.BigEndian.PutUint64(b[:], uint64(key))
		x.pepper.Encrypt(b[:], b[:])
		key = event.CallKey(binary.BigEndian.Uint64(b[:]))
	}
	return spread(key, seed)
}

// horizon is the oldest slice that is kept, and slack before that.
func (x *RedisIndex) horizon(slack time.Duration) int64 {
	return x.now().Add(-x.keep-slack).UnixMicro() / sliceMicros
}

// trusted says that the server keeps what it is given, as one.
func (x *RedisIndex) trusted() bool { return !x.cluster && x.distrust.Load() == nil }

// check asks, now and then, whether the server may evict keys; nil when it is
// not time for that.
func (x *RedisIndex) check(ctx context.Context, pipe redis.Pipeliner) *redis.StringCmd {
	now := x.now().UnixMicro()
	if last := x.checkedAt.Load(); x.cluster || (last != 0 && now-last < checkEvery.Microseconds()) || !x.checkedAt.CompareAndSwap(last, now) {
		return nil
	}
	return pipe.Info(ctx, "memory")
}

// checked looks at what the server said. A server that evicts has most likely
// done so: the claim is taken back, and what is known remains as hints.
func (x *RedisIndex) checked(ctx context.Context, info *redis.StringCmd) error {
	why := ""
	policy, limit := infoField(info.Val(), "maxmemory_policy"), infoField(info.Val(), "maxmemory")
	switch {
	case info.Err() != nil:
		why = "the server does not answer INFO memory, so that its maxmemory-policy is unknown; allow INFO to its user"
	case limit != "0" && policy != "noeviction":
		why = fmt.Sprintf("the server may evict keys, its maxmemory-policy is %s; set noeviction", policy)
	default:
		x.distrust.Store(nil)
		return nil
	}
	x.distrust.Store(&why)
	if info.Err() != nil {
		return nil
	}
	if err := x.client.HDel(ctx, x.state, "whole").Err(); err != nil {
		return fmt.Errorf("take back the completeness of the call index on Redis: %w", err)
	}
	return nil
}

func infoField(info, name string) string {
	_, rest, _ := strings.Cut("\n"+info, "\n"+name+":")
	value, _, _ := strings.Cut(rest, "\r")
	return value
}
