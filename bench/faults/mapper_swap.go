package faults

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	turnPause = 300 * time.Millisecond // between two changes of a mapper
	swapMax   = 5 * time.Second        // how long a node may go on with the version before, on a busy machine
	spanMin   = 20                     // events that a version must have mapped while it alone was in force
)

// turns are the changes of one round. They begin and end with the first version
// active, all of them granted.
var turns = []action{
	{"activate", 2}, {"shadow", 1}, {"activate", 3}, {"shadow", 2}, {"rollback", 0}, {"shadow", 0},
	{"activate", 1}, {"shadow", 3}, {"shadow", 2}, {"activate", 2}, {"rollback", 0}, {"shadow", 0},
}

// SwapUnderLoad has all of a node's sources name one mapper while its versions,
// in C, Rust and AssemblyScript, are pushed, activated, rolled back and shadowed
// in quick succession. No postback is lost or told otherwise.
func SwapUnderLoad(t testing.TB, bin string, size Size) {
	w := newLone(t, bin, size)
	w.swapUnderLoad()
	w.atRest()
}

// SwapOnServers is the same on three nodes that share everything.
func SwapOnServers(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(3)
	w.swapUnderLoad()
}

// stint is a time during which a version was active, or alone in force.
type stint struct {
	version  int
	from, to time.Time // to is zero while it lasts
}

func (w *world) swapUnderLoad() {
	w.Helper()
	archive := w.pairsVectors()
	active := []stint{{version: 1, from: time.Now()}}
	r := w.first(acme, w.pairsCode("c"), archive)
	w.drive()
	sources := verified()
	w.names(acme, "", sources...)
	named := time.Now()
	w.pushed(acme, 2, w.pairsCode("rust"), archive)
	w.pushed(acme, 3, w.pairsCode("as"), archive)
	w.pause(w.size.Calm)

	w.phase("swaps")
	turn := func(a action) {
		begin := time.Now()
		before := r.active
		if r = w.acts(w.nodes[begin.Nanosecond()%len(w.nodes)], acme, r, a); r.active != before {
			active[len(active)-1].to = time.Now()
			active = append(active, stint{version: r.active, from: begin})
		}
	}
	for range w.size.Rounds {
		for _, a := range turns {
			turn(a)
			w.pause(turnPause)
		}
	}
	w.phase("one version at a time")
	var alone []stint
	for version, beside := range map[int]int{1: 2, 2: 3, 3: 1} {
		turn(action{"activate", version})
		turn(action{"shadow", beside})
		w.inForce(acme, version)
		s := stint{version: version, from: time.Now()}
		w.pause(w.size.Calm)
		s.to = time.Now()
		alone = append(alone, s)
	}
	w.unharmed(w.phase("end of swaps"))
	w.judge()
	w.carried(w.rows("", sources...), named, active, alone)
	w.sameInShadow()
}

// carried says that every event was mapped by a version that was active between
// its receipt and its verdict, give or take the time to swap; and by none but
// the active one while nothing changed.
func (w *world) carried(rows []activityRow, named time.Time, active, alone []stint) {
	w.Helper()
	by, inStint := map[string]int{}, map[int]int{}
	for i := range rows {
		e := &rows[i]
		if by[e.Mapper]++; e.ReceivedAt.Before(named.Add(swapMax)) && !strings.HasPrefix(e.Mapper, acme) {
			continue // before the source named it
		}
		fits := slices.ContainsFunc(active, func(s stint) bool {
			return e.Mapper == fmt.Sprintf("%s@%d", acme, s.version) && !e.DecidedAt.Before(s.from) && (s.to.IsZero() || !e.ReceivedAt.After(s.to.Add(swapMax)))
		})
		if !fits {
			w.Errorf("event %s, received at %s and decided at %s, was mapped by %s, which was not active then", e.Event, e.ReceivedAt, e.DecidedAt, e.Mapper)
		}
		for _, s := range alone {
			if e.Revision > 1 || e.ReceivedAt.Before(s.from) || e.DecidedAt.After(s.to) {
				continue
			}
			inStint[s.version]++
			if e.Mapper != fmt.Sprintf("%s@%d", acme, s.version) {
				w.Errorf("event %s, received at %s and decided at %s, was mapped by %s while %s@%d was in force everywhere", e.Event, e.ReceivedAt, e.DecidedAt, e.Mapper, acme, s.version)
			}
		}
	}
	w.say("events by mapper: %v; while one version was in force: %v", by, inStint)
	for _, s := range alone {
		if inStint[s.version] < spanMin {
			w.Errorf("%s@%d mapped %d events while it was in force, want %d at least", acme, s.version, inStint[s.version], spanMin)
		}
	}
}

// shadowCounted is what was counted of a candidate, of one field.
type shadowCounted struct {
	Active    int    `json:"active"`
	Candidate int    `json:"candidate"`
	Field     string `json:"field"`
	Same      int64  `json:"same"`
	Different int64  `json:"different"`
	Example   string `json:"example"`
}

// sameInShadow says that the candidates were compared with the active versions
// and never said otherwise. Nodes bring their counts every few seconds.
func (w *world) sameInShadow() {
	w.Helper()
	var counted []shadowCounted
	w.until(recoverMax, "candidates were compared", func(ctx context.Context) error {
		var answer struct {
			Rows []shadowCounted `json:"rows"`
		}
		if err := w.nodes[0].api.Do(ctx, http.MethodGet, mapperPath(acme, "shadow"), nil, &answer); err != nil {
			return err
		}
		counted = answer.Rows
		for _, pair := range [][2]int{{1, 2}, {2, 3}, {3, 1}} {
			if !slices.ContainsFunc(counted, func(c shadowCounted) bool {
				return c.Active == pair[0] && c.Candidate == pair[1] && c.Field == "payout" && c.Same > 0
			}) {
				return fmt.Errorf("%s@%d was not compared with %s@%d", acme, pair[1], acme, pair[0])
			}
		}
		return nil
	})
	for _, c := range counted {
		if c.Different > 0 {
			w.Errorf("%s@%d said %d times another %s than %s@%d: %s", acme, c.Candidate, c.Different, c.Field, acme, c.Active, c.Example)
		}
		if c.Field == "payout" {
			w.say("%s@%d told %d payouts as %s@%d did", acme, c.Candidate, c.Same, acme, c.Active)
		}
	}
}
