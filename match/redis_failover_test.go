package match

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
)

// Nodes work on while the server is flushed again and again.
func TestRedisFlushedUnderLoad(t *testing.T) {
	server := services.Redis(t)
	client := redisClient(t, server.URL)
	w := &world{t: t}
	a, b := redisIndex(client, new(clock)), redisIndex(redisClient(t, server.URL), new(clock))
	w.commit(1000)
	w.settle(a)
	stop := w.run(a, b)
	for range 10 {
		time.Sleep(time.Duration(20+rand.IntN(80)) * time.Millisecond)
		flush(t, client)
	}
	time.Sleep(100 * time.Millisecond)
	stop()
	w.settle(a)
	w.settle(b)
	if w.hinted == 0 || w.hinted == w.asked {
		t.Errorf("%d of %d look-ups with a claim: the test does not do what it says", w.hinted, w.asked)
	}
	t.Logf("%d calls, %d look-ups, %d of them with a claim", w.head(), w.asked, w.hinted)
}

// A replica is promoted that has not seen the latest writes of its primary,
// while nodes put, rebuild and look up. Roles change every time.
func TestRedisFailoverLosesWrites(t *testing.T) {
	servers := []*services.Server{services.Redis(t), services.Redis(t)}
	var l link
	w := &world{t: t}
	x := redisIndex(l.client(t, servers[0].URL), new(clock))
	other := redisIndex(x.client, new(clock))
	w.commit(500)
	w.settle(x)
	lost := false
	for round := range 6 {
		primary, replica := servers[round%2], servers[1-round%2]
		follows(t, replica, primary)
		stop := w.run(x, other)
		time.Sleep(100 * time.Millisecond)
		if round%2 == 1 { // in the middle of a rebuild
			admin := redisClient(t, primary.URL)
			if err := admin.HDel(t.Context(), x.state, "whole").Err(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(round) * time.Millisecond)
		}
		if err := redisClient(t, replica.URL).ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // written to a primary that nobody follows
		if recorded(t, replica, x) < recorded(t, primary, x) {
			lost = true
		}
		l.lead(t, replica.URL)
		primary.Stop()
		time.Sleep(50 * time.Millisecond)
		stop()
		w.settle(x)
		w.settle(other)
		primary.Start()
	}
	if !lost {
		t.Error("no failover lost a write: the test does not do what it says")
	}
	t.Logf("%d calls, %d look-ups, %d of them with a claim", w.head(), w.asked, w.hinted)
}

// recorded is the change number in the state that a server has.
func recorded(t *testing.T, s *services.Server, x *RedisIndex) int64 {
	t.Helper()
	n, err := redisClient(t, s.URL).HGet(t.Context(), x.state, "through").Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// during is a hook that takes over the pipelines of a client.
type during func(ctx context.Context, commands []redis.Cmder, next redis.ProcessPipelineHook) error

func (d during) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (d during) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (d during) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error { return d(ctx, commands, next) }
}

// The part of a rebuild that a promoted replica has not seen is missed at the end.
func TestRedisRebuildNoticesFailover(t *testing.T) {
	primary, replica := services.Redis(t), services.Redis(t)
	follows(t, replica, primary)
	client, promoted := redisClient(t, primary.URL), redisClient(t, replica.URL)
	x := redisIndex(client, new(clock))
	parts := 0
	client.AddHook(during(func(ctx context.Context, commands []redis.Cmder, next redis.ProcessPipelineHook) error {
		if len(commands) < rebuildPart {
			return next(ctx, commands)
		}
		parts++
		if parts == 2 {
			if err := promoted.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
				t.Error(err)
			}
			x.client = promoted // for what comes after this part
		}
		return next(ctx, commands)
	}))
	if err := x.Rebuild(t.Context(), scanCalls(2000), 2000, nil); !errors.Is(err, errRebuildLost) {
		t.Errorf("a rebuild that lost a part: %v, want %v", err, errRebuildLost)
	}
	if parts != 2 || recorded(t, replica, x) != 0 {
		t.Errorf("%d parts on the primary: the test does not do what it says", parts)
	}
	if through, err := x.Through(t.Context()); through != 0 || err != nil {
		t.Errorf("complete through %d, %v", through, err)
	}
	if err := x.Rebuild(t.Context(), scanCalls(2000), 2000, nil); err != nil {
		t.Fatal(err)
	}
	if through, err := x.Through(t.Context()); through != 2000 || err != nil {
		t.Errorf("complete through %d, %v; want 2,000", through, err)
	}
}

// So is the part of a large Put.
func TestRedisLargePutNoticesFailover(t *testing.T) {
	primary, replica := services.Redis(t), services.Redis(t)
	client, promoted := redisClient(t, primary.URL), redisClient(t, replica.URL)
	x := redisIndex(client, new(clock))
	if err := x.Rebuild(t.Context(), scanOf(), 7, nil); err != nil {
		t.Fatal(err)
	}
	follows(t, replica, primary)
	parts := 0
	client.AddHook(during(func(ctx context.Context, commands []redis.Cmder, next redis.ProcessPipelineHook) error {
		if len(commands) < putNamesMax {
			return next(ctx, commands)
		}
		if parts++; parts == 2 {
			if err := promoted.ReplicaOf(ctx, "NO", "ONE").Err(); err != nil {
				t.Error(err)
			}
			x.client = promoted // for what comes after this part
		}
		return next(ctx, commands)
	}))
	calls := make([]event.Call, 3*putNamesMax/namesPerCall)
	for i := range calls {
		calls[i] = benchCall(int64(i + 1))
	}
	last := calls[len(calls)-1]
	if err := x.Put(t.Context(), calls, 7, 8); !errors.Is(err, errParts) || parts != 2 {
		t.Errorf("a Put that lost a part, of %d on the primary: %v, want %v", parts, err, errParts)
	}
	u := indexUnderTest{rebuiltIndex: x}
	if got := u.through(t); got != 7 {
		t.Errorf("complete through %d, want 7", got)
	}
	if err := x.Put(t.Context(), calls, 7, 8); err != nil {
		t.Fatal(err)
	}
	if got := u.through(t); got != 8 {
		t.Errorf("complete through %d, want 8", got)
	}
	u.find(t, "of the lost part", byRef(calls[putNamesMax/namesPerCall].RefID), calls[putNamesMax/namesPerCall].No)
	u.find(t, "the last", byRef(last.RefID), last.No)
	fields, err := promoted.HKeys(t.Context(), x.state).Result()
	for _, f := range fields {
		if strings.HasPrefix(f, "put:") {
			t.Errorf("field %s is left behind", f)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A flush between the claim and the names takes the claim away.
func TestRedisFlushWithinFind(t *testing.T) {
	server := services.Redis(t)
	client, admin := redisClient(t, server.URL), redisClient(t, server.URL)
	x := redisIndex(client, new(clock))
	calls := scanOf(rang(1, alice, 0))
	if err := x.Rebuild(t.Context(), calls, 7, nil); err != nil {
		t.Fatal(err)
	}
	out := make([][]int64, 1)
	if through, err := x.Find(t.Context(), []Want{byCaller(alice)}, out); through != 7 || err != nil {
		t.Fatalf("complete through %d, %v; want 7", through, err)
	}
	rebuilt := redisIndex(admin, new(clock))
	f := func(name string, then func()) {
		hooked := redisClient(t, server.URL)
		x.client = hooked
		hooked.AddHook(during(func(ctx context.Context, commands []redis.Cmder, next redis.ProcessPipelineHook) error {
			if err := next(ctx, commands[:1]); err != nil {
				return err
			}
			flush(t, admin)
			then()
			return next(ctx, commands[1:])
		}))
		out[0] = out[0][:0]
		if through, err := x.Find(t.Context(), []Want{byCaller(alice)}, out); through != 0 || err != nil {
			t.Errorf("%s: found %v, complete through %d, %v; want no claim", name, out[0], through, err)
		}
		x.client = client
		flush(t, admin)
		if err := rebuilt.Rebuild(t.Context(), calls, 7, nil); err != nil {
			t.Fatal(err)
		}
		if through, err := x.Find(t.Context(), []Want{byCaller(alice)}, out); through != 7 || err != nil {
			t.Fatalf("%s, afterwards: complete through %d, %v; want 7", name, through, err)
		}
	}
	f("flushed", func() {})
	f("flushed and rebuilt", func() {
		if err := rebuilt.Rebuild(t.Context(), scanOf(), 9, nil); err != nil {
			t.Error(err)
		}
	})
}

// A node that knows an index from before a flush puts into the one after it.
func TestRedisPutAfterFlush(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	early, late := redisIndex(client, new(clock)), redisIndex(client, new(clock))
	if err := early.Put(t.Context(), []event.Call{rang(1, alice, 0)}, 0, 1); err != nil {
		t.Fatal(err)
	}
	flush(t, client)
	if err := late.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 1, nil); err != nil {
		t.Fatal(err)
	}
	if err := early.Put(t.Context(), []event.Call{rang(2, alice, 0)}, 1, 2); err != nil {
		t.Fatal(err)
	}
	x := indexUnderTest{rebuiltIndex: late}
	x.find(t, "by the other node", byCaller(alice), 1, 2)
	if got := x.through(t); got != 2 {
		t.Errorf("complete through %d, want 2", got)
	}
}

// follows makes a server the replica of another and waits until it is one.
func follows(t *testing.T, replica, primary *services.Server) {
	t.Helper()
	client := redisClient(t, replica.URL)
	host, port, err := net.SplitHostPort(address(t, primary.URL))
	if err != nil {
		t.Fatal(err)
	}
	// The first full copy waits for more replicas by default.
	if err := redisClient(t, primary.URL).ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err(); err != nil {
		t.Fatal(err)
	}
	if err := client.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		info, err := client.Info(t.Context(), "replication").Result()
		if err == nil && infoField(info, "master_link_status") == "up" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the replica did not catch up in 30 s: %v\n%s", err, info)
		}
	}
}
