package match

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
)

// indexUnderTest is an empty index that keeps calls for 72 hours.
type indexUnderTest struct {
	rebuiltIndex
	pass func(time.Duration) // lets time go by, from noon on
}

// rebuiltIndex is an Index that knows when it is not whole, as both do.
type rebuiltIndex interface {
	Index
	NeedsRebuild(context.Context) (bool, error)
}

// indexes makes what all tests of one backend share, and opens empty ones.
var indexes = map[string]func(*testing.T) func(*testing.T) indexUnderTest{
	"memory": func(*testing.T) func(*testing.T) indexUnderTest {
		return func(*testing.T) indexUnderTest {
			c := new(clock)
			return indexUnderTest{NewMemoryIndex(MemoryIndexConfig{Keep: testKeep, Now: c.now}), c.pass}
		}
	},
	"redis": func(t *testing.T) func(*testing.T) indexUnderTest {
		client := redisClient(t, services.Redis(t).URL)
		return func(t *testing.T) indexUnderTest {
			flush(t, client)
			c := new(clock)
			return indexUnderTest{redisIndex(client, c), func(d time.Duration) { c.pass(d); age(t, client, d) }}
		}
	},
	"redis cluster": func(t *testing.T) func(*testing.T) indexUnderTest {
		client := redisCluster(t)
		return func(t *testing.T) indexUnderTest {
			flush(t, client)
			c := new(clock)
			return indexUnderTest{clusterIndex{redisIndex(client, c)}, func(d time.Duration) { c.pass(d); age(t, client, d) }}
		}
	},
}

func redisIndex(client redis.UniversalClient, c *clock) *RedisIndex {
	return NewRedisIndex(RedisIndexConfig{Client: client, Prefix: testPrefix, Keep: testKeep, Now: c.now})
}

// clusterIndex says of Find what Through says: in a Cluster Find claims
// nothing, which has a test of its own.
type clusterIndex struct{ *RedisIndex }

func (x clusterIndex) Find(ctx context.Context, wants []Want, out [][]int64) (int64, error) {
	if through, err := x.RedisIndex.Find(ctx, wants, out); through != 0 || err != nil {
		return 0, fmt.Errorf("through %d, error %v; want 0 in a Cluster, none", through, err)
	}
	return x.Through(ctx)
}

const testKeep = 72 * time.Hour

// clock stands at noon until time is let go by.
type clock struct {
	mu     sync.Mutex
	passed time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.UnixMicro(noon).Add(c.passed)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed += d
}

func (x indexUnderTest) put(t *testing.T, calls ...event.Call) {
	t.Helper()
	if err := x.Put(t.Context(), calls, 0, 0); err != nil {
		t.Fatal(err)
	}
}

func (x indexUnderTest) through(t *testing.T) int64 {
	t.Helper()
	found, err := x.Find(t.Context(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	told, err := x.Through(t.Context())
	if err != nil || told != found {
		t.Fatalf("Find says complete through %d, Through says %d, error %v", found, told, err)
	}
	needs, err := x.NeedsRebuild(t.Context())
	if err != nil || needs && found > 0 {
		t.Fatalf("complete through %d, needs a rebuild: %t, error %v", found, needs, err)
	}
	return found
}

// find checks which calls w finds.
func (x indexUnderTest) find(t *testing.T, name string, w Want, want ...int64) {
	t.Helper()
	out := make([][]int64, 1)
	if _, err := x.Find(t.Context(), []Want{w}, out); err != nil {
		t.Fatal(err)
	}
	slices.Sort(out[0])
	if !slices.Equal(out[0], want) {
		t.Errorf("%s: found %v, want %v", name, out[0], want)
	}
}

func by(keys ...event.CallKey) (w Want) {
	w.N = copy(w.Keys[:], keys)
	return w
}

func byCaller(caller string) Want { return by(event.KeyOf(event.KeyCaller, caller)) }
func byRef(id string) Want        { return by(event.KeyOf(event.KeyRef, id)) }

// rang is call no of a caller that started so long before or after noon.
func rang(no int64, caller string, d time.Duration) event.Call {
	return event.Call{No: no, CallID: fmt.Sprint("c", no), Caller: caller, StartedAt: at(d)}
}

func scanOf(calls ...event.Call) Scan {
	return func(_ context.Context, yield func([]event.Call) error) error { return yield(calls) }
}

func TestIndex(t *testing.T) {
	for name, backend := range indexes {
		t.Run(name, func(t *testing.T) {
			open := backend(t)
			for _, c := range []struct {
				promise string
				check   func(*testing.T, indexUnderTest)
			}{
				{"missing is nothing, not an error", indexMissing},
				{"a call is found by each of its names", indexNames},
				{"the first name that is known answers", indexFirstKnown},
				{"a kind of name is not another", indexKinds},
				{"put again, found by new and old names once", indexChanged},
				{"what is found is appended", indexAppends},
				{"equal names in one batch", indexEqualNames},
				{"calls leave after their time", indexExpiry},
				{"a call without a start lives from its Put", indexNoStart},
				{"a call from the future lives from its Put", indexFuture},
				{"no part is given for the whole", indexSince},
				{"a start that is learnt later counts", indexLearntStart},
				{"the newest calls of a busy caller", indexBusyCaller},
				{"a call without a number is a bug", indexBug},
				{"complete after a rebuild only", indexThrough},
				{"ranges come in any order", indexRanges},
				{"many gaps are closed by one range", indexManyGaps},
				{"complete as far as the model", indexRangesModel},
				{"a failed rebuild leaves it incomplete", indexRebuildFails},
				{"a rebuild goes on beside Put", indexRebuildBesidePut},
				{"used by many at once", indexConcurrent},
				{"same as the model", indexModel},
			} {
				t.Run(c.promise, func(t *testing.T) { c.check(t, open(t)) })
			}
		})
	}
}

func indexMissing(t *testing.T, x indexUnderTest) {
	x.find(t, "empty", byRef("r"))
	x.find(t, "no names at all", Want{})
	x.put(t, rang(1, alice, 0))
	x.find(t, "another", byCaller(bob))
	if err := x.Put(t.Context(), nil, 0, 3); err != nil {
		t.Errorf("put of nothing: %v", err)
	}
}

func indexNames(t *testing.T, x indexUnderTest) {
	c := rang(1<<40-1, alice, 0)
	c.RefID = "r"
	c.NetworkIDs = []event.Pair{{Name: "ringba", Value: "n"}, {Name: "invoca", Value: "m"}}
	x.put(t, c, event.Call{No: 2, CallID: "c2", StartedAt: noon})
	for _, key := range c.AppendKeys(nil) {
		x.find(t, fmt.Sprint("key ", key), by(key), c.No)
	}
	x.find(t, "call_id alone", by(event.KeyOf(event.KeyCall, "c2")), 2)
	x.find(t, "an absent name is no name", byRef(""))
}

func indexFirstKnown(t *testing.T, x indexUnderTest) {
	x.put(t, rang(1, alice, 0), rang(2, bob, 0))
	one, two := event.KeyOf(event.KeyCall, "c1"), event.KeyOf(event.KeyCall, "c2")
	none := event.KeyOf(event.KeyRef, "x")
	x.find(t, "the first", by(one, two), 1)
	x.find(t, "the second", by(none, two, one), 2)
	x.find(t, "the third", by(none, none, one), 1)
	x.find(t, "none", by(none, none, none))
}

func indexKinds(t *testing.T, x indexUnderTest) {
	x.put(t, event.Call{No: 1, CallID: "same", StartedAt: noon}, event.Call{No: 2, CallID: "c2", RefID: "same", StartedAt: noon})
	x.find(t, "ref_id", byRef("same"), 2)
	x.find(t, "call_id", by(event.KeyOf(event.KeyCall, "same")), 1)
	x.find(t, "network id", by(event.KeyOf(event.KeyNetwork, "same")))
}

func indexChanged(t *testing.T, x indexUnderTest) {
	x.put(t, rang(1, alice, 0))
	x.put(t, rang(1, bob, 0), rang(2, alice, 0))
	x.put(t, rang(1, bob, 0))
	x.find(t, "by the new caller", byCaller(bob), 1)
	x.find(t, "by the old one, beside another call", byCaller(alice), 1, 2)
	x.find(t, "by the name that stayed", by(event.KeyOf(event.KeyCall, "c1")), 1)
}

func indexAppends(t *testing.T, x indexUnderTest) {
	x.put(t, rang(1, alice, 0))
	out := [][]int64{{7}, {8}}
	if _, err := x.Find(t.Context(), []Want{byCaller(alice), byCaller(bob)}, out); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out[0], []int64{7, 1}) || !slices.Equal(out[1], []int64{8}) {
		t.Errorf("got %v, want [[7 1] [8]]", out)
	}
}

func indexEqualNames(t *testing.T, x indexUnderTest) {
	var calls []event.Call
	for no := range int64(3) {
		c := rang(no+1, alice, 0)
		c.RefID = "r"
		c.NetworkIDs = []event.Pair{{Name: "ringba", Value: "n"}, {Name: "invoca", Value: "n"}}
		calls = append(calls, c, c)
	}
	x.put(t, calls...)
	x.find(t, "ref_id", byRef("r"), 1, 2, 3)
	x.find(t, "network id", by(event.KeyOf(event.KeyNetwork, "n")), 1, 2, 3)
	wants := slices.Repeat([]Want{byRef("r"), byRef("x")}, 300)
	out := make([][]int64, len(wants))
	if _, err := x.Find(t.Context(), wants, out); err != nil {
		t.Fatal(err)
	}
	for i := range out {
		if want := 3 * (1 - i%2); len(out[i]) != want {
			t.Errorf("want %d found %v, want %d calls", i, out[i], want)
		}
	}
}

// Backends may forget up to an hour late: they cut time into slices.
func indexExpiry(t *testing.T, x indexUnderTest) {
	x.put(t, rang(1, alice, 0), rang(2, alice, -24*time.Hour))
	x.put(t, rang(3, alice, -testKeep-time.Hour))
	x.find(t, "what is too old when it comes is not kept", byCaller(alice), 1, 2)
	x.pass(testKeep - 24*time.Hour - time.Minute)
	x.find(t, "kept to the last minute", byCaller(alice), 1, 2)
	x.pass(time.Hour + time.Minute)
	x.find(t, "gone", byCaller(alice), 1)
	x.put(t, rang(4, alice, 24*time.Hour))
	x.find(t, "beside a new one", byCaller(alice), 1, 4)
	x.pass(24 * time.Hour)
	x.find(t, "the next is gone", byCaller(alice), 4)
	x.pass(1000 * time.Hour)
	x.find(t, "all are gone", byCaller(alice))
	x.put(t, rang(5, alice, 1050*time.Hour))
	x.find(t, "and it goes on", byCaller(alice), 5)
}

func indexNoStart(t *testing.T, x indexUnderTest) {
	x.pass(10 * time.Hour)
	x.put(t, event.Call{No: 1, CallID: "c1", Caller: alice})
	x.pass(testKeep - time.Minute)
	x.find(t, "kept", byCaller(alice), 1)
	x.pass(time.Hour + time.Minute)
	x.find(t, "gone", byCaller(alice))
}

func indexFuture(t *testing.T, x indexUnderTest) {
	x.put(t, rang(1, alice, 100_000*time.Hour))
	x.find(t, "found", byCaller(alice), 1)
	x.pass(testKeep + time.Hour)
	x.find(t, "gone", byCaller(alice))
}

func indexSince(t *testing.T, x indexUnderTest) {
	f := func(name string, since int64, want ...int64) {
		t.Helper()
		w := byCaller(alice)
		w.Since = since
		x.find(t, name, w, want...)
	}
	x.put(t, rang(1, alice, 0))
	f("within what is kept", at(-testKeep+time.Hour), 1)
	f("as long as you have", 0, 1)
	f("further back than is kept", at(-testKeep-time.Hour))
	f("before all time", -1)
	x.pass(2 * time.Hour)
	f("no longer kept", at(-testKeep+time.Hour))
}

// A backend may go by the latest start that it was ever told, or by the last.
func indexLearntStart(t *testing.T, x indexUnderTest) {
	x.put(t, rang(2, alice, -40*time.Hour))
	x.put(t, rang(2, alice, -time.Hour))
	x.pass(40 * time.Hour)
	x.find(t, "kept with its later start", byCaller(alice), 2)
	x.put(t, event.Call{No: 1, CallID: "c1", Caller: bob})
	x.put(t, rang(1, bob, 0))
	x.pass(testKeep - 42*time.Hour)
	x.find(t, "kept with its start", byCaller(bob), 1)
	x.pass(44 * time.Hour)
	x.find(t, "gone with all it was said of it", byCaller(bob))
}

func indexBug(t *testing.T, x indexUnderTest) {
	f := func(no int64) {
		t.Helper()
		defer func() {
			if got := fmt.Sprint(recover()); !strings.HasPrefix(got, "bug: call number ") {
				t.Errorf("call number %d: %s", no, got)
			}
		}()
		_ = x.Put(t.Context(), []event.Call{{No: no, CallID: "c"}}, 0, 1)
	}
	f(0)
	f(-1)
	f(callNoMax + 1)
}

func indexBusyCaller(t *testing.T, x indexUnderTest) {
	var want []int64
	for no := int64(1); no <= 3*CandidatesMax; no++ {
		c := rang(no, alice, time.Duration(no-3*CandidatesMax)*20*time.Minute)
		if no%2 == 0 { // out of order
			c = rang(no, alice, time.Duration(no-1-5*CandidatesMax)*20*time.Minute)
		}
		if x.put(t, c); no%2 == 1 && no > CandidatesMax {
			want = append(want, no)
		}
	}
	x.find(t, "the newest", byCaller(alice), want...)
	x.put(t, rang(1000, alice, 0), rang(1001, alice, -testKeep+time.Hour))
	x.find(t, "one more newest, one more oldest", byCaller(alice), append(want[1:], 1000)...)
	x.find(t, "older ones by their ids", by(event.KeyOf(event.KeyCall, "c1001")), 1001)
}
