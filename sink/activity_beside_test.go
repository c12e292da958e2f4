package sink_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

// activityBesideWriter: somebody who follows misses and repeats nothing while
// events are decided, most of them parked first; and a listing at any moment
// holds each event once, as it was at that moment.
func activityBesideWriter(t *testing.T, a *activityHarness) {
	const events = 150
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wait sync.WaitGroup
	final := map[string]int{}
	wait.Go(func() {
		for from, ended := int64(0), false; !ended; {
			ended = ctx.Err() != nil // then once more
			rows, through, err := a.Newer(t.Context(), sink.Filter{Limit: sink.ListRowsMax}, from)
			if err != nil || through < from {
				t.Errorf("newer than %d: through %d, %v", from, through, err)
				return
			}
			for _, r := range rows {
				if r.ChangeSeq <= from || r.ChangeSeq > through {
					t.Errorf("newer than %d: change %d, through %d", from, r.ChangeSeq, through)
				}
				if r.Final {
					final[r.Event]++
				}
			}
			from = through
		}
	})
	wait.Go(func() {
		for ctx.Err() == nil {
			rows, _, err := a.List(t.Context(), sink.Filter{Limit: sink.ListRowsMax})
			if err != nil {
				t.Error(err)
				return
			}
			listed, next := map[string]bool{}, int64(1<<62)
			for _, r := range rows {
				if listed[r.Event] || r.ChangeSeq >= next {
					t.Errorf("event %s, change %d behind %d: listed twice or out of order", r.Event, r.ChangeSeq, next)
				}
				listed[r.Event], next = true, r.ChangeSeq
			}
			s, err := a.Summary(t.Context(), time.Time{})
			if err != nil || s.Events < int64(len(rows)) {
				t.Errorf("a summary after %d were listed: %+v, %v", len(rows), s, err)
			}
			for _, r := range rows[:min(1, len(rows))] {
				if tl, err := a.Event(t.Context(), at(uint64(r.ReceivedAt-sink.Instant(day0))/uint64(second))); err != nil || tl.Revision != len(tl.Revisions) {
					t.Errorf("event %s: %+v, %v", r.Event, tl, err)
				}
			}
		}
	})
	change := int64(0)
	for i := range uint64(events) {
		change++
		first := logRow{change: change, id: at(i + 1), status: event.Parked}
		if i%4 == 0 {
			first.status = event.Booked
		}
		a.write(first)
		if i >= 9 && (i-9)%4 != 0 { // one that has waited for nine events
			change++
			a.write(logRow{change: change, id: at(i - 8), revision: 2, status: event.Booked})
		}
	}
	stop()
	wait.Wait()
	settled := 0
	for id, n := range final {
		if settled++; n != 1 {
			t.Errorf("event %s was followed %d times", id, n)
		}
	}
	if want := int(change) - events + (events+3)/4; settled != want {
		t.Errorf("%d events were followed to their end, want %d", settled, want)
	}
}
