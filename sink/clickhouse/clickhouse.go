// Package clickhouse keeps activity in ClickHouse: it ships the verdict log
// there, and asks it.
//
// A Shipper reads verdicts from the primary store in order of change_seq and
// inserts them in ranges that are persisted before they are sent (shipper.go,
// term.go), so that a range whose answer was lost is looked for, and sent
// again as it was. One process of all that share a store ships at a time
// (lock.go). A Server is the other end: its schema (migrations/), inserts
// (insert.go), questions of analysts (query.go) and the comparison of both
// sides (compare.go). Tables and views are described in docs/analytics.md.
package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	driver "github.com/ClickHouse/clickhouse-go/v2"
)

// What one Server uses of the other side.
const (
	connsMax       = 4
	dialTimeMax    = 5 * time.Second
	statementTime  = 30 * time.Second // of one statement that is not a Query
	insertTimeMax  = 60 * time.Second
	faultTextBytes = 400
)

// Server is one ClickHouse database. It is safe for concurrent use and
// connects when it is first asked something.
type Server struct {
	conn driver.Conn
	host string // to name it in errors: no credentials
}

// Open reads url and gives its Server, without connecting:
//
//	clickhouse://user:password@host:9000/database?secure=true    native protocol
//	http://user:password@host:8123/database, https://…           HTTP
//
// Several hosts stand separated by commas and are tried in order. Parameters
// are those of clickhouse-go: dial_timeout, read_timeout, compress, and any
// setting of the server.
func Open(url string) (*Server, error) {
	o, err := parseURL(url)
	if err != nil {
		return nil, err
	}
	conn, err := driver.Open(o)
	if err != nil {
		return nil, fmt.Errorf("activity %s: %s", hostOf(o), faultText(err))
	}
	return &Server{conn: conn, host: hostOf(o)}, nil
}

// parseURL reads a URL into the driver's options. Errors never show more of it
// than its scheme.
func parseURL(text string) (*driver.Options, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	switch {
	case !ok || (scheme != "clickhouse" && scheme != "http" && scheme != "https"):
		return nil, errors.New("activity: want clickhouse://HOST:9000/DATABASE, http://HOST:8123/DATABASE or https://HOST:8443/DATABASE")
	case rest == "" || strings.HasPrefix(rest, "/"):
		return nil, fmt.Errorf("activity %s://…: it names no host", scheme)
	}
	if scheme == "https" && !strings.Contains(text, "secure=") {
		sep := "?"
		if strings.Contains(text, "?") {
			sep = "&"
		}
		text += sep + "secure=true"
	}
	o, err := driver.ParseDSN(text)
	if err != nil {
		return nil, fmt.Errorf("activity %s://…: it cannot be read as a URL: %s", scheme, faultText(err))
	}
	if o.Auth.Database == "" {
		o.Auth.Database = "default"
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = dialTimeMax
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = insertTimeMax
	}
	if o.MaxOpenConns == 0 {
		o.MaxOpenConns = connsMax
	}
	if o.Compression == nil {
		o.Compression = &driver.Compression{Method: driver.CompressionLZ4}
	}
	o.ClientInfo.Products = append(o.ClientInfo.Products, struct{ Name, Version string }{"tallyhook", ""})
	return o, nil
}

func hostOf(o *driver.Options) string {
	return strings.Join(o.Addr, ",") + "/" + o.Auth.Database
}

// Host names the server and its database, without credentials.
func (s *Server) Host() string { return s.host }

// Close ends every connection.
func (s *Server) Close() error { return s.conn.Close() }

// Ping asks whether the server answers.
func (s *Server) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeMax)
	defer cancel()
	var one uint8
	return s.row(ctx, "ping", "SELECT 1", &one)
}

// exec runs one statement that gives no rows.
func (s *Server) exec(ctx context.Context, doing, text string) error {
	ctx, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	return s.fault(doing, s.conn.Exec(ctx, text))
}

// row runs one statement that gives one row and reads it.
func (s *Server) row(ctx context.Context, doing, text string, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	return s.fault(doing, s.conn.QueryRow(ctx, text).Scan(into...))
}

// rows runs one statement and hands each of its rows to scan.
func (s *Server) rows(ctx context.Context, doing, text string, scan func(func(...any) error) error) error {
	ctx, cancel := context.WithTimeout(ctx, statementTime)
	defer cancel()
	rows, err := s.conn.Query(ctx, text)
	if err != nil {
		return s.fault(doing, err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows.Scan); err != nil {
			return s.fault(doing, err)
		}
	}
	return s.fault(doing, rows.Err())
}

// Fault is what ClickHouse, or the way there, had against something. Its text
// holds no credentials.
type Fault struct {
	Host  string
	Doing string
	Code  int32 // of ClickHouse's exception, 0 when none came
	Text  string
	err   error
}

func (f *Fault) Error() string {
	return fmt.Sprintf("clickhouse %s: %s: %s", f.Host, f.Doing, f.Text)
}

func (f *Fault) Unwrap() error { return f.err }

// fault wraps err, nil stays nil.
func (s *Server) fault(doing string, err error) error {
	if err == nil {
		return nil
	}
	var known *Fault
	if errors.As(err, &known) {
		return err
	}
	f := &Fault{Host: s.host, Doing: doing, Text: faultText(err), err: err}
	if e := exceptionOf(err); e != nil {
		f.Code = e.Code
	}
	return f
}

func exceptionOf(err error) *driver.Exception {
	var e *driver.Exception
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// faultText says what happened in one line. Errors of net/url and net/http
// carry the whole URL, so only what they wrap is told.
func faultText(err error) string {
	var text string
	var inURL *url.Error
	var inNet *net.OpError
	switch e := exceptionOf(err); {
	case e != nil:
		text = fmt.Sprintf("%s (code %d)", e.Message, e.Code)
	case errors.As(err, &inNet):
		text = inNet.Error()
	case errors.As(err, &inURL):
		text = inURL.Err.Error()
	default:
		text = err.Error()
	}
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if len(text) > faultTextBytes {
		text = strings.ToValidUTF8(text[:faultTextBytes], "") + "…"
	}
	return text
}
