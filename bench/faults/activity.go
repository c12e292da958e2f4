package faults

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"
)

// LostInserts loses ClickHouse's answer to every second insert, after it has
// taken the rows. Views never show one twice.
func LostInserts(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	relay := newRelay(t, hostOf(t, w.activity.URL))
	w.activity.url = withHost(t, w.activity.URL, relay.addr)
	w.startNodes(2)
	w.drive()
	w.pause(size.Calm)
	inserts := 0
	relay.losing(func(asked, answer []byte) bool {
		if !bytes.Contains(asked, []byte("INSERT")) || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
			return false
		}
		inserts++
		return inserts%2 == 0
	})
	w.until(max(size.Fault, drainMax), "answers to inserts were lost", func(context.Context) error {
		if n := relay.lostSoFar(); n < size.Rounds {
			return fmt.Errorf("%d of %d", n, size.Rounds)
		}
		return nil
	})
	relay.losing(nil)
	w.caughtUp()
	w.judge()
}

// EngineKilled kills ClickHouse again and again while rows are shipped, and
// starts it on what it has on disk.
func EngineKilled(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	w.drive()
	w.pause(size.Calm)
	w.phase("engine is killed")
	for round := range size.Rounds {
		w.activity.Stop()
		w.pause(size.Pause)
		w.activity.Start()
		w.pause(time.Second + time.Duration(round%7)*150*time.Millisecond)
	}
	w.tookIn(w.phase("after"))
	w.says("activity", false, recoverMax)
	w.caughtUp()
	w.judge()
}
