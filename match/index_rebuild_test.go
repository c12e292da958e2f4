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
	if err := x.Put(t.Context(), []event.Call{rang(1, alice, 0)}, 0, 5); err != nil {
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
	f("rebuilt, with a Put since", 5)
	if told != 3 {
		t.Errorf("progress told %d calls, want 3", told)
	}
	x.find(t, "both sources", byCaller(alice), 1, 2)
	if err := x.Put(t.Context(), nil, 5, 9); err != nil {
		t.Fatal(err)
	}
	f("later", 9)
	if err := x.Put(t.Context(), nil, 6, 8); err != nil {
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
		if err := x.Put(ctx, []event.Call{rang(1, alice, 0), rang(2, alice, 0)}, 10, 12); err != nil {
			return err
		}
		if err := x.Rebuild(ctx, scanOf(), 11, nil); !errors.Is(err, ErrRebuilding) {
			t.Errorf("a second rebuild beside the first: %v, want %v", err, ErrRebuilding)
		}
		if needs, err := x.NeedsRebuild(ctx); needs || err != nil {
			t.Errorf("a second rebuild is wanted: %t, %v", needs, err)
		}
		return yield([]event.Call{rang(1, alice, -71*time.Hour), rang(3, alice, 0)})
	}, 10, nil); err != nil {
		t.Fatal(err)
	}
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
				no := 1 + w*rounds + n
				mine := fmt.Sprint("mine", no)
				c := rang(no, alice, 0)
				c.RefID = mine
				if err := x.Put(t.Context(), []event.Call{c}, no-1, no); err != nil {
					t.Error(err)
				}
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

func (x indexUnderTest) putRange(t *testing.T, from, through int64) {
	t.Helper()
	if err := x.Put(t.Context(), nil, from, through); err != nil {
		t.Fatal(err)
	}
}

func (x indexUnderTest) rebuilt(t *testing.T, through int64) {
	t.Helper()
	if err := x.Rebuild(t.Context(), scanOf(), through, nil); err != nil {
		t.Fatal(err)
	}
}

func indexRanges(t *testing.T, x indexUnderTest) {
	f := func(from, through, want int64) {
		t.Helper()
		x.putRange(t, from, through)
		if got := x.through(t); got != want {
			t.Errorf("after (%d, %d]: complete through %d, want %d", from, through, got, want)
		}
	}
	f(95, 120, 0) // before the rebuild, joined by its end
	x.rebuilt(t, 100)
	f(120, 121, 121)
	f(130, 140, 121)
	f(150, 160, 121)
	f(135, 150, 121)
	f(130, 132, 121)
	f(121, 130, 160)
	f(100, 110, 160)
	f(50, 170, 170)
	f(1<<52, 1<<53-1, 170)
	f(170, 1<<52+5, 1<<53-1)
}

// Of very many ranges the farthest may be forgotten, and nothing is claimed of them.
func indexManyGaps(t *testing.T, x indexUnderTest) {
	x.rebuilt(t, 10)
	for n := range int64(3 * beyondMax) {
		x.putRange(t, 20+10*n, 25+10*n)
	}
	if got := x.through(t); got != 10 {
		t.Errorf("complete through %d, want 10", got)
	}
	x.putRange(t, 10, 20)
	if got := x.through(t); got != 25 {
		t.Errorf("complete through %d, want 25", got)
	}
	x.putRange(t, 25, 10_000)
	if got := x.through(t); got != 10_000 {
		t.Errorf("complete through %d, want 10,000", got)
	}
}

// Random ranges near the front, beside a set of numbers.
func indexRangesModel(t *testing.T, x indexUnderTest) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	has, want := map[int64]bool{}, int64(0)
	x.rebuilt(t, 0)
	for step := range 400 {
		from := max(0, want-5+rng.Int64N(40))
		through := from + rng.Int64N(6)
		x.putRange(t, from, through)
		for no := from + 1; no <= through; no++ {
			has[no] = true
		}
		for has[want+1] {
			want++
		}
		if got := x.through(t); got != want {
			t.Fatalf("seed %d step %d: after (%d, %d] complete through %d, want %d", seed, step, from, through, got, want)
		}
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
	type starts struct{ last, latest time.Duration }
	model := map[event.CallKey]map[int64]starts{}
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
					model[key] = map[int64]starts{}
				}
				was, ok := model[key][c.No]
				if !ok {
					was.latest = start
				}
				model[key][c.No] = starts{start, max(start, was.latest)}
			}
		default:
			caller := callers[rng.IntN(len(callers))]
			w := byCaller(caller)
			if rng.IntN(2) == 0 {
				w = byRef(fmt.Sprint("r", rng.IntN(300)))
			}
			out := make([][]int64, 1)
			if _, err := x.Find(t.Context(), []Want{w}, out); err != nil {
				t.Fatal(err)
			}
			for no, start := range model[w.Keys[0]] {
				if start.last >= now-testKeep && !slices.Contains(out[0], no) {
					t.Fatalf("seed %d step %d: found %v without %d", seed, step, out[0], no)
				}
			}
			for _, no := range out[0] {
				if start, ok := model[w.Keys[0]][no]; !ok || start.latest < now-testKeep {
					t.Fatalf("seed %d step %d: found %v, but %d has left", seed, step, out[0], no)
				}
			}
		}
	}
}
