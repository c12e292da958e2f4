package wasm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Ages at which something in a cache folder belongs to nobody any more. A
// compile is cut short long before its folder is stale; an entry that is needed
// after all is compiled again.
const (
	staleBuild = time.Hour
	staleEntry = 90 * 24 * time.Hour
)

// sweep removes build folders that a killed process left, and entries that no
// Load has asked for in a long time: retired versions, and those of an earlier
// wazero or CPU, would pile up for ever.
func (d *disk) sweep(now time.Time) error {
	builds, err := filepath.Glob(filepath.Join(d.dir, "build-*"))
	if err != nil {
		return err
	}
	for _, path := range builds {
		if old, err := olderThan(path, now.Add(-staleBuild)); err != nil {
			return err
		} else if old {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	notes, err := os.ReadDir(filepath.Join(d.dir, "sums"))
	if err != nil {
		return err
	}
	for _, entry := range notes {
		note := filepath.Join(d.dir, "sums", entry.Name())
		if old, err := olderThan(note, now.Add(-staleEntry)); err != nil {
			return err
		} else if old {
			if err := d.forget(note); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget removes a note and the file that it vouches for.
func (d *disk) forget(note string) error {
	text, err := os.ReadFile(note)
	if err == nil {
		if rel, _, _ := strings.Cut(string(text), " "); filepath.IsLocal(rel) {
			err = os.Remove(filepath.Join(d.dir, rel))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Remove(note); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// touch notes for sweep that an entry is in use, once a day: a start with a
// thousand mappers only reads.
func touch(note string, now time.Time) error {
	old, err := olderThan(note, now.Add(-24*time.Hour))
	if err != nil || !old {
		return err
	}
	return os.Chtimes(note, now, now)
}

// olderThan reports whether path was last changed before then; what has gone
// meanwhile is another process's business.
func olderThan(path string, then time.Time) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return info.ModTime().Before(then), nil
}
