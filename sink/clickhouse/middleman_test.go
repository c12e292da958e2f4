package clickhouse_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// middleman stands between a node and ClickHouse and spoils some inserts.
type middleman struct {
	URL string

	mu      sync.Mutex
	spoil   func(insert int, stored bool) fate // asked before and after ClickHouse has it
	inserts int
}

// fate is what becomes of one insert.
type fate int

const (
	passes fate = iota
	breaks      // the connection ends, without an answer
)

// newMiddleman forwards to url, which it keeps otherwise.
func newMiddleman(t testing.TB, to string) *middleman {
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	m := &middleman{spoil: func(int, bool) fate { return passes }}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		insert := 0
		if strings.HasPrefix(r.URL.Query().Get("query"), "INSERT INTO activity_") {
			m.mu.Lock()
			m.inserts++
			insert = m.inserts
			m.mu.Unlock()
		}
		if insert > 0 && m.ask(insert, false) == breaks {
			panic(http.ErrAbortHandler)
		}
		u := *r.URL
		u.Scheme, u.Host = target.Scheme, target.Host
		req, err := http.NewRequest(r.Method, u.String(), bytes.NewReader(body))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		req.Header = r.Header.Clone()
		resp, err := client.Do(req)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || insert > 0 && m.ask(insert, true) == breaks {
			panic(http.ErrAbortHandler)
		}
		for name, values := range resp.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(resp.StatusCode)
		w.Write(answer)
	}))
	t.Cleanup(server.Close)
	mine, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	mine.Path, mine.RawQuery, mine.User = target.Path, target.RawQuery, target.User
	m.URL = mine.String()
	return m
}

// will sets what becomes of inserts from now on; they are counted from 1.
func (m *middleman) will(spoil func(insert int, stored bool) fate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spoil, m.inserts = spoil, 0
}

func (m *middleman) ask(insert int, stored bool) fate {
	m.mu.Lock()
	spoil := m.spoil
	m.mu.Unlock()
	return spoil(insert, stored)
}
