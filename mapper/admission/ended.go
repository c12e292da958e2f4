package admission

import (
	"bytes"
	"fmt"
	"strings"
	"time"
)

// ended adds to v why a child ended without a verdict while it was at s. The
// error says that it was not the module.
func (v *Verdict) ended(s step, e *ending, b bounds) error {
	said := firstFault(e.err)
	if s == "" && !e.wall {
		// It did not even read the request, so nothing of the module was at work.
		return fmt.Errorf("the child did not begin: %s: %s", e.state, said)
	}
	slow, large, crashed, doing, wayOut := words(s)
	cpu := e.state.SystemTime() + e.state.UserTime()
	switch {
	case outOfMemory(e.err):
		v.refuse(large, "%s takes more than %d MiB of memory: %s", doing, b.MemoryBytes>>20, wayOut)
	case cpu >= time.Duration(b.CPUSeconds)*time.Second-cpuGrain:
		v.refuse(slow, "%s takes more than %d s of processor time: %s", doing, b.CPUSeconds, wayOut)
	case e.wall:
		v.refuse(slow, "%s takes more than %s: %s", doing, b.wall, wayOut)
	case killed(e.state) && peakBytes(e.state) < int64(b.MemoryBytes/2):
		return fmt.Errorf("the child was killed from outside (%s) at step %s; push the module again", e.state, s)
	case killed(e.state):
		v.refuse(large, "%s takes more memory than this machine has: %s", doing, wayOut)
	case e.oversized:
		v.refuse(crashed, "%s gave more than %d bytes to report: %s", doing, answerBytesMax, wayOut)
	default:
		v.refuse(crashed, "%s crashed (%s: %s), which is a fault of ours or of the compiler: tell the operator; until it is mended, %s", doing, e.state, said, wayOut)
	}
	return nil
}

// cpuGrain is how far the count that kills and the count that we read may be apart.
const cpuGrain = 100 * time.Millisecond

// words are the codes and texts of what may go wrong at s.
func words(s step) (slow, large, crashed, doing, wayOut string) {
	switch s {
	case stepStart, stepVectors:
		return CodeVectorsSlow, CodeVectorsLarge, CodeVectorsCrashed, "running the test vectors",
			"push fewer vectors, or let the module do less when it starts and for each postback"
	}
	return CodeCompileSlow, CodeCompileLarge, CodeCompileCrashed, "compiling the module",
		"build it for size, without inlining everything into one function, and with smaller functions"
}

// outOfMemory reports whether a Go process said so before it ended.
func outOfMemory(stderr []byte) bool {
	for _, sign := range []string{"out of memory", "cannot allocate memory", "cannot reserve", "failed to reserve", "cannot map pages"} {
		if bytes.Contains(stderr, []byte(sign)) {
			return true
		}
	}
	return false
}

// firstFault is the line of stderr that says why a Go process ended.
func firstFault(stderr []byte) string {
	first := ""
	for l := range strings.Lines(string(stderr)) {
		l = strings.TrimSpace(l)
		if strings.HasPrefix(l, "panic:") || strings.HasPrefix(l, "fatal error:") {
			first = l
			break
		}
		if first == "" {
			first = l
		}
	}
	if first == "" {
		return "it said nothing"
	}
	return fmt.Sprintf("%.200q", first)
}
