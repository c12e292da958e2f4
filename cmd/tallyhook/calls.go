package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/source"
)

type callsCmd struct {
	Import callsImportCmd `cmd:"" help:"Send a file of calls to a running node."`
	Show   callsShowCmd   `cmd:"" help:"Show a call and what is booked on it."`
}

type callsShowCmd struct {
	CallID string `arg:"" help:"The call's call_id."`
	JSON   bool   `help:"Print JSON."`
}

func (s callsShowCmd) Run(a *app) error {
	return a.withClient(func(c *client) error {
		var raw json.RawMessage
		if err := c.get(a.ctx, "/api/v1/calls/"+url.PathEscape(s.CallID), nil, &raw); err != nil {
			return err
		}
		if s.JSON {
			return a.printJSON(raw)
		}
		return a.printObject(raw)
	})
}

type callsImportCmd struct {
	File       string `arg:"" help:"One call a line as JSON (.ndjson, .jsonl), or CSV with the call's fields as heads (.csv); - is standard input."`
	Format     string `enum:"auto,ndjson,csv" default:"auto" help:"ndjson or csv; by the file's name unless it is given."`
	Batch      int    `default:"1000" help:"Calls sent at once, 1 to 10000."`
	ResumeFrom int    `default:"1" help:"Begin with this line of the file."`
	DryRun     bool   `help:"Only check every line; no node is needed."`
	JSON       bool   `help:"Print the summary as JSON."`
}

// Limits of an import.
const (
	lineBytesMax     = 64 << 10 // of a line, or of a CSV record
	batchBytesMax    = 4 << 20  // of what is sent at once; the intake takes 8 MiB
	batchCallsMax    = 10_000
	rejectsShownMax  = 20
	sendTriesMax     = 8
	retryWaitMax     = time.Minute
	callsAnswerBytes = 1 << 20
)

// callReader gives the lines of a file as JSON calls. line is where a call
// begins, counted from 1; a *lineFault spoils that line alone.
type callReader interface {
	next() (line int, call []byte, err error)
}

// lineFault says what is wrong with one line of a file.
type lineFault struct{ why string }

func (f *lineFault) Error() string { return f.why }

func (i callsImportCmd) Run(a *app) error {
	if i.Batch < 1 || i.Batch > batchCallsMax {
		return usagef("--batch %d: want 1 to %d", i.Batch, batchCallsMax)
	}
	if i.ResumeFrom < 1 {
		return usagef("--resume-from %d: lines are counted from 1", i.ResumeFrom)
	}
	f, size, err := openCalls(i.File)
	if err != nil {
		return err
	}
	defer f.Close()
	counted := &countingReader{r: f}
	lines, err := i.reader(counted)
	if err != nil {
		return fmt.Errorf("%s: %w", i.File, err)
	}
	m := &importer{app: a, cmd: i, read: counted, size: size, first: true, bar: a.newProgress("calls import", "bytes")}
	if !i.DryRun {
		if m.key, err = readAdminKey(a.opt.AdminKeyFile); err != nil {
			return err
		}
		m.url = "http://" + reachable(a.opt.Listen) + "/v1/calls"
		m.http = &http.Client{Timeout: answerTimeMax, Transport: &http.Transport{},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		defer m.http.CloseIdleConnections()
	}
	err = m.run(a.ctx, lines)
	m.bar.end()
	return m.conclude(err)
}

func openCalls(path string) (f io.ReadCloser, size int64, err error) {
	if path == "-" {
		return io.NopCloser(os.Stdin), 0, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return file, size, nil
}

func (i *callsImportCmd) reader(r io.Reader) (callReader, error) {
	format := i.Format
	if format == "auto" {
		switch strings.ToLower(filepath.Ext(i.File)) {
		case ".csv":
			format = "csv"
		case ".ndjson", ".jsonl", ".json":
			format = "ndjson"
		default:
			return nil, usagef("its name does not say what it is: add --format ndjson or --format csv")
		}
	}
	if format == "csv" {
		return newCSVCalls(r)
	}
	return &jsonCalls{lines: newLineReader(r)}, nil
}

// countingReader counts what was read, for the progress.
type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

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
			fmt.Fprintf(m.app.errOut, "and %s more lines were rejected\n", count(int64(more)))
		}
		word := "accepted"
		if m.cmd.DryRun {
			word = "good"
		}
		fmt.Fprintf(m.app.out, "%s calls: %s %s, %s rejected, in %s\n", count(int64(m.seen)), count(int64(m.accepted)), word, count(int64(m.rejected)), took.Round(10*time.Millisecond))
	}
	switch {
	case err != nil && m.done > 0:
		return fmt.Errorf("%w; go on with --resume-from %d", err, s.ResumeFrom)
	case err != nil:
		return err
	case m.rejected > 0:
		return fmt.Errorf("%s of %s calls were rejected", count(int64(m.rejected)), count(int64(m.seen)))
	case m.seen == 0:
		return errors.New("the file holds no calls")
	}
	return nil
}
