package run

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// machine notes where this runs. What the system does not tell stays empty.
func (b *bench) machine(context.Context) error {
	m := &b.result.Machine
	m.Cores, m.Go = runtime.NumCPU(), runtime.Version()
	m.CPU = valueOf("/proc/cpuinfo", "model name")
	if kb, err := strconv.ParseInt(strings.TrimSuffix(valueOf("/proc/meminfo", "MemTotal"), " kB"), 10, 64); err == nil {
		m.MemoryBytes = kb << 10
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(kernel))
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	m.FileSystem = fileSystemOf(string(mounts), b.temp)
	took, err := syncTime(b.temp)
	if err != nil {
		return fmt.Errorf("measure a sync: %w", err)
	}
	m.SyncMicros = float64(took) / float64(time.Microsecond)
	b.say("%s, %d cores, %s, sync in %.0f µs", m.CPU, m.Cores, m.FileSystem, m.SyncMicros)
	return nil
}

// valueOf finds "name : value" in a file of /proc.
func valueOf(path, name string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// fileSystemOf gives the type of the file system that holds path: that of the
// longest mount point above it, the last mounted when there are several.
func fileSystemOf(mountinfo, path string) string {
	best, kind := -1, ""
	for line := range strings.Lines(mountinfo) {
		left, right, ok := strings.Cut(line, " - ")
		f, g := strings.Fields(left), strings.Fields(right)
		if !ok || len(f) < 5 || len(g) < 1 {
			continue
		}
		point := f[4]
		if rel, err := filepath.Rel(point, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") && len(point) >= best {
			best, kind = len(point), g[0]
		}
	}
	return kind
}

// syncTime is the median of writing 4 KiB over a file's own bytes and syncing.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.Create(filepath.Join(dir, "sync"))
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	var page [4096]byte
	var took []time.Duration
	for range 101 {
		begin := time.Now()
		if _, err := f.WriteAt(page[:], 0); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// commitOf names the commit of the sources, with a plus when they were changed.
func commitOf(ctx context.Context, cfg Config) string {
	if cfg.Commit != "" {
		return cfg.Commit
	}
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", cfg.Root}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	if cfg.Root == "" {
		return "unknown"
	}
	commit, err := git("rev-parse", "--short=12", "HEAD")
	if err != nil || commit == "" {
		return "unknown"
	}
	if changed, err := git("status", "--porcelain", "--", ".", ":!bench/results"); err != nil || changed != "" {
		commit += "+"
	}
	return commit
}
