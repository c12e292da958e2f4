package services

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

// Postgres gives the URL of a new empty database on the shared server, dropped
// with the test, connections or not. Its user owns the database and may create
// roles and databases, but is no superuser. Roles belong to the whole server:
// two tests that create the same one meet.
func Postgres(t testing.TB) string {
	t.Helper()
	admin := shared(t, server.Postgres)
	database, name := newDatabase(t, admin, emptyDatabase)
	t.Cleanup(func() { dropDatabase(t, admin, name) })
	return database
}

// emptyDatabase is what a new database is a copy of.
const emptyDatabase = "template1"

// OwnPostgres starts a PostgreSQL server for this test alone; URL is an empty
// database on it, as Postgres gives one. Its commits are synced to disk.
func OwnPostgres(t testing.TB) *Server {
	t.Helper()
	s := own(t, server.Postgres, server.Config{Durable: true})
	s.URL, _ = newDatabase(t, s.URL, emptyDatabase)
	return s
}

// ownerName is the user that every test database of a server belongs to: one
// for all, because since PostgreSQL 16 a role can be changed only by the one
// that created it, and tests share roles.
const ownerName = "tallyhook_test"

// ownerPassword follows from the administrator's, so that test processes which
// do not know of each other agree on it.
func ownerPassword(admin *url.URL) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(ownerName+"\n"+admin.User.String())))[:32]
}

// newDatabase makes a copy of a database on the server that admin, a URL, leads
// to.
func newDatabase(t testing.TB, admin, of string) (database, name string) {
	t.Helper()
	u, err := url.Parse(admin)
	if err != nil {
		t.Fatalf("%s cannot be read; write postgres://user:password@host:port/database", server.Postgres.Variable())
	}
	name = newName()
	password := ownerPassword(u)
	asAdmin(t, admin, func(ctx context.Context, conn *pgx.Conn) error {
		if err := makeOwner(ctx, conn, password); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER "+ownerName+" TEMPLATE "+of)
		return err
	})
	u.User, u.Path = url.UserPassword(ownerName, password), "/"+name
	return u.String(), name
}

// dropDatabase ends a database, connections or not.
func dropDatabase(t testing.TB, admin, name string) {
	t.Helper()
	asAdmin(t, admin, func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		return err
	})
}

// makeOwner creates the owner unless it is there. An administrator who is no
// superuser must be a member of it to give it a database.
func makeOwner(ctx context.Context, conn *pgx.Conn, password string) error {
	var there bool
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", ownerName).Scan(&there); there || err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "CREATE ROLE "+ownerName+" LOGIN CREATEROLE CREATEDB ROLE CURRENT_USER PASSWORD '"+password+"'")
	var refused *pgconn.PgError
	if errors.As(err, &refused) && (refused.Code == "42710" || refused.Code == "23505") {
		return nil // another test was faster
	}
	return err
}

// asAdmin runs f on a connection of its own. It works in a clean-up too, when
// the test's context has ended.
func asAdmin(t testing.TB, admin string, f func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, admin)
	if err != nil {
		t.Fatalf("connect as administrator: %v", err)
	}
	defer conn.Close(ctx)
	if err := f(ctx, conn); err != nil {
		t.Fatalf("as administrator: %v", err)
	}
}
