package verifier

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/traffic"
)

// driveFake sends 500 requests and what follows of them, and gives the log's path.
func driveFake(t *testing.T, fake *fakeNode, node *Node) string {
	t.Helper()
	ids, paths, err := node.Setup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mix := traffic.Mix{Early: 200, NoRef: 400, Retry: 200, Reprice: 400, LateRetry: 400, Zero: 100, Stranger: 100, Unreadable: 50}
	plan := Plan{Paths: paths, Conns: 8, Timeout: time.Second, Run: Run{Seed: 3, Base: time.Now(), Mix: mix, Sources: ids}}
	path := filepath.Join(t.TempDir(), "verifier.log")
	log, err := CreateLog(path, plan.Run)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fake.enough = cancel
	if _, err := Drive(ctx, []*Node{node}, plan, log); err != nil {
		t.Fatal(err)
	}
	return path
}

func checkFake(t *testing.T, node *Node, path string) *Report {
	t.Helper()
	r, err := Check(t.Context(), []*Node{node}, path, "")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(r *Report) string {
	var b bytes.Buffer
	r.Print(&b)
	return b.String()
}

func TestHonestNodePasses(t *testing.T) {
	fake, node := startFake(t, "", 0)
	r := checkFake(t, node, driveFake(t, fake, node))
	if !r.OK() || r.Unknown != 0 || r.Valued == 0 || r.Postings == 0 || r.Booked == "" {
		t.Error(text(r))
	}
}

// Answers that were lost, and 503, leave requests of which nobody knows
// whether they were taken in: neither is held against the node.
func TestHonestNodeThatFailsToAnswerPasses(t *testing.T) {
	fake, node := startFake(t, "", 7)
	r := checkFake(t, node, driveFake(t, fake, node))
	if !r.OK() || r.Unknown == 0 {
		t.Error(text(r))
	}
}

// What waits for its mapper is heard later, in order, and that is no fault.
func TestHonestNodeWithoutMapperPasses(t *testing.T) {
	fake, node := startFake(t, "waits", 0)
	r := checkFake(t, node, driveFake(t, fake, node))
	if !r.OK() || r.Waited == 0 {
		t.Error(text(r))
	}
}

func TestEveryFaultIsFound(t *testing.T) {
	for fault, want := range map[string]string{
		"lost":      "LOST",
		"lost call": "LOST",
		"doubled":   "DOUBLED",
		"forgets":   "should be duplicate",
		"phantom":   "nobody sent",
		"share":     "with a share of",
		"balance":   "instead of zero",
		"numbers":   "share the change number",
		"jumps":     "was heard before",
	} {
		t.Run(fault, func(t *testing.T) {
			fake, node := startFake(t, fault, 0)
			if r := checkFake(t, node, driveFake(t, fake, node)); r.OK() || !strings.Contains(text(r), want) {
				t.Errorf("no %q in\n%s", want, text(r))
			}
		})
	}
}

// A verifier that is ended in the middle of a line leaves a log to judge by.
func TestTornLogStillJudges(t *testing.T) {
	fake, node := startFake(t, "", 0)
	path := driveFake(t, fake, node)
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, p[:len(p)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if r := checkFake(t, node, path); !r.OK() || !r.Torn || r.Unknown != 1 {
		t.Error(text(r))
	}
}

func TestDamagedLogIsRefused(t *testing.T) {
	dir, n := t.TempDir(), 0
	f := func(damage func(string) string, want string) {
		t.Helper()
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		log, err := CreateLog(path, Run{Sources: []string{"a"}})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := log.Append(appendGot(appendSend(nil, attempt{7, i, 0}), attempt{7, i, 0}, 200, "1-2")); err != nil {
				t.Fatal(err)
			}
		}
		log.Close()
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(damage(string(p))), 0o600); err != nil {
			t.Fatal(err)
		}
		h, err := readLog(path)
		if want == "" && (err != nil || h.requests != 3 || h.unknown != 0) {
			t.Errorf("whole log: %+v %v", h, err)
		}
		if want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("want %q: %v", want, err)
		}
	}
	f(func(s string) string { return s }, "")
	f(func(s string) string { return strings.Replace(s, "send 7 1", "send 7 2", 1) }, "line 4")
	f(func(s string) string { return strings.Replace(s, "\n", "x\n", 1) }, "line 1")
	f(func(s string) string { _, rest, _ := strings.Cut(s, "\n"); return rest }, "no run line")
	f(func(s string) string { return "" }, "no run line")
	f(func(s string) string { return s + string(endLine([]byte("send 7 0 5"), 0)) }, "out of order")
	f(func(s string) string { return s + string(endLine([]byte("send 7 99999999 0"), 0)) }, "beyond")
	f(func(s string) string { return s + string(endLine([]byte("lost 7 0 0"), 0)) }, "no kind of line")
	f(func(s string) string { return s + string(endLine([]byte("send 7 x 0"), 0)) }, "line 8")
}

func TestLogKeepsWhatManyWriteTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	log, err := CreateLog(path, Run{Sources: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for w := range 8 {
		wait.Go(func() {
			for i := range 50 {
				a := attempt{uint64(w), i, 0}
				if err := log.Append(appendSend(nil, a)); err != nil {
					t.Error(err)
				}
				if err := log.Append(appendGot(nil, a, 200, "")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	log.Close()
	if err := log.Append([]byte("late")); err == nil {
		t.Error("a closed log takes lines")
	}
	if _, err := CreateLog(path, Run{}); err == nil {
		t.Error("a log was written over")
	}
	h, err := readLog(path)
	if err != nil || h.requests != 400 || h.unknown != 0 || len(h.sent) != 8 {
		t.Errorf("%d requests, %d unknown, %v", h.requests, h.unknown, err)
	}
}
