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
	cpu, half := e.state.SystemTime()+e.state.UserTime(), time.Duration(b.CPUSeconds)*time.Second/2
	switch {
	case outOfMemory(e.err):
		v.refuse(large, "%s takes more than %d MiB of memory: %s", doing, b.MemoryBytes>>20, wayOut)
	case outOfTime(e.err) || killed(e.state) && !e.wall && cpu >= half:
		// The kernel kills by another count of time than the one that it reports.
		v.refuse(slow, "%s takes more than %d s of processor time: %s", doing, b.CPUSeconds, wayOut)
	case e.wall && cpu < half:
		// Nothing in a module can wait for anything, so it is others who had the
		// processor; and a refusal is for good.
		return fmt.Errorf("the child got %s of a processor in %s at step %q: this machine is too busy; push the module again later", cpu.Round(time.Millisecond), b.wall, s)
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

// outOfTime reports whether a Go process ended by the signal that its limit of
// processor time sends.
func outOfTime(stderr []byte) bool { return bytes.Contains(stderr, []byte("SIGXCPU")) }

// outOfMemory reports whether a Go process said so before it ended.
func outOfMemory(stderr []byte) bool {
	for _, sign := range []string{"out of memory", "cannot allocate memory", "cannot reserve", "failed to reserve", "cannot map pages",
		"ThreadSanitizer failed to allocate" /* of a build that looks for races */} {
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
