package node

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestFrozenNodeAnswersAfterThaw(t *testing.T) {
	p := start(t, "talks")
	if _, err := p.Ready(t.Context(), patience); err != nil {
		t.Fatal(err)
	}
	if err := p.Freeze(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	api := NewAPI(p.Admin, "", 1)
	if _, err := api.Health(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frozen node: %v", err)
	}
	if err := p.Thaw(); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Health(t.Context()); err != nil {
		t.Error(err)
	}
	p.Kill()
	if code := p.ExitCode(); code != -1 {
		t.Errorf("killed, and ended with code %d", code)
	}
}
