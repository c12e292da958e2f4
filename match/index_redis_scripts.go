package match

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Every script works on one key. A change number is below 2^53, which is as
// far as Lua counts.

// redisOpen makes the state if there is none, or opens a table if the newest
// one is still CURRENT, and forgets tables that have been replaced before GONE.
// If it has to forget a table that still holds calls, the index is no longer
// whole. What Puts left behind that never ended goes as well.
//
//	ARGV  gen  current  table  gone (seconds)  life (seconds)  tables at most
//	reply gen, tables, through, whole
var redisOpen = redis.NewScript(`
local k = KEYS[1]
local tables = redis.call('HGET', k, 'tables')
if not tables then
  redis.call('HSET', k, 'gen', ARGV[1], 'tables', ARGV[3], 'through', '0')
elseif string.match(tables, '^%x+') == ARGV[2] then
  local list, replaced = { ARGV[3] }, nil
  for t, opened in string.gmatch(tables, '(%x+:%d+:(%d+):%d+)') do
    if not replaced or replaced > tonumber(ARGV[4]) then
      if #list < tonumber(ARGV[6]) then
        list[#list + 1] = t
      else
        redis.call('HDEL', k, 'whole')
      end
    end
    replaced = tonumber(opened)
  end
  redis.call('HSET', k, 'tables', table.concat(list, ' '))
  for _, field in ipairs(redis.call('HKEYS', k)) do
    if string.sub(field, 1, 4) == 'put:' then redis.call('HDEL', k, field) end
  end
end
redis.call('EXPIRE', k, ARGV[5])
return redis.call('HMGET', k, 'gen', 'tables', 'through', 'whole')`)

// luaJoin joins one more span of changes to those that are in, see ranges.
const luaJoin = `
local function join(k, from, to)
  local s = redis.call('HMGET', k, 'through', 'ranges')
  local through = tonumber(s[1] or '0')
  if to <= from or to <= through then return end
  local list = { { from, to } }
  for f, t in string.gmatch(s[2] or '', '(%d+)-(%d+)') do
    list[#list + 1] = { tonumber(f), tonumber(t) }
  end
  table.sort(list, function(a, b) return a[1] < b[1] end)
  local beyond = {}
  for _, r in ipairs(list) do
    local last = beyond[#beyond]
    if r[1] <= through then
      through = math.max(through, r[2])
    elseif last and r[1] <= last[2] then
      last[2] = math.max(last[2], r[2])
    elseif #beyond < 64 then
      beyond[#beyond + 1] = r
    end
  end
  for i, r in ipairs(beyond) do
    beyond[i] = string.format('%.0f-%.0f', r[1], r[2])
  end
  redis.call('HSET', k, 'through', string.format('%.0f', through), 'ranges', table.concat(beyond, ' '))
end
`

// luaInForce answers 0 unless gen and the newest table are those by which the
// names were written.
const luaInForce = `
local k = KEYS[1]
local s = redis.call('HMGET', k, 'gen', 'tables', 'rebuild', 'built')
if s[1] ~= ARGV[1] or string.match(s[2] or '', '^%x+') ~= ARGV[2] then return 0 end
`

// redisRecord notes that the changes of a span are in; -1: not all parts of
// its Put that were put before are.
//
//	ARGV  gen  table  token  parts put before  from  through
var redisRecord = redis.NewScript(luaJoin + luaInForce + `
if ARGV[4] ~= '0' then
  local parts = redis.call('HGET', k, 'put:' .. ARGV[3])
  redis.call('HDEL', k, 'put:' .. ARGV[3])
  if parts ~= ARGV[4] then return -1 end
end
join(k, tonumber(ARGV[5]), tonumber(ARGV[6]))
return 1`)

// redisPart notes that a part of a Put is in.
//
//	ARGV  gen  table  token
var redisPart = redis.NewScript(luaInForce + `
redis.call('HINCRBY', k, 'put:' .. ARGV[3], 1)
return 1`)

// redisBuilt notes that a part of a rebuild is in, and holds its lease;
// -1: the rebuild is no longer this one.
//
//	ARGV  gen  table  token  lease (seconds)
var redisBuilt = redis.NewScript(luaInForce + `
if s[3] ~= ARGV[3] then return -1 end
redis.call('HSET', k, 'built', tonumber(s[4]) + 1, 'lease', redis.call('TIME')[1] + ARGV[4])
return 1`)

// redisBegin takes the lease of the rebuild, unless somebody holds it (0). The
// tables may come later.
//
//	ARGV  token  lease (seconds)  life (seconds)
var redisBegin = redis.NewScript(`
local k, now = KEYS[1], tonumber(redis.call('TIME')[1])
local s = redis.call('HMGET', k, 'rebuild', 'lease')
if s[1] and now < tonumber(s[2] or '0') then return 0 end
redis.call('HSET', k, 'rebuild', ARGV[1], 'lease', now + ARGV[2], 'built', '0')
redis.call('HDEL', k, 'whole')
redis.call('EXPIRE', k, ARGV[3])
return 1`)

// redisHold prolongs the lease; 0 when it is not held any more.
//
//	ARGV  token  lease (seconds)
var redisHold = redis.NewScript(`
local k = KEYS[1]
if redis.call('HGET', k, 'rebuild') ~= ARGV[1] then return 0 end
redis.call('HSET', k, 'lease', redis.call('TIME')[1] + ARGV[2])
return 1`)

// redisEnd ends a rebuild. Unless it is still this one, and all of its parts
// are there, nothing is claimed (0). With parts -1 it is given up.
//
//	ARGV  token  parts  through  whole
var redisEnd = redis.NewScript(luaJoin + `
local k = KEYS[1]
local s = redis.call('HMGET', k, 'rebuild', 'built')
if s[1] ~= ARGV[1] then return 0 end
redis.call('HDEL', k, 'rebuild', 'lease', 'built')
if s[2] ~= ARGV[2] then return 0 end
join(k, 0, tonumber(ARGV[3]))
redis.call('HSET', k, 'whole', ARGV[4])
return 1`)

// redisStatus reads the state with the server's clock.
//
//	reply gen, tables, through, whole, 1 while a rebuild is running
var redisStatus = redis.NewScript(`
local s = redis.call('HMGET', KEYS[1], 'gen', 'tables', 'through', 'whole', 'rebuild', 'lease')
local running = s[5] and tonumber(redis.call('TIME')[1]) < tonumber(s[6] or '0')
return { s[1], s[2], s[3], s[4], running and 1 or 0 }`)

// redisSweep drops from a bucket what is dead, what repeats a call with an
// older start, and what is beyond the newest 64 calls of a name. The later of
// the two clocks, ours and the server's, is not believed alone. One member
// stays in any case: an emptied bucket would vanish, and the next put, which
// takes it for one that has its expiry, would make it anew without.
//
//	ARGV  oldest slice that is kept  keep (seconds)  life (seconds)
//	reply how many members remain
var redisSweep = redis.NewScript(`
local k, oldest = KEYS[1], tonumber(ARGV[1])
oldest = math.min(oldest, math.floor((tonumber(redis.call('TIME')[1]) - ARGV[2]) / 600))
local byte, sub = string.byte, string.sub
local all = redis.call('ZRANGE', k, 0, -1)
local drop, name, first, seen, calls = {}, nil, nil, nil, 0
for i = 1, #all do
  local m = all[i]
  local a, b, c = byte(m, 7, 9)
  if 16777215 - a * 65536 - b * 256 - c < oldest then
    drop[#drop + 1] = m
  elseif sub(m, 1, 6) ~= name then
    name, first, seen, calls = sub(m, 1, 6), m, nil, 1
  else
    seen = seen or { [sub(first, 10)] = true }
    if seen[sub(m, 10)] or calls >= 64 then
      drop[#drop + 1] = m
    else
      seen[sub(m, 10)], calls = true, calls + 1
    end
  end
end
if #drop == #all then drop[#drop] = nil end
for i = 1, #drop, 1000 do
  redis.call('ZREM', k, unpack(drop, i, math.min(i + 999, #drop)))
end
redis.call('EXPIRE', k, ARGV[3])
return #all - #drop`)

// loadScripts gives a server the scripts that are called inside pipelines.
func loadScripts(ctx context.Context, client redis.UniversalClient) error {
	for _, s := range []*redis.Script{redisRecord, redisPart, redisBuilt, redisSweep} {
		if err := s.Load(ctx, client).Err(); err != nil {
			return fmt.Errorf("load the scripts of the call index into Redis: %w", err)
		}
	}
	return nil
}
