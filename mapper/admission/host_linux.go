package admission

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes puts the child into a process group of its own and ties it to us.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// kill ends the child and whatever it may have started.
func kill(p *os.Process) error {
	if err := syscall.Kill(-p.Pid, syscall.SIGKILL); !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return os.ErrProcessDone
}

func killed(s *os.ProcessState) bool {
	w, ok := s.Sys().(syscall.WaitStatus)
	return ok && w.Signaled() && w.Signal() == syscall.SIGKILL
}

// peakBytes is the most memory that the child held.
func peakBytes(s *os.ProcessState) int64 {
	if usage, ok := s.SysUsage().(*syscall.Rusage); ok {
		return usage.Maxrss << 10
	}
	return 0
}

// bind sets b on the process that we are, which must have nothing else to do.
func bind(b bounds) error {
	mapped, err := mappedBytes()
	if err != nil {
		return fmt.Errorf("set the limits of the child: %w", err)
	}
	for _, l := range []struct {
		name string
		what int
		most uint64
		hard uint64
	}{
		{"RLIMIT_CORE", unix.RLIMIT_CORE, 0, 0},
		{"RLIMIT_NOFILE", unix.RLIMIT_NOFILE, b.Files, b.Files},
		{"RLIMIT_FSIZE", unix.RLIMIT_FSIZE, b.FileBytes, b.FileBytes},
		{"RLIMIT_AS", unix.RLIMIT_AS, mapped + b.MemoryBytes, mapped + b.MemoryBytes},
		// At the first it is told so, which ends a Go process with words that
		// the parent knows; at the second it is killed.
		{"RLIMIT_CPU", unix.RLIMIT_CPU, b.CPUSeconds, b.CPUSeconds + 1},
	} {
		if err := lower(l.what, l.most, l.hard); err != nil {
			return fmt.Errorf("set %s to %d: %w", l.name, l.most, err)
		}
	}
	// The collector works harder before the hard limit ends it all.
	debug.SetMemoryLimit(int64(b.MemoryBytes / 4 * 3))

	// Both belong to a thread; the group has all of ours, and only ours.
	if unix.Getpgrp() == unix.Getpid() {
		if err := unix.Setpriority(unix.PRIO_PGRP, 0, 10); err != nil {
			return fmt.Errorf("lower the child's priority: %w", err)
		}
	}
	if _, _, e := syscall.AllThreadsSyscall(syscall.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); e != 0 && e != syscall.ENOTSUP {
		return fmt.Errorf("renounce new privileges: %w", e)
	}
	return nil
}

// lower sets a limit to most, which cannot be raised above hard again; where it
// is lower already it stays so.
func lower(what int, most, hard uint64) error {
	var now unix.Rlimit
	if err := unix.Getrlimit(what, &now); err != nil {
		return err
	}
	return unix.Setrlimit(what, &unix.Rlimit{Cur: min(most, now.Max), Max: min(hard, now.Max)})
}

// mappedBytes is the size of our address space.
func mappedBytes() (uint64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, err
	}
	pages, _, _ := strings.Cut(string(text), " ")
	n, err := strconv.ParseUint(pages, 10, 64)
	return n * uint64(os.Getpagesize()), err
}
