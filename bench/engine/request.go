//go:build linux

package engine

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/ClickHouse/ch-go/compress"
)

// request is what a client wants.
type request struct {
	statement  statement
	database   string
	format     string // of the answer
	settings   map[string]string
	parameters map[string]string
	revision   uint64          // in which the client reads Native blocks; 0 is the engine's own
	compress   bool            // the answer
	method     compress.Method // of that
	columns    [][2]string     // name and type, where the answer has no rows
}

// words are the URL parameters that are no settings, or whose setting would
// let the engine wait for ever, see withoutSync.
var words = map[string]bool{
	"query": true, "database": true, "default_format": true, "client_protocol_version": true, "compress": true, "decompress": true,
	"user": true, "password": true, "query_id": true, "quota_key": true, "role": true, "stacktrace": true, "buffer_size": true,
	"wait_end_of_query": true, "database_atomic_wait_for_drop_and_detach_synchronously": true, "session_id": true, "session_timeout": true, "session_check": true, "close_session": true,
}

var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func readRequest(w http.ResponseWriter, r *http.Request, bodyBytesMax int64) (*request, error) {
	url := r.URL.Query()
	if url.Has("session_id") {
		return nil, exception(codeNotImplemented, "sessions do not exist here. (NOT_IMPLEMENTED)")
	}
	q := &request{database: url.Get("database"), format: url.Get("default_format"), compress: url.Get("compress") == "1",
		method: compress.LZ4, settings: map[string]string{}, parameters: map[string]string{}}
	if q.database == "" {
		q.database = defaultDatabase
	}
	if q.format == "" {
		q.format = "TabSeparated"
	}
	if revision := url.Get("client_protocol_version"); revision != "" {
		var err error
		if q.revision, err = strconv.ParseUint(revision, 10, 32); err != nil {
			return nil, exception(codeBadRequest, fmt.Sprintf("client_protocol_version %q is no number. (BAD_ARGUMENTS)", revision))
		}
	}
	for name, values := range url {
		if parameter, ok := strings.CutPrefix(name, "param_"); ok {
			q.parameters[parameter] = values[0]
			continue
		}
		if words[name] {
			continue
		}
		if !settingName.MatchString(name) {
			return nil, exception(codeBadRequest, fmt.Sprintf("%q is not the name of a setting. (BAD_ARGUMENTS)", name))
		}
		q.settings[name] = values[0]
	}
	if strings.EqualFold(url.Get("network_compression_method"), "ZSTD") {
		q.method = compress.ZSTD
	}
	body, err := readBody(w, r, url.Get("decompress") == "1", bodyBytesMax)
	if err != nil {
		return nil, err
	}
	return q, q.take([]byte(url.Get("query")), body)
}

// readBody reads and decompresses the body.
func readBody(w http.ResponseWriter, r *http.Request, compressed bool, bytesMax int64) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" {
		return nil, exception(codeNotImplemented, fmt.Sprintf("the content encoding %q does not exist here; use lz4, zstd or none. (NOT_IMPLEMENTED)", encoding))
	}
	var from io.Reader = http.MaxBytesReader(w, r.Body, bytesMax)
	if compressed {
		from = compress.NewReader(from)
	}
	body, err := io.ReadAll(io.LimitReader(from, bytesMax+1))
	if err != nil && !errors.Is(err, io.EOF) { // the frames' reader wraps it
		return nil, fmt.Errorf("read the body: %w", err)
	}
	if int64(len(body)) > bytesMax {
		return nil, fmt.Errorf("the body has more than %d bytes", bytesMax)
	}
	return body, nil
}

// take reads the statement: the URL's, with its data in the body, or the body's.
func (q *request) take(text, body []byte) error {
	if len(text) == 0 {
		text, body = body, nil
	}
	q.statement = cut(text)
	if len(trimSpaceAndComments(q.statement.text)) == 0 {
		return exception(codeSyntax, "Syntax error: Empty query. (SYNTAX_ERROR)")
	}
	if len(q.statement.rest) > 0 {
		return exception(codeSyntax, fmt.Sprintf("Syntax error (Multi-statements are not allowed): %.100q. (SYNTAX_ERROR)", q.statement.rest))
	}
	switch {
	case q.statement.name != "":
		q.statement.data = append(q.statement.data, body...)
	case len(body) > 0: // INSERT … VALUES
		q.statement.text = append(append(q.statement.text, '\n'), body...)
	}
	if m := answerWord.FindSubmatch(q.statement.text); m != nil && !q.statement.insert {
		q.format = string(m[1])
	}
	q.statement.text = withoutSync(q.statement.text)
	return nil
}
