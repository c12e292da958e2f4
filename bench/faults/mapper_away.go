package faults

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/traffic"
)

const (
	reloadMax = 75 * time.Second // a version that could not be loaded is tried again every half minute
	otherMax  = 5 * time.Second  // from receipt to verdict of what needs no mapper that is away
	lookAt    = 20               // events of which the raw request is read
)

// modulesFolder and nativeFolder are where a node keeps what was pushed, and
// what it made of it.
func modulesFolder(m *member) string { return filepath.Join(m.cfg.Data, "mappers", "modules") }
func nativeFolder(m *member) string  { return filepath.Join(m.cfg.Data, "mappers", "native") }

// MapperUnreadable starts a node whose disk gives an error for the module of the
// active version. What its source sends waits in the ledger with its raw
// requests, a source with a fallback is mapped by the version before, the others
// notice nothing; and when the disk is well again, all is booked in the order in
// which it came.
func MapperUnreadable(t testing.TB, bin string, size Size) {
	w := newLone(t, bin, size)
	m, archive := w.nodes[0], w.pairsVectors()
	r := w.first(acme, w.pairsCode("c"), archive)
	w.drive()
	before := listed(t, modulesFolder(m))
	w.pushed(acme, 2, w.pairsCode("rust"), archive)
	w.acts(m, acme, r, action{"activate", 2})
	w.inForce(acme, 2)
	waits, falls := sourceID(traffic.Buyers[0]), sourceID(traffic.Buyers[1])
	w.names(acme, "", waits)
	w.names(acme, "previous", falls)
	w.pause(size.Calm)

	w.stop(m)
	mended := spoilModule(t, m, before)
	w.phase("the mapper is away")
	w.restart(m)
	begin := time.Now()
	w.grows(m, booked, noticeMax)
	w.pause(min(size.Fault, 5*time.Minute))
	w.waiting(waits)
	end := time.Now()
	w.phase("the mapper is back")
	mended()
	w.inForceWithin(reloadMax, m, 2)
	w.pause(size.Calm)
	if report := w.judge(); report.Waited == 0 {
		t.Error("no event had to wait for its mapper")
	}
	w.undelayed(begin, end, falls, sourceID(traffic.Buyers[2]), sourceID(traffic.Buyers[3]))
	w.fellBack(begin, end, falls)
	w.atRest()
}

func listed(t testing.TB, folder string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// spoilModule removes all native code from a node's disk, and puts what cannot
// be read in the place of the one module that was not there before.
func spoilModule(t testing.TB, m *member, before []string) (mended func()) {
	t.Helper()
	if err := os.RemoveAll(nativeFolder(m)); err != nil {
		t.Fatal(err)
	}
	var added []string
	for _, name := range listed(t, modulesFolder(m)) {
		if !slices.Contains(before, name) {
			added = append(added, name)
		}
	}
	if len(added) != 1 {
		t.Fatalf("the second version left the modules %v beside %v, want one", added, before)
	}
	path := filepath.Join(modulesFolder(m), added[0])
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // reading it is an error other than that it is not there
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// inForceWithin waits until a node can run the active version.
func (w *world) inForceWithin(limit time.Duration, m *member, version int) {
	w.Helper()
	w.until(limit, fmt.Sprintf("%s can run %s@%d again", m.name, acme, version), func(ctx context.Context) error {
		if v, err := w.mapperMetric(ctx, m, "ready", acme, "active", version); err != nil || v != 1 {
			return fmt.Errorf("ready is %g, %v", v, err)
		}
		return nil
	})
}

// waiting says that events of a source wait for its mapper, each with its whole
// request.
func (w *world) waiting(source string) {
	w.Helper()
	n := 0
	for _, e := range w.rows("parked", source) {
		if !e.waits() {
			continue
		}
		if n++; n > lookAt {
			continue
		}
		var line struct {
			Request *struct {
				Method string `json:"method"`
				Query  string `json:"query"`
				Body   string `json:"body"`
			} `json:"request"`
		}
		if err := w.nodes[0].api.Do(w.Context(), http.MethodGet, "/api/v1/events/"+url.PathEscape(e.Event), nil, &line); err != nil {
			w.Fatal(err)
		}
		if r := line.Request; r == nil || r.Method == "" || r.Query == "" && r.Body == "" {
			w.Errorf("event %s waits for its mapper and has kept of its request: %+v", e.Event, r)
		}
	}
	w.say("%d events of %s wait for its mapper", n, source)
	if n == 0 {
		w.Errorf("no event of %s waits for its mapper", source)
	}
}

// undelayed says that what sources sent in a time never waited for a mapper and
// had its verdict soon.
func (w *world) undelayed(from, to time.Time, sources ...string) {
	w.Helper()
	n, slowest := 0, time.Duration(0)
	for _, e := range w.rows("", sources...) {
		if e.ReceivedAt.Before(from) || e.ReceivedAt.After(to) || e.Revision > 1 { // those wait for their calls
			continue
		}
		n++
		slowest = max(slowest, e.DecidedAt.Sub(e.ReceivedAt))
	}
	w.say("%d events of sources whose mapper is there; the slowest verdict after %s", n, slowest.Round(time.Millisecond))
	if n < spanMin || slowest > otherMax {
		w.Errorf("%d events of other sources had their verdict after %s at most, want %d and %s", n, slowest, spanMin, otherMax)
	}
}

// fellBack says that the version before has mapped what a source sent in a time.
func (w *world) fellBack(from, to time.Time, source string) {
	w.Helper()
	n := 0
	for _, e := range w.rows("", source) {
		if e.ReceivedAt.Before(from) || e.ReceivedAt.After(to) {
			continue
		}
		if n++; e.Mapper != acme+"@1" {
			w.Errorf("event %s of %s was mapped by %q, want %s@1", e.Event, source, e.Mapper, acme)
		}
	}
	if n < spanMin {
		w.Errorf("%d events of %s came while its mapper was away, want %d at least", n, source, spanMin)
	}
}

// MapperAway starts one of two nodes while PostgreSQL is away, without what it
// had kept of mappers on its disk. It takes in all the same. When PostgreSQL is
// back it fetches the mapper, and everything is booked in order.
func MapperAway(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	m := w.nodes[0]
	w.first(acme, w.pairsCode("c"), w.pairsVectors())
	w.drive()
	w.names(acme, "", sourceID(traffic.Buyers[0]), sourceID(traffic.Buyers[1]))
	w.pause(size.Calm)
	w.stop(m)
	for _, folder := range []string{modulesFolder(m), nativeFolder(m)} {
		if err := os.RemoveAll(folder); err != nil {
			t.Fatal(err)
		}
	}
	w.store.link.Down()
	w.phase("store and mapper are away")
	w.restart(m)
	w.grows(m, journaled, noticeMax)
	w.pause(size.Fault)
	// Some connections were to the process that was stopped; nothing else fails.
	if p := w.phase("store is back"); p.acked == 0 || p.refused > 0 {
		t.Errorf("%s: %d requests were acknowledged, %d refused", p.name, p.acked, p.refused)
	}
	w.store.link.Up()
	begin := time.Now()
	w.says("store", false, recoverMax)
	back := time.Now()
	w.inForceWithin(reloadMax, m, 1)
	w.say("the mapper came %s after the store", time.Since(back).Round(time.Millisecond))
	w.caughtUp()
	report := w.judge()
	w.say("%d events had to wait for their mapper", report.Waited)
	w.undelayed(begin.Add(time.Second), time.Now(), sourceID(traffic.Buyers[2]), sourceID(traffic.Buyers[3]))
}
