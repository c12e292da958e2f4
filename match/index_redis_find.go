package match

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Find implements Index, in one round trip, or two when the tables are not
// those of the last time.
func (x *RedisIndex) Find(ctx context.Context, wants []Want, out [][]int64) (through int64, err error) {
	layout := x.layout.Load()
	for range 2 {
		a, err := x.ask(ctx, layout, wants)
		if err != nil {
			return 0, err
		}
		if a.state == nil {
			x.layout.Store(nil)
			return 0, nil
		}
		if !a.state.same(layout) {
			layout = &a.state.redisLayout
			x.layout.Store(layout)
			continue
		}
		if !a.unbroken() {
			return 0, nil
		}
		x.answer(a, wants, out)
		if x.trusted() && a.state.complete(a.horizon) {
			through = a.state.through
		}
		return through, nil
	}
	return 0, nil // the tables changed twice within this call: the next one sees them
}

// asked is the replies of one round trip.
type asked struct {
	layout  *redisLayout // by which finds were asked
	tables  []redisTable // of it, that were read
	horizon int64        // the oldest slice that was kept then; time goes on meanwhile
	state   *redisState  // nil when there is none
	finds   []*redis.StringSliceCmd
	again   *redis.StringCmd // gen, after all finds
}

// unbroken says that the index was the same at the end as at the beginning.
func (a *asked) unbroken() bool { return a.again != nil && a.again.Val() == a.layout.gen }

// ask reads the state, then every name in every table, then gen once more.
func (x *RedisIndex) ask(ctx context.Context, layout *redisLayout, wants []Want) (*asked, error) {
	a := &asked{layout: layout, horizon: x.horizon(0)}
	pipe := x.client.Pipeline()
	state := pipe.HMGet(ctx, x.state, stateFields...)
	check := x.check(ctx, pipe)
	if layout != nil {
		a.tables = layout.live(x.now().Add(-x.keep - expirySlack).Unix())
		a.finds = x.findNames(ctx, pipe, a, wants)
		a.again = pipe.HGet(ctx, x.state, "gen")
	}
	commands, err := pipe.Exec(ctx)
	if err != nil {
		for _, c := range commands {
			if err := c.Err(); err != nil && !errors.Is(err, redis.Nil) && (check == nil || c != redis.Cmder(check) || !refused(err)) {
				return nil, fmt.Errorf("ask the call index on Redis: %w", err)
			}
		}
		if !refused(err) {
			return nil, fmt.Errorf("ask the call index on Redis: %w", err)
		}
	}
	a.state, err = parseState(state.Val())
	if err == nil && check != nil {
		err = x.checked(ctx, check)
	}
	return a, err
}

// refused tells the server's answer to a command from trouble with the server.
func refused(err error) bool {
	var of redis.Error
	return errors.As(err, &of)
}

func (x *RedisIndex) findNames(ctx context.Context, pipe redis.Pipeliner, a *asked, wants []Want) []*redis.StringSliceCmd {
	finds := make([]*redis.StringSliceCmd, 0, len(wants)*len(a.tables))
	var room [128]byte
	for i := range wants {
		w := &wants[i]
		if w.tooOld(a.horizon) {
			continue
		}
		for _, key := range w.Keys[:w.N] {
			h := x.spread(key, a.layout.seed)
			for j := range a.tables {
				// One string holds the key and both ends of the range.
				b := x.appendBucket(room[:0], &a.tables[j], a.tables[j].bucket(h))
				n := len(b)
				b = appendName(append(b, '['), h)
				b = appendName(append(b, '['), h)
				s := string(append(b, "\xff\xff\xff\xff\xff\xff\xff\xff"...))
				c := redis.NewStringSliceCmd(ctx, "zrangebylex", s[:n], s[n:n+1+nameSize], s[n+1+nameSize:], "limit", 0, membersMost)
				_ = pipe.Process(ctx, c) // a pipeline only takes it in
				finds = append(finds, c)
			}
		}
	}
	return finds
}

// tooOld says that the index no longer keeps all that w asks for.
func (w *Want) tooOld(horizon int64) bool { return w.Since != 0 && w.Since < horizon*sliceMicros }

// answer appends what was found, in the order in which it was asked.
func (x *RedisIndex) answer(a *asked, wants []Want, out [][]int64) {
	tables := len(a.tables)
	finds := a.finds
	var found []packed
	for i := range wants {
		w := &wants[i]
		if w.tooOld(a.horizon) {
			continue
		}
		mine := finds[:w.N*tables]
		finds = finds[w.N*tables:]
		for k := range w.N {
			whole := true
			found = found[:0]
			for _, c := range mine[k*tables : (k+1)*tables] {
				members := c.Val()
				whole = whole && len(members) < membersMost
				found = appendMembers(found, members, a.horizon)
			}
			if !whole {
				x.overflows(a.layout, x.spread(w.Keys[k], a.layout.seed))
			}
			if len(found) == 0 {
				continue
			}
			out[i] = appendNewest(out[i], found, whole)
			break
		}
	}
}

// appendMembers appends the calls of members that are still kept.
func appendMembers(found []packed, members []string, horizon int64) []packed {
	for _, m := range members {
		no, slice, ok := splitMember(m)
		if !ok || slice < horizon {
			continue
		}
		found = append(found, packName(no, slice))
	}
	return found
}

// appendNewest appends the numbers of the newest calls. If there were more
// members than were read, and not enough calls among them, it gives none: a
// part must not pass for the whole.
func appendNewest(out []int64, found []packed, whole bool) []int64 {
	slices.SortFunc(found, func(a, b packed) int {
		if a == b {
			return 0
		}
		if b.older(a) {
			return -1
		}
		return 1
	})
	before := len(out)
	for _, v := range found {
		if no := v.no(); !slices.Contains(out[before:], no) {
			if out = append(out, no); len(out)-before == CandidatesMax {
				return out
			}
		}
	}
	if !whole {
		return out[:before]
	}
	return out
}

// overflows remembers a bucket that is due for sweeping.
func (x *RedisIndex) overflows(layout *redisLayout, h uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := layout.tables[0].bucket(h); len(x.overfull) < overfullMost && !slices.Contains(x.overfull, b) {
		x.overfull = append(x.overfull, b)
	}
}
