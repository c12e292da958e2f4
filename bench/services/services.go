// Package services gives tests real Redis, PostgreSQL and ClickHouse servers,
// and faulty networks in front of them.
//
// Redis, OwnPostgres and OwnClickHouse start a server for one test, which the
// test may stop and freeze. Postgres and ClickHouse give a new database on a
// server that all tests share: the one that TEST_POSTGRES_URL or
// TEST_CLICKHOUSE_URL names, else the one that `scripts/services up` keeps,
// which is called when there is none. Where a server cannot be had the test is
// skipped and says why; with CI=true it fails.
package services

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

// Times after which a server counts as one that cannot be had.
const (
	installTimeout = 15 * time.Minute // packages and the engine over a slow line
	startTimeout   = 90 * time.Second
)

// shared gives the URL of the server of this kind that all tests share. The
// server stays at least as long as the test.
func shared(t testing.TB, kind server.Kind) string {
	t.Helper()
	root, err := server.Root()
	if err != nil {
		t.Fatal(err)
	}
	done, err := server.Use(root, kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(done)
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	s, ok, err := server.Running(ctx, root, kind)
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		return s.URL
	}
	if why := server.Unavailable(root, kind); why != "" {
		missing(t, kind, why)
	}
	out, err := exec.CommandContext(ctx, filepath.Join(root, "scripts", "services"), "up", string(kind)).CombinedOutput()
	if s, ok, _ := server.Running(ctx, root, kind); ok {
		return s.URL
	}
	if why := server.Unavailable(root, kind); why != "" {
		missing(t, kind, why)
	}
	t.Fatalf("scripts/services up %s: %v\n%s", kind, err, out)
	return ""
}

// missing ends the test.
func missing(t testing.TB, kind server.Kind, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing and CI=true forbids to skip: %s", kind, why)
	}
	t.Skipf("SKIPPED, %s is missing: %s", strings.ToUpper(string(kind)), why)
}

// own starts a server that ends with the test.
func own(t testing.TB, kind server.Kind, cfg server.Config) *Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	s, err := server.Start(ctx, kind, cfg)
	if errors.Is(err, server.ErrUnavailable) {
		missing(t, kind, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("end %s: %v", kind, err)
		}
	})
	return &Server{URL: s.URL, t: t, process: s}
}

// newName is a name for a database that no other test has, also on a server
// that other machines use.
func newName() string {
	return "test_" + strings.ToLower(rand.Text())
}
