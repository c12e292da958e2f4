package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
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
