package services

import (
	"context"
	"net/url"
	"testing"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

// ClickHouse gives the URL of a new empty database on the shared engine, with
// the scheme http, dropped with the test. The engine runs one query at a time:
// tests wait for each other there.
func ClickHouse(t testing.TB) string {
	t.Helper()
	admin := shared(t, server.ClickHouse)
	database, name := newClickHouseDatabase(t, admin)
	t.Cleanup(func() { queryClickHouse(t, admin, "DROP DATABASE IF EXISTS "+name+" SYNC") })
	return database
}

// OwnClickHouse starts an engine for this test alone; URL is an empty database
// on it. A stop is a kill -9, and a start finds the data again.
func OwnClickHouse(t testing.TB) *Server {
	t.Helper()
	s := own(t, server.ClickHouse, server.Config{})
	s.URL, _ = newClickHouseDatabase(t, s.URL)
	return s
}

func newClickHouseDatabase(t testing.TB, admin string) (database, name string) {
	t.Helper()
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("%s cannot be read; write http://user:password@host:port/database", server.ClickHouse.Variable())
	}
	name = newName()
	queryClickHouse(t, admin, "CREATE DATABASE "+name)
	u.Path = "/" + name
	return u.String(), name
}

func queryClickHouse(t testing.TB, admin, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTimeout)
	defer cancel()
	if _, err := server.QueryClickHouse(ctx, admin, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
