package faults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Limits of the runs with two writers.
const (
	frozenMin   = 3 * time.Second          // longer than the server bears a silent holder of the ledger's lock
	replacedMin = patience + 2*time.Second // longer than senders wait: what was under way they send elsewhere
	fencedMax   = 20 * time.Second         // from the waking of a node that was replaced to its end
	overtakeMax = 6 * time.Second          // until the others book although the lock's holder is frozen
	holdTries   = 100                      // to catch a node with the lock
	holdLook    = 100 * time.Millisecond
)

// TwoWriters freezes a node and starts a second instance on a copy of its data
// folder: the same journal, the same stream. The copy takes the stream over;
// when the frozen one wakes up, nothing that it still wanted to book stands,
// and it ends and says why. Senders must not be led to it any more when it
// wakes up: what it acknowledges until it learns of the other is in its own
// copy of the journal only.
func TwoWriters(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	loser, second := w.nodes[0], w.add()
	w.introduce(second)
	second.sent.SetAside(true)
	w.drive()
	w.pause(size.Calm)
	if err := loser.Freeze(); err != nil {
		t.Fatal(err)
	}
	loser.gone = true
	loser.sent.SetAside(true) // as a balancer does with a node that does not answer
	w.say("%s is frozen", loser.name)
	if err := os.CopyFS(second.cfg.Data, os.DirFS(loser.cfg.Data)); err != nil {
		t.Fatalf("copy the data folder: %v", err)
	}
	w.restart(second)
	second.sent.SetAside(false)
	w.pause(max(min(size.Fault, time.Minute), replacedMin))
	if err := loser.Thaw(); err != nil {
		t.Fatal(err)
	}
	w.fenced(loser)
	w.pause(size.Calm)
	w.judge()
}

// fenced waits until a node has noticed that another one posts for its stream.
// It has something to post: a request that nobody counts.
func (w *world) fenced(m *member) {
	w.Helper()
	w.say("%s goes on", m.name)
	w.until(fencedMax, m.name+" ended", func(ctx context.Context) error {
		select {
		case <-m.Exited():
			return nil
		default:
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+m.cfg.Ingest+"/v1/calls", strings.NewReader(`{"call_id":"of-nobody"}`))
		if err != nil {
			return err
		}
		r.Header.Set("Authorization", "Bearer "+w.key)
		if res, err := http.DefaultClient.Do(r); err == nil {
			_ = res.Body.Close() // it may end at any moment
		}
		return errors.New("it runs")
	})
	if code := m.ExitCode(); code <= 0 {
		w.Errorf("%s ended with code %d, want a failure", m.name, code)
	}
	if said := m.Said(); !strings.Contains(said, "another") || !strings.Contains(said, "stream") {
		w.Errorf("%s does not say that another process has its stream:\n%s", m.name, said)
	}
}

// FrozenHolder freezes a node that holds the ledger's lock: the others book on
// after a few seconds, and it goes on itself when it wakes up.
func FrozenHolder(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	holder, other := w.nodes[0], w.nodes[1]
	w.drive()
	w.pause(size.Calm)
	for range max(1, size.Rounds/3) {
		w.freezeHolder(holder)
		holder.sent.SetAside(true)
		w.grows(other, booked, overtakeMax)
		w.pause(frozenMin)
		if err := holder.Thaw(); err != nil {
			t.Fatal(err)
		}
		holder.sent.SetAside(false)
		w.pause(3 * size.Pause)
		w.living()
	}
	w.pause(size.Calm)
	w.judge()
}

// freezeHolder freezes a node in the midst of a posting: its session holds the
// ledger's lock and says nothing more.
func (w *world) freezeHolder(m *member) {
	w.Helper()
	conn, err := pgx.Connect(w.Context(), w.store.URL)
	if err != nil {
		w.Fatal(err)
	}
	defer conn.Close(w.Context())
	for try := range holdTries {
		if err := m.Freeze(); err != nil {
			w.Fatal(err)
		}
		first, err := holdsLock(w.Context(), conn)
		if err == nil && first != 0 {
			time.Sleep(holdLook)
			var again int
			if again, err = holdsLock(w.Context(), conn); again == first {
				w.say("%s is frozen with the ledger's lock, at the try %d", m.name, try+1)
				return
			}
		}
		if err != nil {
			w.Fatal(err)
		}
		if err := m.Thaw(); err != nil {
			w.Fatal(err)
		}
		w.pause(time.Duration(3+try%7) * time.Millisecond)
	}
	w.Fatalf("%s was never caught with the ledger's lock in %d tries", m.name, holdTries)
}

// holdsLock gives the server process of the session that holds an advisory lock
// of the ledger and waits for its client, 0 for none.
func holdsLock(ctx context.Context, conn *pgx.Conn) (pid int, err error) {
	err = conn.QueryRow(ctx, `SELECT coalesce(max(a.pid), 0) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND a.application_name = 'tallyhook ledger' AND a.state = 'idle in transaction'`).Scan(&pid)
	if err != nil {
		return 0, fmt.Errorf("who holds the ledger's lock: %w", err)
	}
	return pid, nil
}
