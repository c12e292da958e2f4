package console

import (
	"errors"
	"net/http"
	"reflect"
	"testing"
	"time"
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
	f("/readyz", http.StatusOK, map[string]string{"node": "ok", "journal": "ok", "intake": "ok", "store": "ok"})

	b.node.status.Journal.Full, b.node.ready = true, errors.New("the journal is full")
	f("/healthz", http.StatusOK, map[string]string{"console": "ok", "node": "ok"})
	f("/readyz", http.StatusServiceUnavailable, map[string]string{"node": "ok", "journal": "full", "intake": "the journal is full", "store": "ok"})

	b.node.status.Journal.Failed, b.node.status.Failed = true, "sync failed"
	f("/healthz", http.StatusServiceUnavailable, map[string]string{"console": "ok", "node": "sync failed"})
	f("/readyz", http.StatusServiceUnavailable, map[string]string{"node": "sync failed", "journal": "failed", "intake": "the journal is full", "store": "ok"})
}

// TestBackendsAway: senders may come while everything that a node leans on is
// away, and who asks is told all of it.
func TestBackendsAway(t *testing.T) {
	b := newBench(t)
	since := day0.Add(-time.Minute)
	b.node.status.Parked = -1
	b.node.status.Backends = []BackendStatus{
		{Role: "store", Kind: "postgres", Since: since, Fault: "no answer"},
		{Role: "index", Kind: "redis", Up: true, Since: since},
		{Role: "limits", Kind: "redis", Since: since, Fault: "connection refused"},
		{Role: "activity", Kind: "clickhouse", Since: since, Fault: "disk full"},
	}
	b.node.status.Shipping = ShippingStatus{Holding: true, Through: 40, LagRows: 2, LagSeconds: 61.5}
	b.node.status.Limits.Local = 9

	var h health
	b.send("GET", "/readyz", "").is(http.StatusOK, &h)
	want := map[string]string{"node": "ok", "journal": "ok", "intake": "ok", "store": "degraded: postgres: no answer", "index": "ok",
		"limits": "degraded: redis: connection refused", "activity": "degraded: clickhouse: disk full"}
	if !h.OK || !reflect.DeepEqual(h.Parts, want) {
		t.Errorf("/readyz: %+v, want %v", h, want)
	}
	var got NodeStatus
	b.ask("GET", "/api/v1/status", "").is(http.StatusOK, &got)
	if !reflect.DeepEqual(got, b.node.status) {
		t.Errorf("status %+v, want %+v", got, b.node.status)
	}
}
