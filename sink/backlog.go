package sink

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/event"
)

// Backlog is the records that wait for their mapper: those of one stream, and
// those of streams whose nodes are gone. It only reads; Post decides whether a
// record still waits.
type Backlog struct {
	DB     *sql.DB
	Stream uint32
	Now    func() time.Time
}

// BacklogBytesMax is what one batch takes of one lane, compressed as it is kept.
const BacklogBytesMax = 1 << 20

// WaitingLane is one source and stream of which records wait for their mapper:
// they are mapped in their order.
type WaitingLane struct {
	Source string
	Stream uint32
	Oldest int64 // received_at of the first, microseconds
}

const (
	// The streams that are ours to map: our own, and those of nodes that are gone.
	// On SQLite no node says that it lives: there is no other one. Whatever waits,
	// only the first record of each lane is looked at.
	qLanes = `WITH RECURSIVE named(source) AS (SELECT min(source) FROM unmapped
  UNION ALL SELECT (SELECT min(u.source) FROM unmapped u WHERE u.source > n.source) FROM named n WHERE n.source IS NOT NULL),
ours(stream) AS (SELECT CAST($1 AS BIGINT) UNION SELECT s.stream FROM stream s WHERE s.seen_at < $2),
heads(source, stream, received_at) AS (SELECT n.source, o.stream,
  (SELECT u.received_at FROM unmapped u WHERE u.source = n.source AND u.stream = o.stream ORDER BY u.seq LIMIT 1)
  FROM named n, ours o WHERE n.source IS NOT NULL)
SELECT source, stream, received_at FROM heads WHERE received_at IS NOT NULL ORDER BY received_at, stream, source`
	qWaiting = `SELECT u.seq, u.flags, u.received_at, v.raw FROM unmapped u
LEFT JOIN verdict v ON v.stream = u.stream AND v.seq = u.seq AND v.n = 0 AND v.revision = 1
WHERE u.source = $1 AND u.stream = $2 ORDER BY u.seq LIMIT $3`
)

// deadBefore is when a node that lives has said so since.
func (l *Backlog) deadBefore() int64 { return l.Now().Add(-streamAliveMax).UnixMicro() }

// Lanes lists of what records wait, what has waited longest first.
func (l *Backlog) Lanes(ctx context.Context) (list []WaitingLane, err error) {
	rows, err := l.DB.QueryContext(ctx, qLanes, int64(l.Stream), l.deadBefore())
	if err != nil {
		return nil, fmt.Errorf("read what waits for mappers: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s WaitingLane
		if err := rows.Scan(&s.Source, &s.Stream, &s.Oldest); err != nil {
			return nil, fmt.Errorf("read what waits for mappers: %w", err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read what waits for mappers: %w", err)
	}
	return list, nil
}

// Add appends up to limit records of a lane to b.Waiting, in order, and names
// the source in b.Queued when there are more in our own stream.
func (l *Backlog) Add(ctx context.Context, b *event.Batch, lane WaitingLane, limit int) error {
	source := lane.Source
	rows, err := l.DB.QueryContext(ctx, qWaiting, source, int64(lane.Stream), limit+1)
	if err != nil {
		return fmt.Errorf("read what waits for the mapper of source %q: %w", source, err)
	}
	defer rows.Close()
	bytes := 0
	for n := 0; rows.Next(); n++ {
		if n == limit || bytes > BacklogBytesMax {
			if lane.Stream == l.Stream {
				b.Queued = append(b.Queued, source)
			}
			break
		}
		r := event.Record{ID: event.ID{Stream: lane.Stream}, Kind: event.RecordPostback, Source: source}
		var raw []byte
		var flags int64
		if err := rows.Scan(&r.ID.Seq, &flags, &r.ReceivedAt, &raw); err != nil {
			return fmt.Errorf("read what waits for the mapper of source %q: %w", source, err)
		}
		r.Flags = event.Flags(flags)
		if err := fillRecord(&r, raw); err != nil {
			return fmt.Errorf("raw request of event %s: %w", r.ID, err)
		}
		bytes += len(raw)
		b.Waiting = append(b.Waiting, r)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read what waits for the mapper of source %q: %w", source, err)
	}
	return nil
}

// fillRecord makes of a raw request the record that it was, without its
// secrets.
func fillRecord(r *event.Record, raw []byte) error {
	q, err := ParseRaw(raw)
	if errors.Is(err, errRawEncoding) {
		r.Unreadable = true
		return nil
	}
	if err != nil {
		return err
	}
	r.Method, r.Query, r.ContentType, r.Headers, r.Peer, r.Body = q.Method, q.Query, q.ContentType, q.Headers, q.Peer, q.Body
	r.Kept, r.Cut = true, q.BodyCut
	return nil
}
