package clickhouse

import (
	"context"
	"database/sql"
	"fmt"
)

// row is one revision of a verdict as the primary store has it, with what its
// call is now. What retries must not change is the verdict's; campaign, buyer
// and the call's times may be newer when a range is read again, which is as
// good: the rows replace each other.
type row struct {
	changeSeq, stream, seq, n  int64
	revision, final            int64
	status, reason, detail     string
	source                     string
	receivedAt, decidedAt      int64 // microseconds since the Unix epoch
	kind, strategy             string
	candidates                 int64
	callID, callCaller, caller string
	duration, payout, value    sql.NullInt64
	currency                   string
	delta, shareDelta          int64
	mapper, peer               string
	fuel                       int64
	usQueue, usMap, usMatch    int64
	usTotal                    int64
	report                     string

	campaign, publisher, buyer string
	callEndedAt, callDuration  sql.NullInt64
}

// The end of a call that did not say it is its start and duration.
const rowsSQL = `SELECT v.change_seq, v.stream, v.seq, v.n, v.revision, v.final, v.status, v.reason, coalesce(v.detail, ''),
  v.source, v.received_at, v.decided_at, v.kind, v.strategy, v.candidates,
  coalesce(v.call_id, ''), coalesce(v.call_caller, ''), coalesce(v.caller, ''), v.duration, v.payout, v.value, coalesce(v.currency, ''),
  v.delta, v.share_delta, v.mapper, v.fuel, v.peer, v.us_queue, v.us_map, v.us_match, v.us_total, coalesce(v.report, ''),
  coalesce(c.campaign, ''), coalesce(c.publisher, ''), coalesce(c.buyer, ''),
  coalesce(c.ended_at, c.started_at + c.duration * 1000000), c.duration
FROM verdict v LEFT JOIN call c ON c.no = v.call
WHERE v.change_seq > $1 AND v.change_seq <= $2 ORDER BY v.change_seq`

func (r *row) scan(rows *sql.Rows) error {
	return rows.Scan(&r.changeSeq, &r.stream, &r.seq, &r.n, &r.revision, &r.final, &r.status, &r.reason, &r.detail,
		&r.source, &r.receivedAt, &r.decidedAt, &r.kind, &r.strategy, &r.candidates,
		&r.callID, &r.callCaller, &r.caller, &r.duration, &r.payout, &r.value, &r.currency,
		&r.delta, &r.shareDelta, &r.mapper, &r.fuel, &r.peer, &r.usQueue, &r.usMap, &r.usMatch, &r.usTotal, &r.report,
		&r.campaign, &r.publisher, &r.buyer, &r.callEndedAt, &r.callDuration)
}

// bytes is about what the row holds in memory.
func (r *row) bytes() int { return 512 + len(r.report) + len(r.detail) }

// readRows reads the changes in (after, to], oldest first, and stops before to
// when they come to bytesMax bytes. The log has no gap: one that shows is a
// fault, and nothing behind it is given.
func readRows(ctx context.Context, db *sql.DB, after, to int64, bytesMax int) (list []row, err error) {
	rows, err := db.QueryContext(ctx, rowsSQL, after, to)
	if err != nil {
		return nil, fmt.Errorf("read the verdict log: %w", err)
	}
	defer rows.Close()
	list = make([]row, 0, to-after)
	bytes := 0
	for want := after + 1; rows.Next(); want++ {
		list = append(list, row{})
		r := &list[len(list)-1]
		if err := r.scan(rows); err != nil {
			return nil, fmt.Errorf("read the verdict log: %w", err)
		}
		if r.changeSeq != want {
			return nil, fmt.Errorf("read the verdict log: change %d follows %d: some are missing; run tallyhook ledger verify", r.changeSeq, want-1)
		}
		if bytes += r.bytes(); bytes >= bytesMax {
			break
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read the verdict log: %w", err)
	}
	if len(list) == 0 && to > after {
		return nil, fmt.Errorf("read the verdict log: changes %d to %d are missing; run tallyhook ledger verify", after+1, to)
	}
	return list, nil
}
