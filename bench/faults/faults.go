// Package faults runs several nodes, processes of the real binary, on real
// servers, takes the servers and the nodes away in every manner that a network
// sees, and has the verifier judge what is left.
//
//	verifier ─► nodes ─┬─► proxy ─► PostgreSQL
//	 (drives,          ├─► proxy ─► Redis
//	  judges)          └─► proxy ─► ClickHouse
//
// One rule holds for every run: every 2xx has exactly one outcome, the ledger
// is the model's to the millionth, its invariants hold, no event is without a
// request, and the activity store shows every event once. What a run promises
// besides stands at its function. All is bounded, speaks on loopback only and
// ends the processes that it started.
package faults

import "time"

// Size says how large a run is.
type Size struct {
	Rate   float64       // requests a second at most
	Conns  int           // of the verifier
	Calm   time.Duration // load before the first fault and after the last
	Fault  time.Duration // how long one outage lasts
	Rounds int           // how often what is done again and again is done
	Pause  time.Duration // and the load between two times

	// Long says that outages outlast every time-out: all of them are waited for.
	Long bool
}

// Small is a run in the tests, a second or two of each fault.
var Small = Size{Rate: 400, Conns: 24, Calm: time.Second, Fault: 1500 * time.Millisecond, Rounds: 3, Pause: 500 * time.Millisecond}

// Full is a run by itself: outages as they last. All runs take about two hours.
var Full = Size{Rate: 500, Conns: 64, Calm: 30 * time.Second, Fault: 10 * time.Minute, Rounds: 60, Pause: 2 * time.Second, Long: true}
