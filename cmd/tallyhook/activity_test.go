package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// lockedOutput is written by a command and read by its test.
type lockedOutput struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedOutput) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedOutput) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Following begins at the newest change, shows the first rows oldest first,
// asks with the number that it was given, outlives a node that does not answer
// and ends well when it is interrupted.
func TestFollowGoesOnFromWhatItWasGiven(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		asked = append(asked, fmt.Sprintf("newer_than=%s source=%s after=%s", q.Get("newer_than"), q.Get("source"), q.Get("after")))
		switch len(asked) {
		case 1:
			fmt.Fprint(w, `{"rows":[{"event":"1-9","change_seq":12},{"event":"1-8","change_seq":11}],"next":"cursor"}`)
		case 2:
			fmt.Fprint(w, `{"rows":[{"event":"1-7","change_seq":13}],"next":"20"}`) // 14 to 20 did not fit the filter
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, `{"ok":false,"error":"timed_out","message":"the answer took too long"}`)
		case 4:
			fmt.Fprint(w, `{"rows":[{"event":"1-10","change_seq":21}],"next":"21"}`)
			cancel()
		}
	})
	var out, errOut lockedOutput
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{"activity", "--follow", "--json", "--source", "acme", "--data", folderWithKey(t), "--admin", addr}, &out, &errOut)
	}()
	select {
	case code := <-done:
		if code != 0 {
			t.Errorf("exit code %d: %s", code, errOut.String())
		}
	case <-time.After(patience):
		t.Fatal("following does not end")
	}
	want := []string{"newer_than= source=acme after=", "newer_than=12 source=acme after=", "newer_than=20 source=acme after=", "newer_than=20 source=acme after="}
	mu.Lock()
	defer mu.Unlock()
	if strings.Join(asked, "\n") != strings.Join(want, "\n") {
		t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
	}
	shown := `{"event":"1-8","change_seq":11}` + "\n" + `{"event":"1-9","change_seq":12}` + "\n" + `{"event":"1-7","change_seq":13}` + "\n"
	if !strings.HasPrefix(out.String(), shown) {
		t.Errorf("shown\n%s", out.String())
	}
	if !strings.Contains(errOut.String(), "the answer took too long; asking again") {
		t.Errorf("complaint %q", errOut.String())
	}
}

func TestFollowEndsOnWhatAskingAgainCannotMend(t *testing.T) {
	addr := fakeNode(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("newer_than") {
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"ok":false,"error":"bad_request","message":"status \"boked\" is not known"}`)
			return
		}
		fmt.Fprint(w, `{"rows":[],"next":""}`)
	})
	dir := folderWithKey(t)
	tallyhook(t, "activity", "--follow", "--data", dir, "--admin", addr).ends(exitFailed).complains("boked")
	tallyhook(t, "activity", "--follow", "--after", "x", "--data", dir, "--admin", addr).ends(exitUsage).complains("--after")
}
