package crash

import (
	"os"
	"strconv"
	"testing"
	"time"
)

// A node that is killed at any moment neither loses nor doubles anything.
// TALLYHOOK_CRASH_KILLS sets how often (20), TALLYHOOK_CRASH_SEED the moments
// and the traffic (from the clock).
func TestKill9(t *testing.T) {
	cfg := Config{Root: "../..", Kills: 20, Seed: uint64(time.Now().Unix()), Rate: 6000, Conns: 64, Output: t.Output()}
	for name, set := range map[string]func(int){
		"TALLYHOOK_CRASH_KILLS": func(n int) { cfg.Kills = n },
		"TALLYHOOK_CRASH_SEED":  func(n int) { cfg.Seed = uint64(n) },
	} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				t.Fatalf("%s=%q: want a number from 1", name, text)
			}
			set(n)
		}
	}
	dir, err := os.MkdirTemp("", "tallyhook-crash-")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Dir = dir
	report, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatalf("%v\nthe evidence is in %s", err, dir)
	}
	if report.Kills != cfg.Kills {
		t.Errorf("%d kills instead of %d", report.Kills, cfg.Kills)
	}
	t.Logf("seed %d: %d kills (%d before the node was ready), longest start %s, %s in all\n%s\n%s",
		cfg.Seed, report.Kills, report.NotReady, report.ReadyMax, report.Took.Round(time.Second), report.Sent, report.Judgement)
	os.RemoveAll(dir)
}
