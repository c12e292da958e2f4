package console

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// statusCount is how many statuses there are, with room for none at 0.
const statusCount = int(event.Failed) + 1

// TallySourcesMax bounds the sources that a Tally tells apart; the rest is
// counted as OtherSource.
const (
	TallySourcesMax = 10_000
	OtherSource     = "other"
)

// Tally counts verdict revisions by source and status. It is safe for
// concurrent use, and a source that has been seen costs no allocation.
type Tally struct {
	mu       sync.RWMutex
	bySource map[string]*tallyRow
}

type tallyRow [statusCount]atomic.Int64

// Add counts n revisions with status s of source's events. The source's bytes
// may belong to a batch: they are copied when they have to be kept.
func (t *Tally) Add(source string, s event.Status, n int) {
	t.row(source)[s].Add(int64(n))
}

func (t *Tally) row(source string) *tallyRow {
	t.mu.RLock()
	row := t.bySource[source]
	t.mu.RUnlock()
	if row != nil {
		return row
	}
	source = strings.ToValidUTF8(string([]byte(source)), "?") // as a label must be
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bySource == nil {
		t.bySource = map[string]*tallyRow{}
	}
	if len(t.bySource) >= TallySourcesMax && t.bySource[source] == nil {
		source = OtherSource
	}
	if row = t.bySource[source]; row == nil {
		row = new(tallyRow)
		t.bySource[source] = row
	}
	return row
}

// each calls yield for every count that is not zero.
func (t *Tally) each(yield func(source, status string, n int64)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for source, row := range t.bySource {
		for s := range row {
			if n := row[s].Load(); n != 0 {
				yield(source, event.Status(s).String(), n)
			}
		}
	}
}

// Step is a part of the stream whose time is measured.
type Step uint8

// Steps. The sync is measured by the journal itself: JournalStatus.SyncSeconds.
const (
	StepQueue Step = iota // on disk until read
	StepMap
	StepMatch
	StepPost // the ledger's transaction
	stepCount
)

var stepNames = [stepCount]string{"queue", "map", "match", "post"}

// stepBounds are the upper bounds of the buckets, in seconds.
var stepBounds = [...]float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60}

// Steps measures the parts of the stream, one value per batch. It is safe for
// concurrent use and allocates nothing.
type Steps [stepCount]stepTimes

type stepTimes struct {
	counts [len(stepBounds) + 1]atomic.Uint64 // the last one holds what is above all bounds
	nanos  atomic.Int64
}

// Observe adds one value; a negative one, from a clock that stepped back, is 0.
func (s *Steps) Observe(step Step, took time.Duration) {
	took = max(took, 0)
	i, seconds := 0, took.Seconds()
	for i < len(stepBounds) && seconds > stepBounds[i] {
		i++
	}
	s[step].counts[i].Add(1)
	s[step].nanos.Add(int64(took))
}

// histogram gives what was observed so far.
func (t *stepTimes) histogram() Histogram {
	h := Histogram{Sum: time.Duration(t.nanos.Load()).Seconds(), Buckets: make(map[float64]uint64, len(stepBounds))}
	for i, bound := range stepBounds {
		h.Count += t.counts[i].Load()
		h.Buckets[bound] = h.Count
	}
	h.Count += t.counts[len(stepBounds)].Load()
	return h
}
