//go:build linux

package engine

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// A server without an engine: what is refused before one is asked.
func TestRefusals(t *testing.T) {
	f := func(cfg Config, r *http.Request, status int, code string) {
		t.Helper()
		w := httptest.NewRecorder()
		NewServer(&Library{calls: make(chan call)}, cfg).ServeHTTP(w, r)
		if got := w.Header().Get("X-ClickHouse-Exception-Code"); w.Code != status || got != code {
			t.Errorf("%s %s: status %d, code %q; want %d, %q: %s", r.Method, r.URL, w.Code, got, status, code, w.Body)
		}
	}
	post := func(query, body string, header ...string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/?"+query, strings.NewReader(body))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	basic := func(user, password string) *http.Request {
		r := post("", "SELECT 1")
		r.SetBasicAuth(user, password)
		return r
	}
	open, locked := Config{}, Config{User: "u", Password: "p"}
	f(open, httptest.NewRequest(http.MethodGet, "/ping", nil), 200, "")
	f(open, httptest.NewRequest(http.MethodGet, "/", nil), 200, "")
	f(open, post("", "SELECT 1"), 503, "202") // nobody takes it: the queue is full
	f(open, basic("anybody", "anything"), 503, "202")
	f(locked, post("", "SELECT 1"), 403, "516")
	f(locked, basic("u", "wrong"), 403, "516")
	f(locked, basic("", ""), 403, "516")
	f(locked, basic("u", "p"), 503, "202")
	f(locked, post("user=u&password=p", "SELECT 1"), 503, "202")
	f(locked, post("", "SELECT 1", "X-ClickHouse-User", "u", "X-ClickHouse-Key", "p"), 503, "202")
	f(open, post("", ""), 400, "62")
	f(open, post("", "-- nothing"), 400, "62")
	f(open, post("", "SELECT 1; SELECT 2"), 400, "62")
	f(open, post("session_id=1", "SELECT 1"), 400, "48")
	f(open, post("", "SELECT 1", "Content-Encoding", "gzip"), 400, "48")
	f(open, post("client_protocol_version=x", "SELECT 1"), 400, "36")
	f(open, post("a%3B=1", "SELECT 1"), 400, "36")
	f(open, post("decompress=1", "no frame, and long enough for the head of one"), 400, "")
	f(Config{BodyBytesMax: 3}, post("", "SELECT 1"), 400, "")
}
