package match

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/event"
)

const (
	putAttempts = 4    // of writing names when the tables change meanwhile
	putNamesMax = 8192 // in one transaction, which nobody else can interrupt; some ten milliseconds
)

var (
	errMoved = errors.New("the tables of the call index on Redis change faster than they can be written; is it flushed all the time?")
	errParts = errors.New("the server was flushed or replaced meanwhile; try again")
)

// Put implements Index: one round trip, a second one when enough has been put
// for some sweeping.
//
// A batch of the stream is one transaction. More calls than that, as they come
// when a gap is closed, are put in parts; each part is counted in the state
// and the last one records the range only if all of them are there.
func (x *RedisIndex) Put(ctx context.Context, calls []event.Call, from, through int64) error {
	if len(calls) == 0 && through <= from {
		return nil
	}
	names := x.appendNames(nil, calls)
	if err := x.putParts(ctx, names, from, through); err != nil {
		return fmt.Errorf("put %d calls into the call index on Redis: %w", len(calls), err)
	}
	return nil
}

func (x *RedisIndex) putParts(ctx context.Context, names []callName, from, through int64) error {
	token, parts := rand.Text(), 0
	for ; len(names) > putNamesMax; parts++ {
		if _, err := x.put(ctx, names[:putNamesMax], redisPart, token); err != nil {
			return err
		}
		names = names[putNamesMax:]
		x.sweep(ctx, putNamesMax)
	}
	reply, err := x.put(ctx, names, redisRecord, token, parts, from, through)
	if err != nil {
		return err
	}
	if reply < 0 {
		return errParts
	}
	x.sweep(ctx, len(names))
	return nil
}

// put writes names together with what a script notes of them in the state, and
// gives the script's reply. Scripts get gen and table first and say 0 when
// these are no longer the ones in force; then all is written again.
func (x *RedisIndex) put(ctx context.Context, names []callName, note *redis.Script, args ...any) (reply int64, err error) {
	layout := x.layout.Load()
	for range putAttempts {
		if layout == nil {
			if layout, err = x.open(ctx, nil, 0); err != nil {
				return 0, err
			}
		}
		if layout.tables[0].ends <= x.now().Unix() {
			if layout, err = x.open(ctx, layout, 0); err != nil {
				return 0, err
			}
		}
		reply, err = x.write(ctx, layout, names, note, args)
		switch {
		case err != nil && redis.HasErrorPrefix(err, "NOSCRIPT"):
			if err := loadScripts(ctx, x.client); err != nil {
				return 0, err
			}
		case err != nil:
			return 0, err
		case reply != 0:
			return reply, nil
		default:
			layout = nil
		}
	}
	return 0, errMoved
}

// write sends names and note as one transaction. A Cluster has none over
// several keys; there the note follows when all names have been written.
func (x *RedisIndex) write(ctx context.Context, layout *redisLayout, names []callName, note *redis.Script, args []any) (int64, error) {
	pipe := x.client.Pipeline()
	if !x.cluster {
		pipe = x.client.TxPipeline()
	}
	x.addNames(ctx, pipe, layout, names)
	all := append([]any{layout.gen, layout.tables[0].id}, args...)
	if x.cluster {
		if pipe.Len() > 0 {
			if err := execute(ctx, pipe); err != nil {
				return 0, err
			}
		}
		return note.EvalSha(ctx, x.client, []string{x.state}, all...).Int64()
	}
	reply := note.EvalSha(ctx, pipe, []string{x.state}, all...)
	if err := execute(ctx, pipe); err != nil {
		return 0, err
	}
	return reply.Int64()
}

// execute runs a pipeline and gives the first error of its commands, which
// says more than that of the transaction.
func execute(ctx context.Context, pipe redis.Pipeliner) error {
	commands, err := pipe.Exec(ctx)
	if err == nil {
		return nil
	}
	for _, c := range commands {
		if of := c.Err(); of != nil && !strings.HasPrefix(of.Error(), "EXECABORT") {
			return of
		}
	}
	return err
}

func (x *RedisIndex) addNames(ctx context.Context, pipe redis.Pipeliner, layout *redisLayout, names []callName) {
	table := &layout.tables[0]
	ttl := x.life(table)
	var room [128]byte
	x.mu.Lock()
	defer x.mu.Unlock()
	x.marks.use(table)
	for _, n := range names {
		h := x.spread(n.key, layout.seed)
		bucket := table.bucket(h)
		b := x.appendBucket(room[:0], table, bucket)
		k := len(b)
		s := string(appendMember(b, h, n.v))
		_ = pipe.Process(ctx, redis.NewIntCmd(ctx, "zadd", s[:k], 0, s[k:])) // a pipeline only takes it in
		if x.marks.first(bucket) {
			_ = pipe.Process(ctx, redis.NewBoolCmd(ctx, "expire", s[:k], ttl))
		}
	}
}

// life is for how many seconds from now the buckets of a table are kept.
func (x *RedisIndex) life(t *redisTable) int64 {
	return max(1, t.ends+int64((x.keep+expirySlack)/time.Second)-x.now().Unix())
}

// expiryMarks remembers which buckets of the newest table this process has
// given their expiry. It is the same moment whoever sets it and however often;
// a bucket that loses it gets it back when it is swept.
type expiryMarks struct {
	table string
	bits  []uint64
}

func (m *expiryMarks) use(t *redisTable) {
	if m.table != t.id {
		m.table, m.bits = t.id, make([]uint64, 1<<t.bits/64)
	}
}

func (m *expiryMarks) first(bucket uint32) bool {
	word, bit := &m.bits[bucket/64], uint64(1)<<(bucket%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// open makes sure that there is an index, and that its newest table is another
// than that of old; it gives the layout that is then in force. bits 0 chooses
// the size by what was counted last.
func (x *RedisIndex) open(ctx context.Context, old *redisLayout, bits int) (*redisLayout, error) {
	now, current := x.now().Unix(), ""
	if old != nil {
		current = old.tables[0].id
	}
	if bits == 0 {
		bits = x.size(old)
	}
	var random [12]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("draw a seed: %w", err)
	}
	lives := int64(x.keep / time.Second)
	table := fmt.Sprintf("%s:%d:%d:%d", hex.EncodeToString(random[8:]), bits, now, now+tableLives*lives)
	reply, err := redisOpen.Run(ctx, x.client, []string{x.state},
		hex.EncodeToString(random[:8]), current, table, now-lives-int64(expirySlack/time.Second), x.stateLife(), tablesMost).Slice()
	if err != nil {
		return nil, fmt.Errorf("open a table of the call index on Redis: %w", err)
	}
	state, err := parseState(reply)
	if err != nil {
		return nil, err
	}
	if state == nil {
		return nil, fmt.Errorf("open a table of the call index on Redis: the reply %.80q holds none", reply)
	}
	x.layout.Store(&state.redisLayout)
	return &state.redisLayout, nil
}

// stateLife is for how many seconds the state outlives the last Put.
func (x *RedisIndex) stateLife() int64 { return int64((tableLives + 1) * x.keep / time.Second) }

// size is how large the next table should be.
func (x *RedisIndex) size(old *redisLayout) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.sweeps.counted == 0 {
		if old == nil {
			return tableBitsMin
		}
		return old.tables[0].bits
	}
	return bitsFor(x.sweeps.names)
}
