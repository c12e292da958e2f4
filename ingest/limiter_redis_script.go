package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// limiterScript is all that a RedisLimiter does on Redis. A bucket is one key:
//
//	PREFIX t SOURCE            one source's token      →  at | ahead | epoch
//	PREFIX p ADDRESS SOURCE    one address at it          three big-endian doubles
//	         16 bytes
//
// At the time at the bucket needed ahead nanoseconds to be full again. Times
// are nanoseconds modulo 4e6 seconds, which doubles hold exactly; differences
// are taken with that in mind. A bucket that was found full begins a new
// epoch, named by the time: what was leased in an earlier one has come back by
// itself and is not given back again. A key outlives its bucket by a minute.
//
//	KEYS[1]  the bucket
//	ARGV     every     nanoseconds from one token to the next
//	         quota     tokens that it holds
//	         want      tokens to take if they are there, or as many as are
//	         must      tokens to take whether they are there or not
//	         back      tokens to give back …
//	         epoch     … that were leased in this epoch
//	         now       "" is the server's clock
//	answer   tokens of want that were taken, ahead, epoch
//
// When the clock was set back, time stands still, but for one token: somebody
// was told to wait for it by the old clock.
var limiterScript = redis.NewScript(`
local every, want, must, back = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local quota = every * tonumber(ARGV[2])
local now = tonumber(ARGV[7])
if not now then
  local t = redis.call('TIME')
  now = (t[1] % 4000000) * 1e9 + t[2] * 1e3
end
local ahead, epoch, passed = 0, now, 0
local kept = redis.call('GET', KEYS[1])
if kept and #kept == 24 then
  local at
  at, ahead, epoch = struct.unpack('>ddd', kept)
  passed = now - at
  if passed < -2e15 then passed = passed + 4e15 elseif passed > 2e15 then passed = passed - 4e15 end
  if passed < 0 then ahead = math.min(ahead, quota - every) end
  ahead = ahead - math.max(0, passed)
  if ahead <= 0 then ahead, epoch = 0, now end
end
if epoch == tonumber(ARGV[6]) then ahead = math.max(0, ahead - back * every) end
ahead = ahead + must * every
local n = math.max(0, math.min(want, math.floor((quota - ahead) / every)))
ahead = ahead + n * every
if n + must + back > 0 or passed < 0 then
  redis.call('SET', KEYS[1], struct.pack('>ddd', now, ahead, epoch), 'PX', math.ceil(ahead / 1e6) + 60000)
end
return {n, ahead, epoch}
`)

// ask is a question to limiterScript, reply its answer.
type ask struct {
	every, perMin, want, must, back, epoch, at int64
}

type reply struct{ granted, ahead, epoch int64 }

// scriptTime is a time as the script counts it.
func scriptTime(at int64) int64 { return at % (4_000_000 * int64(time.Second)) }

// send runs the script for each ask, in one round trip, or two when a server
// does not know the script.
func (n *line) send(ctx context.Context, key func(int) string, asks []ask) []*redis.Cmd {
	cmds := make([]*redis.Cmd, len(asks))
	argsOf := func(i int) []any {
		a := &asks[i]
		var now any = ""
		if n.callers {
			now = scriptTime(a.at)
		}
		return []any{a.every, a.perMin, a.want, a.must, a.back, a.epoch, now}
	}
	pipe := n.client.Pipeline()
	for i := range asks {
		cmds[i] = limiterScript.EvalSha(ctx, pipe, []string{key(i)}, argsOf(i)...)
	}
	if run(ctx, pipe, cmds) == nil {
		return cmds
	}
	pipe = n.client.Pipeline()
	for i, c := range cmds {
		if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") {
			cmds[i] = limiterScript.Eval(ctx, pipe, []string{key(i)}, argsOf(i)...)
		}
	}
	if pipe.Len() > 0 {
		_ = run(ctx, pipe, cmds) // each command has its own
	}
	return cmds
}

// run sends what is in pipe and sees to it that every command of cmds has an
// answer or an error: one that was not sent, for want of a connection, has
// neither.
func run(ctx context.Context, pipe redis.Pipeliner, cmds []*redis.Cmd) error {
	_, err := pipe.Exec(ctx)
	if err != nil {
		for _, c := range cmds {
			if c.Err() == nil && c.Val() == nil {
				c.SetErr(err)
			}
		}
	}
	return err
}

func replyOf(c *redis.Cmd) (reply, error) {
	v, err := c.Int64Slice()
	if err != nil {
		return reply{}, fmt.Errorf("ask Redis for a rate limit: %w", err)
	}
	if len(v) != 3 {
		return reply{}, fmt.Errorf("ask Redis for a rate limit: %d numbers came back, want 3", len(v))
	}
	return reply{v[0], v[1], v[2]}, nil
}
