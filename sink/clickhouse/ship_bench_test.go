package clickhouse_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
)

// BenchmarkShip drains a backlog of verdicts that all are of one day: reading
// the log, writing down what is under way, sending and marking.
func BenchmarkShip(b *testing.B) {
	for name, openWorld := range worlds {
		b.Run(name, func(b *testing.B) {
			const backlog = 50_000
			w := openWorld(b)
			w.exec(`INSERT INTO call (no, call_id, caller, started_at, duration, campaign, publisher, buyer, ranks, change_seq) VALUES (7, 'c7', '+13055550107', $1, 90, 'solar', 'pat', 'acme-b', $2, 1)`, day0.UnixMicro(), []byte{})
			s := open(b, services.OwnClickHouse(b).URL)
			var spent time.Duration
			for b.Loop() {
				b.StopTimer()
				list := make([]verdict, backlog)
				for i := range list {
					caller := fmt.Sprintf("+1305555%04d", i%10_000)
					list[i] = verdict{at: day0.Add(time.Duration(i) * time.Millisecond), call: 7, callID: fmt.Sprintf("CA%032x", i*7919), caller: caller, callCaller: caller,
						payout: int64(i) * 10_000, value: int64(i) * 10_000, currency: "USD", delta: int64(i) * 10_000, shareDelta: int64(i) * 8000,
						report: fmt.Sprintf(`{"kind":"conversion","ref_id":"%032x","caller":"%s","duration":%d,"payout":"%d.50","currency":"USD","status":"paid","transaction_id":"tx-%d","extra":{"click_id":"%d","sub1":"a"}}`, i*104729, caller, i%900, i%200, i*31, i*17)}
				}
				w.tell(list...)
				b.StartTimer()
				began := time.Now()
				sh, stop := run(b, s, w.config())
				w.shipped(sh)
				spent += time.Since(began)
				stop()
			}
			b.ReportMetric(float64(b.N)*backlog/spent.Seconds(), "rows/s")
		})
	}
}
