package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"time"
)

// StreamInfo is what the store knows of one journal.
type StreamInfo struct {
	NextSeq    uint64 // of the first record whose verdicts are not committed
	ReceivedAt int64  // of the last record whose verdicts are, microseconds; 0 when there is none
	Node       string // that asked for the stream
}

// NodeInfo is one journal that ever fed the store, and when its node was seen.
type NodeInfo struct {
	Stream     uint32    `json:"stream"`
	Node       string    `json:"node"`
	NextSeq    uint64    `json:"next_seq"`             // as in StreamInfo
	ReceivedAt time.Time `json:"received_at,omitzero"` // as in StreamInfo; zero when there is none
	SeenAt     time.Time `json:"seen_at,omitzero"`     // when its node said last that it lives; zero on SQLite, where there is one node
	CreatedAt  time.Time `json:"created_at"`
}

// NewStream registers a new journal of node and returns its number, which no
// other journal has had or will have.
func (db *DB) NewStream(ctx context.Context, node string, now time.Time) (uint32, error) {
	var n int64
	err := db.Write.QueryRowContext(ctx, `INSERT INTO stream (node, created_at) VALUES ($1, $2) RETURNING stream`, node, now.UnixMicro()).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("new stream of node %q: %w", node, outage(err))
	}
	if n > math.MaxUint32 {
		return 0, fmt.Errorf("new stream of node %q: all %d numbers are used", node, int64(math.MaxUint32))
	}
	return uint32(n), nil
}

// Stream tells how far the journal with number n is committed. ErrNotFound
// means that this store never gave that number: the journal belongs elsewhere.
func (db *DB) Stream(ctx context.Context, n uint32) (StreamInfo, error) {
	var s StreamInfo
	err := db.Read.QueryRowContext(ctx, `SELECT next_seq, received_at, node FROM stream WHERE stream = $1`, n).
		Scan(&s.NextSeq, &s.ReceivedAt, &s.Node)
	if errors.Is(err, sql.ErrNoRows) {
		return s, db.noStream(n)
	}
	if err != nil {
		return s, fmt.Errorf("read stream %d: %w", n, outage(err))
	}
	return s, nil
}

func (db *DB) noStream(n uint32) error {
	return notFound("stream %d is not known to store %s: this journal belongs to another store", n, db.ID)
}

// Nodes lists every stream by number. A node that lost its journal has another
// stream since.
func (db *DB) Nodes(ctx context.Context) ([]NodeInfo, error) {
	rows, err := db.Read.QueryContext(ctx, `SELECT stream, node, next_seq, received_at, seen_at, created_at FROM stream ORDER BY stream`)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", outage(err))
	}
	defer rows.Close()
	var list []NodeInfo
	for rows.Next() {
		var n NodeInfo
		var received, seen, created int64
		if err := rows.Scan(&n.Stream, &n.Node, &n.NextSeq, &received, &seen, &created); err != nil {
			return nil, fmt.Errorf("list nodes: %w", outage(err))
		}
		n.ReceivedAt, n.SeenAt, n.CreatedAt = timeOf(received), timeOf(seen), timeOf(created)
		list = append(list, n)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list nodes: %w", outage(err))
	}
	return list, nil
}

// timeOf gives the time of a column, in which 0 is none.
func timeOf(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}
