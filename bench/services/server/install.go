package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Find gives the path of a kind's program: redis-server, the folder with
// postgres and initdb, or libchdb.so. What is missing is installed: Debian
// packages where apt-get may be used without a password, the ClickHouse engine
// in the user's cache folder.
func Find(ctx context.Context, kind Kind) (string, error) {
	if path := look(kind); path != "" {
		return path, nil
	}
	// Several test binaries may find at the same time that it is missing.
	unlock, err := lock(filepath.Join(os.TempDir(), fmt.Sprintf("tallyhook-install-%d-%s.lock", os.Getuid(), kind)))
	if err != nil {
		return "", err
	}
	defer unlock()
	if path := look(kind); path != "" {
		return path, nil
	}
	switch kind {
	case Redis:
		err = installPackage(ctx, "redis-server")
	case Postgres:
		err = installPackage(ctx, "postgresql")
	case ClickHouse:
		err = installEngine(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("%s %w: %w", kind, ErrUnavailable, err)
	}
	if path := look(kind); path != "" {
		return path, nil
	}
	return "", fmt.Errorf("%s %w: installed, but its program is not where it is looked for", kind, ErrUnavailable)
}

// look gives "" when the program is not on this machine.
func look(kind Kind) string {
	switch kind {
	case Redis:
		path, err := exec.LookPath("redis-server")
		if err != nil {
			return ""
		}
		return path
	case Postgres:
		return lookPostgres()
	case ClickHouse:
		return lookEngine()
	}
	panic("bug: no such kind of server: " + string(kind))
}

// lookPostgres prefers what the PATH names, then Debian's newest version.
func lookPostgres() string {
	if path, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(path), "initdb")); err == nil {
			return filepath.Dir(path)
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return ""
	}
	newest := slices.MaxFunc(found, func(a, b string) int { // 9 before 15
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	return filepath.Dir(newest)
}

// aptScript installs $1. Debian's packages start their server on its default
// port when they are installed, unless policy-rc.d says no; ours is put there
// for the time of the installation, if there is none.
const aptScript = `set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends "$1" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$1"; }`

func installPackage(ctx context.Context, name string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("install %s with this system's package manager: there is no apt-get", name)
	}
	argv := []string{"sh", "-c", aptScript, "sh", name}
	if os.Geteuid() != 0 {
		if err := exec.CommandContext(ctx, "sudo", "-n", "true").Run(); err != nil {
			return fmt.Errorf("install the package %s: that needs root, or sudo without a password", name)
		}
		argv = append([]string{"sudo", "-n"}, argv...)
	}
	fmt.Fprintf(os.Stderr, "installing the package %s\n", name)
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return errors.Join(fmt.Errorf("apt-get install %s: %w", name, err), errors.New(string(out)))
	}
	return nil
}
