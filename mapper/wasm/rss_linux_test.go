package wasm

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
)

// rssGrowth is by how many bytes the process's resident memory rose at most
// while run ran.
func rssGrowth(t *testing.T, run func()) int64 {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil { // the peak starts again
		t.Fatal(err)
	}
	before := status(t, "VmRSS:")
	run()
	return status(t, "VmHWM:") - before
}

func status(t *testing.T, field string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), field)
	line, _, _ := strings.Cut(rest, " kB")
	kb, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
