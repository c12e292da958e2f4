package faults

import "testing"

// A candidate is slow enough to be felt when there is much to compare.
const (
	candidateRate  = 4000
	candidateConns = 96
)

// SlowCandidate has every source but three name one mapper, and runs a candidate
// beside it that needs nearly all its fuel for every postback. A candidate
// decides nothing: no postback waits for it, whosever, and verdicts come about
// as soon as before.
func SlowCandidate(t testing.TB, bin string, size Size) {
	size.Rate, size.Conns = max(size.Rate, candidateRate), max(size.Conns, candidateConns)
	w := newLone(t, bin, size)
	r := w.first(acme, w.pairsCode("c"), w.pairsVectors())
	w.pushed(acme, 2, crawling(), archiveOf(t, wellVectors))
	others := w.others()
	w.drive()
	w.names(acme, "", verified()...)
	stop := w.sendAll(others, neighbourGap)
	w.pause(size.Calm)
	alone := w.window(measuredMin)
	w.acts(w.nodes[0], acme, r, action{"shadow", 2})
	beside := w.window(measuredMin)
	stop()
	report := w.judge()
	watched := verified()
	for _, s := range others {
		watched = append(watched, s.id)
	}
	if report.Waited > 0 {
		t.Errorf("%d postbacks waited for their mapper while a candidate was slow", report.Waited)
	}
	w.compareWindows("beside a slow candidate", alone, beside, watched, slowerMax, slowerBy)
	w.atRest()
}
