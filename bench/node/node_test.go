package node

import (
	"context"
	"errors"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary play the node: what it does is its data folder's name.
func TestMain(m *testing.M) {
	if len(os.Args) == 8 && os.Args[1] == "serve" {
		os.Exit(play(os.Args[5], os.Args[7]))
	}
	os.Exit(m.Run())
}

func play(admin, data string) int {
	os.WriteFile(filepath.Join(data, "admin.key"), []byte("sesame\n"), 0o600)
	os.Stdout.WriteString(strings.Repeat("x", 3*tailBytes) + "last words\n")
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	role := filepath.Base(data)
	if role == "dies" || os.Getenv("TALLYHOOK_DATA") != "" {
		return 3
	}
	begun := time.Now()
	l, err := net.Listen("tcp", admin)
	if err != nil {
		return 4
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if role == "never" || time.Since(begun) < 50*time.Millisecond {
			w.WriteHeader(503)
		}
		switch r.URL.Path {
		case "/readyz":
			w.Write([]byte(`{"ok":false,"parts":{"store":"ok","index":"degraded: redis: gone"}}`))
		case "/metrics":
			w.Write([]byte("# HELP x y\nx{role=\"a b\"} 2.5\ny 7\n" + strings.TrimPrefix(role, "talks")))
		}
	}))
	<-term
	switch role {
	case "stubborn":
		select {}
	case "fails":
		return 1
	}
	return 0
}

// patience is how long a test waits for what has to happen at last.
const patience = time.Minute

func start(t *testing.T, role string) *Process {
	t.Helper()
	data := filepath.Join(t.TempDir(), role)
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	admin, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(t.Context(), Config{Binary: os.Args[0], Data: data, Ingest: "127.0.0.1:1", Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestStartReadyStop(t *testing.T) {
	t.Setenv("TALLYHOOK_DATA", "/elsewhere") // must not reach the node
	p := start(t, "well")
	took, err := p.Ready(t.Context(), patience)
	if err != nil || took < 50*time.Millisecond {
		t.Fatalf("ready after %s: %v", took, err)
	}
	if key, err := p.Key(); key != "sesame" || err != nil {
		t.Errorf("key %q, %v", key, err)
	}
	if said := p.Said(); len(said) != tailBytes || !strings.HasSuffix(said, "last words\n") {
		t.Errorf("%d bytes of output, ending in %.20q", len(said), said[max(0, len(said)-20):])
	}
	if err := p.Stop(patience); err != nil {
		t.Error(err)
	}
	<-p.Exited()
}

func TestWhatGoesWrongIsSaid(t *testing.T) {
	f := func(role string, do func(p *Process) error, want string) {
		t.Helper()
		if err := do(start(t, role)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", role, err, want)
		}
	}
	ready := func(p *Process) error { _, err := p.Ready(t.Context(), 300*time.Millisecond); return err }
	stop := func(within time.Duration) func(p *Process) error {
		return func(p *Process) error {
			if _, err := p.Ready(t.Context(), patience); err != nil {
				return err
			}
			return p.Stop(within)
		}
	}
	f("dies", func(p *Process) error { _, err := p.Ready(t.Context(), patience); return err }, "exit status 3; it said")
	f("never", ready, "not ready")
	f("stubborn", stop(300*time.Millisecond), "was killed")
	f("fails", stop(patience), "exit status 1")
	if _, err := Start(t.Context(), Config{Binary: "/nowhere"}); err == nil {
		t.Error("a missing binary starts")
	}
}

func TestEndOfContextEndsTheNode(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	data := filepath.Join(t.TempDir(), "stubborn")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	admin, err := FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(ctx, Config{Binary: os.Args[0], Data: data, Ingest: "127.0.0.1:1", Admin: admin})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-p.Exited()
	if !errors.Is(p.err, context.Canceled) && p.err == nil {
		t.Error("it ended well")
	}
}

func TestHealthAndMetrics(t *testing.T) {
	p := start(t, "talks")
	if _, err := p.Ready(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	api := NewAPI(p.Admin, "", 1)
	h, err := api.Health(t.Context())
	if err != nil || h.OK || h.Degraded("store") != "" || h.Degraded("index") != "redis: gone" || h.Degraded("nobody") != "" {
		t.Errorf("%+v, %v", h, err)
	}
	m, err := api.Metrics(t.Context())
	if want := map[string]float64{`x{role="a b"}`: 2.5, "y": 7}; err != nil || !maps.Equal(m, want) {
		t.Errorf("%v, %v; want %v", m, err, want)
	}
	q := start(t, "talks nonsense")
	if _, err := q.Ready(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	if m, err := NewAPI(q.Admin, "", 1).Metrics(t.Context()); err == nil {
		t.Errorf("nonsense was read as %v", m)
	}
}

func TestLogKeepsEverything(t *testing.T) {
	data, log := filepath.Join(t.TempDir(), "dies"), filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p, err := Start(t.Context(), Config{Binary: os.Args[0], Data: data, Ingest: "127.0.0.1:1", Admin: "127.0.0.1:1", Log: log})
		if err != nil {
			t.Fatal(err)
		}
		if code := p.ExitCode(); code != 3 {
			t.Errorf("it ended with code %d", code)
		}
	}
	text, err := os.ReadFile(log)
	if err != nil || strings.Count(string(text), "last words") != 2 || len(text) < 6*tailBytes {
		t.Errorf("the log has %d bytes, %v", len(text), err)
	}
}
