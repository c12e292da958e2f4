//go:build linux

package server

import (
	"archive/tar"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A registry that serves something else, or nothing, must not become the engine.
func TestEngineIsTakenOnlyWithTheRightSum(t *testing.T) {
	f := func(name string, answer http.HandlerFunc, want string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			registry := httptest.NewServer(answer)
			defer registry.Close()
			cache := t.TempDir()
			t.Setenv("XDG_CACHE_HOME", cache)
			t.Setenv("TMPDIR", t.TempDir())
			t.Setenv("PATH", t.TempDir()) // no npm
			t.Setenv("npm_config_registry", registry.URL+"/")
			_, err := Find(t.Context(), ClickHouse)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, want %q", err, want)
			}
			left, err := filepath.Glob(filepath.Join(cache, "*", "*", "*"))
			if err != nil || len(left) > 0 {
				t.Fatalf("left in the cache: %q, %v", left, err)
			}
		})
	}
	archive := func(file string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/@chdb/lib-linux-x64-gnu/-/lib-linux-x64-gnu-"+engineVersion+".tgz" {
				http.NotFound(w, r)
				return
			}
			zipped := gzip.NewWriter(w)
			files := tar.NewWriter(zipped)
			if err := files.WriteHeader(&tar.Header{Name: file, Mode: 0o755, Size: 4}); err != nil {
				t.Error(err)
			}
			if _, err := files.Write([]byte("fake")); err != nil {
				t.Error(err)
			}
			if err := files.Close(); err != nil {
				t.Error(err)
			}
			if err := zipped.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	f("another library", archive("package/libchdb.so"), "the registry served something else")
	f("no library", archive("package/other.so"), "it has no file package/libchdb.so")
	f("no archive", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "unpack")
	f("nothing", http.NotFound, "404")
}

func TestEngineLiesInTheCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	if path := look(ClickHouse); path != "" {
		t.Fatalf("found %s in an empty cache", path)
	}
	want := filepath.Join(cache, "tallyhook-services", "chdb-"+engineVersion, "libchdb.so")
	if err := os.MkdirAll(filepath.Dir(want), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(want, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if path := look(ClickHouse); path != want {
		t.Fatalf("%q, want %q", path, want)
	}
}
