package sink_test

import (
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
)

const benchBatchEvents = 1000

// benchLedgers opens an empty ledger of each backend as it would be run:
// Postgres syncs its commits. Beside the latter writes bare pgx.
var benchLedgers = map[string]func(b *testing.B) (*harness, *bareLedger){
	"sqlite": func(b *testing.B) (*harness, *bareLedger) { return ledgers["sqlite"](b), nil },
	"postgres": func(b *testing.B) (*harness, *bareLedger) {
		at := services.OwnPostgres(b).URL
		h := openLedger(b, at)
		return h, newBareLedger(b, at, h.db.Pool)
	},
}

// databaseOf gives the URL of another database on the same server.
func databaseOf(b *testing.B, of, name string) string {
	b.Helper()
	u, err := url.Parse(of)
	if err != nil {
		b.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

// BenchmarkLedger posts matched postbacks of distinct calls, with hints as a
// complete index gives them, in batches of the size that a busy node takes;
// whole batches, so ns/op is right for a -benchtime of thousands of events,
// such as 100000x. On Postgres, bare pgx writes the rows of each batch right
// after it; ratio is the ledger's events a second to bare ones.
func BenchmarkLedger(b *testing.B) {
	for name, open := range benchLedgers {
		b.Run(name, func(b *testing.B) {
			h, bare := open(b)
			h.assign("c", "p", "percent 80")
			batches := benchBatches(h, (b.N+benchBatchEvents-1)/benchBatchEvents)
			var ours, theirs time.Duration
			b.ReportAllocs()
			b.ResetTimer()
			for _, bt := range batches {
				began := time.Now()
				if _, err := h.ledger.Post(b.Context(), bt); err != nil {
					b.Fatal(err)
				}
				ours += time.Since(began)
				b.StopTimer()
				if bt.Events[0].Verdict.Status != event.Booked {
					b.Fatalf("%+v", bt.Events[0].Verdict)
				}
				if bare != nil {
					took, postings := bare.repeat(b)
					if postings != benchBatchEvents {
						b.Fatalf("a batch has made %d postings", postings)
					}
					theirs += took
				}
				b.StartTimer()
			}
			b.StopTimer()
			events := float64(len(batches) * benchBatchEvents)
			b.ReportMetric(events/ours.Seconds(), "events/s")
			if bare != nil {
				b.ReportMetric(events/theirs.Seconds(), "bare_events/s")
				b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
			}
		})
	}
}

// benchBatches tells the calls and gives the batches of postbacks that pay for
// them, once each.
func benchBatches(h *harness, n int) (batches []*event.Batch) {
	for i := 0; i < n*benchBatchEvents; i += benchBatchEvents {
		var list []told
		for n := i; n < i+benchBatchEvents; n++ {
			list = append(list, callOf(event.Call{CallID: fmt.Sprintf("call-%09d", n), RefID: fmt.Sprintf("ref-%09d", n), Campaign: "c", Publisher: "p",
				Buyer: fmt.Sprintf("buyer-%d", n%50), Caller: fmt.Sprintf("+1305%07d", n), StartedAt: h.now, EndedAt: h.now + minute, Duration: event.Seconds{N: 60, OK: true}}))
		}
		h.post(list...)
	}
	h.indexed = 1 << 60
	for i := 0; i < n*benchBatchEvents; i += benchBatchEvents {
		var list []told
		for n := i; n < i+benchBatchEvents; n++ {
			list = append(list, pays("50", event.Report{RefID: fmt.Sprintf("ref-%09d", n), Caller: fmt.Sprintf("+1305%07d", n), CallerRaw: fmt.Sprintf("+1305%07d", n),
				Duration: event.Seconds{N: 60, OK: true}}).strong(fmt.Sprintf("tx-%09d", n)))
		}
		bt := h.batch(list...)
		for k := range bt.Events {
			bt.Events[k].Hints = []int64{int64(i + k + 1)}
		}
		batches = append(batches, bt)
	}
	return batches
}
