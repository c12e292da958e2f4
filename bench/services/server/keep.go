package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A keeper looks whether its server is in use ten times in the time without
// use after which it ends, within these limits.
const (
	lookEveryMin = 50 * time.Millisecond
	lookEveryMax = 2 * time.Second
)

// Keep is the keeper: it runs a shared server until ctx is done, or until
// nobody has used it (see Use and Up) for the time idle; 0 is no end. It gives
// an error when the server ends by itself.
func Keep(ctx context.Context, root string, kind Kind, idle time.Duration) (err error) {
	dir, err := sharedDir(root, kind)
	if err != nil {
		return err
	}
	unlock, err := takeOver(filepath.Join(dir, "keeper.lock"))
	if err != nil {
		return err
	}
	defer unlock()
	data, state := filepath.Join(dir, "data"), filepath.Join(dir, "state.json")
	// A keeper that was killed has left both.
	if err := errors.Join(os.RemoveAll(state), os.RemoveAll(data)); err != nil {
		return err
	}
	s, err := Start(ctx, kind, Config{Dir: data})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(state), s.Close(), os.RemoveAll(data)) }()
	text, err := json.Marshal(Shared{Kind: kind, URL: s.URL, Version: s.Version, Keeper: os.Getpid(), PID: s.Processes()[0], Data: data, Since: time.Now()})
	if err != nil {
		return err
	}
	if err := os.WriteFile(state+".new", text, 0o600); err != nil {
		return err
	}
	if err := os.Rename(state+".new", state); err != nil {
		return err
	}
	return watch(ctx, s, filepath.Join(dir, "users.lock"), idle)
}

// takeOverTimeout leaves a keeper before this one time to end.
const takeOverTimeout = 20 * time.Second

// takeOver takes the keeper's lock. Whoever looks whether there is a keeper
// holds it for a moment, so one try would not do.
func takeOver(path string) (unlock func(), err error) {
	for end := time.Now().Add(takeOverTimeout); ; time.Sleep(time.Millisecond) {
		unlock, ok, err := tryLock(path)
		if ok || err != nil {
			return unlock, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%s: the server is kept already", path)
		}
	}
}

// watch returns when the server has to end. When it ends for want of use it
// still holds the users' lock, so that a new user waits until it is gone and
// then starts another.
func watch(ctx context.Context, s *Server, users string, idle time.Duration) error {
	used, every := time.Now(), min(max(idle/10, lookEveryMin), lookEveryMax)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.Ended():
			return fmt.Errorf("the server ended by itself; its log ends:\n%s", tailOf(filepath.Join(s.dir, "log")))
		case <-time.After(every):
		}
		unlock, free, err := tryLock(users)
		if err != nil {
			return err
		}
		if !free {
			used = time.Now()
			continue
		}
		if info, err := os.Stat(users); err == nil && info.ModTime().After(used) {
			used = info.ModTime()
		}
		if idle > 0 && time.Since(used) > idle {
			return nil
		}
		unlock()
	}
}
