package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// FS is what a journal asks of a file system. The real one is OSFS; tests put
// one in its place that loses power, runs full or fails.
type FS interface {
	// MkdirAll makes dir and the folders above it, durably: whatever folder
	// gained an entry is synced before it returns.
	MkdirAll(dir string) error
	// OpenFile opens a file; flag is made of os.O_RDONLY, O_RDWR, O_CREATE and
	// O_TRUNC. A new file can be read by its owner only.
	OpenFile(name string, flag int) (File, error)
	// Rename replaces newname if it exists. It is durable after SyncDir.
	Rename(oldname, newname string) error
	// Remove is durable after SyncDir.
	Remove(name string) error
	// ReadDir gives the names in dir, in any order.
	ReadDir(dir string) ([]string, error)
	// SyncDir makes the entries of dir durable.
	SyncDir(dir string) error
	// Lock takes name for this process alone until it is closed or the process
	// ends. Where somebody else has it the error wraps ErrLocked.
	Lock(name string) (io.Closer, error)
	// FreeBytes is the space left for us where dir lies. A file system that
	// does not know returns an error that wraps errors.ErrUnsupported.
	FreeBytes(dir string) (int64, error)
}

// File is one open file of an FS. Reads may go on beside a write.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the file's bytes durable, and of its metadata what is needed
	// to read them again.
	Sync() error
	// Size is the file's length in bytes.
	Size() (int64, error)
}

// OSFS is the file system of the machine.
type OSFS struct{}

// MkdirAll implements FS.
func (o OSFS) MkdirAll(dir string) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("make folder %s: there is a file of that name; choose another folder", dir)
		}
		return nil
	}
	above := filepath.Dir(dir)
	if above != dir {
		if err := o.MkdirAll(above); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return o.SyncDir(above)
}

// OpenFile implements FS.
func (OSFS) OpenFile(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f, fd: int(f.Fd())}, nil
}

// Rename implements FS.
func (OSFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }

// Remove implements FS.
func (OSFS) Remove(name string) error { return os.Remove(name) }

// ReadDir implements FS.
func (OSFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// SyncDir implements FS.
func (OSFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock implements FS. The file names the process that has it, for the message
// that the next one prints.
func (OSFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		var p [20]byte
		n, _ := f.ReadAt(p[:], 0)
		f.Close()
		if holder := strings.TrimSpace(string(p[:n])); holder != "" && errors.Is(err, ErrLocked) {
			err = fmt.Errorf("%w (process %s)", err, holder)
		}
		return nil, err
	}
	if _, err := f.WriteAt(fmt.Appendf(nil, "%-19d\n", os.Getpid()), 0); err != nil && !noSpace(err) {
		f.Close()
		return nil, err
	}
	return f, nil
}

// FreeBytes implements FS.
func (OSFS) FreeBytes(dir string) (int64, error) { return freeBytes(dir) }

// osFile keeps the descriptor: asking for it again would cost a call per sync.
type osFile struct {
	*os.File
	fd int
}

func (f *osFile) Sync() error {
	if err := dataSync(f); err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
