package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/source"
)

// importer sends calls in batches and remembers what became of them. Sending a
// call twice does no harm, so whatever went wrong on the way is sent again.
type importer struct {
	app  *app
	cmd  callsImportCmd
	http *http.Client
	url  string
	key  string
	read *countingReader
	size int64
	bar  *progress

	batch []byte // NDJSON
	lines []int  // of the file, one per call in batch
	first bool   // nothing was sent yet

	done     int // the last line that was dealt with
	seen     int // calls
	accepted int
	rejected int
	shown    []rejection
	begun    time.Time
}

// rejection is one line that was not taken.
type rejection struct {
	Line    int    `json:"line"`
	CallID  string `json:"call_id,omitempty"`
	Error   string `json:"error,omitempty"`
	Message string `json:"message"`
}

func (m *importer) run(ctx context.Context, lines callReader) error {
	m.begun = time.Now()
	for {
		line, call, err := lines.next()
		var bad *lineFault
		switch {
		case err == io.EOF:
			return m.flush(ctx)
		case errors.As(err, &bad):
			if line >= m.cmd.ResumeFrom {
				m.seen++
				m.reject(rejection{Line: line, Error: "line_unreadable", Message: bad.why})
			}
			continue
		case err != nil:
			// What was read before it is good: only what comes behind is lost.
			if err := m.flush(ctx); err != nil {
				return err
			}
			return fmt.Errorf("line %d: %w", line, err)
		case line < m.cmd.ResumeFrom:
			continue
		}
		if len(m.lines) == m.cmd.Batch || (len(m.batch) > 0 && len(m.batch)+len(call) >= batchBytesMax) {
			if err := m.flush(ctx); err != nil {
				return err
			}
		}
		m.seen++
		m.lines = append(m.lines, line)
		m.batch = append(append(m.batch, call...), '\n')
	}
}

func (m *importer) reject(r rejection) {
	m.rejected++
	if len(m.shown) == rejectsShownMax {
		return
	}
	m.shown = append(m.shown, r)
	if !m.cmd.JSON {
		m.bar.clear()
		who := ""
		if r.CallID != "" {
			who = " (" + printable(r.CallID) + ")"
		}
		fmt.Fprintf(m.app.errOut, "line %d%s: %s\n", r.Line, who, printable(r.Message))
	}
}

// flush deals with the batch: sends it, or on a dry run reads it as the intake
// would.
func (m *importer) flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(m.lines) == 0 {
		return nil
	}
	if m.cmd.DryRun {
		m.check()
	} else if err := m.send(ctx); err != nil {
		return err
	}
	m.done = m.lines[len(m.lines)-1]
	m.batch, m.lines = m.batch[:0], m.lines[:0]
	m.bar.set(m.read.n, m.size)
	return nil
}

func (m *importer) check() {
	i := 0
	for call := range bytes.Lines(m.batch) {
		c, err := ingest.DecodeCall(call, source.DefaultRegion)
		if err == nil {
			m.accepted++
		} else {
			r := rejection{Line: m.lines[i], CallID: c.CallID, Message: err.Error()}
			if e := (*ingest.CallError)(nil); errors.As(err, &e) {
				r.Error = e.Code
			}
			m.reject(r)
		}
		i++
	}
}

// send posts the batch, again if need be: the intake says when it is over its
// limit or its disk is full, and a node may be starting anew. Only the very
// first request must find a node.
func (m *importer) send(ctx context.Context) error {
	for try := 1; ; try++ {
		wait, err := m.post(ctx)
		if err == nil {
			m.first = false
			return nil
		}
		var again *retryable
		if !errors.As(err, &again) || try == sendTriesMax || (m.first && errors.Is(err, syscall.ECONNREFUSED)) {
			return err
		}
		if wait == 0 {
			wait = time.Second << (try - 1)
		}
		wait = min(wait, retryWaitMax)
		m.bar.clear()
		fmt.Fprintf(m.app.errOut, "%s; trying again in %s\n", err, wait)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// retryable is what may be gone in a moment.
type retryable struct{ error }

func (r *retryable) Unwrap() error { return r.error }

// callsAnswer is what the intake says of a batch, or why it takes none of it.
type callsAnswer struct {
	Accepted int         `json:"accepted"`
	Rejected int         `json:"rejected"`
	Errors   []rejection `json:"errors"`
	Error    string      `json:"error"`
	Message  string      `json:"message"`
}

func (m *importer) post(ctx context.Context) (wait time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, m.url, bytes.NewReader(m.batch))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+m.key)
	r.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := m.http.Do(r)
	if err != nil {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			err = fmt.Errorf("no node answers at %s (%w): start it with \"tallyhook serve\", or name its address with --listen", r.URL.Host, syscall.ECONNREFUSED)
		}
		return 0, &retryable{withoutURL(err)}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, callsAnswerBytes))
	if err != nil {
		return 0, &retryable{fmt.Errorf("the answer of %s broke off: %w", r.URL.Host, err)}
	}
	var answer callsAnswer
	if err := json.Unmarshal(text, &answer); err != nil {
		return 0, fmt.Errorf("%s answers %s but not as Tallyhook does: name the address where a node takes postbacks with --listen", r.URL.Host, resp.Status)
	}
	if answer.Accepted+answer.Rejected == len(m.lines) {
		m.take(&answer)
		return 0, nil
	}
	return m.refused(resp, &answer)
}

func (m *importer) refused(resp *http.Response, answer *callsAnswer) (wait time.Duration, err error) {
	err = fmt.Errorf("%s answers %s: %s", resp.Request.URL.Host, resp.Status, answer.Message)
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return 0, fmt.Errorf("%s does not know the key in %s: name the node's own key with --admin-key-file, or its folder with --data", resp.Request.URL.Host, m.app.opt.AdminKeyFile)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if s, perr := strconv.Atoi(resp.Header.Get("Retry-After")); perr == nil && s > 0 {
			wait = time.Duration(s) * time.Second
		}
		return wait, &retryable{err}
	}
	return 0, err
}

// take counts an answer. Its lines are those of the batch.
func (m *importer) take(answer *callsAnswer) {
	m.accepted += answer.Accepted
	for _, r := range answer.Errors {
		if r.Line >= 1 && r.Line <= len(m.lines) {
			r.Line = m.lines[r.Line-1]
		}
		m.reject(r)
	}
	m.rejected += max(answer.Rejected-len(answer.Errors), 0) // the intake lists only so many
}

// imported is the summary of an import.
type imported struct {
	Calls      int         `json:"calls"`
	Accepted   int         `json:"accepted"`
	Rejected   int         `json:"rejected"`
	Errors     []rejection `json:"errors"` // the first ones
	ResumeFrom int         `json:"resume_from,omitempty"`
	DryRun     bool        `json:"dry_run,omitempty"`
	Seconds    float64     `json:"seconds"`
}

// conclude tells how it went; err is what stopped it, if anything did.
func (m *importer) conclude(err error) error {
	took := time.Since(m.begun)
	s := imported{Calls: m.seen, Accepted: m.accepted, Rejected: m.rejected, Errors: m.shown, DryRun: m.cmd.DryRun, Seconds: took.Seconds()}
	if s.Errors == nil {
		s.Errors = []rejection{}
	}
	if err != nil {
		s.ResumeFrom = max(m.done+1, m.cmd.ResumeFrom)
	}
	if m.cmd.JSON {
		if jerr := m.app.printJSON(s); jerr != nil {
			return jerr
		}
	} else {
		if more := m.rejected - len(m.shown); more > 0 {
			fmt.Fprintf(m.app.errOut, "and %s more rejected\n", plural(int64(more), "line"))
		}
		word := "accepted"
		if m.cmd.DryRun {
			word = "good"
		}
		fmt.Fprintf(m.app.out, "%s: %s %s, %s rejected, in %s\n", plural(int64(m.seen), "call"), count(int64(m.accepted)), word, count(int64(m.rejected)), took.Round(10*time.Millisecond))
	}
	switch {
	case err != nil && m.done > 0:
		return fmt.Errorf("%w; go on with --resume-from %d", err, s.ResumeFrom)
	case err != nil:
		return err
	case m.rejected > 0:
		return fmt.Errorf("of %s, %s rejected", plural(int64(m.seen), "call"), count(int64(m.rejected)))
	case m.seen == 0:
		return errors.New("the file holds no calls")
	}
	return nil
}
