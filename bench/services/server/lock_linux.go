package server

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock waits until no other process holds the file and holds it until unlock;
// the kernel lets go of it when this process ends.
func lock(path string) (unlock func(), err error) {
	return hold(path, syscall.LOCK_EX)
}

// tryLock is lock without waiting: ok is false while another process holds it.
func tryLock(path string) (unlock func(), ok bool, err error) {
	unlock, err = hold(path, syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, false, nil
	}
	return unlock, err == nil, err
}

// share holds the file together with any number of others that share it.
func share(path string) (unlock func(), err error) {
	return hold(path, syscall.LOCK_SH)
}

func hold(path string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(f.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
