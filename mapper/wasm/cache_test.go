package wasm

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/tallyhook/tallyhook/mapper/moduletest"
)

// natives lists the files with native code.
func natives(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && filepath.Base(filepath.Dir(path)) != "sums" {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestCacheIsReused(t *testing.T) {
	dir := privateDir(t)
	var before fs.FileInfo
	for round := range 3 {
		e := openEngine(t, Config{CacheDir: dir})
		wantAnswer(t, newWorker(t, e), load(t, e, "p", Answering("p")), "p")
		files := natives(t, dir)
		if len(files) != 1 {
			t.Fatalf("round %d: %q; want one file", round, files)
		}
		info, err := os.Stat(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !os.SameFile(before, info) {
			t.Errorf("round %d: compiled again", round)
		}
		before = info
	}
}

func TestCacheModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "cache")
	openEngine(t, Config{CacheDir: dir})
	for _, path := range []string{dir, filepath.Join(dir, "sums")} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want 0700", path, info.Mode(), err)
		}
	}
	f := func(path string, mode fs.FileMode, want string) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Open(context.Background(), Config{CacheDir: dir})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "chmod 700 "+path) {
			t.Errorf("%s with mode %#o: %v", path, mode, err)
		}
		if err := os.Chmod(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f(dir, 0o770, "has mode 0770")
	f(dir, 0o702, "has mode 0702")
	f(dir, 0o777, "others may put code into it")
	f(filepath.Join(dir, "sums"), 0o720, "has mode 0720")

	if err := os.Chmod(dir, 0o755); err != nil { // to look is no harm
		t.Fatal(err)
	}
	openEngine(t, Config{CacheDir: dir})

	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), Config{CacheDir: link}); err == nil {
		t.Error("a link, whose target may be changed, is taken")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), Config{CacheDir: file}); err == nil {
		t.Error("a file is taken for a folder")
	}
}

func TestCacheSweepsOldBuilds(t *testing.T) {
	dir := privateDir(t)
	old, young := filepath.Join(dir, "build-old"), filepath.Join(dir, "build-young")
	for _, path := range []string{old, young} {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * staleBuild)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	openEngine(t, Config{CacheDir: dir})
	if _, err := os.Stat(old); err == nil {
		t.Error("a build of two hours ago is still there")
	}
	if _, err := os.Stat(young); err != nil {
		t.Errorf("a build that is under way was removed: %v", err)
	}
}

// What no Load asked for in three months goes, with its file; what one did stays.
func TestCacheSweepsOldEntries(t *testing.T) {
	dir := privateDir(t)
	e := openEngine(t, Config{CacheDir: dir})
	used, unused := rewritten(t, Answering("used")), rewritten(t, Answering("unused"))
	cached := func(code []byte, want bool) {
		t.Helper()
		if ok, err := openEngine(t, Config{CacheDir: dir}).Cached(code); ok != want || err != nil {
			t.Errorf("cached: %t, %v; want %t", ok, err, want)
		}
	}
	use := func(code []byte) {
		t.Helper()
		if _, err := e.Load(context.Background(), Module{Name: "m", Code: code, FuelPerCall: 1}); err != nil {
			t.Fatal(err)
		}
	}
	cached(used, false)
	use(used)
	use(unused)
	notes, err := filepath.Glob(filepath.Join(dir, "sums", "*"))
	if err != nil || len(notes) != 2 {
		t.Fatalf("%q, %v", notes, err)
	}
	past := time.Now().Add(-staleEntry - time.Hour)
	for _, note := range notes {
		if err := os.Chtimes(note, past, past); err != nil {
			t.Fatal(err)
		}
	}
	use(used)
	cached(used, true)
	cached(unused, false)
	if files := natives(t, dir); len(files) != 1 {
		t.Errorf("%q; want the used one", files)
	}
	if ok, err := openEngine(t, Config{}).Cached(used); ok || err != nil {
		t.Errorf("%t, %v without a folder", ok, err)
	}
}

// Whatever byte of a cache file is damaged, it is compiled anew and the file
// is whole again; nothing of it runs.
func TestCacheDamage(t *testing.T) {
	dir := privateDir(t)
	code := rewritten(t, Answering("whole"))
	use := func() {
		t.Helper()
		e := openEngine(t, Config{CacheDir: dir})
		p, err := e.Load(context.Background(), Module{Name: "p", Code: code, FuelPerCall: fuelPerCall})
		if err != nil {
			t.Fatal(err)
		}
		wantAnswer(t, newWorker(t, e), p, "whole")
	}
	use()
	path := natives(t, dir)[0]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f := func(damage string, change func(p []byte) []byte) {
		t.Helper()
		if err := os.WriteFile(path, change(bytes.Clone(good)), 0o600); err != nil {
			t.Fatal(err)
		}
		use()
		if p, err := os.ReadFile(path); err != nil || !bytes.Equal(p, good) {
			t.Errorf("%s: not as before (%d bytes, %v)", damage, len(p), err)
		}
	}
	for at := 0; at < len(good); at += 1 + len(good)/40 {
		f("flipped", func(p []byte) []byte { p[at] ^= 0x40; return p })
	}
	f("empty", func(p []byte) []byte { return nil })
	f("cut", func(p []byte) []byte { return p[:len(p)/2] })
	f("longer", func(p []byte) []byte { return append(p, 0) })

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	use()
	notes, err := filepath.Glob(filepath.Join(dir, "sums", "*"))
	if err != nil || len(notes) != 1 {
		t.Fatalf("%q, %v", notes, err)
	}
	for _, text := range []string{"", "x", "x ", "../../etc/passwd 00", "a b c\n"} {
		if err := os.WriteFile(notes[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		use()
	}
	if len(natives(t, dir)) != 1 {
		t.Errorf("%q; want one file", natives(t, dir))
	}
}

// What the disk did is no fault of the module.
func TestCacheDiskFault(t *testing.T) {
	dir := privateDir(t)
	e := openEngine(t, Config{CacheDir: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	_, err := e.Load(context.Background(), Module{Name: "p", Code: rewritten(t, Echo()), FuelPerCall: 1})
	if b := (*BadModule)(nil); err == nil || errors.As(err, &b) {
		t.Errorf("%v; want an error of the disk", err)
	}
}
