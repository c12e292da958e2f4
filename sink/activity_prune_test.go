package sink_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink"
)

const everything = int64(math.MaxInt64)

// left gives the changes that are left in the log, as "5-9".
func (f *fixture) left() string {
	f.t.Helper()
	var first, last, n int64
	if err := f.db.Read.QueryRow(`SELECT min(change_seq), max(change_seq), count(*) FROM verdict`).Scan(&first, &last, &n); err != nil {
		f.t.Fatal(err)
	}
	if n != last-first+1 {
		f.t.Errorf("%d rows are left from %d to %d: there is a gap", n, first, last)
	}
	return fmt.Sprintf("%d-%d", first, last)
}

// TestPrune: the log loses a beginning, never more than may go, and what
// remains holds by itself.
func TestPrune(t *testing.T) {
	onEveryStore(t, func(t *testing.T, fx *fixture) {
		fx.unlock()
		f := func(name string, before, through int64, rowsMax int, left string, changes ...string) {
			t.Helper()
			t.Run(name, func(t *testing.T) {
				fx.clear()
				fx.ledger()
				for _, c := range changes {
					fx.exec(c)
				}
				pruned, err := sink.Prune(t.Context(), fx.db.Write, before, through, rowsMax)
				if err != nil {
					t.Fatal(err)
				}
				if got := fx.left(); got != left || !strings.HasPrefix(left, fmt.Sprint(pruned+1, "-")) {
					t.Errorf("%d pruned, left %s, want %s", pruned, got, left)
				}
				if bad := findings(t, fx).First(); bad != nil {
					t.Errorf("%s: %s", bad.ID, bad.Fault)
				}
			})
		}
		old, settled := day0+hour, []string{`INSERT INTO verdict (change_seq, stream, seq, n, revision, final, status, reason, source, received_at, decided_at, kind, strategy, candidates, delta, share_delta, mapper, peer, us_queue, us_map, us_match, us_total)
SELECT 10, stream, seq, n, 2, 1, 'unmatched', reason, source, received_at, decided_at, kind, strategy, candidates, 0, 0, mapper, peer, us_queue, us_map, us_match, us_total FROM verdict WHERE change_seq = 5`,
			`DELETE FROM parked`, `DELETE FROM parked_key`}
		f("up to what waits", old, everything, 100, "5-9")
		f("up to what is shipped", old, 2, 100, "3-9")
		f("nothing is shipped", old, 0, 100, "1-9")
		f("no more than asked for", old, everything, 3, "4-9")
		f("nothing asked for", old, everything, 0, "1-9")
		f("up to what is younger", day0+4*second, everything, 100, "3-9")
		f("all is younger", day0, everything, 100, "1-9")
		f("decided later than received", day0+5*second, everything, 100, "4-9", `UPDATE verdict SET decided_at = decided_at + 60000000 WHERE change_seq = 4`)
		f("all but the newest", old, everything, 100, "10-10", settled...)
		f("a held event", old, everything, 100, "5-9", `UPDATE verdict SET status = 'held' WHERE change_seq = 5`,
			`INSERT INTO held (stream, seq, n, source, reason, since, identity) SELECT v.stream, v.seq, v.n, v.source, v.reason, v.decided_at, p.identity FROM verdict v, parked p WHERE v.change_seq = 5`, `DELETE FROM parked`, `DELETE FROM parked_key`)

		weak := func(until int64) string {
			return fmt.Sprintf(`UPDATE verdict SET weak_until = %d WHERE change_seq = 3`, until)
		}
		f("a weak identity that counts", day0+15*second, everything, 100, "3-9", weak(day0+19*second+1))
		f("a weak identity that does not", day0+15*second, everything, 100, "5-9", weak(day0+19*second))
		f("a weak identity for a journal that lags", day0+15*second, everything, 100, "3-9", weak(day0+19*second),
			fmt.Sprintf(`INSERT INTO stream (stream, node, created_at, next_seq, received_at) VALUES (2, 'b', 1, 5, %d)`, day0+16*second))
		f("a weak identity for a journal that is gone", day0+15*second, everything, 100, "5-9", weak(day0+19*second),
			fmt.Sprintf(`INSERT INTO stream (stream, node, created_at, next_seq, received_at) VALUES (2, 'b', 1, 5, %d)`, day0+14*second))
		f("a weak identity when nothing came since", old, everything, 100, "3-9", weak(old+1))
	})
}

// TestPrunedEventIsNamed: what a person asks for and is gone is told apart from
// what never was.
func TestPrunedEventIsNamed(t *testing.T) {
	onEveryStore(t, func(t *testing.T, fx *fixture) {
		fx.ledger()
		a := &sink.Activity{DB: fx.db.Read}
		f := func(id event.ID, want string) {
			t.Helper()
			_, err := a.Event(t.Context(), id)
			if !errors.Is(err, sink.ErrNotFound) || err.Error() != want {
				t.Errorf("event %s: %v\nwant %s", id, err, want)
			}
		}
		f(at(1), `event "1-1" is not in the verdict log`)
		if n, err := sink.Prune(t.Context(), fx.db.Write, day0+hour, everything, 100); n != 4 || err != nil {
			t.Fatalf("pruned %d, %v", n, err)
		}
		f(at(2), `event "1-2" was pruned: the verdict log begins at 2026-03-02T12:00:06Z (verdicts-keep); what it booked is posting 1`)
		f(at(5), `event "1-5" is not in the verdict log: unless it told of calls, it was pruned; the log begins at 2026-03-02T12:00:06Z (verdicts-keep)`)
		f(at(10), `event "1-10" is not in the verdict log`) // a call's, younger than what is left
		f(at(20), `event "1-20" is not in the verdict log`) // not decided yet
		f(event.ID{Stream: 7, Seq: 1}, `event "7-1" is not in the verdict log`)
		if tl, err := a.Event(t.Context(), at(3)); err != nil || len(tl.Revisions) != 1 || tl.Revision != 2 || tl.Request != nil {
			t.Errorf("event 1-3, whose first revision is gone: %+v, %v", tl, err)
		}
		id, status, err := sink.Unended(t.Context(), fx.db.Read, day0+hour)
		if err != nil || id != at(6) || status != "parked" {
			t.Errorf("%s is %s, %v: want the parked 1-6 that is in the way", id, status, err)
		}
		if id, _, err := sink.Unended(t.Context(), fx.db.Read, day0+6*second); err != nil || !id.IsZero() {
			t.Errorf("%s, %v: it is not old enough to be in the way", id, err)
		}
	})
}

func TestDropRaw(t *testing.T) {
	onEveryStore(t, func(t *testing.T, fx *fixture) {
		request := newRaw(t).Append(nil, &event.Record{Method: "GET", Query: "a=1"})
		r := func(change int64, seq uint64, n uint16, revision int, s event.Status) logRow {
			row := logRow{change: change, id: event.ID{Stream: 1, Seq: seq, N: n}, revision: revision, status: s, decidedAt: day0 + change*second}
			if n == 0 && revision == 1 {
				row.raw = request
			}
			return row
		}
		fx.verdicts(r(1, 1, 0, 1, event.Booked), r(2, 2, 0, 1, event.Parked), r(3, 3, 0, 1, event.Booked), r(4, 3, 1, 1, event.Booked), r(5, 4, 0, 1, event.Held), r(6, 5, 0, 1, event.Booked),
			r(7, 2, 0, 2, event.Booked), r(8, 6, 0, 1, event.Invalid))
		kept := func() (changes string) {
			t.Helper()
			rows, err := fx.db.Read.Query(`SELECT change_seq FROM verdict WHERE raw IS NOT NULL ORDER BY change_seq`)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var n int
				if err := rows.Scan(&n); err != nil {
					t.Fatal(err)
				}
				changes += fmt.Sprint(n, " ")
			}
			return strings.TrimSpace(changes)
		}
		f := func(before int64, rowsMax, passed int, want string) {
			t.Helper()
			n, err := sink.DropRaw(t.Context(), fx.db.Write, before, rowsMax)
			if got := kept(); err != nil || n != passed || got != want {
				t.Errorf("before change %d, %d at most: passed %d, %v, requests left in %q; want %d and %q", (before-day0)/second, rowsMax, n, err, got, passed, want)
			}
		}
		f(day0, 100, 0, "1 2 3 5 6 8")
		f(day0+7*second, 2, 2, "2 3 5 6 8")
		f(day0+7*second, 100, 4, "2 5 8") // neither what waits nor what is held
		f(day0+7*second, 100, 0, "2 5 8")
		f(day0+8*second, 100, 1, "5 8") // it had waited, and ended
		f(day0+hour, 100, 1, "5")       // of the newest too
		f(day0+hour, 100, 0, "5")
		tl, err := (&sink.Activity{DB: fx.db.Read}).Event(t.Context(), at(1))
		if err != nil || tl.Request != nil {
			t.Errorf("timeline: %+v, %v", tl, err)
		}
		fx.exec(`DELETE FROM verdict WHERE change_seq < 8`)
		fx.verdicts(r(9, 7, 0, 1, event.Booked))
		f(day0+hour, 100, 1, "")
	})
}

// TestPruneBesideLedger prunes what has been read behind a ledger that posts:
// the reader has every event, the ledger forgets nothing that it needs, and
// everything holds.
func TestPruneBesideLedger(t *testing.T) {
	for name, open := range ledgers {
		t.Run(name, func(t *testing.T) {
			h := open(t)
			seen, keep := map[string]bool{}, time.Now().Add(time.Hour).UnixMicro()
			a := &sink.Activity{DB: h.db.Read}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var wait sync.WaitGroup
			wait.Go(func() { // ships, prunes and drops as fast as it can
				for through := int64(0); ; {
					ended := ctx.Err() != nil
					rows, next, err := a.Newer(t.Context(), sink.Filter{Limit: 37}, through)
					if err != nil {
						t.Error(err)
						return
					}
					for _, r := range rows {
						seen[r.Event] = true
					}
					if through == next && ended {
						return
					}
					through = next
					if _, err := sink.DropRaw(t.Context(), h.db.Write, keep, 50); err != nil {
						t.Error(err)
					}
					if _, err := sink.Prune(t.Context(), h.db.Write, keep, through, 50); err != nil {
						t.Error(err)
					}
				}
			})
			wait.Go(func() {
				for ctx.Err() == nil {
					found, err := sink.Verify(t.Context(), h.db.Read, nil)
					if err != nil {
						t.Error(err)
						return
					}
					if bad := found.First(); bad != nil {
						t.Errorf("%s: %s", bad.ID, bad.Fault)
					}
				}
			})
			events, waiting := 0, event.ID{}
			for i := range 40 {
				id := fmt.Sprint("c", i)
				if i == 30 {
					waiting = h.post(pays("7", byRef("ref-late")))[0].Event
					events++
				}
				h.post(ended(id, h.now, 90), pays("50", byRef("ref-"+id)).strong("t"+id))
				status(t, h.post(pays("50", byRef("ref-"+id)).strong("t"+id), pays("60", byRef("ref-"+id)).strong("u"+id)), "duplicate", "booked")
				booked(t, h, id, "60.00", "0.00")
				h.now, events = h.now+second, events+3
			}
			stop()
			wait.Wait()
			if len(seen) != events {
				t.Errorf("%d of %d events were read", len(seen), events)
			}
			if _, err := sink.Prune(t.Context(), h.db.Write, keep, everything, 1_000_000); err != nil {
				t.Error(err)
			}
			if id, status, err := sink.Unended(t.Context(), h.db.Read, keep); err != nil || id != waiting || status != "parked" {
				t.Errorf("%s is %s, %v: want %s to wait", id, status, err, waiting)
			}
			h.post(ended("late", h.now, 90))
			booked(t, h, "late", "7.00", "0.00")
			if n, err := sink.Prune(t.Context(), h.db.Write, keep, everything, 1_000_000); err != nil || n != 31 {
				t.Errorf("pruned %d, %v: all but the newest can go", n, err)
			}
			status(t, h.post(pays("50", byRef("ref-c1")).strong("tc1"), pays("70", byRef("ref-c1"))), "duplicate", "booked")
			h.verify()
		})
	}
}
