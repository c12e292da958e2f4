package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/event"
	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/source/learn"
)

// trialPause is how often a trial looks for its verdict.
const trialPause = 10 * time.Millisecond

// teach gives the console what learning from requests and trying them takes.
func (n *node) teach(cfg *console.Config) { cfg.Captured, cfg.Tryer = n.captured, n }

// captured is what intake still has whole of a source's last requests.
func (n *node) captured(sourceID string) []learn.Request {
	var list []learn.Request
	for _, c := range n.ingest.Captured(sourceID) {
		list = append(list, requestOf(&c))
	}
	return list
}

func requestOf(c *ingest.Capture) learn.Request {
	r := learn.Request{At: c.At, Method: c.Method, Target: c.Target, Host: c.Host, Scheme: c.Scheme, ContentType: c.ContentType,
		Headers: c.Headers, Body: c.Body, Cut: c.BodyCut, Peer: c.Peer, Reason: c.Reason, Refused: c.Reason != ""}
	return r
}

// Try implements console.Tryer: the record goes through journal, mapper, match
// and ledger like any other, and is a test, so nothing is booked.
func (n *node) Try(ctx context.Context, rec *event.Record) (event.ID, event.Detail, error) {
	if rec.Flags&event.FlagTest == 0 {
		panic("bug: a trial that is no test")
	}
	id, err := n.journal.Append(event.AppendRecord(nil, rec))
	if err != nil {
		return id, event.Detail{}, fmt.Errorf("try a request: %w", err)
	}
	for {
		detail, err := n.detail(ctx, id)
		if !errors.Is(err, sql.ErrNoRows) {
			return id, detail, err
		}
		select {
		case <-ctx.Done():
			return id, event.Detail{}, ctx.Err()
		case <-time.After(trialPause):
		}
	}
}

// detail reads what an event's newest verdict speaks of, sql.ErrNoRows while it has none.
func (n *node) detail(ctx context.Context, id event.ID) (d event.Detail, err error) {
	var text []byte
	err = n.db.Read.QueryRowContext(ctx, `SELECT coalesce(detail, '') FROM verdict WHERE stream = $1 AND seq = $2 AND n = $3 ORDER BY revision DESC LIMIT 1`,
		int64(id.Stream), int64(id.Seq), int64(id.N)).Scan(&text)
	switch {
	case err != nil && ctx.Err() != nil:
		return d, ctx.Err()
	case err != nil:
		return d, err
	}
	return event.ParseDetail(text)
}
