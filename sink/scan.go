package sink

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/tallyhook/tallyhook/event"
)

const qScanCalls = `SELECT no, call_id, coalesce(ref_id,''), coalesce(network_ids,''), coalesce(caller,''), coalesce(started_at,0)
FROM call WHERE no > ? ORDER BY no LIMIT ?`

// scanCallsMax is how many calls one query of ScanCalls reads.
const scanCallsMax = 2000

// CallsThrough is the change number of the newest call upsert in the store.
func CallsThrough(ctx context.Context, db *sql.DB) (through int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'call_change'), 0)`).Scan(&through)
	if err != nil {
		return 0, fmt.Errorf("read the calls' change number: %w", err)
	}
	return through, nil
}

// ScanCalls yields every call with its names and start, in short queries, so
// that no read holds the log for long. The slice is valid until yield returns.
func ScanCalls(ctx context.Context, db *sql.DB, yield func([]event.Call) error) error {
	calls := make([]event.Call, 0, scanCallsMax)
	for last := int64(0); ; last = calls[len(calls)-1].No {
		calls = calls[:0]
		rows, err := db.QueryContext(ctx, qScanCalls, last, scanCallsMax)
		if err != nil {
			return fmt.Errorf("scan calls from %d: %w", last, err)
		}
		for rows.Next() {
			var c event.Call
			var networks string
			if err = rows.Scan(&c.No, &c.CallID, &c.RefID, &networks, &c.Caller, &c.StartedAt); err == nil && networks != "" {
				c.NetworkIDs, err = parseNetworks(networks)
			}
			if err != nil {
				break
			}
			calls = append(calls, c)
		}
		rows.Close()
		if err == nil {
			err = rows.Err()
		}
		if err != nil {
			return fmt.Errorf("scan calls from %d: %w", last, err)
		}
		if len(calls) == 0 {
			return nil
		}
		if err := yield(calls); err != nil {
			return err
		}
		if len(calls) < scanCallsMax {
			return nil
		}
	}
}
