package faults

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	client "github.com/tallyhook/tallyhook/bench/load"
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
	w.pushed(acme, 1, w.pairsCode("c"), w.pairsVectors())
	w.acts(m, acme, registry{replaced: map[int]int{}}, action{"activate", 1})
	names := slices.Sorted(maps.Keys(hostile))
	for _, name := range names {
		w.pushed(name, 1, hostile[name].code(), archiveOf(t, wellVectors))
		w.acts(m, name, registry{replaced: map[int]int{}}, action{"activate", 1})
		w.inForce(name, 1)
	}
	others := w.others()
	w.drive()
	w.inForce(acme, 1)
	w.names(acme, "", sourceID(traffic.Buyers[0]), sourceID(traffic.Buyers[1]))
	stopOthers := w.sendAll(others, neighbourGap)
	w.pause(size.Calm)

	period := max(min(size.Fault, measuredMax), measuredMin)
	watched := make([]string, 0, neighbours+len(traffic.Buyers))
	for _, s := range others {
		watched = append(watched, s.id)
	}
	for _, buyer := range traffic.Buyers {
		watched = append(watched, sourceID(buyer))
	}
	w.phase("alone")
	resident := w.resident(m)
	alone := stint{from: time.Now()}
	w.pause(period)
	alone.to = time.Now()
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

	for range max(2, size.Rounds/3) {
		w.kill(m)
		w.restart(m)
		w.pause(size.Pause)
	}
	stopBad()
	w.phase("after the hostile")
	w.say("%d events of the hostile wait for their mappers", w.waitingOf(bad))
	for _, name := range names {
		w.pushed(name, 2, mended(), archiveOf(t, wellVectors))
		if _, err := w.do(m, name, action{"activate", 2}); err != nil {
			t.Fatal(err)
		}
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
	w.compareWindows(alone, beside, watched)
	w.allEnded(bad)
	w.allEnded(others)
	w.atRest()
}

func archiveOf(t testing.TB, file string) []byte {
	t.Helper()
	c, err := vectors.ParseFile("well", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return vectors.Archive([]vectors.Case{c})
}

// sending is a source that a goroutine sends to.
type sending struct {
	id, path string
	body     func(n int) string

	sent, acked atomic.Int64
}

// newSending makes a source whose mapper is its own, or "" for the built-in one.
func (w *world) newSending(id, mapper, reply string, body func(n int) string) *sending {
	w.Helper()
	spec := map[string]any{"id": id, "name": id, "reply": reply, "park_for": "24h", "limits": map[string]int{"per_token_per_min": -1, "per_ip_per_min": -1}}
	if mapper != "" {
		spec["mapper"] = mapper
	}
	var made struct{ URL string }
	if err := w.nodes[0].api.Do(w.Context(), http.MethodPost, "/api/v1/sources", spec, &made); err != nil {
		w.Fatal(err)
	}
	u, err := url.Parse(made.URL)
	if err != nil {
		w.Fatal("the answer holds no postback URL")
	}
	return &sending{id: id, path: u.Path, body: body}
}

// others are the sources beside the verifier's, half of them with a mapper.
func (w *world) others() (list []*sending) {
	w.Helper()
	for i := range neighbours {
		list = append(list, w.newSending(fmt.Sprintf("neighbour-%d", i), [2]string{"", acme}[i%2], "verdict", func(n int) string {
			return fmt.Sprintf("ref_id=of-%d-%d&payout=1.5", i, n)
		}))
	}
	return list
}

func (w *world) hostileSources(names []string) (list []*sending) {
	w.Helper()
	for _, name := range names {
		list = append(list, w.newSending("hostile-"+name, name, "accepted", func(int) string { return hostile[name].body }))
	}
	return list
}

// sendAll sends to every source, one postback after the other, until stop.
func (w *world) sendAll(list []*sending, gap time.Duration) (stop func()) {
	ctx, end := context.WithCancel(w.Context())
	var wait sync.WaitGroup
	for _, s := range list {
		wait.Go(func() { s.send(ctx, w.nodes[0].cfg.Ingest, gap) })
	}
	return func() { end(); wait.Wait() }
}

func (s *sending) send(ctx context.Context, ingest string, gap time.Duration) {
	conn := client.NewConn(ingest)
	defer conn.Close()
	tick := time.NewTicker(gap)
	defer tick.Stop()
	for n := 0; ; n++ {
		request := client.AppendRequest(nil, http.MethodPost, s.path, ingest, "application/x-www-form-urlencoded", []byte(s.body(n)))
		s.sent.Add(1)
		if status, _, err := conn.Do(request, patience); err == nil && status < 300 {
			s.acked.Add(1)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
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

// compareWindows compares how long verdicts took, and how many there were, in
// two windows of time. A verdict is measured on the node, from the receipt.
func (w *world) compareWindows(alone, beside stint, sources []string) {
	w.Helper()
	var took [2]client.Histogram
	var rate [2]float64
	rows := w.rows("", sources...)
	for i, s := range []stint{alone, beside} {
		for _, e := range rows {
			if !e.ReceivedAt.Before(s.from) && e.ReceivedAt.Before(s.to) && e.Revision == 1 {
				took[i].Record(time.Duration(e.Latency.Total) * time.Microsecond)
			}
		}
		rate[i] = float64(took[i].Count()) / s.to.Sub(s.from).Seconds()
	}
	before, after := took[0].Quantile(.99), took[1].Quantile(.99)
	w.say("verdicts of the others alone: %.0f a second, p50 %s p99 %s max %s", rate[0], took[0].Quantile(.5), before, took[0].Max())
	w.say("beside the hostile: %.0f a second, p50 %s p99 %s max %s; ratio of rates %.2f, of p50 %.2f, of p99 %.2f", rate[1], took[1].Quantile(.5), after, took[1].Max(),
		rate[1]/max(rate[0], 1), float64(took[1].Quantile(.5))/float64(max(took[0].Quantile(.5), 1)), float64(after)/float64(max(before, 1)))
	if took[0].Count() < spanMin || after > slowerMax*before+slowerBy {
		w.Errorf("99 of 100 verdicts of %d took %s at most beside the hostile, %s without them: want %d times that and %s", took[1].Count(), after, before, slowerMax, slowerBy)
	}
}

// allEnded says that whatever was acknowledged to a sender is there once, and
// that nothing waits for a mapper.
func (w *world) allEnded(list []*sending) {
	w.Helper()
	for _, s := range list {
		became := map[string]int{}
		rows := w.rows("", s.id)
		for _, e := range rows {
			became[e.Status+" "+e.Reason]++
			if e.waits() {
				w.Errorf("event %s of %s waits for its mapper still", e.Event, s.id)
			}
		}
		sent, acked := s.sent.Load(), s.acked.Load()
		w.say("%s: %d sent, %d acknowledged; became %v", s.id, sent, acked, became)
		if n := int64(len(rows)); n < acked || n > sent {
			w.Errorf("%s: %d postbacks were sent, %d acknowledged, and there are %d events", s.id, sent, acked, n)
		}
	}
}
