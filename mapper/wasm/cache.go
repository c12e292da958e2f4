package wasm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
)

// A cache folder:
//
//	DIR/wazero-VERSION-ARCH-OS/KEY   native code, named and written by wazero
//	DIR/sums/CODE-MACHINE            one line: path under DIR, a blank, SHA-256 in hex
//	DIR/build-*                      a compile that is under way
//
// wazero checks less than the whole of a file before it runs it (a flipped bit
// in the table of functions is a jump into nowhere), so each file has a sum of
// ours, and is compiled anew when the two differ. CODE is the SHA-256 of the
// module. MACHINE stands for everything else that KEY depends on, version and
// CPU features: it is the hash of the path that a probe module gets here.
type disk struct {
	dir     string
	machine string
}

func openDisk(ctx context.Context, dir string) (*disk, error) {
	d := &disk{dir: dir}
	for _, sub := range []string{dir, filepath.Join(dir, "sums")} {
		if err := os.MkdirAll(sub, 0o700); err != nil {
			return nil, err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if err := checkFolder(dir); err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if err := checkFolder(filepath.Join(dir, entry.Name())); err != nil {
			return nil, err
		}
	}
	if err := d.sweep(time.Now()); err != nil {
		return nil, err
	}
	path, drop, err := d.compile(ctx, probe)
	if err != nil {
		return nil, err
	}
	defer drop()
	sum := sha256.Sum256([]byte(path.rel))
	d.machine = hex.EncodeToString(sum[:8])
	return d, nil
}

// checkFolder refuses what somebody else could put code into.
func checkFolder(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // removed meanwhile by whoever built there
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a folder; name a folder of its own, or remove what is there", path)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s has mode %#o, so others may put code into it; run chmod 700 %[1]s", path, info.Mode().Perm())
	case !ours(info):
		return fmt.Errorf("%s belongs to another user, who may put code into it; name a folder of our own", path)
	}
	return nil
}

// probe is the smallest module with a function, (module (func)).
var probe = []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a\x04\x01\x02\x00\x0b")

// prepare makes sure that what the cache holds for code is whole, and compiles
// it if there is nothing or damage. The caller has the turn of code.
func (d *disk) prepare(ctx context.Context, code []byte, sum digest) error {
	note := d.note(sum)
	if ok, err := d.whole(note); err != nil {
		return err
	} else if ok {
		return touch(note, time.Now())
	}
	made, drop, err := d.compile(ctx, code)
	if err != nil {
		return err
	}
	defer drop()
	hash, err := hashFile(made.abs)
	if err != nil {
		return err
	}
	to := filepath.Join(d.dir, made.rel)
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	// File before note: a crash between the two leaves a file that nobody
	// vouches for, and the next prepare replaces it.
	if err := os.Rename(made.abs, to); err != nil {
		return err
	}
	line := made.abs + ".sum"
	if err := os.WriteFile(line, []byte(made.rel+" "+hash+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(line, note)
}

// note is the file that vouches for a module's native code.
func (d *disk) note(sum digest) string {
	return filepath.Join(d.dir, "sums", hex.EncodeToString(sum[:])+"-"+d.machine)
}

// whole reports whether the file that note vouches for is as it was written.
// What is not is removed, for wazero must not find it.
func (d *disk) whole(note string) (bool, error) {
	text, err := os.ReadFile(note)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	rel, want, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	if filepath.IsLocal(rel) {
		got, err := hashFile(filepath.Join(d.dir, rel))
		if err == nil && got == want {
			return true, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return false, d.forget(note)
}

// file is a cache file: where it is, and where under a cache folder it belongs.
type file struct{ abs, rel string }

// compile compiles code in a folder of its own, so that the one file in there
// afterwards is that of code. drop removes the folder.
func (d *disk) compile(ctx context.Context, code []byte) (f file, drop func(), err error) {
	build, err := os.MkdirTemp(d.dir, "build-")
	if err != nil {
		return f, nil, err
	}
	remove := func() { os.RemoveAll(build) } // what stays is swept when it is stale
	defer func() {
		if err != nil {
			remove()
		}
	}()
	cache, err := wazero.NewCompilationCacheWithDir(build)
	if err != nil {
		return f, nil, err
	}
	defer cache.Close(ctx)
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig(cache))
	defer r.Close(ctx)
	compiled, err := compileContained(ctx, r, code)
	if err != nil {
		return f, nil, err
	}
	compiled.Close(ctx)
	err = filepath.WalkDir(build, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			f.abs = path
		}
		return err
	})
	if err == nil && f.abs == "" {
		err = fmt.Errorf("%s is empty after a compile: no disk cache for this machine; run without a cache folder", build)
	}
	if err != nil {
		return f, nil, err
	}
	f.rel, err = filepath.Rel(build, f.abs)
	return f, remove, err
}

func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
