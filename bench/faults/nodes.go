package faults

import "testing"

// ThreeNodes runs three nodes that share everything. One is killed again and
// again, one is stopped and started as an operator would; the third sees it
// all. Nothing is lost or doubled.
func ThreeNodes(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(3)
	killed, stopped := w.nodes[0], w.nodes[1]
	w.drive()
	w.pause(size.Calm)
	for round := range size.Rounds {
		w.kill(killed)
		w.pause(size.Pause)
		w.restart(killed)
		w.pause(size.Pause)
		if round%10 == 0 {
			w.stop(stopped)
			w.pause(size.Pause)
			w.restart(stopped)
		}
	}
	w.pause(size.Calm)
	w.judge()
}
