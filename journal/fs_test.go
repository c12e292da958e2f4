package journal

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// memFS puts a vfs.FS, which may lose power or fail, in the place of a disk.
// before, if set, is asked ahead of each operation that changes something.
type memFS struct {
	vfs.FS
	before func(op, name string) error
}

func (m memFS) ask(op, name string) error {
	if m.before == nil {
		return nil
	}
	return m.before(op, filepath.Base(name))
}

func (m memFS) MkdirAll(dir string) error {
	if err := m.FS.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return m.SyncDir(filepath.Dir(dir))
}

func (m memFS) OpenFile(name string, flag int) (f File, err error) {
	var v vfs.File
	switch {
	case flag&os.O_TRUNC != 0:
		v, err = m.FS.Create(name, vfs.WriteCategoryUnspecified)
		if err == nil { // created files cannot be written to at an offset everywhere
			err = v.Close()
		}
		if err == nil {
			v, err = m.FS.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		}
	case flag&os.O_CREATE != 0:
		v, err = m.FS.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	default:
		if _, err = m.FS.Stat(name); err != nil {
			break
		}
		if v, err = m.FS.Open(name); err == nil && flag&os.O_RDWR != 0 {
			v.Close()
			v, err = m.FS.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
		}
	}
	if err != nil {
		return nil, err
	}
	return &memFile{m: m, name: name, v: v}, nil
}

func (m memFS) Rename(oldname, newname string) error {
	if err := m.ask("rename", oldname); err != nil {
		return err
	}
	return m.FS.Rename(oldname, newname)
}

func (m memFS) Remove(name string) error {
	if err := m.ask("remove", name); err != nil {
		return err
	}
	return m.FS.Remove(name)
}

func (m memFS) ReadDir(dir string) ([]string, error) { return m.FS.List(dir) }

func (m memFS) SyncDir(dir string) error {
	if err := m.ask("syncdir", dir); err != nil {
		return err
	}
	d, err := m.FS.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (m memFS) Lock(name string) (io.Closer, error) {
	l, err := m.FS.Lock(name)
	if errors.Is(err, syscall.EAGAIN) {
		return nil, ErrLocked
	}
	return l, err
}

func (m memFS) FreeBytes(dir string) (int64, error) {
	u, err := m.FS.GetDiskUsage(dir)
	if err != nil {
		return 0, errors.Join(err, errors.ErrUnsupported)
	}
	return int64(u.AvailBytes), nil
}

type memFile struct {
	m    memFS
	name string
	v    vfs.File
	at   int64 // where Write of v goes
	once sync.Once
	err  error
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) { return f.v.ReadAt(p, off) }

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.m.ask("write", f.name); err != nil {
		if errors.Is(err, io.ErrShortWrite) {
			n, _ := f.v.WriteAt(p[:len(p)/2], off)
			return n, nil
		}
		return 0, err
	}
	if off == f.at { // WriteAt of vfs grows a file byte by byte, and Write may change what it is given
		n, err := f.v.Write(slices.Clone(p))
		f.at += int64(n)
		return n, err
	}
	return f.v.WriteAt(p, off)
}

func (f *memFile) Sync() error {
	if err := f.m.ask("sync", f.name); err != nil {
		return err
	}
	return f.v.SyncData()
}

func (f *memFile) Close() error {
	f.once.Do(func() { f.err = f.v.Close() })
	return f.err
}

func (f *memFile) Size() (int64, error) {
	info, err := f.v.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// quotaFS is a disk of so many bytes: what grows a file beyond them gets ENOSPC.
type quotaFS struct {
	FS
	q *quota
}

type quota struct {
	mu    sync.Mutex
	free  int64
	sizes map[string]int64
}

func newQuota(fs FS, free int64) quotaFS {
	return quotaFS{FS: fs, q: &quota{free: free, sizes: map[string]int64{}}}
}

func (q *quota) add(n int64) { q.mu.Lock(); q.free += n; q.mu.Unlock() }

func (q quotaFS) FreeBytes(string) (int64, error) {
	q.q.mu.Lock()
	defer q.q.mu.Unlock()
	return q.q.free, nil
}

func (q quotaFS) drop(name string) {
	q.q.free += q.q.sizes[name]
	delete(q.q.sizes, name)
}

func (q quotaFS) OpenFile(name string, flag int) (File, error) {
	f, err := q.FS.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	if flag&os.O_TRUNC != 0 {
		q.q.mu.Lock()
		q.drop(name)
		q.q.mu.Unlock()
	}
	return &quotaFile{File: f, q: q, name: name}, nil
}

func (q quotaFS) Rename(oldname, newname string) error {
	q.q.mu.Lock()
	defer q.q.mu.Unlock()
	q.drop(newname)
	q.q.sizes[newname] = q.q.sizes[oldname]
	delete(q.q.sizes, oldname)
	return q.FS.Rename(oldname, newname)
}

func (q quotaFS) Remove(name string) error {
	q.q.mu.Lock()
	defer q.q.mu.Unlock()
	q.drop(name)
	return q.FS.Remove(name)
}

type quotaFile struct {
	File
	q    quotaFS
	name string
}

func (f *quotaFile) WriteAt(p []byte, off int64) (int, error) {
	q := f.q.q
	q.mu.Lock()
	defer q.mu.Unlock()
	size, err := f.File.Size()
	if err != nil {
		return 0, err
	}
	if grow := off + int64(len(p)) - size; grow > 0 {
		if grow > q.free {
			return 0, &os.PathError{Op: "write", Path: f.name, Err: syscall.ENOSPC}
		}
		q.free -= grow
		q.sizes[f.name] += grow
	}
	return f.File.WriteAt(p, off)
}

// crashable is a memory file system that crashClone can cut the power of.
func crashable() *vfs.MemFS { return vfs.NewCrashableMem() }

func crashClone(m *vfs.MemFS, percent int, rng *rand.Rand) *vfs.MemFS {
	return m.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng})
}

// The double must do what the disk does.
func TestFS(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (FS, string){
		"os":     func(t *testing.T) (FS, string) { return OSFS{}, t.TempDir() },
		"memory": func(t *testing.T) (FS, string) { return memFS{FS: crashable()}, "/" },
	} {
		t.Run(name, func(t *testing.T) {
			fs, root := open(t)
			dir := filepath.Join(root, "a")
			must(t, fs.MkdirAll(dir))
			must(t, fs.MkdirAll(dir))
			file := filepath.Join(dir, "f")
			if _, err := fs.OpenFile(file, os.O_RDONLY); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("open of a missing file: %v", err)
			}
			if _, err := fs.OpenFile(file, os.O_RDWR); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("open to write of a missing file: %v", err)
			}
			f, err := fs.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
			must(t, err)
			must(t, writeFull(f, []byte("abc"), 2))
			must(t, f.Sync())
			if n, err := f.Size(); n != 5 || err != nil {
				t.Fatalf("size %d, %v", n, err)
			}
			p := make([]byte, 5)
			must(t, readFull(f, file, p, 0))
			if string(p) != "\x00\x00abc" {
				t.Fatalf("read %q", p)
			}
			var d *Damage
			if err := readFull(f, file, p, 1); !errors.As(err, &d) || d.Offset != 5 {
				t.Fatalf("read beyond the end: %v", err)
			}
			must(t, f.Close())
			must(t, fs.Rename(file, file+"2"))
			must(t, fs.SyncDir(dir))
			names, err := fs.ReadDir(dir)
			must(t, err)
			if len(names) != 1 || names[0] != "f2" {
				t.Fatalf("names %v", names)
			}
			lock, err := fs.Lock(filepath.Join(dir, "lock"))
			must(t, err)
			if _, err := fs.Lock(filepath.Join(dir, "lock")); !errors.Is(err, ErrLocked) {
				t.Fatalf("second lock: %v", err)
			}
			must(t, lock.Close())
			must(t, fs.Remove(file+"2"))
			if err := fs.Remove(file + "2"); !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("second remove: %v", err)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
