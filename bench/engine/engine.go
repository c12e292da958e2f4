//go:build linux

// Package engine puts the ClickHouse engine, a library, behind ClickHouse's
// HTTP interface, for tests: clickhouse-go over HTTP cannot tell it from a
// server as far as it goes. What it does not have is whatever a cluster, a
// second query at the same time or the native protocol would need.
//
//	POST /?query=…&database=…&setting=value&param_name=value
//	     compress=1       the answer comes in LZ4 or ZSTD frames
//	     decompress=1     so does the body
//	     client_protocol_version=54460   how to write Native blocks
//	GET  /ping
//
// The engine runs one query at a time: the others wait, QueueMax of them, and
// an answer is in memory as a whole before its first byte is sent. A query that
// runs cannot be stopped by its client's going away; the setting
// max_execution_time does it. There are no sessions, no query_log, and what is
// dropped is gone but its files stay.
package engine

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
)

// Config says how a Server serves.
type Config struct {
	Scratch        string // folder for the data of an INSERT while it runs; "" is the system's temporary folder
	User, Password string // both empty: everybody may do everything
	BodyBytesMax   int64  // of a request, before and after decompression; 0 is 512 MiB
}

const bodyBytesMaxDefault = 512 << 20

// Server is the HTTP interface to one Library.
type Server struct {
	library  *Library
	cfg      Config
	database string // which the engine's connection is in; only its thread looks
}

// NewServer makes a handler that is the library's only user.
func NewServer(library *Library, cfg Config) *Server {
	if cfg.BodyBytesMax == 0 {
		cfg.BodyBytesMax = bodyBytesMaxDefault
	}
	return &Server{library: library, cfg: cfg, database: defaultDatabase}
}

const defaultDatabase = "default"

// Codes of ClickHouse's own for what this server finds.
const (
	codeSyntax         = 62
	codeTooMany        = 202
	codeNotImplemented = 48
	codeBadRequest     = 36
	codeAuthentication = 516
)

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/ping" || r.Method == http.MethodGet && r.URL.RawQuery == "" {
		_, _ = fmt.Fprintln(w, "Ok.")
		return
	}
	if !s.authenticated(r) {
		fail(w, http.StatusForbidden, exception(codeAuthentication, "Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)"))
		return
	}
	q, err := readRequest(w, r, s.cfg.BodyBytesMax)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	answer, err := s.run(r.Context(), q)
	if err != nil {
		status := http.StatusInternalServerError
		if errors.Is(err, ErrBusy) {
			status, err = http.StatusServiceUnavailable, exception(codeTooMany, err.Error()+". (TOO_MANY_SIMULTANEOUS_QUERIES)")
		}
		fail(w, status, err)
		return
	}
	if answer, err = q.encode(answer); err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("X-ClickHouse-Format", q.format)
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer) // a client that has gone needs no answer
}

// run runs one statement in its database with its settings.
func (s *Server) run(ctx context.Context, q *request) (answer []byte, err error) {
	text := q.statement.text
	if len(q.statement.data) > 0 {
		path, err := s.store(q.statement.data)
		if err != nil {
			return nil, err
		}
		defer os.Remove(path)
		text = q.statement.fromFile(path)
	}
	err = s.library.Do(ctx, func(query Query) error {
		if q.database != s.database {
			if _, err := query(Statement{Text: []byte("USE " + quoteName(q.database))}); err != nil {
				return err
			}
			s.database = q.database
		}
		if err := assign(query, q.settings, quoteText); err != nil {
			return errors.Join(err, reset(query, q.settings))
		}
		answer, err = query(Statement{Text: text, Format: q.format, Parameters: q.parameters})
		if err == nil && len(answer) == 0 {
			q.describe(query)
		}
		// Over HTTP nothing that a statement says of the connection outlives it.
		if useWord.Match(text) {
			s.database = ""
		}
		return errors.Join(err, reset(query, q.settings), reset(query, settingsOf(text)))
	})
	return answer, err
}

// store writes the data of an INSERT to a file for the engine.
func (s *Server) store(data []byte) (path string, err error) {
	f, err := os.CreateTemp(s.cfg.Scratch, "insert-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func assign(query Query, settings map[string]string, value func(string) string) error {
	if len(settings) == 0 {
		return nil
	}
	list := make([]string, 0, len(settings))
	for name, v := range settings {
		list = append(list, name+" = "+value(v))
	}
	sort.Strings(list)
	_, err := query(Statement{Text: []byte("SET " + strings.Join(list, ", "))})
	return err
}

// codeUnknownSetting is what the engine says of a setting that it does not have.
const codeUnknownSetting = 115

// reset takes the settings of one request back, since the connection serves
// all: one by one, because an unknown one among them, of which the client
// already hears, must not keep the others.
func reset(query Query, settings map[string]string) error {
	var errs []error
	for name := range settings {
		err := assign(query, map[string]string{name: ""}, func(string) string { return "DEFAULT" })
		var e *Exception
		if errors.As(err, &e) && e.Code == codeUnknownSetting {
			continue
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`").Replace(s) + "`"
}

// authenticated knows the three ways in which clients send a password.
func (s *Server) authenticated(r *http.Request) bool {
	if s.cfg.User == "" && s.cfg.Password == "" {
		return true
	}
	user, password, ok := r.BasicAuth()
	if header := r.Header.Get("X-ClickHouse-User"); !ok && header != "" {
		user, password, ok = header, r.Header.Get("X-ClickHouse-Key"), true
	}
	if parameters := r.URL.Query(); !ok && parameters.Has("user") {
		user, password = parameters.Get("user"), parameters.Get("password")
	}
	return subtle.ConstantTimeCompare([]byte(user), []byte(s.cfg.User))&subtle.ConstantTimeCompare([]byte(password), []byte(s.cfg.Password)) == 1
}

// exception writes an error as the engine itself does.
func exception(code int, text string) *Exception {
	return &Exception{Code: code, Text: fmt.Sprintf("Code: %d. DB::Exception: %s", code, text)}
}

func fail(w http.ResponseWriter, status int, err error) {
	var e *Exception
	if errors.As(err, &e) && e.Code != 0 {
		w.Header().Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.Code))
	}
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, err) // a client that has gone needs no answer
}
