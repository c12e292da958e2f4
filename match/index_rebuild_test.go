package match

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

func indexThrough(t *testing.T, x indexUnderTest) {
	f := func(name string, want int64) {
		t.Helper()
		if got := x.through(t); got != want {
			t.Errorf("%s: complete through %d, want %d", name, got, want)
		}
	}
	f("new", 0)
	if err := x.Put(t.Context(), []event.Call{rang(1, alice, 0)}, 5); err != nil {
		t.Fatal(err)
	}
	f("put before the rebuild", 0)
	told := 0
	if err := x.Rebuild(t.Context(), func(_ context.Context, yield func([]event.Call) error) error {
		f("while it runs", 0)
		return errors.Join(yield([]event.Call{rang(2, alice, 0)}), yield([]event.Call{rang(3, bob, 0), rang(4, bob, 0)}))
	}, 4, func(n int) { told = n }); err != nil {
		t.Fatal(err)
	}
	x.settle()
	f("rebuilt, with a Put since", 5)
	if told != 3 {
		t.Errorf("progress told %d calls, want 3", told)
	}
	x.find(t, "both sources", byCaller(alice), 1, 2)
	if err := x.Put(t.Context(), nil, 9); err != nil {
		t.Fatal(err)
	}
	f("later", 9)
	if err := x.Put(t.Context(), nil, 8); err != nil {
		t.Fatal(err)
	}
	f("a repeated Put does not take it back", 9)
}

func indexRebuildFails(t *testing.T, x indexUnderTest) {
	gone := errors.New("the store is gone")
	scan := func(_ context.Context, yield func([]event.Call) error) error {
		return errors.Join(yield([]event.Call{rang(1, alice, 0)}), gone)
	}
	if err := x.Rebuild(t.Context(), scan, 7, nil); !errors.Is(err, gone) {
		t.Errorf("error %v, want %v", err, gone)
	}
	if got := x.through(t); got != 0 {
		t.Errorf("complete through %d after a failure", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := x.Rebuild(ctx, scanOf(rang(1, alice, 0)), 7, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that of the context", err)
	}
	if err := x.Rebuild(t.Context(), scanOf(rang(1, alice, 0)), 7, nil); err != nil {
		t.Errorf("tried again: %v", err)
	}
	if got := x.through(t); got != 7 {
		t.Errorf("complete through %d, want 7", got)
	}
	x.find(t, "once", byCaller(alice), 1)
}

// The scan reads call 1 as it was; meanwhile it is put with a later start.
func indexRebuildBesidePut(t *testing.T, x indexUnderTest) {
	if err := x.Rebuild(t.Context(), func(ctx context.Context, yield func([]event.Call) error) error {
		if err := x.Put(ctx, []event.Call{rang(1, alice, 0), rang(2, alice, 0)}, 12); err != nil {
			return err
		}
		if err := x.Rebuild(ctx, scanOf(), 11, nil); err == nil {
			t.Error("a second rebuild beside the first gave no error")
		}
		return yield([]event.Call{rang(1, alice, -71*time.Hour), rang(3, alice, 0)})
	}, 10, nil); err != nil {
		t.Fatal(err)
	}
	x.settle()
	if got := x.through(t); got != 12 {
		t.Errorf("complete through %d, want 12", got)
	}
	x.pass(2 * time.Hour)
	x.find(t, "the Put counts, not the scan", byCaller(alice), 1, 2, 3)
}

func indexConcurrent(t *testing.T, x indexUnderTest) {
	const workers, rounds = 4, 50
	var group sync.WaitGroup
	for w := range int64(workers) {
		group.Go(func() {
			for n := range int64(rounds) {
				no := 1 + w + n*workers
				mine := fmt.Sprint("mine", no)
				c := rang(no, alice, 0)
				c.RefID = mine
				if err := x.Put(t.Context(), []event.Call{c}, no); err != nil {
					t.Error(err)
				}
				x.settle()
				x.find(t, "its own", byRef(mine), no)
			}
		})
	}
	group.Go(func() {
		if err := x.Rebuild(t.Context(), scanOf(rang(10_000, bob, 0)), 1, nil); err != nil {
			t.Error(err)
		}
		x.find(t, "rebuilt", byCaller(bob), 10_000)
	})
	group.Wait()
	if got := x.through(t); got != workers*rounds {
		t.Errorf("complete through %d, want %d", got, workers*rounds)
	}
}

// 1,500 random steps beside a map from name to calls and their starts. Starts
// lie on the hour and the clock at half past, so no slice is in doubt.
func indexModel(t *testing.T, x indexUnderTest) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	x.pass(30 * time.Minute)
	now := 30 * time.Minute
	model := map[event.CallKey]map[int64]time.Duration{}
	callers := make([]string, 40)
	for i := range callers {
		callers[i] = fmt.Sprintf("+120255502%02d", i)
	}
	for step := range 1500 {
		switch rng.IntN(10) {
		case 0:
			d := time.Duration(rng.IntN(5)) * time.Hour
			x.pass(d)
			now += d
		case 1, 2, 3, 4, 5:
			start := now.Truncate(time.Hour) - time.Duration(rng.IntN(76))*time.Hour
			c := rang(1+rng.Int64N(400), callers[rng.IntN(len(callers))], start)
			c.RefID = fmt.Sprint("r", rng.IntN(300))
			x.put(t, c)
			if start < now-testKeep {
				continue
			}
			for _, key := range c.AppendKeys(nil) {
				if model[key] == nil {
					model[key] = map[int64]time.Duration{}
				}
				model[key][c.No] = start
			}
		default:
			caller := callers[rng.IntN(len(callers))]
			w := byCaller(caller)
			if rng.IntN(2) == 0 {
				w = byRef(fmt.Sprint("r", rng.IntN(300)))
			}
			var want []int64
			for no, start := range model[w.Keys[0]] {
				if start >= now-testKeep {
					want = append(want, no)
				}
			}
			slices.Sort(want)
			if x.find(t, fmt.Sprintf("seed %d step %d", seed, step), w, want...); t.Failed() {
				return
			}
		}
	}
}
