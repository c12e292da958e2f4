package console

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tallyhook/tallyhook/source"
)

// Metrics, as /metrics shows them. Labels hold ids of sources, names of
// statuses and steps, and route templates: never what a sender sent.
//
//	tallyhook_build_info{version}                          1
//	tallyhook_postbacks_received_total{source}             requests with a known token
//	tallyhook_postbacks_limited_total{source}              answered 429
//	tallyhook_postbacks_refused_total{source}              otherwise refused, not journaled
//	tallyhook_postbacks_degraded_total{source}             answered accepted because the verdict was late
//	tallyhook_verdicts_total{source,status}                verdict revisions
//	tallyhook_step_seconds{step}                           queue, map, match, post per batch; sync per write
//	tallyhook_journal_bytes, _bytes_max, _free_bytes       segments; their limit; left on the disk
//	tallyhook_journal_segments                             files
//	tallyhook_journal_last_seq, _committed_seq             newest record on disk; newest with its verdicts in the ledger
//	tallyhook_journal_lag_records, _lag_seconds            on disk without a verdict; age of the oldest
//	tallyhook_journal_full, _failed                        1 while intake answers 503 for it
//	tallyhook_pipeline_paused, _retrying                   1 while nothing is posted, while a step is tried again
//	tallyhook_index_names, _complete                       names of calls in the index; 1 when it holds the whole window
//	tallyhook_parked_events                                waiting for their call
//	tallyhook_unmapped_records                             waiting for their mapper
//	tallyhook_sources                                      live ones in force
//	tallyhook_backend_up{role,kind}                        1 while store, index, limits, activity can be reached
//	tallyhook_backend_down_seconds{role,kind}              for how long not
//	tallyhook_activity_lag_rows, _lag_seconds              verdicts that the activity store does not have; age of the oldest
//	tallyhook_activity_shipping                            1 on the node that ships
//	tallyhook_limits_local_total                           rate limits decided by this node alone because Redis was not there
//	tallyhook_start_time_seconds                           of the node, since the Unix epoch
//	tallyhook_admin_requests_total{route,code}             of this console
//	tallyhook_admin_request_seconds{route}                 the same, how long they took
//	go_*, process_*                                        the runtime and the process
type Metrics struct {
	// Node gives the node's status at each scrape.
	Node func() NodeStatus
	// Live holds the sources whose counters are shown, deleted ones too.
	Live *source.Live

	Verdicts *Tally // counted by the pipeline's Observe
	Steps    *Steps
	Version  string
	Now      func() time.Time // nil is time.Now
}

func (m *Metrics) now() time.Time {
	if m.Now != nil {
		return m.Now()
	}
	return time.Now()
}

// Register adds m and the metrics of runtime and process to reg. It fails
// when any of them is registered already.
func (m *Metrics) Register(reg *prometheus.Registry) error {
	for _, c := range []prometheus.Collector{m, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})} {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("tallyhook_"+name, help, labels, nil)
}

var (
	descBuild    = desc("build_info", "The build that runs.", "version")
	descVerdicts = desc("verdicts_total", "Verdict revisions by source and status.", "source", "status")
	descSteps    = desc("step_seconds", "Time per batch in each step of the stream, and per sync of the journal.", "step")
)

var (
	descUp    = desc("backend_up", "1 while what the node leans on can be reached.", "role", "kind")
	descDown  = desc("backend_down_seconds", "For how long it cannot be reached.", "role", "kind")
	descLocal = desc("limits_local_total", "Rate limits that this node decided alone because the shared limiter was not there.")
)

// perSource are the counters of a source's requests.
var perSource = []struct {
	desc  *prometheus.Desc
	value func(*source.Counters) int64
}{
	{desc("postbacks_received_total", "Requests with a known token.", "source"), func(c *source.Counters) int64 { return c.Received.Load() }},
	{desc("postbacks_limited_total", "Requests answered 429.", "source"), func(c *source.Counters) int64 { return c.Limited.Load() }},
	{desc("postbacks_refused_total", "Requests refused for another reason and not journaled.", "source"), func(c *source.Counters) int64 { return c.Refused.Load() }},
	{desc("postbacks_degraded_total", "Requests answered accepted because the verdict was late.", "source"), func(c *source.Counters) int64 { return c.Degraded.Load() }},
}

// perNode are the gauges of the node.
var perNode = []struct {
	desc  *prometheus.Desc
	value func(*NodeStatus) float64
}{
	{desc("journal_bytes", "Bytes that the journal's segments take."), func(s *NodeStatus) float64 { return float64(s.Journal.Bytes) }},
	{desc("journal_bytes_max", "Bytes that the journal's segments may take."), func(s *NodeStatus) float64 { return float64(s.Journal.BytesMax) }},
	{desc("journal_free_bytes", "Bytes that the journal's disk has left, -1 when unknown."), func(s *NodeStatus) float64 { return float64(s.Journal.FreeBytes) }},
	{desc("journal_segments", "Segment files of the journal."), func(s *NodeStatus) float64 { return float64(s.Journal.Segments) }},
	{desc("journal_last_seq", "Newest record on disk."), func(s *NodeStatus) float64 { return float64(s.Journal.LastSeq) }},
	{desc("journal_committed_seq", "Newest record whose verdicts are in the ledger."), func(s *NodeStatus) float64 { return float64(s.Pipeline.CommittedSeq) }},
	{desc("journal_lag_records", "Records on disk without a verdict."), func(s *NodeStatus) float64 { return float64(s.Pipeline.LagRecords) }},
	{desc("journal_lag_seconds", "Age of the oldest record without a verdict."), func(s *NodeStatus) float64 { return s.Pipeline.LagSeconds }},
	{desc("journal_full", "1 while the journal refuses records for lack of space."), func(s *NodeStatus) float64 { return truthValue(s.Journal.Full) }},
	{desc("journal_failed", "1 when the journal has failed for good."), func(s *NodeStatus) float64 { return truthValue(s.Journal.Failed) }},
	{desc("pipeline_paused", "1 while the pipeline posts nothing."), func(s *NodeStatus) float64 { return truthValue(s.Pipeline.Paused) }},
	{desc("pipeline_retrying", "1 while a step is tried again."), func(s *NodeStatus) float64 { return truthValue(s.Pipeline.Retrying != "") }},
	{desc("index_names", "Names of calls in the index."), func(s *NodeStatus) float64 { return float64(s.Index.Names) }},
	{desc("index_complete", "1 when the index holds every call within the window."), func(s *NodeStatus) float64 { return truthValue(s.Index.Complete) }},
	{desc("parked_events", "Events that wait for their call."), func(s *NodeStatus) float64 { return float64(s.Parked) }},
	{desc("unmapped_records", "Postbacks that wait for their mapper."), func(s *NodeStatus) float64 { return float64(s.Unmapped) }},
	{desc("sources", "Live sources in force."), func(s *NodeStatus) float64 { return float64(s.Sources) }},
	{desc("activity_lag_rows", "Verdicts that the activity store does not have yet."), func(s *NodeStatus) float64 { return float64(s.Shipping.LagRows) }},
	{desc("activity_lag_seconds", "Age of the oldest verdict that the activity store does not have."), func(s *NodeStatus) float64 { return s.Shipping.LagSeconds }},
	{desc("activity_shipping", "1 on the node that ships verdicts to the activity store."), func(s *NodeStatus) float64 { return truthValue(s.Shipping.Holding) }},
	{desc("start_time_seconds", "When the node started, since the Unix epoch."), func(s *NodeStatus) float64 { return float64(s.StartedAt.UnixMilli()) / 1000 }},
}

func truthValue(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- descBuild
	ch <- descVerdicts
	ch <- descSteps
	ch <- descUp
	ch <- descDown
	ch <- descLocal
	for _, c := range perSource {
		ch <- c.desc
	}
	for _, g := range perNode {
		ch <- g.desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	ch <- prometheus.MustNewConstMetric(descBuild, gauge, 1, m.Version)
	for _, src := range m.Live.Load().All() {
		for _, c := range perSource {
			ch <- prometheus.MustNewConstMetric(c.desc, counter, float64(c.value(src.Seen)), src.Spec.ID)
		}
	}
	m.Verdicts.each(func(source, status string, n int64) {
		ch <- prometheus.MustNewConstMetric(descVerdicts, counter, float64(n), source, status)
	})
	status := m.Node()
	for _, g := range perNode {
		ch <- prometheus.MustNewConstMetric(g.desc, gauge, g.value(&status))
	}
	for _, b := range status.Backends {
		down := 0.0
		if !b.Up {
			down = max(0, m.now().Sub(b.Since).Seconds())
		}
		ch <- prometheus.MustNewConstMetric(descUp, gauge, truthValue(b.Up), b.Role, b.Kind)
		ch <- prometheus.MustNewConstMetric(descDown, gauge, down, b.Role, b.Kind)
	}
	ch <- prometheus.MustNewConstMetric(descLocal, counter, float64(status.Limits.Local))
	step := func(name string, h Histogram) {
		ch <- prometheus.MustNewConstHistogram(descSteps, h.Count, h.Sum, h.Buckets, name)
	}
	for i := range m.Steps {
		step(stepNames[i], m.Steps[i].histogram())
	}
	step("sync", status.Journal.SyncSeconds)
}

// requestMetrics are the console's own.
type requestMetrics struct {
	count *prometheus.CounterVec
	took  *prometheus.HistogramVec
}

func newRequestMetrics(reg *prometheus.Registry) (*requestMetrics, error) {
	m := &requestMetrics{
		count: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tallyhook_admin_requests_total",
			Help: "Requests to the console by route and status code."}, []string{"route", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tallyhook_admin_request_seconds",
			Help: "How long requests to the console took, by route.", Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10, 60}}, []string{"route"}),
	}
	for _, c := range []prometheus.Collector{m.count, m.took} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *requestMetrics) done(route string, code int, took time.Duration) {
	m.count.WithLabelValues(route, strconv.Itoa(code)).Inc()
	m.took.WithLabelValues(route).Observe(took.Seconds())
}
