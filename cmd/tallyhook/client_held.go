package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/tallyhook/tallyhook/journal"
)

// heldByNode refuses to go round a node that has the data folder but does not
// answer at the address that was tried: it would not hear of changes, and the
// URLs that would be told are not its own.
//
// The process that the journal's lock names is looked for first: a lock that
// nobody has is not taken, lest a node that starts just now finds it taken.
func (a *app) heldByNode(tried string) error {
	lock := filepath.Join(a.opt.Data, journalFolder, "lock")
	text, err := os.ReadFile(lock)
	if err != nil {
		return nil // no node has run here, or its folder is not ours to read: the store will say
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !runs(pid) {
		return nil
	}
	held, err := journal.OSFS{}.Lock(lock)
	if err == nil {
		return held.Close() // another program has that number now
	}
	if !errors.Is(err, journal.ErrLocked) {
		return nil
	}
	return fmt.Errorf("no node answers at %s, but process %d runs one on the folder %s: name its admin address with --admin or TALLYHOOK_ADMIN (it wrote it when it started; if it starts just now, try again)", tried, pid, a.opt.Data)
}

// runs tells whether a process of that number does.
func runs(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release()
	err = p.Signal(syscall.Signal(0))
	return err == nil || errors.Is(err, os.ErrPermission)
}
