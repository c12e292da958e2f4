package match

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
)

// 105,000 calls outgrow the smallest table. They are found in the old one and
// in the next, take no more than promised, and Redis keeps the compact form.
func TestRedisIndexGrows(t *testing.T) {
	const n = 105_000
	client := redisClient(t, services.Redis(t).URL)
	c := new(clock)
	x := redisIndex(client, c)
	before := usedMemory(t, client)
	if err := scanCalls(n)(t.Context(), func(calls []event.Call) error {
		return x.Put(t.Context(), calls, calls[0].No-1, calls[len(calls)-1].No)
	}); err != nil {
		t.Fatal(err)
	}
	if each := (usedMemory(t, client) - before) / n; each > 350 {
		t.Errorf("%d bytes per call", each)
	}
	s, err := x.Status(t.Context())
	if err != nil || s.Tables != 2 {
		t.Fatalf("%+v, %v; want two tables", s, err)
	}
	second := redisIndex(client, c) // a node that begins now
	wants, out := make([]Want, 1000), make([][]int64, 1000)
	for i := range wants {
		call := benchCall(int64(1 + i*n/len(wants)))
		wants[i] = by(event.KeyOf(event.KeyRef, call.RefID))
	}
	if _, err := second.Find(t.Context(), wants, out); err != nil {
		t.Fatal(err)
	}
	for i := range out {
		if want := int64(1 + i*n/len(wants)); !slices.Equal(out[i], []int64{want}) {
			t.Fatalf("call %d: found %v", want, out[i])
		}
	}
	for range 100 {
		key := client.RandomKey(t.Context()).Val()
		if form := client.ObjectEncoding(t.Context(), key).Val(); form != "listpack" {
			t.Errorf("%q is kept as %s", key, form)
		}
	}
	c.pass(testKeep + expirySlack + time.Hour)
	if live := x.layout.Load().live(c.now().Add(-x.keep - expirySlack).Unix()); len(live) != 1 {
		t.Errorf("%d tables are read when the old one has no calls any more", len(live))
	}
}

func TestRedisIndexOverTables(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	c := new(clock)
	x := redisIndex(client, c)
	u := indexUnderTest{rebuiltIndex: x}
	u.rebuilt(t, 1)
	var want []int64
	for table := range 3 {
		for i := range int64(30) {
			no := int64(table)*100 + i
			u.put(t, rang(no+1, alice, time.Duration(no)*time.Minute-10*time.Hour), rang(7777, bob, -time.Hour))
			want = append(want, no+1)
		}
		if _, err := x.open(t.Context(), x.layout.Load(), tableBitsMin+2*table); err != nil {
			t.Fatal(err)
		}
	}
	u.find(t, "the newest of all tables", byCaller(alice), want[len(want)-CandidatesMax:]...)
	u.find(t, "one call in each of them", byCaller(bob), 7777)

	if got := u.through(t); got != 1 {
		t.Errorf("complete through %d, want 1", got)
	}
	old := x.layout.Load()
	if _, err := redisIndex(client, c).open(t.Context(), old, 0); err != nil {
		t.Fatal(err)
	}
	u.put(t, rang(8888, bob, 0))
	if l := x.layout.Load(); len(l.tables) != 5 || l.tables[1].id != old.tables[0].id {
		t.Errorf("after another node opened a table: %s, before %s", l.text, old.text)
	}
	for range 2 * tablesMost {
		if _, err := x.open(t.Context(), x.layout.Load(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if l := x.layout.Load(); len(l.tables) != tablesMost {
		t.Errorf("%d tables, want %d at most", len(l.tables), tablesMost)
	}
	if needs, err := x.NeedsRebuild(t.Context()); !needs || err != nil {
		t.Errorf("after a table that held calls was forgotten: needs a rebuild: %t, %v", needs, err)
	}
	c.pass(testKeep + expirySlack + time.Hour)
	if l, err := x.open(t.Context(), x.layout.Load(), 0); err != nil || len(l.tables) != 2 {
		t.Errorf("%v, %v; want the new table and the one it replaced", l, err)
	}
}

func TestRedisIndexSweeps(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	c := new(clock)
	x := redisIndex(client, c)
	u := indexUnderTest{rebuiltIndex: x}
	members := func() (n int64) {
		keys := client.Scan(t.Context(), 0, testPrefix+"n*", 10_000).Iterator()
		for keys.Next(t.Context()) {
			n += client.ZCard(t.Context(), keys.Val()).Val()
		}
		return n
	}
	round := func() {
		for range 1<<tableBitsMin/sweepsMost + 1 {
			x.sweep(t.Context(), sweepsMost*namesPerSweep)
		}
	}
	u.put(t)
	for no := range int64(3 * membersMost) { // one busy caller
		u.put(t, rang(no+1, alice, time.Duration(no)*time.Second-time.Hour))
	}
	u.put(t, rang(1, alice, -2*time.Hour), rang(2, alice, time.Minute))
	all := int64(6*membersMost + 2 + 2)
	if n := members(); n > all {
		t.Fatalf("%d members of %d names", n, all)
	}
	newest := []int64{2}
	for no := int64(3*membersMost - CandidatesMax + 2); no <= 3*membersMost; no++ {
		newest = append(newest, no)
	}
	u.find(t, "before", byCaller(alice), newest...)
	x.sweep(t.Context(), 1)
	if n := client.ZCard(t.Context(), bucketOf(x, event.KeyOf(event.KeyCaller, alice))).Val(); n > CandidatesMax+5 {
		t.Errorf("a look-up met a bucket of one busy caller, and %d members were left", n)
	}
	round()
	if n := members(); n > 3*membersMost+CandidatesMax+5 {
		t.Errorf("%d members after a round of sweeping, want what is kept", n)
	}
	u.find(t, "swept", byCaller(alice), newest...)
	u.find(t, "by id", by(event.KeyOf(event.KeyCall, "c1")), 1)

	c.pass(testKeep + 2*time.Hour)
	age(t, client, testKeep+2*time.Hour)
	u.put(t, rang(9999, bob, testKeep))
	round()
	buckets := client.DBSize(t.Context()).Val()
	if n := members(); n > buckets+2 {
		t.Errorf("%d members in %d buckets when only call 9999 is kept", n, buckets)
	}
	u.find(t, "gone", byCaller(alice))
	u.find(t, "kept", byCaller(bob), 9999)
	age(t, client, 0) // says if a key never expires
	age(t, client, (tableLives+2)*testKeep)
	if n := client.DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys outlive their index", n)
	}
}

func bucketOf(x *RedisIndex, key event.CallKey) string {
	l := x.layout.Load()
	return string(x.appendBucket(nil, &l.tables[0], l.tables[0].bucket(x.spread(key, l.seed))))
}

// A node whose clock is ahead does not sweep what others keep.
func TestRedisIndexSweepsByTheEarlierClock(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	now := time.Now()
	right := NewRedisIndex(RedisIndexConfig{Client: client, Prefix: testPrefix, Keep: testKeep})
	wrong := NewRedisIndex(RedisIndexConfig{Client: client, Prefix: testPrefix, Keep: testKeep, Now: func() time.Time { return now.Add(2 * testKeep) }})
	u := indexUnderTest{rebuiltIndex: right}
	u.put(t, event.Call{No: 1, CallID: "c1", Caller: alice, StartedAt: now.UnixMicro()}, event.Call{No: 2, CallID: "c2", Caller: alice, StartedAt: now.UnixMicro()})
	if _, err := wrong.Find(t.Context(), nil, nil); err != nil {
		t.Fatal(err)
	}
	for range 1<<tableBitsMin/sweepsMost + 1 {
		wrong.sweep(t.Context(), sweepsMost*namesPerSweep)
	}
	u.find(t, "kept", byCaller(alice), 1, 2)
}

// The clock may step over the end of a slice while the server answers.
func TestRedisFindGoesByOneMoment(t *testing.T) {
	client, c := redisClient(t, services.Redis(t).URL), new(clock)
	x := redisIndex(client, c)
	u := indexUnderTest{rebuiltIndex: x}
	u.put(t, rang(1, alice, 0), rang(2, bob, 0))
	client.AddHook(during(func(ctx context.Context, commands []redis.Cmder, next redis.ProcessPipelineHook) error {
		c.pass(sliceLength)
		return next(ctx, commands)
	}))
	old := byCaller(alice)
	old.Since = at(-testKeep + sliceLength/2)
	out := make([][]int64, 2)
	if _, err := x.Find(t.Context(), []Want{old, byCaller(bob)}, out); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out[0], []int64{1}) || !slices.Equal(out[1], []int64{2}) {
		t.Errorf("found %v, want [[1] [2]]", out)
	}
}

// What more than one node knows, and what two stores do not share.
func TestRedisIndexShared(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	c := new(clock)
	a, b := indexUnderTest{rebuiltIndex: redisIndex(client, c)}, indexUnderTest{rebuiltIndex: redisIndex(client, c)}
	other := indexUnderTest{rebuiltIndex: NewRedisIndex(RedisIndexConfig{Client: client, Prefix: "th:other:", Keep: testKeep, Now: c.now})}
	longer := indexUnderTest{rebuiltIndex: NewRedisIndex(RedisIndexConfig{Client: client, Prefix: testPrefix, Keep: 2 * testKeep, Now: c.now})}
	a.rebuilt(t, 5)
	a.put(t, rang(1, alice, 0))
	b.find(t, "by another node", byCaller(alice), 1)
	b.putRange(t, 6, 8)
	a.putRange(t, 5, 6)
	for name, x := range map[string]indexUnderTest{"a": a, "b": b} {
		if got := x.through(t); got != 8 {
			t.Errorf("%s: complete through %d, want 8", name, got)
		}
	}
	for name, x := range map[string]indexUnderTest{"another store": other, "another Keep": longer} {
		x.find(t, name, byCaller(alice))
		if needs, err := x.NeedsRebuild(t.Context()); !needs || err != nil {
			t.Errorf("%s: needs a rebuild: %t, %v", name, needs, err)
		}
	}
	if err := client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	b.put(t, rang(2, alice, 0))
	a.find(t, "put by a server that had lost its scripts", byCaller(alice), 1, 2)
}

// A lease that nobody prolongs ends; one that is held keeps others out.
func TestRedisRebuildLease(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	x := redisIndex(client, new(clock))
	lease := func(d time.Duration) {
		now := client.Time(t.Context()).Val()
		if err := client.HSet(t.Context(), x.state, "rebuild", "token of a dead node", "lease", now.Add(d).Unix(), "built", 3).Err(); err != nil {
			t.Fatal(err)
		}
	}
	f := func(name string, needs bool, want error) {
		t.Helper()
		if got, err := x.NeedsRebuild(t.Context()); got != needs || err != nil {
			t.Errorf("%s: needs a rebuild: %t, %v; want %t", name, got, err, needs)
		}
		if s, err := x.Status(t.Context()); err != nil || s.Rebuilding == needs {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if err := x.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 7, nil); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	lease(time.Minute)
	f("held", false, ErrRebuilding)
	lease(-2 * time.Second)
	f("ended", true, nil)
	if through, err := x.Through(t.Context()); through != 7 || err != nil {
		t.Errorf("complete through %d, %v; want 7", through, err)
	}

	err := x.Rebuild(t.Context(), func(_ context.Context, yield func([]event.Call) error) error {
		lease(time.Minute) // taken over
		return yield([]event.Call{rang(1, alice, 0)})
	}, 9, nil)
	if !errors.Is(err, errRebuildLost) {
		t.Errorf("taken over: %v, want %v", err, errRebuildLost)
	}
	if s, err := x.Status(t.Context()); err != nil || !s.Rebuilding || s.Through != 0 {
		t.Errorf("the other's rebuild is not left alone: %+v, %v", s, err)
	}
}

// A Cluster of three: every command finds its shard, and nothing is claimed.
func TestRedisClusterClaimsNothing(t *testing.T) {
	client := redisShards(t)
	x := redisIndex(client, new(clock))
	var calls []event.Call
	for no := range int64(500) {
		calls = append(calls, rang(no+1, fmt.Sprint("+1", no/5), 0))
	}
	if err := x.Rebuild(t.Context(), scanOf(calls[:250]...), 250, nil); err != nil {
		t.Fatal(err)
	}
	if err := x.Put(t.Context(), calls[250:], 250, 500); err != nil {
		t.Fatal(err)
	}
	wants, out := make([]Want, 100), make([][]int64, 100)
	for i := range wants {
		wants[i] = byCaller(fmt.Sprint("+1", i))
	}
	through, err := x.Find(t.Context(), wants, out)
	if err != nil || through != 0 {
		t.Errorf("complete through %d, %v; want no claim", through, err)
	}
	for i := range out {
		if len(out[i]) != 5 {
			t.Errorf("caller %d: found %v, want 5 calls", i, out[i])
		}
	}
	if s, err := x.Status(t.Context()); err != nil || s.Through != 500 || !s.Complete || !strings.Contains(s.Distrust, "Cluster") {
		t.Errorf("%+v, %v; want all calls, and why they are not claimed", s, err)
	}
	each(t, client, func(ctx context.Context, c *redis.Client) error {
		if n := c.DBSize(ctx).Val(); n < 100 {
			t.Errorf("%d keys on one shard: the test does not do what it says", n)
		}
		return nil
	})
	d := deduperUnderTest{Deduper: redisDeduper(client)}
	for i := range uint64(50) {
		d.claim(t, "first", fmt.Sprint(i), eventID(i), eventID(i))
		d.claim(t, "second", fmt.Sprint(i), eventID(99), eventID(i))
	}
}

func TestRedisTableSizes(t *testing.T) {
	f := func(names float64, want int) {
		t.Helper()
		if got := bitsFor(names); got != want {
			t.Errorf("%.0f names: %d, want %d", names, got, want)
		}
	}
	f(0, 14)
	f(24*16384, 14)
	f(25*16384, 16)
	f(24*65536-1, 16)
	f(25*65536, 18)
	f(40_000_000, 22)
	f(1e12, tableBitsMax)
}

// What another program, or another version, left in Redis is no reason to fall over.
func TestRedisForeignKeys(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	x := indexUnderTest{rebuiltIndex: redisIndex(client, new(clock))}
	x.put(t, rang(1, alice, 0))
	bucket := bucketOf(x.rebuiltIndex.(*RedisIndex), event.KeyOf(event.KeyCaller, alice))
	name := client.ZRange(t.Context(), bucket, 0, 0).Val()[0][:nameSize]
	if err := client.ZAdd(t.Context(), bucket, redis.Z{Member: name}, redis.Z{Member: name + "short"}, redis.Z{Member: name + strings.Repeat("\xff", 8)}).Err(); err != nil {
		t.Fatal(err)
	}
	x.find(t, "beside what is no member", byCaller(alice), 1)
	f := func(field, value string) {
		t.Helper()
		flush(t, client)
		fresh := redisIndex(client, new(clock))
		if err := client.HSet(t.Context(), fresh.state, "gen", "0123456789abcdef", "tables", "01234567:14:0:99999999999", "through", "7", "whole", "1", field, value).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := fresh.Find(t.Context(), nil, nil); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s %q: %v", field, value, err)
		}
	}
	f("gen", "no number")
	f("tables", "01234567:14:0")
	f("tables", "0123456x:14:0:1")
	f("tables", "01234567:99:0:1")
	f("tables", "01234567:14:0:1 x")
	f("through", "seven")
	f("whole", "yes")
	flush(t, client)
	if err := client.Set(t.Context(), testPrefix+"d"+string(make([]byte, 16)), "x", 0).Err(); err != nil {
		t.Fatal(err)
	}
	k := identity("k")
	if err := client.Set(t.Context(), testPrefix+"d"+string(k[:]), "something else", 0).Err(); err != nil {
		t.Fatal(err)
	}
	deduperUnderTest{Deduper: redisDeduper(client)}.claim(t, "what is no claim", "k", eventID(3), eventID(3))
}

func FuzzRedisFormats(f *testing.F) {
	f.Add("0123456789abcdef", "01234567:14:0:1 89abcdef:16:5:6", "7", "1", "\x01\x02")
	f.Add("", "", "", "", string(appendOwner(nil, event.ID{Stream: 1<<32 - 1, Seq: 1<<63 - 1, N: 1<<16 - 1})))
	f.Add("x", "::: :::", "-1", "99999999999999999999", string(appendMember(nil, 1<<63, packName(callNoMax, 1<<24-1))))
	f.Fuzz(func(t *testing.T, gen, tables, through, whole, value string) {
		if s, err := parseState([]any{gen, tables, through, whole}); err == nil && s != nil {
			for i := range s.tables {
				if b := s.tables[i].bucket(1<<64 - 1); b >= 1<<tableBitsMax {
					t.Errorf("bucket %d of %q", b, tables)
				}
			}
		}
		if id, ok := parseOwner(value); ok {
			if again, ok := parseOwner(string(appendOwner(nil, id))); !ok || again != id {
				t.Errorf("owner %s read again as %s, %t", id, again, ok)
			}
		}
		if no, slice, ok := splitMember(value); ok {
			if again := string(appendMember(nil, 0, packName(no, slice))); again[nameSize:] != value[nameSize:] {
				t.Errorf("member %x written again as %x", value, again)
			}
		}
	})
}
