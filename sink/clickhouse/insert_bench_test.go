package clickhouse

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/tallyhook/tallyhook/bench/services"
)

// benchRows is one full range of ordinary verdicts of one day.
func benchRows() []row {
	rows := make([]row, RangeRowsMax)
	for i := range rows {
		n := int64(i)
		caller := fmt.Sprintf("+1305555%04d", i%10_000)
		rows[i] = row{changeSeq: n + 1, stream: 1 + n%3, seq: n, revision: 1, final: 1, status: "booked", source: fmt.Sprintf("src-%d", i%20),
			receivedAt: 1_772_409_600_000_000 + n*137, decidedAt: 1_772_409_602_000_000 + n*139, kind: "conversion", strategy: "ref_id", candidates: 1,
			callID: fmt.Sprintf("CA%032x", n*7919), callCaller: caller, caller: caller, duration: sql.NullInt64{Int64: n % 900, Valid: true},
			payout: sql.NullInt64{Int64: n * 10_000, Valid: true}, value: sql.NullInt64{Int64: n * 10_000, Valid: true}, currency: "USD", delta: n * 10_000, shareDelta: n * 8_000,
			mapper: "builtin", peer: "203.0.113.7", usQueue: n % 700, usMap: n % 500, usMatch: n % 3000, usTotal: 2000 + n%5000,
			report:   fmt.Sprintf(`{"kind":"conversion","ref_id":"%032x","caller":"%s","duration":%d,"payout":"%d.50","currency":"USD","status":"paid","transaction_id":"tx-%d","extra":{"click_id":"%d","sub1":"a"}}`, n*104729, caller, n%900, n%200, n*31, n*17),
			campaign: fmt.Sprintf("camp-%d", i%50), publisher: fmt.Sprintf("pub-%d", i%200), buyer: fmt.Sprintf("buyer-%d", i%40),
			callEndedAt: sql.NullInt64{Int64: 1_772_409_500_000_000 + n, Valid: true}, callDuration: sql.NullInt64{Int64: n % 900, Valid: true}}
	}
	return rows
}

// BenchmarkInsert sends ranges as the shipper does, from rows to a stored
// block, and in the same run the same columns with bare clickhouse-go, which
// is given them ready. ratio is ours to bare, in rows a second.
func BenchmarkInsert(b *testing.B) {
	s, err := Open(services.OwnClickHouse(b).URL)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Migrate(b.Context(), "store", 0); err != nil {
		b.Fatal(err)
	}
	rows := benchRows()
	ready := newBlock()
	ready.fill(partsOf(rows)[0].rows, 1)
	own := newBlock()
	var ours, bare time.Duration
	batch := 0
	ship := func() {
		began := time.Now()
		for i := range rows {
			rows[i].clean()
		}
		for _, p := range partsOf(rows) {
			own.fill(p.rows, uint64(batch))
			if err := s.insert(b.Context(), p.table, fmt.Sprintf("%s-%d", p.day, batch), own); err != nil {
				b.Fatal(err)
			}
		}
		ours += time.Since(began)
	}
	plain := func() {
		began := time.Now()
		ctx := driver.Context(b.Context(), driver.WithColumnNamesAndTypes(ready.types), driver.WithSettings(driver.Settings{"insert_deduplicate": 0}))
		send, err := s.conn.PrepareBatch(ctx, "INSERT INTO activity_log ("+ready.list+")")
		if err != nil {
			b.Fatal(err)
		}
		for i, c := range ready.columns {
			if err := send.Column(i).Append(c.values()); err != nil {
				b.Fatal(err)
			}
		}
		if err := send.Send(); err != nil {
			b.Fatal(err)
		}
		bare += time.Since(began)
	}
	for b.Loop() {
		// Who goes second finds the server warmer: they take turns.
		if batch++; batch%2 == 0 {
			ship()
			plain()
		} else {
			plain()
			ship()
		}
	}
	total := float64(batch * len(rows))
	b.ReportMetric(total/ours.Seconds(), "rows/s")
	b.ReportMetric(total/bare.Seconds(), "bare_rows/s")
	b.ReportMetric(bare.Seconds()/ours.Seconds(), "ratio")
}
