package match

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
)

// deduperUnderTest is an empty deduper that remembers for 24 hours.
type deduperUnderTest struct {
	Deduper
	pass func(time.Duration) // lets time go by
}

// dedupers makes what all tests of one backend share, and opens empty ones.
var dedupers = map[string]func(*testing.T) func(*testing.T) deduperUnderTest{
	"memory": func(*testing.T) func(*testing.T) deduperUnderTest {
		return func(*testing.T) deduperUnderTest {
			c := new(clock)
			return deduperUnderTest{NewMemoryDeduper(MemoryDeduperConfig{Window: testWindow, Now: c.now}), c.pass}
		}
	},
	"redis": func(t *testing.T) func(*testing.T) deduperUnderTest {
		return redisDedupers(redisClient(t, services.Redis(t).URL))
	},
	"redis cluster": func(t *testing.T) func(*testing.T) deduperUnderTest { return redisDedupers(redisCluster(t)) },
}

func redisDedupers(client redis.UniversalClient) func(*testing.T) deduperUnderTest {
	return func(t *testing.T) deduperUnderTest {
		flush(t, client)
		return deduperUnderTest{redisDeduper(client), func(d time.Duration) { age(t, client, d) }}
	}
}

func redisDeduper(client redis.UniversalClient) *RedisDeduper {
	return NewRedisDeduper(RedisDeduperConfig{Client: client, Prefix: testPrefix, Window: testWindow})
}

const testWindow = 24 * time.Hour

// identity is the digest that a ledger would keep of text.
func identity(text string) (d event.Digest) {
	h := sha256.Sum256([]byte(text))
	copy(d[:], h[:])
	return d
}

func eventID(seq uint64) event.ID { return event.ID{Stream: 1, Seq: seq} }

// claims claims each key for one event and checks the owners.
func (x deduperUnderTest) claims(t *testing.T, name string, keys []event.Digest, ids, want []event.ID) {
	t.Helper()
	got := make([]event.ID, len(ids))
	if err := x.Claim(t.Context(), keys, ids, got); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: owners %v, want %v", name, got, want)
	}
}

func (x deduperUnderTest) claim(t *testing.T, name, key string, id, want event.ID) {
	t.Helper()
	x.claims(t, name, []event.Digest{identity(key)}, []event.ID{id}, []event.ID{want})
}

func TestDeduper(t *testing.T) {
	for name, backend := range dedupers {
		t.Run(name, func(t *testing.T) {
			open := backend(t)
			for _, c := range []struct {
				promise string
				check   func(*testing.T, deduperUnderTest)
			}{
				{"the first claimer keeps it", dedupeFirst},
				{"equal keys in one batch", dedupeBatch},
				{"no key is no claim", dedupeZero},
				{"any id comes back as it was", dedupeIDs},
				{"claims end after the window", dedupeExpiry},
				{"a repeat does not prolong a claim", dedupeRepeat},
				{"used by many at once", dedupeConcurrent},
				{"same as the model", dedupeModel},
			} {
				t.Run(c.promise, func(t *testing.T) { c.check(t, open(t)) })
			}
		})
	}
}

func dedupeFirst(t *testing.T, x deduperUnderTest) {
	x.claims(t, "nothing", nil, nil, nil)
	x.claim(t, "first", "k", eventID(5), eventID(5))
	x.claim(t, "an older event that comes later", "k", eventID(3), eventID(5))
	x.claim(t, "the owner again", "k", eventID(5), eventID(5))
	x.claim(t, "another key", "l", eventID(3), eventID(3))
}

func dedupeBatch(t *testing.T, x deduperUnderTest) {
	k, l := identity("k"), identity("l")
	keys := []event.Digest{k, l, k, k, l}
	ids := []event.ID{eventID(1), eventID(2), eventID(3), eventID(1), eventID(4)}
	want := []event.ID{eventID(1), eventID(2), eventID(1), eventID(1), eventID(2)}
	x.claims(t, "once", keys, ids, want)
	x.claims(t, "and when the batch is tried again", keys, ids, want)
}

func dedupeZero(t *testing.T, x deduperUnderTest) {
	keys, ids := make([]event.Digest, 2), []event.ID{eventID(1), eventID(2)}
	x.claims(t, "each its own", keys, ids, ids)
}

func dedupeIDs(t *testing.T, x deduperUnderTest) {
	for _, id := range []event.ID{{Stream: 1}, {Stream: 1<<32 - 1, Seq: 1<<48 - 1, N: 1<<16 - 1}, {Stream: 7, Seq: 1 << 40, N: 255}} {
		x.claim(t, "claimed", id.String(), id, id)
		x.claim(t, "read", id.String(), eventID(99), id)
	}
}

func dedupeExpiry(t *testing.T, x deduperUnderTest) {
	x.claim(t, "claimed", "k", eventID(1), eventID(1))
	x.pass(testWindow - time.Minute)
	x.claim(t, "to the last minute", "k", eventID(2), eventID(1))
	x.pass(time.Hour)
	x.claim(t, "forgotten", "k", eventID(3), eventID(3))
	x.pass(1000 * testWindow)
	x.claim(t, "long after", "k", eventID(4), eventID(4))
	x.pass(10 * time.Minute)
	x.claim(t, "soon after another", "l", eventID(5), eventID(5))
	x.pass(testWindow - time.Minute)
	x.claim(t, "to its own last minute", "l", eventID(6), eventID(5))
}

func dedupeRepeat(t *testing.T, x deduperUnderTest) {
	x.claim(t, "claimed", "k", eventID(1), eventID(1))
	for range 23 {
		x.pass(time.Hour)
		x.claim(t, "again", "k", eventID(1), eventID(1))
		x.claim(t, "by another", "k", eventID(2), eventID(1))
	}
	x.pass(2 * time.Hour)
	x.claim(t, "ended all the same", "k", eventID(2), eventID(2))
}

// Eight goroutines claim the same keys in different orders: they must agree.
func dedupeConcurrent(t *testing.T, x deduperUnderTest) {
	const workers, keys = 8, 200
	owners := make([][]event.ID, workers)
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			owners[w] = make([]event.ID, keys)
			for _, k := range rand.Perm(keys) {
				one := owners[w][k : k+1]
				if err := x.Claim(t.Context(), []event.Digest{identity(fmt.Sprint(k))}, []event.ID{eventID(uint64(w + 1))}, one); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for w := range workers {
		if !slices.Equal(owners[w], owners[0]) {
			t.Fatalf("worker %d sees other owners than worker 0:\n%v\n%v", w, owners[w], owners[0])
		}
	}
}

// 2,000 random batches beside a map. Claims are made on the hour and the
// clock never stands within an hour of an end, so none is in doubt.
func dedupeModel(t *testing.T, x deduperUnderTest) {
	type owned struct {
		by event.ID
		at time.Duration
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	model := map[int]owned{}
	now := time.Duration(0)
	for step := range uint64(2000) {
		if rng.IntN(20) == 0 {
			d := time.Duration(1+rng.IntN(3)) * 7 * time.Hour // no sum of sevens is 23, 24 or 25
			x.pass(d)
			now += d
		}
		var keys []event.Digest
		var ids, want []event.ID
		for n := range rng.IntN(20) {
			k, id := rng.IntN(2000), event.ID{Stream: 2, Seq: step, N: uint16(n)}
			if o, ok := model[k]; !ok || now-o.at >= testWindow {
				model[k] = owned{id, now}
			}
			keys, ids, want = append(keys, identity(fmt.Sprint(k))), append(ids, id), append(want, model[k].by)
		}
		if x.claims(t, fmt.Sprintf("seed %d step %d", seed, step), keys, ids, want); t.Failed() {
			return
		}
	}
}

func TestMemoryDeduperCap(t *testing.T) {
	c := new(clock)
	d := NewMemoryDeduper(MemoryDeduperConfig{KeysMax: 6400, Now: c.now})
	x := deduperUnderTest{d, c.pass}
	for n := range uint64(20_000) {
		x.claim(t, "claimed", fmt.Sprint(n), eventID(n), eventID(n))
		if d.Len() > 6400 {
			t.Fatalf("%d claims after %d", d.Len(), n+1)
		}
		if n%1000 == 0 {
			c.pass(10 * time.Minute)
		}
	}
	x.claim(t, "the newest is remembered", "19999", eventID(1), eventID(19999))
	x.claim(t, "the newest 6,200 are", "13800", eventID(1), eventID(13800))
	x.claim(t, "the oldest is not", "0", eventID(1), eventID(1))
	slots := 0
	for i := range d.tables {
		slots += len(d.tables[i].slots)
	}
	if slots > 4*6400+claimTableCount*claimSlotsMin {
		t.Errorf("%d slots for 6,400 claims", slots)
	}
}

func TestMemoryDeduperAllocatesNothing(t *testing.T) {
	d := NewMemoryDeduper(MemoryDeduperConfig{Now: new(clock).now})
	keys, ids, owners := make([]event.Digest, 500), make([]event.ID, 500), make([]event.ID, 500)
	for i := range keys {
		keys[i], ids[i] = identity(fmt.Sprint(i)), eventID(uint64(i))
	}
	ctx := t.Context()
	if n := testing.AllocsPerRun(20, func() {
		if err := d.Claim(ctx, keys, ids, owners); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%g allocations per batch", n)
	}
}
