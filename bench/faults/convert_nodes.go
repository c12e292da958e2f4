package faults

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	ledgerLock = 0x74616c6c79_0003 // that whoever posts to the ledger takes on Postgres

	leaseTime = 30 * time.Second // how long a node that says nothing still counts
	heldAcks  = 5                // values that a node has acknowledged, and not booked, when it is killed
	heldBack  = 2 * time.Second  // at most: nodes wait for the lock that long without a word
)

// TimeoutsOnNodes tells calls to one node and posts their values to another,
// which is killed in the midst, with values on its disk that the ledger has not
// seen, and stays dead. As long as it counts as alive nothing is given up that
// it may have heard of; then everything is. What it still had is booked when it
// comes back, as late, and nothing becomes anything twice.
func TimeoutsOnNodes(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	run, dies := newTimed(w), w.nodes[1]
	run.values = []*member{dies, w.nodes[0]}
	w.knownEverywhere()
	begin, end := run.plan()
	run.run()
	run.upTo(begin.Add(end.Sub(begin) / 3))
	release := w.holdLedger()
	w.acknowledges(run.take, heldAcks)
	w.kill(dies)
	dies.gone = true
	release()
	run.wait.Wait()
	w.givesUpNothing(dies)
	stream := w.streamOf(dies)
	if run.judge(stream, false) == 0 {
		w.Errorf("%s has acknowledged nothing that was not booked: the run says nothing of it", dies.name)
	}
	dies.gone = false
	w.restart(dies)
	run.judge(stream, true)
}

// holdLedger keeps every node from posting until release is called.
func (w *world) holdLedger() (release func()) {
	w.Helper()
	conn, err := pgx.Connect(w.Context(), w.store.URL)
	if err == nil {
		_, err = conn.Exec(w.Context(), `SELECT pg_advisory_lock($1)`, int64(ledgerLock))
	}
	if err != nil {
		w.Fatal(err)
	}
	return func() {
		if err := conn.Close(w.Context()); err != nil {
			w.Fatal(err)
		}
	}
}

// acknowledges waits until so many requests more are taken, but not for long.
func (w *world) acknowledges(k *taker, n int64) {
	w.Helper()
	for most, end := k.taken.Load()+n, time.Now().Add(heldBack); k.taken.Load() < most && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
}

// streamOf gives the number of a node's stream.
func (w *world) streamOf(m *member) (stream int64) {
	w.Helper()
	if err := w.books().QueryRowContext(w.Context(), `SELECT stream FROM stream WHERE node = $1`, m.name).Scan(&stream); err != nil {
		w.Fatal(err)
	}
	return stream
}

// givesUpNothing waits until a dead node does not count any more. Until then no
// call is given up whose deadline lies behind what it has said last.
func (w *world) givesUpNothing(dead *member) {
	w.Helper()
	db, looked := w.books(), 0
	w.until(2*leaseTime, dead.name+" does not count any more", func(ctx context.Context) error {
		var seen, givenUp int64
		err := db.QueryRowContext(ctx, `SELECT s.seen_at, (SELECT count(*) FROM conversion v WHERE v.outcome = 'not_converted' AND v.at >= s.watermark
 AND NOT EXISTS (SELECT 1 FROM conversion c WHERE c.call = v.call AND c.outcome = 'converted')) FROM stream s WHERE s.node = $1`, dead.name).Scan(&seen, &givenUp)
		if err != nil {
			return err
		}
		if time.Now().After(time.UnixMicro(seen).Add(leaseTime)) {
			return nil
		}
		if looked++; givenUp > 0 {
			w.Errorf("%d calls were given up although %s may have heard of them and counts still", givenUp, dead.name)
			return nil
		}
		return errors.New("it does")
	})
	if looked == 0 {
		w.Errorf("%s did not count any more before anybody looked", dead.name)
	}
}

// knownEverywhere waits until every node knows what was set up.
func (w *world) knownEverywhere() {
	w.Helper()
	for _, m := range w.living() {
		w.until(knownMax, m.name+" knows the sources", func(ctx context.Context) error {
			there := w.count(w.books(), `SELECT count(*) FROM source WHERE deleted = 0`)
			s, err := m.api.Status(ctx)
			if err == nil && int64(s.Sources) < there {
				err = fmt.Errorf("%d of %d", s.Sources, there)
			}
			return err
		})
	}
}
