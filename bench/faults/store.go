package faults

import (
	"bytes"
	"net/url"
	"testing"
	"time"
)

// StoreRestarts restarts PostgreSQL every two seconds, as after a crash, in the
// midst of whatever it does. Intake notices nothing, nothing is booked twice.
func StoreRestarts(t testing.TB, bin string, size Size) {
	const every = 2 * time.Second
	w := newWorld(t, bin, size)
	w.startNodes(2)
	w.drive()
	w.pause(size.Calm)
	w.phase("restarts")
	for end := time.Now().Add(max(size.Fault, time.Duration(size.Rounds)*every)); time.Now().Before(end); {
		next := time.Now().Add(every)
		w.store.Stop()
		w.store.Start()
		w.pause(time.Until(next))
	}
	w.tookIn(w.phase("after"))
	w.says("store", false, recoverMax)
	w.caughtUp()
	w.judge()
}

// commitDone is how PostgreSQL says that a transaction is committed:
// CommandComplete with the tag COMMIT.
var commitDone = []byte("C\x00\x00\x00\x0bCOMMIT\x00")

// LostCommits loses the answer to every fifth COMMIT, after PostgreSQL has
// committed. The nodes read what came of it; nothing is booked twice.
func LostCommits(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	relay := newRelay(t, hostOf(t, w.store.URL))
	w.store.url = withHost(t, w.store.URL, relay.addr)
	w.startNodes(2)
	w.drive()
	w.pause(size.Calm)
	w.phase("commits are lost")
	commits := 0
	relay.losing(func(_, answer []byte) bool {
		if !bytes.Contains(answer, commitDone) {
			return false
		}
		commits++
		return commits%5 == 0
	})
	w.pause(max(size.Fault, time.Duration(size.Rounds)*time.Second))
	relay.losing(nil)
	w.tookIn(w.phase("after"))
	if n := relay.lostSoFar(); n < size.Rounds {
		t.Errorf("%d answers to a COMMIT were lost, want %d at least", n, size.Rounds)
	} else {
		w.say("%d answers to a COMMIT were lost", n)
	}
	w.caughtUp()
	w.judge()
}

func hostOf(t testing.TB, rawURL string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal("a server's URL cannot be read") // it holds a password
	}
	return u.Host
}

func withHost(t testing.TB, rawURL, host string) string {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal("a server's URL cannot be read")
	}
	u.Host = host
	return u.String()
}
