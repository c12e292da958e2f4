package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tallyhook/tallyhook/console"
	"github.com/tallyhook/tallyhook/sink"
	"github.com/tallyhook/tallyhook/sink/clickhouse"
	"github.com/tallyhook/tallyhook/store"
)

// Limits of asking the admin API.
const (
	dialTimeMax    = 3 * time.Second
	answerTimeMax  = console.RequestTimeMax + 10*time.Second
	answerBytesMax = 64 << 20
	keyBytesMax    = 4096
)

// client asks the admin API: that of a running node or, when none runs, that
// of a console in this process which stands on the store alone.
//
//	command ──► client ──HTTP──► node ────► console ──► store
//	               └─────HTTP──► console in this process ──┘
type client struct {
	http    *http.Client
	addr    string // host:port
	key     string
	keyFile string
	closers []func() error
}

// connect finds who answers the admin API. It is closed by its caller.
func (a *app) connect() (*client, error) {
	addr := reachable(a.opt.Admin)
	silent := probe(a.ctx, addr)
	if silent == nil {
		return a.newClient(addr)
	}
	if err := a.ctx.Err(); err != nil {
		return nil, err
	}
	if !onThisMachine(a.ctx, addr) || !errors.Is(silent, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("no node can be reached at %s (%w): start it with \"tallyhook serve\", or name its address with --admin", addr, silent)
	}
	if err := a.heldByNode(addr); err != nil {
		return nil, err
	}
	return a.connectStore(addr)
}

// probe tells why nothing can be reached at addr, nil when something listens.
func probe(ctx context.Context, addr string) error {
	d := net.Dialer{Timeout: dialTimeMax}
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

// onThisMachine tells whether a node at addr would run here: only then may the
// store of the data folder stand in for it.
func onThisMachine(ctx context.Context, addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	found, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false
	}
	own, _ := net.InterfaceAddrs() // none known: loopback still is
	for _, f := range found {
		if f.IP.IsLoopback() {
			return true
		}
		for _, o := range own {
			if n, ok := o.(*net.IPNet); ok && n.IP.Equal(f.IP) {
				return true
			}
		}
	}
	return false
}

func (a *app) newClient(addr string) (*client, error) {
	key, err := readAdminKey(a.opt.AdminKeyFile)
	if err != nil {
		return nil, err
	}
	return &client{
		http: &http.Client{
			// No proxy, no redirect: the key goes to the address that was named.
			Transport:     &http.Transport{DialContext: (&net.Dialer{Timeout: dialTimeMax}).DialContext, ResponseHeaderTimeout: answerTimeMax},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		addr: addr, key: key, keyFile: a.opt.AdminKeyFile,
	}, nil
}

// readAdminKey reads the key of the admin API. Nothing that it holds is ever
// repeated in an error.
func readAdminKey(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("admin key file %s is missing: the first start of a node makes it; name that node's folder with --data, or the file with --admin-key-file", path)
	}
	if err != nil {
		return "", fmt.Errorf("admin key: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, keyBytesMax+1))
	if err != nil {
		return "", fmt.Errorf("admin key: %w", err)
	}
	key := strings.TrimSpace(string(text))
	if key == "" || len(text) > keyBytesMax || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("admin key file %s does not hold a key: want one line of printable characters, as the first start of a node writes it", path)
	}
	return key, nil
}

// connectStore serves the admin API from the store in this process, on a
// loopback port of its own, for the life of the command.
func (a *app) connectStore(tried string) (_ *client, err error) {
	if err := storeFile(a.opt.Store); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no node answers at %s and there is no store at %s: start a node with \"tallyhook serve\", or name its folder with --data", tried, strings.TrimPrefix(a.opt.Store, "sqlite:"))
	} else if err != nil {
		return nil, fmt.Errorf("no node answers at %s and the store cannot be looked at: %w", tried, err)
	}
	var closers []func() error
	defer func() {
		if err != nil {
			err = errors.Join(append([]error{err}, closeAll(closers)...)...)
		}
	}()
	db, err := store.Open(a.ctx, a.opt.Store)
	if err != nil {
		return nil, err
	}
	closers = append(closers, db.Close)
	seal, err := store.LoadSeal(a.opt.KeyFile, false)
	if err != nil {
		return nil, err
	}
	objects := &store.Objects{DB: db, Seal: seal}
	if err := objects.Check(a.ctx); err != nil {
		return nil, err
	}
	cfg := console.Config{
		Objects: objects, Activity: &sink.Activity{DB: db.Read}, Books: &sink.Books{DB: db.Read}, VerifyDB: db.Read,
		PostbackBase: a.opt.postbackBase(), SignedBase: a.opt.signedBase(), Version: version,
		Log: slog.New(slog.NewTextHandler(a.errOut, &slog.HandlerOptions{Level: slog.LevelError})),
	}
	if a.opt.Activity != "" {
		analysts, err := clickhouse.Open(a.opt.Activity)
		if err != nil {
			return nil, usageError{err}
		}
		closers = append(closers, analysts.Close)
		cfg.Query = analysts.Query
	}
	con, err := console.New(cfg)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(a.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open the store in this process: %w", err)
	}
	srv := con.Server()
	go srv.Serve(l) // ends with Close, whose error is the one that counts
	closers = append(closers, srv.Close)
	c, err := a.newClient(l.Addr().String())
	if err != nil {
		return nil, err
	}
	c.closers = closers
	fmt.Fprintf(a.errOut, "no node answers at %s: working on %s itself\n", tried, strings.TrimPrefix(schemeOf(a.opt.Store), "sqlite:"))
	return c, nil
}

// storeFile looks whether the file of an embedded store is there; a server is
// asked when it is used.
func storeFile(url string) error {
	path, ok := strings.CutPrefix(url, "sqlite:")
	if !ok {
		return nil
	}
	_, err := os.Stat(path)
	return err
}

// close ends what connect began.
func (c *client) close() error {
	c.http.CloseIdleConnections()
	return errors.Join(closeAll(c.closers)...)
}

func closeAll(closers []func() error) (errs []error) {
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errs
}

// apiError is an answer that says no. Its message is a sentence for a person.
type apiError struct {
	Status  int
	Code    string `json:"error"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return e.Message }

// refusedAs tells whether err is an answer of the API with that code.
func refusedAs(err error, code string) bool {
	var e *apiError
	return errors.As(err, &e) && e.Code == code
}

// get asks for path and decodes the answer into out.
func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	return c.ask(ctx, http.MethodGet, path, "", nil, out)
}

// send sends in as JSON and decodes the answer into out, when there is one.
func (c *client) send(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.ask(ctx, method, path, "application/json", body, out)
}

func (c *client) ask(ctx context.Context, method, path, contentType string, body []byte, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerTimeMax)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.addr+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("ask %s: %w", c.addr, err)
	}
	r.Header.Set("Authorization", "Bearer "+c.key)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return c.unanswered(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax+1))
	switch {
	case err != nil:
		return c.unanswered(err)
	case len(text) > answerBytesMax:
		return fmt.Errorf("the answer of %s is larger than %d MiB: ask for less with --limit", c.addr, answerBytesMax>>20)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return c.refused(resp, text)
	case out == nil || len(text) == 0:
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer of %s cannot be read: is it a Tallyhook node of this version? %w", c.addr, err)
	}
	return nil
}

func (c *client) unanswered(err error) error {
	return fmt.Errorf("%s does not answer: %w", c.addr, withoutURL(err))
}

// withoutURL drops the URL that net/http puts before its errors: it may hold a
// caller's number or a token.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func (c *client) refused(resp *http.Response, text []byte) error {
	e := &apiError{Status: resp.StatusCode}
	if err := json.Unmarshal(text, e); err != nil || e.Message == "" {
		return fmt.Errorf("%s answers %s but not as Tallyhook does: name the admin address of a node with --admin", c.addr, resp.Status)
	}
	if e.Code == "key_unknown" {
		e.Message = fmt.Sprintf("%s does not know the key in %s: another node may own that address; name address and folder of one node with --admin and --data, or its key with --admin-key-file",
			c.addr, c.keyFile)
	}
	if e.Code == "not_found" {
		e.Message = inCommands(resp.Request.URL.Path, e.Message)
	}
	return e
}

// lookUps say by the head of a path how to look for what it did not find.
var lookUps = []struct{ path, hint string }{
	{sourcesPath, `"tallyhook source list" lists them`},
	{eventsPath, `"tallyhook activity" lists what is; an id that POST /v1/calls answered is that of a batch of calls and has no verdict: look at a call with "tallyhook calls show CALL_ID"`},
	{heldPath, `"tallyhook held list" lists what is held`},
	{accountsPath, `"tallyhook account list" lists them`},
	{"/api/v1/mappers", `"tallyhook mapper list" lists them`},
	{"/api/v1/keys", `"tallyhook key list" lists them`},
	{"/api/v1/calls/", `"tallyhook calls import" brings calls, "tallyhook query 'SELECT call_id FROM call'" lists them`},
	{"/api/v1/ledger/transfers", `"tallyhook query 'SELECT call_id FROM call'" lists calls`},
}

// inCommands puts commands in place of the requests that the API's message
// about something that is not there advises.
func inCommands(path, message string) string {
	i := slices.IndexFunc(lookUps, func(l struct{ path, hint string }) bool { return strings.HasPrefix(path, l.path) })
	if i < 0 {
		return message
	}
	said := slices.DeleteFunc(strings.Split(message, "; "), func(part string) bool {
		return strings.Contains(part, " /api/v1/") || strings.Contains(part, " /v1/calls")
	})
	return strings.Join(append(said, lookUps[i].hint), "; ")
}
