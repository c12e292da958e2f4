package console

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
)

func TestStatus(t *testing.T) {
	b := newBench(t)
	var got struct {
		Version string `json:"version"`
		Uptime  int64  `json:"uptime_s"`
		NodeStatus
	}
	b.ask("GET", "/api/v1/status", "").is(http.StatusOK, &got)
	if got.Version != "test" || got.Uptime != 3600 || !reflect.DeepEqual(got.NodeStatus, b.node.status) {
		t.Errorf("status %+v", got)
	}
}

func TestWithoutNode(t *testing.T) {
	b := newBenchWithoutNode(t)
	b.ask("POST", "/api/v1/sources", `{"id":"x"}`).is(http.StatusCreated, nil)
	for _, path := range []string{"/api/v1/status", "/api/v1/sources/x/refused"} {
		b.ask("GET", path, "").fails(http.StatusServiceUnavailable, "node_not_running", "tallyhook serve")
	}
	b.ask("GET", "/healthz", "").is(http.StatusOK, nil)
	b.ask("GET", "/readyz", "").is(http.StatusServiceUnavailable, nil)
	b.ask("GET", "/metrics", "").is(http.StatusOK, nil)
}

func TestHealth(t *testing.T) {
	b := newBench(t)
	f := func(path string, status int, parts map[string]string) {
		t.Helper()
		var h health
		b.send("GET", path, "").is(status, &h)
		if h.OK != (status == http.StatusOK) || !reflect.DeepEqual(h.Parts, parts) {
			t.Errorf("%s: %+v, want %v", path, h, parts)
		}
	}
	f("/healthz", http.StatusOK, map[string]string{"console": "ok", "node": "ok"})
	f("/readyz", http.StatusOK, map[string]string{"node": "ok", "journal": "ok", "intake": "ok"})

	b.node.status.Journal.Full, b.node.ready = true, errors.New("the journal is full")
	f("/healthz", http.StatusOK, map[string]string{"console": "ok", "node": "ok"})
	f("/readyz", http.StatusServiceUnavailable, map[string]string{"node": "ok", "journal": "full", "intake": "the journal is full"})

	b.node.status.Journal.Failed, b.node.status.Failed = true, "sync failed"
	f("/healthz", http.StatusServiceUnavailable, map[string]string{"console": "ok", "node": "sync failed"})
	f("/readyz", http.StatusServiceUnavailable, map[string]string{"node": "sync failed", "journal": "failed", "intake": "the journal is full"})
}
