package match

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
)

// A stream of batches runs through every kind of trouble that a server can be
// in: none may fail or wait, and hints come back by themselves.
func TestRedisTroubleStopsNothing(t *testing.T) {
	server := services.Redis(t)
	var l link
	client := l.client(t, server.URL)
	admin := redisClient(t, server.URL)
	x := redisIndex(client, new(clock))
	m := &Matcher{Index: x, Dedupe: redisDeduper(client)}
	if err := x.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 40, nil); err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	stream := func() (hinted bool) {
		seq += 10
		return asks(t, m, seq)
	}
	// A busy machine makes trouble of its own; it passes.
	until := func(name string, hinted bool, wantErr string) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			got, s := stream(), m.Cache()
			if got == hinted && s.Degraded != hinted && strings.Contains(s.Err, wantErr) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: hints %t after 30 s, want %t and an error with %q; %+v", name, got, hinted, wantErr, s)
			}
		}
	}
	set := func(pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			if err := admin.ConfigSet(t.Context(), pairs[i], pairs[i+1]).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	rebuild := func() {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			needs, err := x.NeedsRebuild(t.Context())
			if err == nil && needs {
				err = x.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 40, nil)
			}
			if err == nil {
				return
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	f := func(name, wantErr string, begin, end func()) {
		t.Helper()
		until(name+", before", true, "")
		begin()
		until(name, false, wantErr)
		for range 200 {
			if stream() {
				t.Errorf("%s: hints from a server in trouble", name)
			}
		}
		end()
		until(name+", afterwards", true, "")
	}
	f("frozen", "no answer in time", server.Freeze, server.Thaw)
	f("slow", "no answer in time", func() { l.slow(time.Second) }, func() { l.slow(0) })
	f("full", "OOM", func() { set("maxmemory", "1", "maxmemory-policy", "noeviction") }, func() { set("maxmemory", "0") })
	f("stopped", "", server.Stop, func() { server.Start(); rebuild() })
}

// What a full server refuses is refused whole: no range without its calls.
func TestRedisFullTakesNoPart(t *testing.T) {
	client := redisClient(t, services.Redis(t).URL)
	x := indexUnderTest{rebuiltIndex: redisIndex(client, new(clock))}
	x.rebuilt(t, 10)
	set := func(limit string) {
		if err := client.ConfigSet(t.Context(), "maxmemory", limit).Err(); err != nil {
			t.Fatal(err)
		}
	}
	set("1")
	err := x.Put(t.Context(), []event.Call{rang(1, alice, 0)}, 10, 11)
	if err == nil || !strings.Contains(err.Error(), "OOM") {
		t.Errorf("put into a full server: %v, want OOM", err)
	}
	if err := x.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 11, nil); err == nil {
		t.Error("a rebuild of a full server gave no error")
	}
	set("0")
	x.find(t, "not taken in", byCaller(alice))
	if through := x.through(t); through > 10 {
		t.Errorf("complete through %d without call 1", through)
	}
	if err := x.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 11, nil); err != nil {
		t.Fatal(err)
	}
	x.find(t, "tried again", byCaller(alice), 1)
}

// A server that may drop single keys is not believed, and rebuilt when it is
// told to keep them.
func TestRedisThatEvicts(t *testing.T) {
	client, c := redisClient(t, services.Redis(t).URL), new(clock)
	x := redisIndex(client, c)
	set := func(pairs ...string) {
		for i := 0; i < len(pairs); i += 2 {
			if err := client.ConfigSet(t.Context(), pairs[i], pairs[i+1]).Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := func(name string, through int64, needs bool, distrust string) {
		t.Helper()
		c.pass(checkEvery)
		out := make([][]int64, 1)
		got, err := x.Find(t.Context(), []Want{byCaller(alice)}, out)
		if err != nil || got != through || !slices.Equal(out[0], []int64{1}) {
			t.Errorf("%s: found %v, complete through %d, %v; want call 1 and %d", name, out[0], got, err, through)
		}
		if got, err := x.NeedsRebuild(t.Context()); got != needs || err != nil {
			t.Errorf("%s: needs a rebuild: %t, %v; want %t", name, got, err, needs)
		}
		s, err := x.Status(t.Context())
		if err != nil || !strings.Contains(s.Distrust, distrust) || (s.Distrust == "") != (distrust == "") {
			t.Errorf("%s: distrust %q, %v; want %q", name, s.Distrust, err, distrust)
		}
	}
	rebuild := func() {
		if err := x.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 7, nil); err != nil {
			t.Fatal(err)
		}
	}
	rebuild()
	f("as it should be", 7, false, "")
	set("maxmemory", "0", "maxmemory-policy", "allkeys-lru")
	f("it could but has no limit", 7, false, "")
	set("maxmemory", "1gb")
	f("it may evict", 0, false, "allkeys-lru")
	set("maxmemory-policy", "noeviction")
	f("it may have evicted", 0, true, "")
	rebuild()
	f("rebuilt", 7, false, "")
	if err := client.Do(t.Context(), "acl", "setuser", "default", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	f("it does not say", 0, false, "INFO")
}
