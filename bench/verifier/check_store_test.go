package verifier

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A store that shows exactly the ledger's events passes; every other one is
// told what is wrong with it.
func TestActivityStoreIsCompared(t *testing.T) {
	const one, two = "1-1\tbooked\t5\t50000000\t40000000\n", "1-2\tduplicate\t6\t0\t0\n"
	f := func(answer string, status int, want string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := 0
		store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if body, _ := io.ReadAll(r.Body); r.URL.Query().Get("database") != "db" || !strings.Contains(string(body), "source IN ('a', 'b')") {
				t.Errorf("asked database %q: %s", r.URL.Query().Get("database"), body)
			}
			if asked++; asked == 2 {
				cancel() // ends the wait for what will not come
				return
			}
			w.WriteHeader(status)
			io.WriteString(w, answer)
		}))
		defer store.Close()
		c := &check{Report: new(Report), history: &history{run: Run{Sources: []string{"a", "b"}}}, events: map[string]*seen{
			"1-1": {activityRow: activityRow{Event: "1-1", Status: "booked", ChangeSeq: 5, Delta: 50_000_000, ShareDelta: 40_000_000}},
			"1-2": {activityRow: activityRow{Event: "1-2", Status: "duplicate", ChangeSeq: 6}},
		}}
		err := c.readStore(ctx, store.URL+"/db")
		got := strings.Join(c.Differences, "; ")
		if err != nil {
			got = err.Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", answer, got, want)
		}
	}
	f(two+one, 200, "")
	f(one, 200, "event 1-2 is not in the activity store")
	f(one+two+two, 200, "3 rows of 2 events")
	f(one+strings.Replace(two, "1-2", "1-3", 1), 200, "event 1-3, which the ledger does not know")
	f(one+strings.Replace(two, "6", "4", 1), 200, "the activity store says duplicate, 4")
	f(strings.Replace(one, "40000000", "39999999", 1)+two, 200, "39.999999")
	f("nonsense\n", 200, "want 5 columns")
	f("1-1\tbooked\tx\t0\t0\n", 200, "invalid syntax")
	f("no such table", 500, "status 500: no such table")
}

// Steps of one script go to all nodes, what failed at one goes to the next, and
// a node that was set aside gets nothing.
func TestStepsGoToAllNodes(t *testing.T) {
	nodes := []*Node{{}, {}, {}}
	w := &worker{driver: &driver{nodes: nodes}}
	seen := map[int]int{}
	for script := range uint64(100) {
		for step := range 6 {
			a := attempt{script, step, 0}
			first := w.choose(a)
			seen[first]++
			if a.try = 1; w.choose(a) == first {
				t.Fatalf("%v goes to node %d again", a, first)
			}
		}
	}
	for n, count := range seen {
		if count < 100 {
			t.Errorf("node %d is asked %d times of 600", n, count)
		}
	}
	nodes[1].SetAside(true)
	for try := range 6 {
		if n := w.choose(attempt{1, 1, try}); n == 1 {
			t.Errorf("try %d goes to the node that was set aside", try)
		}
	}
	nodes[0].SetAside(true)
	nodes[2].SetAside(true)
	if n := w.choose(attempt{1, 1, 0}); n < 0 || n > 2 {
		t.Errorf("all are set aside, and node %d is chosen", n)
	}
}
