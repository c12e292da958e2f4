package faults

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/tallyhook/tallyhook/bench/load"
)

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

// window lets a while of the load pass.
func (w *world) window(d time.Duration) (s stint) {
	w.Helper()
	s.from = time.Now()
	w.pause(d)
	s.to = time.Now()
	return s
}

// compareWindows compares how long verdicts took, and how many there were, in
// two windows of time: 99 of 100 may take so many times as long and so much on
// top. A verdict is measured on the node, from the receipt.
func (w *world) compareWindows(what string, alone, beside stint, sources []string, times int, by time.Duration) {
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
	w.say("%s: %.0f a second, p50 %s p99 %s max %s; ratio of rates %.2f, of p50 %.2f, of p99 %.2f", what, rate[1], took[1].Quantile(.5), after, took[1].Max(),
		rate[1]/max(rate[0], 1), float64(took[1].Quantile(.5))/float64(max(took[0].Quantile(.5), 1)), float64(after)/float64(max(before, 1)))
	if took[0].Count() < spanMin || took[1].Count() < spanMin || after > time.Duration(times)*before+by {
		w.Errorf("%s: 99 of 100 verdicts of %d took %s at most, of %d alone %s: want %d times that and %s", what, took[1].Count(), after, took[0].Count(), before, times, by)
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
