//go:build !linux

package admission

import (
	"os"
	"runtime/debug"
	"syscall"
)

// Only Linux has what bounds a child from inside; elsewhere it has the time of
// the wall clock, and the collector's best effort.

func attributes() *syscall.SysProcAttr { return nil }

func kill(p *os.Process) error { return p.Kill() }

func killed(*os.ProcessState) bool { return false }

func peakBytes(*os.ProcessState) int64 { return 0 }

func bind(b bounds) error {
	debug.SetMemoryLimit(int64(b.MemoryBytes / 4 * 3))
	return nil
}
