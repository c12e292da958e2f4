package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// API asks a node's admin API. It is safe for concurrent use.
type API struct {
	addr, key string
	client    *http.Client
}

// answerTimeMax bounds one question; a verification of the ledger may take long.
const answerTimeMax = 2 * time.Minute

// NewAPI is for the holder of an admin key, who asks conns things at once at most.
func NewAPI(addr, key string, conns int) *API {
	return &API{addr, key, &http.Client{Timeout: answerTimeMax, Transport: &http.Transport{MaxIdleConnsPerHost: conns}}}
}

// StatusError is an answer outside 200 to 299.
type StatusError struct {
	Status int
	What   string // the question
	Text   string // the answer's body
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: status %d: %s", e.What, e.Status, e.Text)
}

// IsNotFound reports whether err is the answer 404.
func IsNotFound(err error) bool {
	var s *StatusError
	return errors.As(err, &s) && s.Status == http.StatusNotFound
}

// Do asks; in is sent as JSON unless it is nil, and out is read from JSON.
func (a *API) Do(ctx context.Context, method, path string, in, out any) error {
	what, body := method+" "+path, io.Reader(nil)
	if in != nil {
		p, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		body = bytes.NewReader(p)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://"+a.addr+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.key)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return &StatusError{resp.StatusCode, what, strings.TrimSpace(string(p))}
	}
	if err := json.Unmarshal(p, out); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// Status is what GET /api/v1/status tells of the way from intake to ledger.
type Status struct {
	Journal struct {
		LastSeq uint64 `json:"last_seq"`
		Bytes   int64  `json:"bytes"`
	} `json:"journal"`
	Pipeline struct {
		CommittedSeq uint64 `json:"committed_seq"`
	} `json:"pipeline"`
	Shipping struct {
		Holding bool  `json:"holding"`
		LagRows int64 `json:"lag_rows"`
	} `json:"shipping"`
	Sources int `json:"sources"`
}

// Backlog is how many records wait for their verdict.
func (s Status) Backlog() uint64 {
	return s.Journal.LastSeq - min(s.Journal.LastSeq, s.Pipeline.CommittedSeq)
}

// Status asks how the node stands.
func (a *API) Status(ctx context.Context) (s Status, err error) {
	return s, a.Do(ctx, "GET", "/api/v1/status", nil, &s)
}

// Drained waits until every record of the journal has its verdicts.
func (a *API) Drained(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		s, err := a.Status(ctx)
		if err == nil && s.Backlog() == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("committed up to %d of %d", s.Pipeline.CommittedSeq, s.Journal.LastSeq)
			}
			return fmt.Errorf("the node did not drain in %s: %w", limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
