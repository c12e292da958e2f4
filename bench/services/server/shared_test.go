//go:build linux

package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestMain lets this binary be the keeper that its tests start.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_KEEPER") == "" {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	idle, err := time.ParseDuration(os.Args[3])
	if err == nil {
		err = Keep(ctx, os.Args[1], Kind(os.Args[2]), idle)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

const patience = time.Minute

// checkout is a place of its own for shared servers.
func checkout(t *testing.T) (root string) {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("TEST_KEEPER", "1")
	t.Setenv(Redis.Variable(), "")
	root = t.TempDir()
	t.Cleanup(func() {
		if _, err := Down(root, Redis); err != nil {
			t.Error(err)
		}
	})
	return root
}

func up(t *testing.T, root string, idle time.Duration) Shared {
	t.Helper()
	s, err := Up(t.Context(), root, Redis, idle, os.Args[0], root)
	if errors.Is(err, ErrUnavailable) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gone waits until the server does not answer any more.
func gone(t *testing.T, s Shared) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if syscall.Kill(s.PID, 0) != nil {
			return
		}
	}
	t.Fatalf("process %d still runs after %s", s.PID, patience)
}

func TestUpStartsOneServerHoweverManyAsk(t *testing.T) {
	root := checkout(t)
	first := up(t, root, 0)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			s, err := Up(t.Context(), root, Redis, 0, os.Args[0], root)
			if err != nil || s.URL != first.URL || s.PID != first.PID {
				t.Errorf("%s as process %d, %v; want %s as %d", s.URL, s.PID, err, first.URL, first.PID)
			}
		})
	}
	wg.Wait()
	if s, ok, err := Running(t.Context(), root, Redis); !ok || err != nil || s.Version == "" || s.URL != first.URL {
		t.Fatalf("running: %+v, %t, %v", s, ok, err)
	}
}

func TestDownEndsWhatUpStarted(t *testing.T) {
	root := checkout(t)
	s := up(t, root, 0)
	if was, err := Down(root, Redis); !was || err != nil {
		t.Fatalf("%t, %v", was, err)
	}
	gone(t, s)
	if _, err := os.Stat(s.Data); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the data are still there: %v", err)
	}
	if was, err := Down(root, Redis); was || err != nil {
		t.Fatalf("down again: %t, %v", was, err)
	}
	if again := up(t, root, 0); again.PID == s.PID {
		t.Fatal("up after down gives the old server")
	}
}

func TestKeeperEndsWithoutUse(t *testing.T) {
	root := checkout(t)
	done, err := Use(root, Redis)
	if err != nil {
		t.Fatal(err)
	}
	const idle = 200 * time.Millisecond
	s := up(t, root, idle)
	time.Sleep(5 * idle)
	if err := syscall.Kill(s.PID, 0); err != nil {
		t.Fatalf("ended while it was used: %v", err)
	}
	done()
	gone(t, s)
	if _, ok, err := Running(t.Context(), root, Redis); ok || err != nil {
		t.Fatalf("ended, and it runs: %t, %v", ok, err)
	}
}

func TestServerDiesWithItsKeeper(t *testing.T) {
	root := checkout(t)
	s := up(t, root, 0)
	if err := syscall.Kill(s.Keeper, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, s)
	if again := up(t, root, 0); again.PID == s.PID {
		t.Fatal("the dead server is given again")
	}
}

func TestNamedServerWinsAndIsNotOursToEnd(t *testing.T) {
	root := checkout(t)
	s := up(t, root, 0)
	t.Setenv(Redis.Variable(), s.URL)
	other := t.TempDir()
	named, err := Up(t.Context(), other, Redis, 0, "/nonexistent")
	if err != nil || named.URL != s.URL || named.Keeper != 0 || named.Version == "" {
		t.Fatalf("%+v, %v", named, err)
	}
	if was, err := Down(other, Redis); was || err != nil {
		t.Fatalf("%t, %v", was, err)
	}
	if err := syscall.Kill(s.PID, 0); err != nil {
		t.Fatalf("the named server was ended: %v", err)
	}
	const secret = "s3cret"
	t.Setenv(Redis.Variable(), "redis://:"+secret+"@127.0.0.1:1/0")
	if _, _, err := Running(t.Context(), other, Redis); err == nil || bytes.Contains([]byte(err.Error()), []byte(secret)) {
		t.Fatalf("%v; want an error without the password", err)
	}
}

func TestMissingProgramIsSaidAndRemembered(t *testing.T) {
	root := checkout(t)
	t.Setenv("PATH", t.TempDir())
	_, err := Up(t.Context(), root, Redis, 0, os.Args[0], root)
	if !errors.Is(err, ErrUnavailable) {
		t.Fatalf("%v, want unavailable", err)
	}
	if why := Unavailable(root, Redis); why == "" {
		t.Fatal("forgotten at once")
	}
	dir, err := sharedDir(root, Redis)
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * unavailableFor)
	if err := os.Chtimes(filepath.Join(dir, "unavailable"), old, old); err != nil {
		t.Fatal(err)
	}
	if why := Unavailable(root, Redis); why != "" {
		t.Fatalf("still believed: %s", why)
	}
}
