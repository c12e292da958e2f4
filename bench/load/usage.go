package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Usage is what a process has used so far.
type Usage struct {
	CPU     time.Duration // user and system, in steps of 10 ms
	RSS     int64         // bytes resident now
	RSSPeak int64         // bytes resident at most since its start
}

// tick is the unit of CPU times in /proc, the same on every Linux port of Go.
const tick = 10 * time.Millisecond

// ReadUsage reads /proc/PID/stat and /proc/PID/status.
func ReadUsage(pid int) (u Usage, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	if u.CPU, err = parseStat(stat); err != nil {
		return u, err
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, fmt.Errorf("usage of process %d: %w", pid, err)
	}
	if u.RSS, err = parseStatus(status, "VmRSS:"); err != nil {
		return u, err
	}
	u.RSSPeak, err = parseStatus(status, "VmHWM:")
	return u, err
}

// parseStat sums utime and stime, fields 14 and 15. Field 2 is the program's
// name in parentheses and may hold anything, so counting starts at its end.
func parseStat(p []byte) (time.Duration, error) {
	fields := bytes.Fields(p[bytes.LastIndexByte(p, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("process stat %q has too few fields", p)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("process stat %q: CPU time %q is not a number", p, f)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// parseStatus gives the bytes of a line like "VmRSS:	  1234 kB".
func parseStatus(p []byte, name string) (int64, error) {
	for line := range bytes.Lines(p) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == name && string(f[2]) == "kB" {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("process status has no %s in kB", name)
}
