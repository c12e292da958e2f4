package main

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"
)

// A node that is told to stop while it starts stops, whatever has begun.
func TestNodeStopsWhileItStarts(t *testing.T) {
	for range 20 {
		opt := &Options{Data: filepath.Join(t.TempDir(), "data"), Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Index: "memory:"}
		if err := opt.complete(); err != nil {
			t.Fatal(err)
		}
		n, err := openNode(t.Context(), opt, serveCmd{JournalMaxMB: 512, AuthFailuresPerMin: 100}, slog.New(slog.NewTextHandler(io.Discard, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		done := make(chan error, 1)
		go func() { done <- n.run(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Fatal("the node still runs 20 s after it was told to stop")
		}
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}
}
