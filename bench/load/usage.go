package load

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"
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
	if u.CPU, err = parseStat(stat, ownTimes); err != nil {
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

// readTries is how often a family of processes is read that changes meanwhile.
const readTries = 10

// ReadCPU gives the processor time of a server of many processes, such as
// PostgreSQL, that of ended ones included: the kernel adds it to the parent's
// when the parent learns of the end. list gives the ids of those that live.
func ReadCPU(list func() []int) (sum time.Duration, err error) {
	for range readTries {
		if sum, err = cpuOf(list()); !errors.Is(err, fs.ErrNotExist) {
			return sum, err
		}
	}
	return 0, fmt.Errorf("usage of a server: its processes end too quickly to be read: %w", err)
}

func cpuOf(pids []int) (sum time.Duration, err error) {
	if len(pids) == 0 {
		return 0, errors.New("usage of a server: it has no process, so it has ended")
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if errors.Is(err, syscall.ESRCH) { // ended between open and read
			err = fs.ErrNotExist
		}
		if err != nil {
			return 0, fmt.Errorf("usage of process %d: %w", pid, err)
		}
		cpu, err := parseStat(stat, familyTimes)
		if err != nil {
			return 0, err
		}
		sum += cpu
	}
	return sum, nil
}

// How many fields of a process's stat, from utime on, are its CPU times: its
// own (utime, stime) or also those of children that it has waited for (cutime,
// cstime).
const (
	ownTimes    = 2
	familyTimes = 4
)

// parseStat sums so many fields from utime, number 14, on. Field 2 is the
// program's name in parentheses and may hold anything, so counting starts at
// its end.
func parseStat(p []byte, times int) (time.Duration, error) {
	fields := bytes.Fields(p[bytes.LastIndexByte(p, ')')+1:])
	if len(fields) < 11+times {
		return 0, fmt.Errorf("process stat %q has too few fields", p)
	}
	var ticks int64
	for _, f := range fields[11 : 11+times] {
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
