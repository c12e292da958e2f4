package faults

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/traffic"
	"github.com/tallyhook/tallyhook/mapper/vectors"
)

// Sizes of the neighbourhood, and what the others may feel.
const (
	neighbours    = 6                      // sources beside the verifier's four
	neighbourGap  = 100 * time.Millisecond // between two postbacks of one
	hostileGap    = 25 * time.Millisecond  // and of a hostile one
	measuredMin   = 4 * time.Second
	measuredMax   = 2 * time.Minute
	slowerMax     = 5                      // times that the p99 of a verdict may grow
	slowerBy      = 100 * time.Millisecond // and this on top
	residentTimes = 2                      // that memory may grow
	residentBytes = 256 << 20              // and this on top
	failedMax     = 40                     // events that a mapper may break on in one life of a node, before it is left alone
	healMax       = time.Minute            // from mended versions until nothing waits
)

// HostileNeighbour measures ten sources, by the built-in mapper and by one in C,
// alone; then with five neighbours whose mappers burn all their fuel, most of
// it, trap and answer nonsense, at every postback. The others go on as before,
// the node lives, its memory is bounded. It is killed in the midst of it. When
// their partners have mended them, all that the hostile ones got ends.
func HostileNeighbour(t testing.TB, bin string, size Size) {
	w := newLone(t, bin, size)
	m := w.nodes[0]
	w.first(acme, w.pairsCode("c"), w.pairsVectors())
	names := slices.Sorted(maps.Keys(hostile))
	for _, name := range names {
		w.first(name, hostile[name].code(), archiveOf(t, wellVectors))
	}
	others := w.others()
	w.drive()
	w.names(acme, "", sourceID(traffic.Buyers[0]), sourceID(traffic.Buyers[1]))
	stopOthers := w.sendAll(others, neighbourGap)
	w.pause(size.Calm)

	period := max(min(size.Fault, measuredMax), measuredMin)
	watched := verified()
	for _, s := range others {
		watched = append(watched, s.id)
	}
	w.phase("alone")
	resident := w.resident(m)
	alone := w.window(period)
	w.phase("beside the hostile")
	bad := w.hostileSources(names)
	stopBad := w.sendAll(bad, hostileGap)
	beside := stint{from: time.Now()}
	most := w.watchHostile(m, period, "burns", "traps", "garbles", "strays")
	beside.to = time.Now()
	w.unharmed(w.phase("killed beside the hostile"))
	if limit := residentTimes*resident + residentBytes; most > limit {
		t.Errorf("the node came to hold %d MiB, from %d, want %d at most", most>>20, resident>>20, limit>>20)
	}
	w.say("resident memory: %d MiB alone, %d MiB at most beside the hostile", resident>>20, most>>20)

	kills := max(2, size.Rounds/3)
	for range kills {
		w.kill(m)
		w.restart(m)
		w.pause(size.Pause)
	}
	stopBad()
	w.phase("after the hostile")
	w.say("%d events of the hostile wait for their mappers", w.waitingOf(bad))
	for _, name := range names {
		w.mend(name)
	}
	w.until(healMax, "nothing of the hostile waits", func(context.Context) error {
		if n := w.waitingOf(bad); n > 0 {
			return fmt.Errorf("%d events do", n)
		}
		return nil
	})
	w.pause(size.Calm)
	stopOthers()
	w.judge()
	w.compareWindows("beside the hostile", alone, beside, watched, slowerMax, slowerBy)
	w.allEnded(bad)
	w.allEnded(others)
	w.leftAlone(bad, 1+kills)
	w.atRest()
}

// mend activates a version of a hostile mapper that means well.
func (w *world) mend(name string) {
	w.Helper()
	w.pushed(name, 2, mended(), archiveOf(w, wellVectors))
	if _, err := w.do(w.nodes[0], name, action{"activate", 2}); err != nil {
		w.Fatal(err)
	}
}

func archiveOf(t testing.TB, file string) []byte {
	t.Helper()
	c, err := vectors.ParseFile("well", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return vectors.Archive([]vectors.Case{c})
}

// resident gives the memory of a node's process.
func (w *world) resident(m *member) int64 {
	w.Helper()
	metrics, err := m.api.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	return int64(metrics["process_resident_memory_bytes"])
}

// watchHostile lets a while pass, in which the named mappers must come to be
// left alone, and gives the most memory that was seen.
func (w *world) watchHostile(m *member, period time.Duration, breaking ...string) (most int64) {
	w.Helper()
	broken := map[string]bool{}
	for end := time.Now().Add(period); time.Now().Before(end); w.pause(4 * watchPoll) {
		metrics, err := m.api.Metrics(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		most = max(most, int64(metrics["process_resident_memory_bytes"]))
		for _, name := range breaking {
			broken[name] = broken[name] || metrics[fmt.Sprintf("tallyhook_mapper_broken{mapper=%q,version=\"1\"}", name)] == 1
		}
	}
	for _, name := range breaking {
		if !broken[name] {
			w.Errorf("%s@1 breaks at every postback and was not left alone within %s", name, period)
		}
	}
	return most
}

// waitingOf counts what waits for a mapper.
func (w *world) waitingOf(list []*sending) (n int) {
	w.Helper()
	for _, s := range list {
		for _, e := range w.rows("parked", s.id) {
			if e.waits() {
				n++
			}
		}
	}
	return n
}

// leftAlone says that mappers which break at every postback were soon left
// alone, each time that the node was started: what comes then waits and is not
// lost to them.
func (w *world) leftAlone(list []*sending, lives int) {
	w.Helper()
	for _, s := range list {
		if n := len(w.rows("failed", s.id)); n > lives*failedMax {
			w.Errorf("%s broke on %d events in %d lives of the node, want %d at most in each", s.id, n, lives, failedMax)
		}
	}
}
