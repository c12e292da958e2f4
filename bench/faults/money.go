package faults

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver pgx
	_ "modernc.org/sqlite"             // the driver sqlite
)

// Runs about money that waits: for a deadline, for a person, for its
// transaction. Senders come again until a node has taken what they say, as the
// protocols have it; what must have become of it is worked out here, from the
// times that the store has recorded, and read from the store itself.

// Limits of those runs.
const (
	takenMax   = 90 * time.Second // until a request is taken, its nodes being killed now and then
	decidedMax = time.Minute      // until nothing waits any more: a dead node's word counts for half of it
	againAfter = 50 * time.Millisecond
)

// unit is one of a currency in millionths, as the store has amounts.
const unit = 1_000_000

// alone runs f on a node that has nothing but its own disk.
func alone(t testing.TB, bin string, size Size, f func(w *world)) {
	t.Helper()
	w := newLone(t, bin, size)
	f(w)
	w.atRest()
}

// together runs f on two nodes that share real servers.
func together(t testing.TB, bin string, size Size, f func(w *world)) {
	t.Helper()
	w := newWorld(t, bin, size)
	w.startNodes(2)
	f(w)
}

// books opens the store as it is, beside the nodes, for reading.
func (w *world) books() *sql.DB {
	w.Helper()
	driver, where := "pgx", ""
	if w.store.Server != nil {
		where = w.store.URL
	} else {
		driver = "sqlite"
		path := filepath.Join(w.nodes[0].cfg.Data, "tallyhook.db")
		where = (&url.URL{Scheme: "file", Path: path, RawQuery: "mode=ro&_pragma=busy_timeout(5000)"}).String()
	}
	db, err := sql.Open(driver, where)
	if err != nil {
		w.Fatal("the store cannot be opened") // its URL may hold a password
	}
	w.Cleanup(func() { _ = db.Close() }) // it only read
	return db
}

// each calls scan for every row of a query.
func (w *world) each(db *sql.DB, query string, scan func(row func(...any) error) error) {
	w.Helper()
	rows, err := db.QueryContext(w.Context(), query)
	if err != nil {
		w.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			w.Fatalf("%s: %v", query, err)
		}
	}
	if err := rows.Err(); err != nil {
		w.Fatalf("%s: %v", query, err)
	}
}

// count reads one number.
func (w *world) count(db *sql.DB, query string) (n int64) {
	w.Helper()
	if err := db.QueryRowContext(w.Context(), query).Scan(&n); err != nil {
		w.Fatalf("%s: %v", query, err)
	}
	return n
}

// decided waits until every record has its verdict and the query counts
// nothing.
func (w *world) decided(db *sql.DB, what, query string) {
	w.Helper()
	w.until(decidedMax, what, func(context.Context) error {
		for _, m := range w.living() {
			s, err := m.api.Status(w.Context())
			if err == nil && s.Backlog() > 0 {
				err = fmt.Errorf("%d records are without verdicts", s.Backlog())
			}
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
		}
		var n int64
		err := db.QueryRowContext(w.Context(), query).Scan(&n)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d wait still", n)
		}
		return err
	})
}

// sourceOf makes a source and gives the path of its URL.
func (w *world) sourceOf(spec map[string]any) (path string) {
	w.Helper()
	spec["limits"] = map[string]int{"per_token_per_min": -1, "per_ip_per_min": -1}
	var made struct{ URL string }
	if err := w.nodes[0].api.Do(w.Context(), http.MethodPost, "/api/v1/sources", spec, &made); err != nil {
		w.Fatal(err)
	}
	u, err := url.Parse(made.URL)
	if err != nil {
		w.Fatal("the answer holds no postback URL")
	}
	return u.Path
}

// taker sends to nodes until one of them takes what it is sent.
type taker struct {
	client http.Client
	taken  atomic.Int64
	again  atomic.Int64 // requests that were not answered, or refused for now
	w      *world
}

func newTaker(w *world) *taker {
	return &taker{w: w, client: http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
}

// send gives the event that was acknowledged. The first of the nodes is asked
// first, the next one when it does not answer. It may be called beside the test.
func (k *taker) send(to []*member, request func(host string) (*http.Request, error)) (event string, err error) {
	ctx, cancel := context.WithTimeout(k.w.Context(), takenMax)
	defer cancel()
	for try := 0; ; try++ {
		r, err := request(to[try%len(to)].cfg.Ingest)
		if err != nil {
			return "", err
		}
		if event, err = k.once(r.WithContext(ctx)); err == nil {
			k.taken.Add(1)
			return event, nil
		}
		k.again.Add(1)
		if refused := (*refusal)(nil); errors.As(err, &refused) {
			return "", err
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("no node has taken it within %s: %w", takenMax, err)
		case <-time.After(againAfter):
		}
	}
}

// refusal is an answer after which nobody should come again.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return fmt.Sprintf("status %d: %.200s", r.status, r.text) }

func (k *taker) once(r *http.Request) (event string, err error) {
	res, err := k.client.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	switch {
	case res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests:
		return "", fmt.Errorf("status %d", res.StatusCode)
	case res.StatusCode > 299:
		return "", &refusal{res.StatusCode, string(text)}
	}
	var said struct{ Event string }
	return said.Event, json.Unmarshal(text, &said)
}

// get sends a postback.
func (k *taker) get(to []*member, path string, query url.Values) (event string, err error) {
	return k.send(to, func(host string) (*http.Request, error) {
		return http.NewRequest(http.MethodGet, "http://"+host+path+"?"+query.Encode(), nil)
	})
}

// killAfterAck kills a node right after it has taken something.
func (w *world) killAfterAck(k *taker, m *member) {
	w.Helper()
	before, end := k.taken.Load(), time.Now().Add(readyMax)
	for k.taken.Load() == before && time.Now().Before(end) {
		time.Sleep(100 * time.Microsecond)
	}
	w.kill(m)
}

// verdicts lists the records that have one.
func (w *world) verdicts(db *sql.DB) map[string]bool {
	w.Helper()
	known := map[string]bool{}
	w.each(db, `SELECT DISTINCT stream, seq FROM verdict`, func(row func(...any) error) error {
		var stream, seq int64
		err := row(&stream, &seq)
		known[fmt.Sprintf("%d-%d", stream, seq)] = true
		return err
	})
	return known
}
