package faults

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
)

// rebuildMax bounds how long the index may take to be whole again.
const rebuildMax = time.Minute

// CacheForgets makes Redis forget under load: everything at once, by a restart,
// and not answer for three seconds. No postback is matched wrongly; what was
// parked meanwhile is matched; the index becomes whole again.
func CacheForgets(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	w.startNodes(2)
	w.drive()
	w.pause(size.Calm)
	client := w.redis(w.index.Server)
	w.phase("index forgets")
	for range size.Rounds {
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		w.pause(size.Pause)
	}
	w.wholeIndex()
	w.index.Stop()
	w.pause(size.Pause)
	w.index.Start()
	w.pause(size.Fault)
	w.index.Freeze()
	w.pause(3 * time.Second)
	w.index.Thaw()
	w.tookIn(w.phase("after"))
	w.says("index", false, recoverMax)
	w.wholeIndex()
	w.caughtUp()
	w.judge()
}

// CacheFailsOver fails over to a replica that has lost the last seconds.
func CacheFailsOver(t testing.TB, bin string, size Size) {
	w := newWorld(t, bin, size)
	relay := newRelay(t, hostOf(t, w.index.URL))
	w.index.url = withHost(t, w.index.URL, relay.addr)
	replica := services.Redis(t)
	follower := w.redis(replica)
	w.follow(follower, w.redis(w.index.Server))
	w.startNodes(2)
	w.drive()
	w.pause(size.Calm)
	w.phase("failover")
	if err := follower.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil { // from here on it loses
		t.Fatal(err)
	}
	w.pause(max(min(size.Fault, 5*time.Second), 2*time.Second))
	w.index.Stop()
	relay.turn(hostOf(t, replica.URL))
	w.pause(size.Fault)
	w.tookIn(w.phase("after"))
	w.says("index", false, recoverMax)
	w.wholeIndex()
	w.caughtUp()
	w.judge()
}

func (w *world) redis(s *services.Server) *redis.Client {
	w.Helper()
	options, err := redis.ParseURL(s.URL)
	if err != nil {
		w.Fatal(err)
	}
	client := redis.NewClient(options)
	w.Cleanup(func() { _ = client.Close() }) // nothing is written any more
	return client
}

// follow makes a Redis the replica of another.
func (w *world) follow(follower, primary *redis.Client) {
	w.Helper()
	if err := primary.ConfigSet(w.Context(), "repl-diskless-sync-delay", "0").Err(); err != nil {
		w.Fatal(err)
	}
	host, port, err := net.SplitHostPort(primary.Options().Addr)
	if err != nil {
		w.Fatal(err)
	}
	if err := follower.ReplicaOf(w.Context(), host, port).Err(); err != nil {
		w.Fatal(err)
	}
	w.until(readyMax, "the replica follows", func(ctx context.Context) error {
		info, err := follower.Info(ctx, "replication").Result()
		if err == nil && !strings.Contains(info, "master_link_status:up") {
			err = errors.New("its link is down")
		}
		return err
	})
}

// wholeIndex waits until every node finds the index to hold the whole window.
func (w *world) wholeIndex() {
	w.Helper()
	w.until(rebuildMax, "the index is whole", func(ctx context.Context) error {
		for _, m := range w.living() {
			metrics, err := m.api.Metrics(ctx)
			if err != nil {
				return err
			}
			if metrics["tallyhook_index_complete"] != 1 {
				return fmt.Errorf("%s: it is not", m.name)
			}
		}
		return nil
	})
}
