package sink

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"github.com/tallyhook/tallyhook/event"
)

const (
	scanColumns = `SELECT change_seq, no, call_id, coalesce(ref_id, ''), coalesce(network_ids, ''), coalesce(caller, ''), coalesce(started_at, 0) FROM call `
	qScanCalls  = scanColumns + `WHERE no > $1 AND target IS NULL ORDER BY no LIMIT $2`
	// Calls that came in by other ways may share a change number: the call's own
	// tells them apart. Only Postgres has an index on change_seq.
	qCallsSince = scanColumns + `WHERE change_seq >= $1 AND (change_seq > $1 OR no > $2) ORDER BY change_seq, no LIMIT $3`
)

const (
	scanCallsMax = 2000 // calls that yield is given at once
	// scanPageMax is how many calls one query reads: few enough for a short read,
	// many because without an index on change_seq each goes through the whole table.
	scanPageMax = 20_000
)

// CallsThrough is the change number of the newest call upsert in the store.
func CallsThrough(ctx context.Context, db *sql.DB) (through int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT coalesce((SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'call_change'), 0)`).Scan(&through)
	if err != nil {
		return 0, fmt.Errorf("read the calls' change number: %w", err)
	}
	return through, nil
}

// ScanCalls yields every call with its names and start, in short queries, so
// that no read holds the log for long. The slice is valid until yield returns.
func ScanCalls(ctx context.Context, db *sql.DB, yield func([]event.Call) error) error {
	var p callsPage
	for more := true; more; {
		var err error
		if more, err = p.next(ctx, db, yield, qScanCalls, p.no, scanPageMax); err != nil {
			return fmt.Errorf("scan calls from %d: %w", p.no, err)
		}
	}
	return nil
}

// CallsSince yields the calls that have changed after change number from, with
// their names and start, in the order of their changes. Who was given all of
// them without an error knows of every change up to through, and goes on from
// there; a through below from is that of another store. A call that changes
// meanwhile may come twice, its newest state last. The slice is valid until
// yield returns.
func CallsSince(ctx context.Context, db *sql.DB, from int64, yield func([]event.Call) error) (through int64, err error) {
	if through, err = CallsThrough(ctx, db); err != nil || through <= from {
		return through, err
	}
	// Not only up to through: a call that was below may have moved beyond.
	p := callsPage{change: from + 1}
	for more := true; more; {
		if more, err = p.next(ctx, db, yield, qCallsSince, p.change, p.no, scanPageMax); err != nil {
			return 0, fmt.Errorf("read calls changed after %d: %w", from, err)
		}
	}
	return through, nil
}

// callsPage is what one query has read, with the place of its last call.
type callsPage struct {
	calls      []event.Call
	change, no int64
}

// next runs a query of scanColumns for up to scanPageMax calls and yields them;
// more says that there may be others behind.
func (p *callsPage) next(ctx context.Context, db *sql.DB, yield func([]event.Call) error, query string, args ...any) (more bool, err error) {
	p.calls = p.calls[:0]
	if err := lookUp(ctx, db, func(tx *sql.Tx) error { return eachRow(ctx, tx, query, p.add, args...) }); err != nil {
		return false, err
	}
	for calls := range slices.Chunk(p.calls, scanCallsMax) {
		if err := yield(calls); err != nil {
			return false, err
		}
	}
	return len(p.calls) == scanPageMax, nil
}

func (p *callsPage) add(rows *sql.Rows) (err error) {
	var c event.Call
	var networks string
	if err = rows.Scan(&p.change, &c.No, &c.CallID, &c.RefID, &networks, &c.Caller, &c.StartedAt); err != nil {
		return err
	}
	if networks != "" {
		if c.NetworkIDs, err = parseNetworks(networks); err != nil {
			return err
		}
	}
	p.no, p.calls = c.No, append(p.calls, c)
	return nil
}
