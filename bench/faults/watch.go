package faults

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Limits of what nodes say of themselves.
const (
	watchPoll  = 50 * time.Millisecond
	noticeMax  = 15 * time.Second // until a node says that something is away
	recoverMax = 30 * time.Second // and until it says that it is back

	noticeLongMax = 90 * time.Second

	drainMax     = time.Minute // until nothing waits, once nothing is broken
	drainLongMax = 10 * time.Minute
)

// until waits for something that is true soon; what is false says why not yet.
func (w *world) until(limit time.Duration, what string, ask func(context.Context) error) {
	w.Helper()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(w.Context(), limit)
	defer cancel()
	for {
		err := ask(ctx)
		if err == nil {
			w.say("%s after %s", what, time.Since(begin).Round(time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			w.Fatalf("%s: not within %s: %v", what, limit, err)
		case <-time.After(watchPoll):
		}
	}
}

// notice is how long nodes may take to say that something is away: in a long
// run also longer than an insert into ClickHouse may take.
func (w *world) notice() time.Duration {
	if w.size.Long {
		return noticeLongMax
	}
	return noticeMax
}

// says waits until the nodes say on /readyz and in their metrics that what they
// lean on for a role is away, or that it is there: every node, but one is
// enough to find ClickHouse away, which only one of them speaks with at a time.
// Nodes stay ready all along.
func (w *world) says(role string, away bool, limit time.Duration) {
	w.Helper()
	what := map[bool]string{true: "away", false: "there"}[away]
	w.until(limit, "nodes say that their "+role+" is "+what, func(ctx context.Context) (err error) {
		for _, m := range w.living() {
			one := w.saysOne(ctx, m, role, away)
			switch {
			case one != nil:
				err = fmt.Errorf("%s: %w", m.name, one)
			case role == "activity" && away:
				return nil
			}
		}
		return err
	})
}

func (w *world) saysOne(ctx context.Context, m *member, role string, away bool) error {
	h, err := m.api.Health(ctx)
	if err != nil {
		return err
	}
	if !h.OK {
		w.Errorf("%s says that it cannot take in: %v", m.name, h.Parts)
	}
	if text, named := h.Parts[role]; !named {
		return fmt.Errorf("/readyz does not name %s: %v", role, h.Parts)
	} else if (h.Degraded(role) != "") != away {
		return fmt.Errorf("/readyz says of %s: %s", role, text)
	}
	up, down, err := m.backend(ctx, role)
	if err != nil {
		return err
	}
	if (up == 0) != away || (down > 0) != away {
		return fmt.Errorf("the metrics say of %s: up %g, down for %g s", role, up, down)
	}
	return nil
}

// backend gives the metrics of a role.
func (m *member) backend(ctx context.Context, role string) (up, down float64, err error) {
	metrics, err := m.api.Metrics(ctx)
	if err != nil {
		return 0, 0, err
	}
	found := 0
	for name, v := range metrics {
		if !strings.Contains(name, fmt.Sprintf("role=%q", role)) {
			continue
		}
		switch {
		case strings.HasPrefix(name, "tallyhook_backend_up{"):
			up, found = v, found+1
		case strings.HasPrefix(name, "tallyhook_backend_down_seconds{"):
			down, found = v, found+1
		}
	}
	if found != 2 {
		return 0, 0, fmt.Errorf("/metrics holds %d of the two metrics of %s", found, role)
	}
	return up, down, nil
}

// caughtUp waits until the nodes have caught up, with the load going on: no
// record waits long for its verdict, no verdict for the activity store.
func (w *world) caughtUp() {
	w.Helper()
	few := 2 * w.size.Rate // verdicts are shipped once a second
	limit := drainMax
	if w.size.Long {
		limit = drainLongMax
	}
	w.until(limit, "the backlog is drained", func(ctx context.Context) error {
		for _, m := range w.living() {
			metrics, err := m.api.Metrics(ctx)
			if err != nil {
				return err
			}
			for _, name := range []string{"tallyhook_journal_lag_records", "tallyhook_activity_lag_rows"} {
				if v, there := metrics[name]; !there || v > few {
					return fmt.Errorf("%s: %s is %g", m.name, name, v)
				}
			}
		}
		return nil
	})
}

// The metrics that say how far a node is; unlike the admin API they need no
// key, and so no store.
const (
	journaled = "tallyhook_journal_last_seq"
	booked    = "tallyhook_journal_committed_seq"
)

// sum adds up a metric of all nodes.
func (w *world) sum(metric string) (sum float64) {
	w.Helper()
	for _, m := range w.living() {
		metrics, err := m.api.Metrics(w.Context())
		if err != nil {
			w.Fatalf("%s: %v", m.name, err)
		}
		sum += metrics[metric]
	}
	return sum
}

// grows waits until a metric of a node has become greater than it is now.
func (w *world) grows(m *member, metric string, limit time.Duration) {
	w.Helper()
	before, err := m.api.Metrics(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	w.until(limit, m.name+": "+metric+" has grown", func(ctx context.Context) error {
		now, err := m.api.Metrics(ctx)
		if err == nil && now[metric] <= before[metric]+1 { // what was under way does not count
			err = fmt.Errorf("it is %g", now[metric])
		}
		return err
	})
}
