package server

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Shared is a server that several processes use: one that a keeper keeps, or
// one that the environment names.
type Shared struct {
	Kind    Kind      `json:"kind"`
	URL     string    `json:"url"` // its first user may do everything there
	Version string    `json:"version"`
	Keeper  int       `json:"keeper"` // the keeper's process id; 0: named by the environment, not ours to end
	PID     int       `json:"pid"`
	Data    string    `json:"data"`
	Since   time.Time `json:"since"`
}

// The folder of one kind's shared server, by user and checkout:
//
//	TMP/tallyhook-services-UID/CHECKOUT/KIND/
//	    keeper.lock    held by the keeper while it lives
//	    users.lock     shared by everybody who uses the server; its time is the last use
//	    up.lock        held while one process starts or ends the keeper
//	    state.json     Shared, written when the server answers
//	    unavailable    why there is no such server, and since when
//	    log, data/
func sharedDir(root string, kind Kind) (string, error) {
	base := filepath.Join(os.TempDir(), fmt.Sprintf("tallyhook-services-%d", os.Getuid()))
	// The temporary folder is everybody's: what lies there under our name must be ours.
	if err := os.Mkdir(base, 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	info, err := os.Lstat(base)
	if err != nil {
		return "", err
	}
	if !info.IsDir() || !ownedByUs(info) {
		return "", fmt.Errorf("%s is not a folder of user %d: remove it", base, os.Getuid())
	}
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real
	}
	dir := filepath.Join(base, fmt.Sprintf("%x", sha256.Sum256([]byte(root)))[:12], string(kind))
	return dir, os.MkdirAll(dir, 0o711) // PostgreSQL runs as another user below it
}

// Running gives the shared server of a checkout if there is one now.
func Running(ctx context.Context, root string, kind Kind) (s Shared, ok bool, err error) {
	if named := os.Getenv(kind.Variable()); named != "" {
		version, err := Ask(ctx, kind, named)
		if err != nil {
			return Shared{}, false, fmt.Errorf("%s: %w", kind.Variable(), err)
		}
		return Shared{Kind: kind, URL: named, Version: version}, true, nil
	}
	return Kept(root, kind)
}

// Kept is Running without what the environment names.
func Kept(root string, kind Kind) (s Shared, ok bool, err error) {
	dir, err := sharedDir(root, kind)
	if err != nil {
		return Shared{}, false, err
	}
	return kept(dir)
}

// kept reads the state file of a living keeper.
func kept(dir string) (s Shared, ok bool, err error) {
	unlock, free, err := tryLock(filepath.Join(dir, "keeper.lock"))
	if err != nil {
		return Shared{}, false, err
	}
	if free {
		unlock()
		return Shared{}, false, nil
	}
	text, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Shared{}, false, nil // it is being started or ended
	}
	if err != nil {
		return Shared{}, false, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return Shared{}, false, fmt.Errorf("read %s/state.json: %w", dir, err)
	}
	return s, true, nil
}

// Up makes sure that there is a shared server: it installs what is missing and
// starts a keeper with the command argv, to which the kind and the time
// without use after which the keeper ends are added.
func Up(ctx context.Context, root string, kind Kind, idle time.Duration, argv ...string) (Shared, error) {
	done, err := Use(root, kind)
	if err != nil {
		return Shared{}, err
	}
	defer done()
	if s, ok, err := Running(ctx, root, kind); ok || err != nil {
		return s, err
	}
	dir, err := sharedDir(root, kind)
	if err != nil {
		return Shared{}, err
	}
	unlock, err := lock(filepath.Join(dir, "up.lock"))
	if err != nil {
		return Shared{}, err
	}
	defer unlock()
	if s, ok, err := kept(dir); ok || err != nil {
		return s, err
	}
	if _, err := Find(ctx, kind); err != nil {
		return Shared{}, errors.Join(err, os.WriteFile(filepath.Join(dir, "unavailable"), []byte(err.Error()), 0o600))
	}
	if err := os.RemoveAll(filepath.Join(dir, "unavailable")); err != nil {
		return Shared{}, err
	}
	return startKeeper(ctx, dir, append(argv, string(kind), idle.String()))
}

// startKeeper starts the keeper in a session of its own and waits for its
// state file.
func startKeeper(ctx context.Context, dir string, argv []string) (Shared, error) {
	said, err := os.Create(filepath.Join(dir, "keeper.out"))
	if err != nil {
		return Shared{}, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = said, said
	detach(cmd)
	if err := errors.Join(cmd.Start(), said.Close()); err != nil {
		return Shared{}, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if s, ok, err := kept(dir); err != nil || ok && s.Keeper == cmd.Process.Pid {
			return s, err
		}
		select {
		case err := <-ended:
			return Shared{}, fmt.Errorf("the keeper ended (%w):\n%s", err, tailOf(said.Name()))
		case <-ctx.Done():
			return Shared{}, errors.Join(ctx.Err(), cmd.Process.Kill())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Use announces that this process uses the shared server until done is called
// or the process ends: the keeper does not end for want of use meanwhile.
// Announce first, then look with Running.
func Use(root string, kind Kind) (done func(), err error) {
	dir, err := sharedDir(root, kind)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "users.lock")
	unlock, err := share(path)
	if err != nil {
		return nil, err
	}
	return func() {
		now := time.Now()
		_ = os.Chtimes(path, now, now) // the lock tells of the use while it lasts, the time of its end
		unlock()
	}, nil
}

// unavailableFor is how long Unavailable is believed: tests shall not try to
// install again with each of them.
const unavailableFor = 10 * time.Minute

// Unavailable says why Up found a short while ago that there can be no such
// server, or "".
func Unavailable(root string, kind Kind) string {
	dir, err := sharedDir(root, kind)
	if err != nil {
		return err.Error()
	}
	path := filepath.Join(dir, "unavailable")
	info, err := os.Stat(path)
	if err != nil || time.Since(info.ModTime()) > unavailableFor {
		return ""
	}
	return tailOf(path)
}

// Down ends the keeper of a checkout and its server, if there is one.
func Down(root string, kind Kind) (was bool, err error) {
	dir, err := sharedDir(root, kind)
	if err != nil {
		return false, err
	}
	unlock, err := lock(filepath.Join(dir, "up.lock"))
	if err != nil {
		return false, err
	}
	defer unlock()
	s, ok, err := kept(dir)
	if err != nil || !ok {
		return false, err
	}
	if err := terminate(s.Keeper); err != nil {
		return false, fmt.Errorf("end the keeper of %s, process %d: %w", kind, s.Keeper, err)
	}
	gone, err := lock(filepath.Join(dir, "keeper.lock"))
	if err != nil {
		return false, err
	}
	gone()
	return true, nil
}

// Address is the URL's host and port, without what may be a password.
func (s Shared) Address() string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "(its URL cannot be read)"
	}
	return u.Host
}
