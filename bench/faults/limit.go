package faults

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/verifier"
)

// SharedLimit sends to one source through two nodes as fast as they answer. A
// limit of 120 a minute lets a minute's quota through at once and two a second
// from then on, whichever node is asked: 120 and the rate, not 240. Without
// Redis each node decides alone, and says so.
func SharedLimit(t testing.TB, bin string, size Size) {
	const perMin = 120
	w := newWorld(t, bin, size)
	w.startNodes(2)
	w.says("limits", false, recoverMax)
	// A node that does not hear from Redis in time decides alone, and counts that:
	// on a machine that is too busy for it there is nothing to be seen, and
	// another source starts anew.
	for try := 1; ; try++ {
		path := w.limitedSource(perMin)
		if err := verifier.Known(t.Context(), seen(w.nodes), knownMax); err != nil {
			t.Fatal(err)
		}
		alone := w.sum(decidedAlone)
		a, b, took := w.flood(path, max(size.Calm, 5*time.Second))
		alone = w.sum(decidedAlone) - alone
		most := perMin + int64(took.Seconds()*perMin/60) + 2
		w.say("%d and %d requests passed in %s; nodes decided %g times alone", a, b, took.Round(time.Millisecond), alone)
		if alone > 0 && try < limitTries {
			w.says("limits", false, recoverMax)
			continue
		}
		if a == 0 || b == 0 || a+b > most || a+b < perMin {
			t.Errorf("%d and %d requests passed in %s: want both nodes to let some through, and %d to %d together", a, b, took, perMin, most)
		}
		break
	}
	path := w.limitedSource(perMin)
	if err := verifier.Known(t.Context(), seen(w.nodes), knownMax); err != nil {
		t.Fatal(err)
	}
	local := w.sum(decidedAlone)
	w.index.link.Down()
	w.flood(path, size.Pause)
	w.says("limits", true, w.notice())
	w.flood(path, size.Pause)
	if now := w.sum(decidedAlone); now <= local {
		t.Errorf("without Redis nodes decided %g times alone, before %g", now, local)
	}
	w.index.link.Up()
	w.says("limits", false, recoverMax)
}

// limitTries is how often a limit is looked at before the run says that it does
// not hold.
const limitTries = 5

const decidedAlone = "tallyhook_limits_local_total"

// flood sends to both nodes for a while, and gives how many requests each let
// through. Every one is answered, with 200 or 429.
func (w *world) flood(path string, period time.Duration) (first, second int64, took time.Duration) {
	w.Helper()
	begin := time.Now()
	var passed [2]atomic.Int64
	var wait sync.WaitGroup
	for i, m := range w.nodes {
		for range 4 {
			wait.Go(func() {
				for n := 0; time.Since(begin) < period; n++ {
					status, err := get(fmt.Sprintf("http://%s%s?payout=1&ref_id=r%d", m.cfg.Ingest, path, n))
					switch {
					case err != nil || (status != http.StatusOK && status != http.StatusTooManyRequests):
						w.Errorf("%s: status %d, %v", m.name, status, err)
						return
					case status == http.StatusOK:
						passed[i].Add(1)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
	}
	wait.Wait()
	return passed[0].Load(), passed[1].Load(), time.Since(begin)
}

// limitedSource makes a source with a limit and gives its path.
func (w *world) limitedSource(perMin int) string {
	w.Helper()
	var made struct{ URL string }
	err := w.nodes[0].api.Do(w.Context(), "POST", "/api/v1/sources", map[string]any{"id": fmt.Sprintf("limited-%d", time.Now().UnixNano()), "name": "Limited", "reply": "accepted",
		"limits": map[string]int{"per_token_per_min": perMin, "per_ip_per_min": -1}}, &made)
	if err != nil {
		w.Fatal(err)
	}
	u, err := url.Parse(made.URL)
	if err != nil || !strings.HasPrefix(u.Path, "/v1/postbacks/") {
		w.Fatalf("the answer holds no postback URL")
	}
	return u.Path
}

func get(to string) (status int, err error) {
	res, err := http.Get(to)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}
