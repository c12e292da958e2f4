package server

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Ports are taken from below the range from which the kernel serves outgoing
// connections (32768 and up on Linux): a server that is stopped and started
// again must find its port free, and a client that keeps dialling a dead port
// inside that range may end up connected to itself.
const (
	portFirst = 20000
	portLast  = 29999
	portTries = 100
)

// FreePort finds a port of loopback on which nobody listens, for a server that
// will be stopped and started there.
func FreePort() (int, error) {
	var last error
	for range portTries {
		port := portFirst + rand.IntN(portLast-portFirst+1)
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d after %d tries: %w", portFirst, portLast, portTries, last)
}

// logTailBytesMax is how much of a server's log goes into an error.
const logTailBytesMax = 4 << 10

func tailOf(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-logTailBytesMax):])
}

// newFolder makes a temporary folder and removes those that killed processes
// have left.
func newFolder(kind Kind) (string, error) {
	prefix := "tallyhook-" + string(kind) + "-"
	sweep(filepath.Join(os.TempDir(), prefix+"*.lock"))
	return os.MkdirTemp("", prefix)
}

// sweepAfter leaves alone what was made a moment ago.
const sweepAfter = 10 * time.Minute

// sweep removes each folder whose lock, beside it, nobody holds. What cannot
// be removed is not ours.
func sweep(locks string) {
	found, _ := filepath.Glob(locks) // the pattern is well formed
	for _, path := range found {
		if info, err := os.Lstat(path); err != nil || !ownedByUs(info) || time.Since(info.ModTime()) < sweepAfter {
			continue
		}
		if unlock, free, err := tryLock(path); err == nil && free {
			_ = removeFolder(path[:len(path)-len(".lock")])
			unlock()
		}
	}
}

func removeFolder(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.RemoveAll(dir+".lock"))
}
