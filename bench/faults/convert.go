package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"
)

// Sizes of the runs with postback timeouts.
const (
	timedCalls   = 300
	timedWave    = 10                     // calls that end, and are told, together
	timedEvery   = 200 * time.Millisecond // from one wave to the next
	timedOut     = 3 * time.Second        // a campaign's timeout, after the call's end
	timedLateMax = 2 * time.Second        // how long after its deadline a late value is posted
	timedKills   = 5
)

// timing says when a call's value is posted.
type timing int

const (
	never    timing = iota
	early           // before the call is told: it waits for it
	soon            // once it has ended
	edge            // right before the deadline, or right behind
	late            // some time after
	tooEarly = 100 * time.Millisecond
	edgeMax  = 150 * time.Millisecond
)

// timedCall is a call of a campaign with a timeout.
type timedCall struct {
	id    string
	wave  int
	ended time.Time
	when  timing
	at    time.Time // when its value is posted
	value int64
}

// timed is what such a run tells and posts.
type timed struct {
	w      *world
	take   *taker
	path   string
	calls  []*timedCall
	tells  []*member // in the order in which they are asked
	values []*member

	wait  sync.WaitGroup
	mu    sync.Mutex
	acked map[string]*timedCall // by event: whose value it is
}

// newTimed sets the campaign up and plans the calls: a third is paid in time, a
// third too late, a third never.
func newTimed(w *world) *timed {
	w.Helper()
	t := &timed{w: w, take: newTaker(w), tells: w.nodes, values: w.nodes, acked: map[string]*timedCall{}}
	network := map[string]any{
		"buyers": []any{map[string]string{"id": "acme"}}, "publishers": []any{map[string]string{"id": "pub"}},
		"campaigns": []any{map[string]any{"id": "timed", "assignments": []any{},
			"conversion": map[string]any{"posted": true, "timeout": timedOut.String(), "modifier": "percent 80"}}},
	}
	if err := w.nodes[0].api.Do(w.Context(), http.MethodPost, "/api/v1/apply", network, new(struct{})); err != nil {
		w.Fatal(err)
	}
	t.path = w.sourceOf(map[string]any{"id": "timed", "name": "Timed", "buyer": "acme", "reply": "accepted", "identity": "tx", "currency": "USD"})
	return t
}

// plan says what comes when, from now on.
func (t *timed) plan() (begin, end time.Time) {
	seed := uint64(time.Now().UnixMicro())
	t.w.say("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	span := func(most time.Duration) time.Duration { return time.Duration(r.Int64N(int64(most))) }
	begin = time.Now().Add(timedEvery).Truncate(time.Microsecond)
	for i := range timedCalls {
		c := &timedCall{id: fmt.Sprintf("call-%03d", i), wave: i / timedWave, value: int64(unit + i*unit/100)}
		c.ended = begin.Add(time.Duration(c.wave) * timedEvery)
		deadline := c.ended.Add(timedOut)
		switch i % 9 {
		case 0, 3, 6:
			c.when = [3]timing{early, soon, edge}[i%9/3]
		case 1, 4, 7:
			c.when = late
		}
		switch c.when {
		case early:
			c.at = c.ended.Add(-span(tooEarly))
		case soon:
			c.at = c.ended.Add(span(timedOut / 2))
		case edge:
			c.at = deadline.Add(span(2*edgeMax) - edgeMax)
		case late:
			c.at = deadline.Add(edgeMax + span(timedLateMax))
		}
		t.calls = append(t.calls, c)
		end = deadline.Add(edgeMax + timedLateMax)
	}
	return begin, end
}

// run tells the calls and posts their values, each at its time.
func (t *timed) run() {
	t.wait.Go(func() {
		for wave := 0; wave*timedWave < len(t.calls); wave++ {
			t.tell(t.calls[wave*timedWave : min(len(t.calls), (wave+1)*timedWave)])
		}
	})
	for _, c := range t.calls {
		if c.when != never {
			t.wait.Go(func() { t.post(c) })
		}
	}
}

func (t *timed) tell(calls []*timedCall) {
	var list []map[string]any
	for _, c := range calls {
		list = append(list, map[string]any{"call_id": c.id, "campaign": "timed", "publisher": "pub", "buyer": "acme",
			"started_at": c.ended.Add(-time.Minute).UTC().Format(time.RFC3339Nano), "ended_at": c.ended.UTC().Format(time.RFC3339Nano)})
	}
	body, err := json.Marshal(list)
	if err != nil {
		t.w.Error(err)
		return
	}
	t.upTo(calls[0].ended)
	_, err = t.take.send(t.tells, func(host string) (*http.Request, error) {
		r, err := http.NewRequest(http.MethodPost, "http://"+host+"/v1/calls", bytes.NewReader(body))
		if err == nil {
			r.Header.Set("Authorization", "Bearer "+t.w.key)
		}
		return r, err
	})
	if err != nil {
		t.w.Errorf("calls from %s on: %v", calls[0].id, err)
	}
}

func (t *timed) post(c *timedCall) {
	t.upTo(c.at)
	event, err := t.take.get(t.values, t.path, url.Values{"call_id": {c.id}, "tx": {"tx-" + c.id}, "payout": {decimal(c.value)}})
	if err != nil {
		t.w.Errorf("value of %s: %v", c.id, err)
		return
	}
	t.mu.Lock()
	t.acked[event] = c
	t.mu.Unlock()
}

// upTo lets the time come at which something is sent.
func (t *timed) upTo(at time.Time) {
	select {
	case <-time.After(time.Until(at)):
	case <-t.w.Context().Done():
	}
}

// decimal writes millionths.
func decimal(v int64) string {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	return fmt.Sprintf("%s%d.%06d", sign, v/unit, v%unit)
}

// Timeouts kills a node five times while calls of a campaign with a timeout
// end and are paid in time, late and never: before, at and after deadlines.
// Every second time it is down until the deadlines of what it has acknowledged
// are over. Each call becomes what the recorded times say, once.
func Timeouts(t testing.TB, bin string, size Size) {
	w := newLone(t, bin, size)
	run, m := newTimed(w), w.nodes[0]
	begin, end := run.plan()
	run.run()
	part := end.Sub(begin) / timedKills
	for kill := range timedKills {
		run.upTo(begin.Add(time.Duration(kill)*part + rand.N(part)))
		w.killAfterAck(run.take, m)
		if kill%2 == 1 {
			run.upTo(time.Now().Add(timedOut))
		}
		w.restart(m)
	}
	run.wait.Wait()
	run.judge(0, false)
	w.atRest()
}
