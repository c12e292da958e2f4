package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/source"
	"github.com/tallyhook/tallyhook/store"
)

// day0 is when every test begins.
var day0 = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// bench is a console on a real store, with a node and a log that a test can
// look into.
type bench struct {
	t       *testing.T
	db      *store.DB
	objects *store.Objects
	console *Console
	node    *fakeNode
	key     string
	log     *lockedBuffer
	admits  *fakeAdmitter
	telling sync.Mutex
	changes int   // calls of Config.Changed
	refuses error // what Config.Changed answers
	now     time.Time
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeNode is a node whose status a test sets.
type fakeNode struct {
	status  NodeStatus
	ready   error
	refused map[string][]Refusal
	panics  bool
}

func (n *fakeNode) Status() NodeStatus {
	if n.panics {
		panic("status of canary-in-panic")
	}
	return n.status
}
func (n *fakeNode) Ready() error                { return n.ready }
func (n *fakeNode) Refused(id string) []Refusal { return n.refused[id] }
func newBench(t *testing.T) *bench              { return makeBench(t, true) }
func newBenchWithoutNode(t *testing.T) *bench   { return makeBench(t, false) }

func makeBench(t *testing.T, withNode bool) *bench {
	t.Helper()
	dir := t.TempDir()
	db, err := store.Open(t.Context(), "sqlite:"+filepath.Join(dir, "tallyhook.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	seal, err := store.LoadSeal(filepath.Join(dir, "seal.key"), true)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, db: db, log: new(lockedBuffer), admits: new(fakeAdmitter), now: day0}
	clock := func() time.Time { return b.now }
	b.objects = &store.Objects{DB: db, Seal: seal, Now: clock}
	if _, b.key, err = b.objects.CreateKey(t.Context(), "test", store.KeySpec{Name: "admin", Role: store.RoleAdmin}); err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Objects: b.objects, Activity: &sink.Activity{DB: db.Read}, Books: &sink.Books{DB: db.Read}, VerifyDB: db.Read,
		Admitter: b.admits, PostbackBase: "http://127.0.0.1:8080/", Registry: prometheus.NewRegistry(), Now: clock, Version: "test",
		Log: slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Changed: func(context.Context) error {
			b.telling.Lock()
			defer b.telling.Unlock()
			b.changes++
			return b.refuses
		},
	}
	if withNode {
		b.node = &fakeNode{status: NodeStatus{Node: "n1", Stream: 3, StartedAt: day0.Add(-time.Hour),
			Journal:  JournalStatus{FirstSeq: 1, LastSeq: 12, Bytes: 4096, BytesMax: 1 << 30, FreeBytes: 1 << 30, Segments: 1},
			Pipeline: PipelineStatus{CommittedSeq: 10, LagRecords: 2, LagSeconds: .5}, Index: IndexStatus{Names: 7, Complete: true}, Parked: 1, Sources: 2,
			Backends: []BackendStatus{{Role: "store", Kind: "sqlite", Up: true}}},
			refused: map[string][]Refusal{}}
		cfg.Node = b.node
	}
	if b.console, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return b
}

// answer is what a request came back with.
type answer struct {
	t *testing.T
	*httptest.ResponseRecorder
}

// ask sends a request with the good key and checks its answer against the
// OpenAPI document. Bodies that start with { or [ are JSON.
func (b *bench) ask(method, target, body string, headers ...string) answer {
	b.t.Helper()
	return b.send(method, target, body, append([]string{"Authorization", "Bearer " + b.key}, headers...)...)
}

// send is ask without a key.
func (b *bench) send(method, target, body string, headers ...string) answer {
	b.t.Helper()
	r := httptest.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(body))
	if strings.HasPrefix(body, "{") || strings.HasPrefix(body, "[") {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	b.console.Handler().ServeHTTP(w, r)
	checkAgainstDocument(b.t, r, body, w)
	return answer{b.t, w}
}

// is demands a status and reads the body into v unless it is nil.
func (a answer) is(status int, v any) answer {
	a.t.Helper()
	if a.Code != status {
		a.t.Fatalf("status %d, want %d: %s", a.Code, status, a.Body)
	}
	if v != nil {
		if err := json.Unmarshal(a.Body.Bytes(), v); err != nil {
			a.t.Fatalf("%s: %v", a.Body, err)
		}
	}
	return a
}

// fails demands an error of that status and code whose message holds each part.
func (a answer) fails(status int, code string, parts ...string) {
	a.t.Helper()
	var f fault
	a.is(status, &f)
	if f.OK || f.Error != code {
		a.t.Errorf("error %q, want %q: %s", f.Error, code, f.Message)
	}
	for _, part := range parts {
		if !strings.Contains(f.Message, part) {
			a.t.Errorf("message %q lacks %q", f.Message, part)
		}
	}
}

// create makes a source and gives what the API says of it.
func (b *bench) create(body string) sourceView {
	b.t.Helper()
	var v sourceView
	b.ask("POST", "/api/v1/sources", body).is(http.StatusCreated, &v)
	return v
}

// live compiles the sources as a node would take them up.
func (b *bench) live() *source.Directory {
	b.t.Helper()
	d, err := b.objects.Directory(b.t.Context(), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return d
}

// tokenOf takes the token out of a URL.
func tokenOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

var errWorld = errors.New("disk of canary-in-cause is gone")
