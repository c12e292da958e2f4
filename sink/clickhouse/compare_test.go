package clickhouse_test

import (
	"testing"
	"time"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
)

// Both sides say the same, and what one of them lacks shows by the hour.
func TestCompare(t *testing.T) {
	t.Parallel()
	for name, openWorld := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := openWorld(t)
			s := open(t, services.ClickHouse(t))
			w.tell(some(1000, 1)...)
			sh, stop := run(t, s, w.config())
			w.shipped(sh)
			stop()
			compare := func(from, until time.Time) *clickhouse.Comparison {
				t.Helper()
				c, err := clickhouse.Compare(t.Context(), w.read, s, from, until)
				if err != nil {
					t.Fatal(err)
				}
				return c
			}
			end := day0.Add(24 * time.Hour)
			if c := compare(day0, end); c.Hours != 9 || len(c.Differences) != 0 || c.Through != w.change {
				t.Errorf("%+v", c)
			}
			// What waits is no difference; what is missing is.
			w.tell(some(10, 1001)...)
			if c := compare(day0, end); len(c.Differences) != 0 {
				t.Errorf("%+v", c)
			}
			if err := clickhouse.Exec(t.Context(), s, `ALTER TABLE activity_log DELETE WHERE seq = 130 SETTINGS mutations_sync = 2`); err != nil {
				t.Fatal(err)
			}
			c := compare(day0, end)
			if len(c.Differences) != 1 {
				t.Fatalf("%+v", c)
			}
			d := c.Differences[0]
			if !d.Hour.Equal(day0.Add(time.Hour)) || d.Ledger.Events != d.ClickHouse.Events+1 || d.Ledger.Final != d.ClickHouse.Final+1 || d.Ledger.Delta != d.ClickHouse.Delta+event.Unit+129 || d.Ledger.ShareDelta != d.ClickHouse.ShareDelta+800_000 {
				t.Errorf("%+v", d)
			}
			if c := compare(day0.Add(2*time.Hour), end); len(c.Differences) != 0 {
				t.Errorf("%+v", c)
			}
			// Hours of which the log has lost something are not compared.
			w.exec(`DELETE FROM verdict WHERE change_seq < 200`)
			if c := compare(day0, day0.Add(72*time.Hour)); len(c.Differences) != 0 || !c.From.After(day0.Add(24*time.Hour)) {
				t.Errorf("%+v", c)
			}
		})
	}
}
