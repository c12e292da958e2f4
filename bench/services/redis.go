package services

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

// Redis starts a Redis server for this test alone, empty.
//
// When TEST_REDIS_URL names a server, that one is used instead: the test gets
// one of its numbered databases, emptied, and cannot stop or freeze it.
func Redis(t testing.TB) *Server {
	t.Helper()
	if named := os.Getenv(server.Redis.Variable()); named != "" && !keptHere(t, server.Redis, named) {
		return &Server{URL: leaseRedis(t, named), t: t}
	}
	return own(t, server.Redis, server.Config{})
}

// foreign ends a test that wants to stop a server that is not ours.
func (s *Server) foreign(what string) {
	s.t.Helper()
	missing(s.t, server.Redis, "this test wants to "+what+" it, which it must not do to the server of "+server.Redis.Variable()+
		"; unset that, and it starts its own")
}

// keptHere says whether the URL is that of our own shared server, as after
// `eval "$(scripts/services env)"`.
func keptHere(t testing.TB, kind server.Kind, rawURL string) bool {
	t.Helper()
	root, err := server.Root()
	if err != nil {
		t.Fatal(err)
	}
	s, ok, err := server.Kept(root, kind)
	if err != nil {
		t.Fatal(err)
	}
	return ok && s.URL == rawURL
}

// A lease keeps a numbered database of a foreign Redis for one test. It stands
// as a key in database 0, which no test gets, and outlives a test that was
// killed by leaseTime at most.
const (
	leaseDatabases = 15 // 1 to 15, of the 16 that a Redis has by default
	leaseTime      = 30 * time.Minute
	leaseWait      = 5 * time.Minute
	leasePause     = 100 * time.Millisecond
)

// leaseRedis waits for a database that no other test uses and empties it.
func leaseRedis(t testing.TB, rawURL string) string {
	t.Helper()
	options, err := redis.ParseURL(rawURL)
	if err != nil {
		t.Fatalf("%s cannot be read; write redis://[user:password@]host:port/0", server.Redis.Variable())
	}
	options.DB = 0
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() }) // nothing is written any more
	name := newName()
	for end := time.Now().Add(leaseWait); time.Now().Before(end); time.Sleep(leasePause) {
		for db := 1; db <= leaseDatabases; db++ {
			key := fmt.Sprintf("tallyhook-test-lease:%d", db)
			err := client.SetArgs(t.Context(), key, name, redis.SetArgs{Mode: "NX", TTL: leaseTime}).Err()
			if errors.Is(err, redis.Nil) {
				continue
			}
			if err != nil {
				t.Fatalf("lease a database of %s: %v", server.Redis.Variable(), err)
			}
			t.Cleanup(func() { release(t, client, key, name) })
			return emptied(t, options, rawURL, db)
		}
	}
	t.Fatalf("all %d databases of %s are in use by other tests after %s", leaseDatabases, server.Redis.Variable(), leaseWait)
	return ""
}

func release(t testing.TB, client *redis.Client, key, name string) {
	ctx := context.WithoutCancel(t.Context())
	if holder, err := client.Get(ctx, key).Result(); err != nil || holder != name {
		t.Errorf("the lease %s ran out after %s while the test still used the database (%v)", key, leaseTime, err)
		return
	}
	if err := client.Del(ctx, key).Err(); err != nil {
		t.Errorf("give back %s: %v", key, err)
	}
}

// emptied empties a numbered database and gives its URL.
func emptied(t testing.TB, options *redis.Options, rawURL string, db int) string {
	t.Helper()
	of := *options
	of.DB = db
	client := redis.NewClient(&of)
	defer client.Close()
	if err := client.FlushDB(t.Context()).Err(); err != nil {
		t.Fatalf("empty database %d of %s: %v", db, server.Redis.Variable(), err)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatalf("%s cannot be read; write redis://[user:password@]host:port/0", server.Redis.Variable())
	}
	u.Path = fmt.Sprintf("/%d", db)
	return u.String()
}
