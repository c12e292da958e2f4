package journal

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// disks are the ones to fill: one in memory, and, where the test may mount
// (as root), a real one of 16 MiB.
func disks() map[string]func(t *testing.T) disk {
	d := map[string]func(t *testing.T) disk{"quota": quotaDisk}
	if os.Geteuid() == 0 {
		d["tmpfs"] = tmpfsDisk
	}
	return d
}

func tmpfsDisk(t *testing.T) disk {
	dir := t.TempDir()
	must(t, unix.Mount("none", dir, "tmpfs", 0, "size=16m"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	filler := filepath.Join(dir, "filler")
	return disk{
		fs: OSFS{}, dir: filepath.Join(dir, "journal"), segment: 1 << 20, ballast: 2 << 20,
		fill: func(t *testing.T) {
			f, err := os.Create(filler)
			must(t, err)
			for err == nil {
				_, err = f.Write(zeros[:])
			}
			wantErr(t, err, unix.ENOSPC)
			must(t, f.Close())
		},
		release:  func(t *testing.T) { must(t, os.Remove(filler)) },
		hasSpace: func() int64 { n, _ := freeBytes(dir); return n },
	}
}
