//go:build linux

package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFoldersOfKilledProcessesAreSwept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	folder := func(age time.Duration) (dir string, unlock func()) {
		t.Helper()
		dir, err := newFolder(Redis)
		if err != nil {
			t.Fatal(err)
		}
		if unlock, err = lock(dir + ".lock"); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(dir+".lock", then, then); err != nil {
			t.Fatal(err)
		}
		return dir, unlock
	}
	held, release := folder(2 * sweepAfter)
	defer release()
	young, release := folder(0)
	release()
	left, release := folder(2 * sweepAfter)
	release()
	if _, err := newFolder(Redis); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{held, young} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("a folder in use is gone: %v", err)
		}
	}
	for _, path := range []string{left, left + ".lock"} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	s, err := Start(t.Context(), Redis, Config{})
	if errors.Is(err, ErrUnavailable) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s.Version == "" || len(s.Processes()) == 0 {
		t.Fatalf("version %q, processes %v", s.Version, s.Processes())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 || err != nil {
		t.Fatalf("left: %q, %v", left, err)
	}
}

// A program that ends at once is reported with what it said.
func TestStartSaysWhyItFailed(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	if err := os.WriteFile(filepath.Join(bin, "redis-server"), []byte("#!/bin/sh\necho no licence\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Redis, Config{})
	if err == nil || !strings.Contains(err.Error(), "no licence") || !strings.Contains(err.Error(), "exit status 3") {
		t.Fatalf("%v; want its status and words", err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "*")); len(left) > 0 || err != nil {
		t.Fatalf("left: %q, %v", left, err)
	}
}
