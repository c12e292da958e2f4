package sink_test

import (
	"fmt"
	"testing"

	"github.com/tallyhook/tallyhook/event"
)

// BenchmarkLedger posts matched postbacks of distinct calls, with hints as a
// complete index gives them, in batches of the size that a busy node takes.
func BenchmarkLedger(b *testing.B) {
	const perBatch = 1000
	for name, open := range ledgers {
		b.Run(name, func(b *testing.B) {
			h := open(b)
			h.assign("c", "p", "percent 80")
			calls := (b.N/perBatch + 1) * perBatch
			for i := 0; i < calls; i += perBatch {
				var list []told
				for n := i; n < i+perBatch; n++ {
					list = append(list, callOf(event.Call{CallID: fmt.Sprintf("call-%09d", n), RefID: fmt.Sprintf("ref-%09d", n), Campaign: "c", Publisher: "p",
						Buyer: fmt.Sprintf("buyer-%d", n%50), Caller: fmt.Sprintf("+1305%07d", n), StartedAt: h.now, EndedAt: h.now + minute, Duration: event.Seconds{N: 60, OK: true}}))
				}
				h.post(list...)
			}
			var batches []*event.Batch
			for i := 0; i < calls; i += perBatch {
				var list []told
				for n := i; n < i+perBatch; n++ {
					list = append(list, pays("50", event.Report{RefID: fmt.Sprintf("ref-%09d", n), Caller: fmt.Sprintf("+1305%07d", n), CallerRaw: fmt.Sprintf("+1305%07d", n),
						Duration: event.Seconds{N: 60, OK: true}}))
				}
				h.indexed = 1 << 60
				bt := h.batch(list...)
				for k := range bt.Events {
					bt.Events[k].Hints = []int64{int64(i + k + 1)}
				}
				batches = append(batches, bt)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += perBatch {
				bt := batches[n/perBatch]
				if _, err := h.ledger.Post(b.Context(), bt); err != nil {
					b.Fatal(err)
				}
				if bt.Events[0].Verdict.Status != event.Booked {
					b.Fatalf("%+v", bt.Events[0].Verdict)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
