package run

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
)

// Result is everything that one run measured.
type Result struct {
	Date        time.Time `json:"date"`
	Commit      string    `json:"commit"`
	Command     string    `json:"command"`
	Seed        uint64    `json:"seed"`
	TookSeconds float64   `json:"took_s"`
	Machine     Machine   `json:"machine"`
	Edge        Edge      `json:"edge"`
	Ack         []Ack     `json:"ack"`
	Stream      Stream    `json:"stream"`
	Servers     *Servers  `json:"servers,omitempty"`
	Steps       []Step    `json:"steps"`
	StepsNote   string    `json:"steps_note,omitempty"` // why there are none, or not all
	Mappers     *Mappers  `json:"mappers,omitempty"`
	Goals       []Goal    `json:"goals"`
}

// Machine is where it ran.
type Machine struct {
	CPU         string  `json:"cpu"`
	Cores       int     `json:"cores"`
	MemoryBytes int64   `json:"memory_bytes"`
	Kernel      string  `json:"kernel"`
	FileSystem  string  `json:"file_system"` // of the data folders
	SyncMicros  float64 `json:"sync_us"`     // median of writing and syncing 4 KiB
	Go          string  `json:"go"`
}

// Edge is what a node costs before anybody sends anything.
type Edge struct {
	BinaryBytes     int64   `json:"binary_bytes"`
	FirstReadyMs    float64 `json:"first_ready_ms"` // on an empty folder
	ReadyMs         float64 `json:"ready_ms"`       // on one that was used, the slowest of some starts
	IdleRSSBytes    int64   `json:"idle_rss_bytes"`
	IdleRSSPeak     int64   `json:"idle_rss_peak_bytes"`
	IdleCPUPerMille float64 `json:"idle_cpu_per_mille"` // of one core
}

// Side is one server under the load of the ack rounds.
type Side struct {
	PerSecond float64 `json:"per_s"`
	CPUMicros float64 `json:"cpu_us_per_request"`
	Latency   Latency `json:"latency"`
	RSSBytes  int64   `json:"rss_bytes"`
	Requests  int64   `json:"requests"`
	Failed    int64   `json:"failed"`
	Broken    int64   `json:"broken_connections"`
}

// Latency in microseconds.
type Latency struct {
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	P999 float64 `json:"p999_us"`
	Max  float64 `json:"max_us"`
}

func latencyOf(h *load.Histogram) Latency {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return Latency{us(h.Quantile(0.5)), us(h.Quantile(0.99)), us(h.Quantile(0.999)), us(h.Max())}
}

// Ack compares the two sides at one number of connections.
type Ack struct {
	Conns           int       `json:"conns"`
	Bare            Side      `json:"bare"`
	Node            Side      `json:"node"`
	CPURatio        float64   `json:"cpu_ratio"`        // node to bare
	ThroughputRatio float64   `json:"throughput_ratio"` // node to bare
	CPURounds       []float64 `json:"cpu_ratio_rounds"`
	ThroughRounds   []float64 `json:"throughput_ratio_rounds"`
}

// Stream is the whole way, embedded.
type Stream struct {
	Calls          int                `json:"calls"`
	CallsPerSecond float64            `json:"calls_per_s"`
	Burst          Phase              `json:"burst"`
	Sustained      Phase              `json:"sustained"`
	Statuses       map[string]float64 `json:"statuses,omitempty"` // events by verdict, as the activity has them
	DiskPerEvent   float64            `json:"disk_bytes_per_event"`
	VerifySeconds  float64            `json:"ledger_verify_s"`
	Note           string             `json:"note,omitempty"`
}

// Phase is one load on the stream, from its first request until all is committed.
type Phase struct {
	Events           int64    `json:"events"`  // acknowledged
	Matched          int64    `json:"matched"` // of them about a known call
	Conns            int      `json:"conns"`
	RateMost         float64  `json:"rate_most_per_s,omitempty"`
	IntakePerSecond  float64  `json:"intake_per_s"`
	LoadSeconds      float64  `json:"load_s"`
	DrainSeconds     float64  `json:"drain_s"`
	EventsPerSecond  float64  `json:"events_per_s"`  // from the first request to the last commit
	MatchedPerSecond float64  `json:"matched_per_s"` //
	CPUMicros        float64  `json:"cpu_us_per_event"`
	Latency          Latency  `json:"latency"` // of the answer accepted
	RSSBytes         int64    `json:"rss_bytes"`
	RSSPeak          int64    `json:"rss_peak_bytes"`
	BacklogAtEnd     uint64   `json:"backlog_at_end"` // when the load ended
	Backlog          []Sample `json:"backlog"`
}

// Sample is the node at one moment.
type Sample struct {
	Seconds  float64 `json:"s"`
	Backlog  uint64  `json:"backlog"`
	RSSBytes int64   `json:"rss_bytes"`
}

// Step is one benchmark of a room.
type Step struct {
	Room   string             `json:"room"`
	Name   string             `json:"name"`
	Values map[string]float64 `json:"values"` // by unit: ns/op, B/op, allocs/op and the benchmark's own
}

// Goal is one aim beside what was measured.
type Goal struct {
	What     string `json:"what"`
	Aim      string `json:"aim"`
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

const megabyte = 1e6

// goals states the project's aims beside the figures.
func (r *Result) goals() []Goal {
	var list []Goal
	add := func(what, aim, unit string, measured float64, met bool) {
		list = append(list, Goal{what, aim, fmt.Sprintf("%.4g%s", measured, unit), met})
	}
	if len(r.Ack) > 0 {
		a := r.Ack[0]
		name := fmt.Sprintf("acknowledgement on disk, %d connections, pipeline paused: ", a.Conns)
		add(name+"CPU per request", "at most 2× the bare handler's", "×", a.CPURatio, a.CPURatio > 0 && a.CPURatio <= 2)
		add(name+"throughput", "at least 0.5× the bare handler's", "×", a.ThroughputRatio, a.ThroughputRatio >= 0.5)
	}
	s, e := &r.Stream, &r.Edge
	add("whole stream, embedded", "at least 15000 matched events/s on 2 cores", "/s", s.Burst.MatchedPerSecond, s.Burst.MatchedPerSecond >= 15_000)
	add("memory when idle", "at most 60 MB", " MB", float64(e.IdleRSSBytes)/megabyte, e.IdleRSSBytes > 0 && e.IdleRSSBytes <= 60*megabyte)
	add("binary", "at most 60 MB", " MB", float64(e.BinaryBytes)/megabyte, e.BinaryBytes > 0 && e.BinaryBytes <= 60*megabyte)
	add("intake ready after start", "at most 100 ms", " ms", e.ReadyMs, e.ReadyMs > 0 && e.ReadyMs <= 100)
	return append(append(list, r.productionGoals()...), r.mapperGoals()...)
}

// write puts DATE-COMMIT.json and .md into dir and gives the latter's path.
func (r *Result) write(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", fmt.Errorf("result: %w", err)
	}
	name := filepath.Join(dir, r.Date.Format("2006-01-02")+"-"+r.Commit)
	if err := os.WriteFile(name+".json", append(text, '\n'), 0o644); err != nil {
		return "", err
	}
	return name + ".md", os.WriteFile(name+".md", r.Markdown(), 0o644)
}
