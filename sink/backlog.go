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

// Limits of what one batch takes of the backlog.
const (
	BacklogRecordsMax = 500
	BacklogBytesMax   = 1 << 20
)

// WaitingSource is one source of which records wait for its mapper.
type WaitingSource struct {
	Source  string
	Records int64
	Oldest  int64 // received_at, microseconds
}

const (
	// Whose records are ours to map. On SQLite no node says that it lives: there
	// is no other one.
	oursToMap = `(u.stream = $1 OR EXISTS (SELECT 1 FROM stream s WHERE s.stream = u.stream AND s.seen_at < $2))`

	qBacklog = `SELECT u.source, count(*), min(u.received_at) FROM unmapped u WHERE ` + oursToMap + ` GROUP BY u.source ORDER BY min(u.received_at)`
	qWaiting = `SELECT u.stream, u.seq, u.flags, u.received_at, v.raw FROM unmapped u
LEFT JOIN verdict v ON v.stream = u.stream AND v.seq = u.seq AND v.n = 0 AND v.revision = 1
WHERE u.source = $3 AND ` + oursToMap + ` ORDER BY u.stream, u.seq LIMIT $4`
)

// deadBefore is when a node that lives has said so since.
func (l *Backlog) deadBefore() int64 { return l.Now().Add(-streamAliveMax).UnixMicro() }

// Sources lists the sources of which records wait, the one that has waited
// longest first.
func (l *Backlog) Sources(ctx context.Context) (list []WaitingSource, err error) {
	rows, err := l.DB.QueryContext(ctx, qBacklog, int64(l.Stream), l.deadBefore())
	if err != nil {
		return nil, fmt.Errorf("read what waits for mappers: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var s WaitingSource
		if err := rows.Scan(&s.Source, &s.Records, &s.Oldest); err != nil {
			return nil, fmt.Errorf("read what waits for mappers: %w", err)
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read what waits for mappers: %w", err)
	}
	return list, nil
}

// Add appends up to limit records of a source to b.Waiting, in order, and names
// the source in b.Queued when there are more.
func (l *Backlog) Add(ctx context.Context, b *event.Batch, source string, limit int) error {
	rows, err := l.DB.QueryContext(ctx, qWaiting, int64(l.Stream), l.deadBefore(), source, limit+1)
	if err != nil {
		return fmt.Errorf("read what waits for the mapper of source %q: %w", source, err)
	}
	defer rows.Close()
	bytes := 0
	for n := 0; rows.Next(); n++ {
		if n == limit || bytes > BacklogBytesMax {
			b.Queued = append(b.Queued, source)
			break
		}
		r := event.Record{Kind: event.RecordPostback, Source: source}
		var raw []byte
		var flags int64
		if err := rows.Scan(&r.ID.Stream, &r.ID.Seq, &flags, &r.ReceivedAt, &raw); err != nil {
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
