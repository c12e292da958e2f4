package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/node"
	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/bench/verifier"
)

// Limits of waiting for nodes.
const (
	readyMax = 30 * time.Second // from a node's start
	stopMax  = 40 * time.Second // from the word to its end
	knownMax = 10 * time.Second // until what was set up at one node is in force at all
)

// backend is one server with the URL under which nodes reach it.
type backend struct {
	*services.Server
	link *services.Proxy // nil where a run puts something else between
	url  string
}

// world is what a run stands on. Whatever cannot be done ends the test.
type world struct {
	testing.TB
	size Size
	dir  string // of data, logs and the verifier's log; kept when the test fails
	bin  string

	store, index, activity backend

	nodes []*member
	key   string // for the admin API of any
	load  *load
}

// member is one node, whichever process plays it at the moment.
type member struct {
	*node.Process // nil before its first start
	name          string
	cfg           node.Config
	api           *node.API
	sent          *verifier.Node // as the verifier sees it
	gone          bool           // for good
}

// emptyWorld has a folder that outlives a run that fails.
func emptyWorld(t testing.TB, bin string, size Size) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "tallyhook-faults-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the evidence is in %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return &world{TB: t, size: size, dir: dir, bin: bin}
}

// newWorld starts the three servers, each behind a proxy.
func newWorld(t testing.TB, bin string, size Size) *world {
	t.Helper()
	w := emptyWorld(t, bin, size)
	for _, b := range []struct {
		to    *backend
		start func(testing.TB) *services.Server
	}{{&w.store, services.OwnPostgres}, {&w.index, services.Redis}, {&w.activity, services.OwnClickHouse}} {
		b.to.Server = b.start(t)
		b.to.url, b.to.link = services.Through(t, b.to.URL)
	}
	return w
}

// startNodes starts n nodes that share everything. The first one makes the
// schema and the key that seals tokens; the others start together.
func (w *world) startNodes(n int) {
	w.Helper()
	for i := range n {
		m := w.add()
		w.begin(m)
		if i > 0 {
			continue
		}
		w.ready(m)
		key, err := m.Key()
		if err != nil {
			w.Fatal(err)
		}
		w.key = key
	}
	for _, m := range w.nodes {
		w.ready(m)
		w.introduce(m)
	}
}

// introduce makes a node known to those who ask it: any node's key is good
// for all.
func (w *world) introduce(m *member) {
	m.api, m.sent = node.NewAPI(m.cfg.Admin, w.key, 2), verifier.NewNode(m.cfg.Ingest, m.cfg.Admin, w.key)
}

// add gives another node its place, on addresses that stay its own.
func (w *world) add() *member {
	w.Helper()
	var addr [2]string
	for i := range addr {
		var err error
		if addr[i], err = node.FreeAddr(); err != nil {
			w.Fatal(err)
		}
	}
	name := fmt.Sprintf("node-%c", 'a'+len(w.nodes))
	m := &member{name: name, cfg: node.Config{Binary: w.bin, Data: filepath.Join(w.dir, name), Ingest: addr[0], Admin: addr[1], Log: filepath.Join(w.dir, name+".log"),
		Args: []string{"--store", w.store.url, "--index", w.index.url, "--activity", w.activity.url,
			"--key-file", filepath.Join(w.dir, "shared.key"), "--node-name", name}}}
	w.nodes = append(w.nodes, m)
	return m
}

// begin starts a node's process.
func (w *world) begin(m *member) {
	w.Helper()
	var err error
	if m.Process, err = node.Start(w.Context(), m.cfg); err != nil {
		w.Fatal(err)
	}
}

// restart starts a node again, which has ended.
func (w *world) restart(m *member) {
	w.Helper()
	w.begin(m)
	w.ready(m)
}

func (w *world) ready(m *member) {
	w.Helper()
	took, err := m.Ready(w.Context(), readyMax)
	if err != nil {
		w.Fatalf("%s: %v", m.name, err)
	}
	w.say("%s is ready after %s", m.name, took.Round(time.Millisecond))
}

// kill ends a node as a crash does.
func (w *world) kill(m *member) {
	m.Kill()
	w.say("%s was killed", m.name)
}

// stop ends a node as an operator does.
func (w *world) stop(m *member) {
	w.Helper()
	begin := time.Now()
	if err := m.Stop(stopMax); err != nil {
		w.Fatalf("%s: %v", m.name, err)
	}
	w.say("%s stopped in %s", m.name, time.Since(begin).Round(time.Millisecond))
}

// living lists the nodes that are there for good; one that has ended by itself
// ends the test.
func (w *world) living() (list []*member) {
	w.Helper()
	for _, m := range w.nodes {
		if m.gone || m.Process == nil {
			continue
		}
		select {
		case <-m.Exited():
			w.Fatalf("%s ended by itself with code %d; it said:\n%s", m.name, m.ExitCode(), m.Said())
		default:
		}
		list = append(list, m)
	}
	return list
}

// seen is what the verifier knows of members.
func seen(list []*member) (nodes []*verifier.Node) {
	for _, m := range list {
		nodes = append(nodes, m.sent)
	}
	return nodes
}

// pause lets the load go on for a while.
func (w *world) pause(d time.Duration) {
	w.Helper()
	select {
	case <-time.After(d):
	case <-w.load.done:
		w.Fatalf("the verifier ended by itself: %v", w.load.err)
	}
}

func (w *world) say(format string, args ...any) {
	w.Helper()
	w.Logf(time.Now().Format("15:04:05.000 ")+format, args...)
}
