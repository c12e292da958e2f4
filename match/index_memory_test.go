package match

import (
	"fmt"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

func TestMemoryIndexCap(t *testing.T) {
	c := new(clock)
	m := NewMemoryIndex(MemoryIndexConfig{CallsMax: 10, Now: c.now})
	x := indexUnderTest{m, c.pass}
	// Two names each: room for twenty calls, five an hour.
	for no := range int64(40) {
		x.put(t, rang(no+1, fmt.Sprint("+1", no/5), time.Duration(no/5-8)*time.Hour))
		if names, _ := m.Size(); names > 10*namesPerCall {
			t.Fatalf("%d names after %d calls", names, no+1)
		}
	}
	x.find(t, "the newest hour", byCaller("+17"), 36, 37, 38, 39, 40)
	x.find(t, "the oldest that has room", byCaller("+14"), 21, 22, 23, 24, 25)
	x.find(t, "the one before", byCaller("+13"))
	w := byCaller("+17")
	w.Since = at(-8 * time.Hour)
	x.find(t, "no part for the whole", w)
	x.put(t, rang(50, "+10", -8*time.Hour))
	x.find(t, "what was dropped does not come back", byCaller("+10"))
	for no := range int64(21) { // all in one slice, more than there is room for
		x.put(t, rang(100+no, bob, 0))
	}
	c.pass(time.Hour)
	x.put(t, rang(200, bob, time.Hour))
	x.find(t, "and it goes on", byCaller(bob), 200)
}

// A steady stream through a month takes no more memory than its three days.
func TestMemoryIndexForgets(t *testing.T) {
	c := new(clock)
	m := NewMemoryIndex(MemoryIndexConfig{Now: c.now})
	const perHour = 1000
	for hour := range 30 * 24 {
		calls := make([]event.Call, perHour)
		for i := range calls {
			no := int64(hour*perHour + i + 1)
			calls[i] = rang(no, fmt.Sprint("+1", no%5000), time.Duration(hour)*time.Hour)
		}
		if err := m.Put(t.Context(), calls, 0, 1); err != nil {
			t.Fatal(err)
		}
		c.pass(time.Hour)
	}
	names, bytes := m.Size()
	if most := 2 * perHour * 74; names > most || bytes > int64(most)*nameBytes*3 {
		t.Errorf("%d names in %d bytes, want at most %d in %d", names, bytes, most, most*nameBytes*3)
	}
}

// What is put again, or pushed out by newer calls, is counted once.
func TestMemoryIndexCounts(t *testing.T) {
	m := NewMemoryIndex(MemoryIndexConfig{Now: new(clock).now})
	f := func(name string, want int) {
		t.Helper()
		if names, _ := m.Size(); names != want {
			t.Errorf("%s: %d names, want %d", name, names, want)
		}
	}
	x := indexUnderTest{m, nil}
	for hour := range time.Duration(10) {
		x.put(t, rang(1, alice, -hour*time.Hour))
	}
	f("one call, put again with other starts", 2)
	for no := range int64(100) {
		x.put(t, rang(2+no, alice, 0))
	}
	f("a busy caller: 101 call ids, and the caller for the newest", 101+CandidatesMax)
}

func TestNameTableReusesDeadSlots(t *testing.T) {
	table := new(nameTable)
	for slice := int64(1); slice < 100; slice++ {
		if _, is := table.put(uint64(slice), packName(slice, slice), slice, true); is == 0 {
			t.Fatalf("slice %d: not taken in", slice)
		}
	}
	if table.used != 1 || len(table.slots) != slotsMin {
		t.Errorf("one live name takes %d of %d slots", table.used, len(table.slots))
	}
}

func TestMemoryIndexAllocatesNothing(t *testing.T) {
	m := NewMemoryIndex(MemoryIndexConfig{Now: new(clock).now})
	calls := make([]event.Call, 500)
	wants, out := make([]Want, len(calls)), make([][]int64, len(calls))
	for i := range calls {
		calls[i] = rang(int64(i+1), alice[:11]+string(rune('0'+i%10)), 0)
		calls[i].RefID = fmt.Sprint("r", i)
		wants[i], out[i] = byRef(calls[i].RefID), make([]int64, 0, 1)
	}
	ctx := t.Context()
	run := func() {
		if err := m.Put(ctx, calls, 0, 1); err != nil {
			t.Fatal(err)
		}
		for i := range out {
			out[i] = out[i][:0]
		}
		if _, err := m.Find(ctx, wants, out); err != nil {
			t.Fatal(err)
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n != 0 {
		t.Errorf("%g allocations per batch of %d", n, len(calls))
	}
}
