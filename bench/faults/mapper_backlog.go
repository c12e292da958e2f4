package faults

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/traffic"
)

const (
	unmapped = "tallyhook_unmapped_records"

	heirMax = 90 * time.Second // a node that says nothing for half a minute is taken for dead

	floodConns  = 48
	floodGap    = 100 * time.Microsecond
	floodMin    = 12 * time.Second
	backlogMin  = 10_000 // records that a flood must leave waiting
	settleTime  = 2 * time.Second
	idleTimes   = 3 // times that the p99 of a verdict may grow while others' records wait
	idleSlower  = 50 * time.Millisecond
	drainSlower = 300 * time.Millisecond // while they are taken up, some hundred with every batch
	drainWindow = 5 * time.Second
)

// MapperHeir leaves records waiting on a node that cannot load their mapper and
// is then stopped for good: another node takes them for its own, maps them and
// books them in the order in which they came. The first one comes back in the
// end, and finds nothing left to do.
func MapperHeir(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	dead := w.nodes[0]
	w.first(acme, w.pairsCode("c"), w.pairsVectors())
	w.drive()
	waits := sourceID(traffic.Buyers[0])
	w.names(acme, "", verified()...)
	w.stop(dead)
	mended := spoilModule(t, dead, nil)
	w.restart(dead)
	w.pause(size.Calm)
	w.waiting(waits)
	dead.sent.SetAside(true)
	w.stop(dead)
	dead.gone = true
	w.phase("a node is gone")
	w.until(heirMax, "the records of the node that is gone are mapped", func(ctx context.Context) error {
		metrics, err := w.living()[0].api.Metrics(ctx)
		if err == nil && metrics[unmapped] > 0 {
			err = fmt.Errorf("%g wait", metrics[unmapped])
		}
		return err
	})
	mended()
	w.restart(dead)
	dead.gone = false
	dead.sent.SetAside(false)
	w.pause(size.Calm)
	if report := w.judge(); report.Waited == 0 {
		t.Error("no event had to wait for its mapper")
	}
}

// LongBacklog lets a flood of postbacks wait for a mapper that always breaks.
// That they are many is no burden on the others: neither while they wait, nor
// when a mended version takes them up.
func LongBacklog(t testing.TB, bin string, size Size) {
	w := newLone(t, bin, size)
	w.first("traps", hostile["traps"].code(), archiveOf(t, wellVectors))
	w.drive()
	w.pause(size.Calm)
	alone := w.window(measuredMin)
	bad := w.hostileSources([]string{"traps"})
	var many []*sending
	for range floodConns {
		many = append(many, bad[0])
	}
	stop := w.sendAll(many, floodGap)
	w.pause(max(min(size.Fault, time.Minute), floodMin))
	stop()
	w.pause(settleTime)
	waiting := w.sum(unmapped)
	w.say("%g records wait for their mapper", waiting)
	if waiting < backlogMin {
		t.Errorf("a flood left %g records waiting, want %d at least: make it longer", waiting, backlogMin)
	}
	idle := w.window(measuredMin)
	w.mend("traps")
	drain := w.window(drainWindow)
	left := w.sum(unmapped)
	w.say("%.0f of them were mapped a second", (waiting-left)/drain.to.Sub(drain.from).Seconds())
	if left >= waiting {
		t.Errorf("%g records wait after the mapper was mended, %g before", left, waiting)
	}
	w.judge()
	w.compareWindows("while they wait", alone, idle, verified(), idleTimes, idleSlower)
	w.compareWindows("while they are taken up", alone, drain, verified(), slowerMax, drainSlower)
	w.atRest()
}
