package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/tallyhook/tallyhook/sink"
)

// Limits of one Query on the server, beside those of package sink.
const (
	queryMemoryBytes = 4 << 30
	queryThreads     = 4
)

// invalid is a sink.ErrInvalid whose text is all there is to say.
type invalid struct{ text string }

func (e *invalid) Error() string { return e.text }
func (e *invalid) Unwrap() error { return sink.ErrInvalid }

func invalidf(format string, args ...any) error { return &invalid{fmt.Sprintf(format, args...)} }

// Query runs one statement that only reads, with ClickHouse's own SQL, and
// gives at most rowsMax rows (sink.QueryRowsMax at most). A statement that is
// refused, wrong or too slow is a sink.ErrInvalid with ClickHouse's words;
// when the server cannot be asked, that is a *Fault.
//
// Values are those of sink.Table: decimals and integers beyond 64 bits are
// texts, times are RFC 3339 in UTC, days 2006-01-02, arrays and maps are JSON.
func (s *Server) Query(ctx context.Context, text string, rowsMax int) (*sink.Table, error) {
	if rowsMax < 1 || rowsMax > sink.QueryRowsMax {
		return nil, invalidf("query for %d rows: want 1 to %d", rowsMax, sink.QueryRowsMax)
	}
	text, err := checkQuery(text)
	if err != nil {
		return nil, err
	}
	text += querySettings(rowsMax)
	limited, cancel := context.WithTimeout(ctx, sink.QueryTimeMax+time.Second)
	defer cancel()
	t, err := s.ask(limited, text, rowsMax)
	var fault *Fault
	switch {
	case err == nil:
		return t, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case limited.Err() != nil:
		return nil, tooSlow()
	case errors.As(err, &fault) && fault.Code == codeTimeout:
		return nil, tooSlow()
	case errors.As(err, &fault) && fault.Code != 0 && !serverCodes[fault.Code]:
		return nil, invalidf("query: %s", fault.Text)
	}
	return nil, err
}

func tooSlow() error {
	return invalidf("query: it took longer than %s: narrow it, for example by received_at", sink.QueryTimeMax)
}

// Codes of ClickHouse's exceptions: one that says the statement was too slow,
// and those that are not about the statement.
const codeTimeout = 159

var serverCodes = map[int32]bool{
	81:  true, // the database does not exist
	192: true, // unknown user
	193: true, // wrong password
	194: true, // password required
	202: true, // too many simultaneous queries
	209: true, // socket timeout
	210: true, // network error
	516: true, // authentication failed
}

func (s *Server) ask(ctx context.Context, text string, rowsMax int) (*sink.Table, error) {
	rows, err := s.conn.Query(ctx, text)
	if err != nil {
		return nil, s.fault("query", err)
	}
	defer rows.Close()
	t := &sink.Table{Columns: rows.Columns(), Rows: [][]any{}}
	types := rows.ColumnTypes()
	into, days := make([]any, len(types)), make([]bool, len(types))
	for i, c := range types {
		name := strings.TrimSuffix(strings.TrimPrefix(c.DatabaseTypeName(), "Nullable("), ")")
		days[i] = name == "Date" || name == "Date32"
	}
	bytes := 0
	for rows.Next() {
		for i, c := range types {
			into[i] = reflect.New(c.ScanType()).Interface()
		}
		if err := rows.Scan(into...); err != nil {
			return nil, s.fault("query", err)
		}
		line := make([]any, len(into))
		for i := range into {
			line[i] = plain(reflect.ValueOf(into[i]).Elem())
			if at, ok := line[i].(string); ok && days[i] {
				line[i] = at[:len("2006-01-02")]
			}
			if text, ok := line[i].(string); ok {
				bytes += len(text)
			}
		}
		if len(t.Rows) == rowsMax || bytes > sink.QueryBytesMax {
			t.Truncated = true
			return t, nil
		}
		t.Rows = append(t.Rows, line)
	}
	return t, s.fault("query", rows.Err())
}
