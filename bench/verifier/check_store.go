package verifier

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of waiting for the activity store, which follows the ledger.
const (
	shipTimeMax  = time.Minute
	shipPoll     = 200 * time.Millisecond
	storeTimeMax = 30 * time.Second // of one question
)

// shippedRow is what the activity store says of one event.
type shippedRow struct {
	status            string
	change            int64
	delta, shareDelta amount
}

// readStore compares a ClickHouse with the ledger: it must come to hold every
// event once, in its newest revision, and nothing else of our sources.
func (c *check) readStore(ctx context.Context, rawURL string) error {
	ctx, cancel := context.WithTimeout(ctx, shipTimeMax)
	defer cancel()
	var shipped map[string]shippedRow
	var rows int
	var err error
	for {
		s, n, asked := c.shipped(ctx, rawURL)
		if ctx.Err() == nil { // an answer that the end of the time cut off says nothing
			shipped, rows, err = s, n, asked
		}
		if asked == nil && n == len(c.events) && len(c.missing(s)) == 0 {
			c.Shipped = n
			return nil
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return err
			}
			c.compareShipped(shipped, rows)
			return nil
		case <-time.After(shipPoll):
		}
	}
}

// shipped reads the view that analysts read, and how many rows it has.
func (c *check) shipped(ctx context.Context, rawURL string) (map[string]shippedRow, int, error) {
	lines, err := askStore(ctx, rawURL, "SELECT event, status, change_seq, delta_micros, share_delta_micros FROM activity WHERE source IN ('"+
		strings.Join(c.history.run.Sources, "', '")+"') FORMAT TabSeparated")
	if err != nil {
		return nil, 0, err
	}
	shipped := map[string]shippedRow{}
	for _, line := range lines {
		col := strings.Split(line, "\t")
		if len(col) != 5 {
			return nil, 0, fmt.Errorf("the activity store answers %q, want 5 columns", line)
		}
		r := shippedRow{status: col[1]}
		for i, to := range []*int64{&r.change, (*int64)(&r.delta), (*int64)(&r.shareDelta)} {
			if *to, err = strconv.ParseInt(col[2+i], 10, 64); err != nil {
				return nil, 0, fmt.Errorf("the activity store answers %q: %w", line, err)
			}
		}
		shipped[col[0]] = r
	}
	return shipped, len(lines), nil
}

// missing lists the events that the store does not hold as the ledger does.
func (c *check) missing(shipped map[string]shippedRow) (list []string) {
	for id, e := range c.events {
		if shipped[id] != (shippedRow{e.Status, e.ChangeSeq, e.Delta, e.ShareDelta}) {
			list = append(list, id)
		}
	}
	return list
}

func (c *check) compareShipped(shipped map[string]shippedRow, rows int) {
	c.Shipped = rows
	if rows != len(shipped) {
		c.differ("the activity store shows %d rows of %d events", rows, len(shipped))
	}
	for _, id := range c.missing(shipped) {
		e, r := c.events[id], shipped[id]
		if r.change == 0 {
			c.differ("event %s is not in the activity store after %s", id, shipTimeMax)
			continue
		}
		c.differ("event %s is %s with change %d and moved %s and %s, and the activity store says %s, %d, %s, %s", id,
			e.Status, e.ChangeSeq, e.Delta, e.ShareDelta, r.status, r.change, r.delta, r.shareDelta)
	}
	for id := range shipped {
		if c.events[id] == nil {
			c.differ("the activity store holds event %s, which the ledger does not know", id)
		}
	}
}

// askStore asks a ClickHouse over HTTP; the URL's path names the database. Its
// answer comes in lines.
func askStore(ctx context.Context, rawURL, statement string) (lines []string, err error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("the activity store's URL cannot be read; write http://[user:password@]host:port/database")
	}
	u.RawQuery = url.Values{"database": {strings.TrimPrefix(u.Path, "/")}}.Encode()
	u.Path = "/"
	ctx, cancel := context.WithTimeout(ctx, storeTimeMax)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(statement))
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the activity store: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10)) // for a person
		return nil, fmt.Errorf("ask the activity store: status %d: %s", res.StatusCode, text)
	}
	in := bufio.NewScanner(res.Body)
	for in.Scan() {
		lines = append(lines, in.Text())
	}
	return lines, in.Err()
}
