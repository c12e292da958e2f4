package console

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/source"
)

// metered is a bench whose registry also has a node's metrics.
func metered(t *testing.T) (*bench, *Metrics, *source.Source) {
	t.Helper()
	b := newBench(t)
	b.create(`{"id":"acme","secret":true}`)
	d := b.live()
	m := &Metrics{Node: b.node.Status, Live: source.NewLive(d),
		Verdicts: new(Tally), Steps: new(Steps), Version: "1.2.3"}
	if err := m.Register(b.console.cfg.Registry); err != nil {
		t.Fatal(err)
	}
	return b, m, d.ByID("acme")
}

func TestMetrics(t *testing.T) {
	b, m, src := metered(t)
	src.Seen.Received.Add(5)
	src.Seen.Limited.Add(1)
	src.Seen.Refused.Add(2)
	src.Seen.Degraded.Add(3)
	m.Verdicts.Add("acme", event.Booked, 4)
	m.Verdicts.Add("acme", event.Parked, 1)
	m.Steps.Observe(StepPost, 3*time.Millisecond)
	m.Steps.Observe(StepPost, time.Hour)
	m.Steps.Observe(StepQueue, -time.Second)
	b.node.status.Journal.Full = true
	b.node.status.Pipeline.Retrying = "post"
	b.node.status.Journal.SyncSeconds = Histogram{Count: 3, Sum: .5, Buckets: map[float64]uint64{.1: 2, 1: 3}}
	text := b.send("GET", "/metrics", "").is(http.StatusOK, nil).Body.String()
	for _, line := range []string{
		`tallyhook_build_info{version="1.2.3"} 1`,
		`tallyhook_postbacks_received_total{source="acme"} 5`,
		`tallyhook_postbacks_limited_total{source="acme"} 1`,
		`tallyhook_postbacks_refused_total{source="acme"} 2`,
		`tallyhook_postbacks_degraded_total{source="acme"} 3`,
		`tallyhook_verdicts_total{source="acme",status="booked"} 4`,
		`tallyhook_verdicts_total{source="acme",status="parked"} 1`,
		`tallyhook_step_seconds_count{step="post"} 2`,
		`tallyhook_step_seconds_bucket{step="post",le="0.0025"} 0`,
		`tallyhook_step_seconds_bucket{step="post",le="0.005"} 1`,
		`tallyhook_step_seconds_bucket{step="post",le="+Inf"} 2`,
		`tallyhook_step_seconds_bucket{step="queue",le="0.0001"} 1`,
		`tallyhook_step_seconds_bucket{step="sync",le="0.1"} 2`,
		`tallyhook_step_seconds_sum{step="sync"} 0.5`,
		`tallyhook_journal_bytes 4096`,
		`tallyhook_journal_last_seq 12`,
		`tallyhook_journal_committed_seq 10`,
		`tallyhook_journal_lag_records 2`,
		`tallyhook_journal_lag_seconds 0.5`,
		`tallyhook_journal_full 1`,
		`tallyhook_journal_failed 0`,
		`tallyhook_pipeline_retrying 1`,
		`tallyhook_index_names 7`,
		`tallyhook_parked_events 1`,
		`tallyhook_sources 2`,
		`tallyhook_admin_requests_total{code="201",route="POST /api/v1/sources"} 1`,
		`tallyhook_admin_request_seconds_count{route="POST /api/v1/sources"} 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	for _, name := range []string{"go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(text, "\n"+name+" ") {
			t.Errorf("/metrics lacks %s", name)
		}
	}
}

// TestMetricsAreDocumented compares the table in the comment of Metrics with
// what is registered.
func TestMetricsAreDocumented(t *testing.T) {
	code, err := os.ReadFile("metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, line := range regexp.MustCompile(`(?m)^//\ttallyhook_.*$`).FindAllString(string(code), -1) {
		names, _, _ := strings.Cut(strings.TrimPrefix(line, "//\t"), "  ")
		prefix := ""
		for _, name := range strings.Split(names, ", ") {
			name, _, _ = strings.Cut(name, "{")
			if strings.HasPrefix(name, "_") {
				name = prefix + name
			} else {
				prefix = regexp.MustCompile(`^tallyhook_[a-z]+`).FindString(name)
			}
			documented = append(documented, name)
		}
	}
	b, m, _ := metered(t)
	m.Verdicts.Add("acme", event.Booked, 1)
	b.ask("GET", "/metrics", "")
	families, err := b.console.cfg.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), "tallyhook_") {
			have = append(have, f.GetName())
		}
	}
	slices.Sort(documented)
	if !slices.Equal(have, documented) {
		t.Errorf("registered\n%q\ndocumented\n%q", have, documented)
	}
}

func TestMetricsRegisterTwice(t *testing.T) {
	b, m, _ := metered(t)
	if err := m.Register(b.console.cfg.Registry); err == nil {
		t.Error("registered twice")
	}
	cfg := b.console.cfg
	if _, err := New(cfg); err == nil {
		t.Error("two consoles on one registry")
	}
	cfg.Registry = prometheus.NewRegistry()
	if _, err := New(cfg); err != nil {
		t.Error(err)
	}
}

func TestRequestLabelsAreBounded(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/api/v1/events/canary-1-1", "/api/v1/sources/canary", "/canary", "/canary?x=canary", "/api/v1/calls/canary"} {
		b.ask("GET", path, "")
	}
	b.ask("CANARY", "/api/v1/sources", "")
	b.ask("CANARY", "/canary", "")
	if text := b.send("GET", "/metrics", "").Body.String(); strings.Contains(strings.ToLower(text), "canary") {
		t.Errorf("a label holds what a client sent:\n%s", text)
	}
}

func TestTally(t *testing.T) {
	var tally Tally
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 1000 {
				tally.Add([]string{"a", "b"}[i%2], event.Booked, 1)
			}
		})
	}
	wg.Wait()
	for i := range TallySourcesMax + 5 {
		tally.Add(fmt.Sprint("s", i), event.Held, 1)
	}
	tally.Add("\xff", event.Stale, 1)
	tally.Add("\xff", event.Stale, 1)
	counts, sources := map[string]int64{}, map[string]bool{}
	tally.each(func(source, status string, n int64) {
		counts[status] += n
		sources[source] = true
	})
	if counts["booked"] != 4000 || counts["held"] != TallySourcesMax+5 || counts["stale"] != 2 || len(sources) > TallySourcesMax+1 || !sources[OtherSource] {
		t.Errorf("counts %v of %d sources", counts, len(sources))
	}
}

// TestTallyKeepsItsOwnBytes: the source's text may be a view of a batch.
func TestTallyKeepsItsOwnBytes(t *testing.T) {
	var tally Tally
	text := []byte("acme")
	tally.Add(event.View(text), event.Booked, 1)
	copy(text, "xxxx")
	tally.each(func(source, _ string, _ int64) {
		if source != "acme" {
			t.Errorf("source %q", source)
		}
	})
}

func TestCountingAllocatesNothing(t *testing.T) {
	var tally Tally
	var steps Steps
	tally.Add("acme", event.Booked, 1)
	if n := testing.AllocsPerRun(100, func() {
		tally.Add("acme", event.Booked, 1)
		steps.Observe(StepMap, time.Millisecond)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
