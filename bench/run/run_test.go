package run

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/load"
	"github.com/tallyhook/tallyhook/bench/traffic"
)

// A whole run against stand-ins: every figure is there, and the files hold it.
func TestRunMeasuresAndWrites(t *testing.T) {
	var progress bytes.Buffer
	out := filepath.Join(t.TempDir(), "results")
	r, path, err := Run(t.Context(), Config{Binary: os.Args[0], Baseline: []string{os.Args[0], "bare"}, Out: out, Temp: t.TempDir(),
		Command: "tallyhook bench", Commit: "abc", Conns: []int{4, 1}, Rounds: 2, RoundFor: 300 * time.Millisecond, Warmup: 20 * time.Millisecond,
		BurstCalls: 1500, SustainFor: time.Second, IdleFor: 50 * time.Millisecond, Output: &progress})
	if err != nil {
		t.Fatalf("%v\n%s", err, &progress)
	}
	t.Log("\n" + progress.String())
	if len(r.Ack) != 2 || len(r.Ack[0].CPURounds) != 2 {
		t.Fatalf("ack rounds %+v", r.Ack)
	}
	for _, a := range r.Ack {
		for _, s := range []Side{a.Bare, a.Node} {
			if s.Requests == 0 || s.PerSecond <= 0 || s.Latency.P50 <= 0 || s.Latency.P99 < s.Latency.P50 || s.RSSBytes == 0 || s.Failed != 0 {
				t.Errorf("%d connections: %+v", a.Conns, s)
			}
		}
	}
	for _, p := range []Phase{r.Stream.Burst, r.Stream.Sustained} {
		if p.Events == 0 || p.Matched == 0 || p.Matched > p.Events || p.MatchedPerSecond <= 0 || len(p.Backlog) == 0 || p.RSSBytes == 0 {
			t.Errorf("phase %+v", p)
		}
	}
	if most := r.Stream.Sustained.RateMost; most != r.Stream.Burst.EventsPerSecond*0.8 {
		t.Errorf("sustained at most %g after %g", most, r.Stream.Burst.EventsPerSecond)
	}
	if r.Stream.Statuses["booked"] != 70 || r.Stream.Statuses["duplicate"] != 3 || r.Stream.Note != "" {
		t.Errorf("statuses %v, %s", r.Stream.Statuses, r.Stream.Note)
	}
	if r.Edge.BinaryBytes == 0 || r.Edge.ReadyMs <= 0 || r.Edge.IdleRSSBytes == 0 || r.StepsNote == "" || r.Machine.Cores == 0 {
		t.Errorf("edge %+v, steps %q, machine %+v", r.Edge, r.StepsNote, r.Machine)
	}
	text, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(text, []byte("| whole stream, embedded |")) || !bytes.Contains(text, []byte("do not show")) {
		t.Errorf("%v in\n%s", err, text)
	}
	var back Result
	text, err = os.ReadFile(strings.TrimSuffix(path, ".md") + ".json")
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || back.Stream.Burst.Events != r.Stream.Burst.Events || len(back.Goals) != 6 {
		t.Errorf("%v: %+v", err, back.Goals)
	}
}

func TestRunSaysWhatIsMissing(t *testing.T) {
	f := func(cfg Config, want string) {
		t.Helper()
		cfg.Temp, cfg.Out, cfg.IdleFor = t.TempDir(), t.TempDir(), time.Millisecond
		if _, _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(Config{Binary: "/nowhere/tallyhook"}, "no such file")
	f(Config{Binary: os.Args[0]}, "no bare handler")
	f(Config{Binary: os.Args[0], Baseline: []string{"/nowhere/bare"}}, "start bare handler")
}

func TestCorpusTellsAllCallsAndSendsAllPostbacksOnce(t *testing.T) {
	base := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	paths := []string{"/a", "/b", "/c", "/d"}
	uploads, c, rest := corpusOf(9, 100, base, 2500, "127.0.0.1:1", "Authorization: Bearer k", paths)
	gen := traffic.New(9, base, traffic.DefaultMix())
	var s traffic.Script
	calls, postbacks, matched := 0, 0, int64(0)
	for n := uint64(100); n < rest; n++ {
		gen.Script(n, &s)
		calls += len(s.Calls)
		for _, st := range s.Steps {
			if !st.Kind.Postback() {
				continue
			}
			request := c.request(0)
			target := paths[st.Buyer]
			if st.Request.Query != "" {
				target += "?" + st.Request.Query
			}
			if !bytes.HasPrefix(request, []byte(st.Request.Method+" "+target+" ")) || !bytes.HasSuffix(request, st.Request.Body) {
				t.Fatalf("postback %d is %q", postbacks, request)
			}
			if postbacks++; st.Kind != traffic.Stranger && st.Kind != traffic.Unreadable {
				matched++
			}
		}
	}
	if c.request(0) != nil {
		t.Error("the corpus goes on")
	}
	told := 0
	for _, u := range uploads {
		told += bytes.Count(u, []byte("\"call_id\""))
	}
	if calls < 2500 || told != calls || len(uploads) != 3 {
		t.Errorf("%d calls of %d told in %d uploads", told, calls, len(uploads))
	}
	if got := c.matchedOf(int64(postbacks) + 5); got != matched || c.matchedOf(0) != 0 {
		t.Errorf("%d matched, want %d", got, matched)
	}
}

func TestParseSteps(t *testing.T) {
	got := parseSteps("journal", []byte("goos: linux\nBenchmarkAppend-2   \t 1000\t      1234.5 ns/op\t  80 B/op\t  2 allocs/op\n"+
		"BenchmarkSync/callers=64-16 5 7 ns/op 12.5 records/sync\nBenchmarkBroken-2 FAIL here x\nBenchmarkPlain\nPASS\n"))
	if len(got) != 2 || got[0].Name != "Append" || got[0].Values["ns/op"] != 1234.5 || got[0].Values["allocs/op"] != 2 ||
		got[1].Name != "Sync/callers=64" || got[1].Values["records/sync"] != 12.5 || got[1].Room != "journal" {
		t.Errorf("%+v", got)
	}
}

func TestFileSystemOf(t *testing.T) {
	mounts := "20 1 8:1 / / rw - ext4 /dev/vda rw\n21 20 0:5 / /tmp rw - tmpfs tmpfs rw\n22 20 0:6 / /tmpfoo rw - xfs /dev/b rw\nbroken\n"
	f := func(path, want string) {
		t.Helper()
		if got := fileSystemOf(mounts, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	f("/home/x", "ext4")
	f("/tmp/x", "tmpfs")
	f("/tmpfoo", "xfs")
	f("/tmpfo", "ext4")
}

func TestGoals(t *testing.T) {
	good := Result{Ack: []Ack{{Conns: 512, CPURatio: 1.9, ThroughputRatio: 0.6}}, Edge: Edge{BinaryBytes: 40e6, ReadyMs: 50, IdleRSSBytes: 30e6}}
	good.Stream.Burst.MatchedPerSecond = 20_000
	for _, g := range good.goals() {
		if !g.Met {
			t.Errorf("%+v", g)
		}
	}
	bad := Result{Ack: []Ack{{Conns: 512, CPURatio: 2.1, ThroughputRatio: 0.4}}, Edge: Edge{BinaryBytes: 70e6, ReadyMs: 150, IdleRSSBytes: 70e6}}
	unmeasured := Result{Ack: []Ack{{}}}
	for _, g := range slices.Concat(bad.goals(), unmeasured.goals()) {
		if g.Met {
			t.Errorf("%+v", g)
		}
	}
}

func TestHalvesShowsGrowth(t *testing.T) {
	p := Phase{LoadSeconds: 10, Backlog: []Sample{{1, 5, 0}, {4, 7, 0}, {6, 30, 0}, {9, 20, 0}, {11, 99, 0}}}
	if got := halves(&p); got != "7, 30" {
		t.Error(got)
	}
}

func TestLatencyIsInMicroseconds(t *testing.T) {
	var h load.Histogram
	h.Record(2 * time.Millisecond)
	if l := latencyOf(&h); l.Max != 2000 || l.P50 != 2000 || l.P999 != 2000 {
		t.Errorf("%+v", l)
	}
}
