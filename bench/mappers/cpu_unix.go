//go:build unix

package mappers

import (
	"fmt"
	"syscall"
	"time"
)

// processorTime is what this process has used so far, its threads and the
// system's work for it together.
func processorTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
