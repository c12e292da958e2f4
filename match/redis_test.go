package match

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

const testPrefix = "th:test:"

// redisOptions are those that production uses: no retries, deadlines count.
func redisOptions(t testing.TB, url string) *redis.Options {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = true, -1, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = 500*time.Millisecond, 5*time.Second, 5*time.Second
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o
}

func redisClient(t testing.TB, url string) *redis.Client {
	t.Helper()
	return closing(t, redis.NewClient(redisOptions(t, url)))
}

func closing[C interface{ Close() error }](t testing.TB, c C) C {
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// each runs f on every server behind client.
func each(t testing.TB, client redis.UniversalClient, f func(context.Context, *redis.Client) error) {
	t.Helper()
	var err error
	if cluster, ok := client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(t.Context(), f)
	} else {
		err = f(t.Context(), client.(*redis.Client))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flush(t testing.TB, client redis.UniversalClient) {
	t.Helper()
	each(t, client, func(ctx context.Context, c *redis.Client) error { return c.FlushAll(ctx).Err() })
}

// age lets time go by for every key.
func age(t testing.TB, client redis.UniversalClient, d time.Duration) {
	t.Helper()
	each(t, client, func(ctx context.Context, c *redis.Client) error {
		for cursor := uint64(0); ; {
			keys, next, err := c.Scan(ctx, cursor, "*", 5000).Result()
			if err != nil {
				return err
			}
			left := make([]*redis.DurationCmd, len(keys))
			if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i, key := range keys {
					left[i] = p.PTTL(ctx, key)
				}
				return nil
			}); err != nil {
				return err
			}
			if _, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
				for i, key := range keys {
					if left[i].Val() < 0 {
						t.Errorf("key %q never expires", key)
					}
					p.PExpire(ctx, key, left[i].Val()-d)
				}
				return nil
			}); err != nil {
				return err
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	})
}

// redisCluster is a cluster of one node, as strict about slots as any.
func redisCluster(t testing.TB) *redis.ClusterClient {
	t.Helper()
	addr, _ := clusterNode(t)
	node := redisClient(t, "redis://"+addr)
	if err := node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	clusterReady(t, node)
	return clusterClient(t, addr)
}

// redisShards is a cluster of three nodes.
func redisShards(t testing.TB) *redis.ClusterClient {
	t.Helper()
	var nodes []*redis.Client
	var addrs []string
	var firstBus string
	for i := range 3 {
		addr, bus := clusterNode(t)
		node := redisClient(t, "redis://"+addr)
		if err := node.ClusterAddSlotsRange(t.Context(), i*5462, min(16383, i*5462+5461)).Err(); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			firstBus = bus
		} else {
			host, port, _ := net.SplitHostPort(addrs[0])
			if err := node.Do(t.Context(), "cluster", "meet", host, port, firstBus).Err(); err != nil {
				t.Fatal(err)
			}
		}
		nodes, addrs = append(nodes, node), append(addrs, addr)
	}
	for _, node := range nodes {
		clusterReady(t, node)
	}
	return clusterClient(t, addrs...)
}

func clusterClient(t testing.TB, addrs ...string) *redis.ClusterClient {
	return closing(t, redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: addrs, ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}))
}

func clusterReady(t testing.TB, node *redis.Client) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		info, err := node.ClusterInfo(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		if infoField("\r\n"+info, "cluster_state") == "ok" && infoField(info, "cluster_slots_ok") == "16384" {
			return
		}
	}
	t.Fatal("the cluster did not come up in 30 s")
}

// clusterNode starts a node without slots; it gives its address, and the port
// on which it talks to other nodes.
func clusterNode(t testing.TB) (addr, bus string) {
	t.Helper()
	program, err := server.Find(t.Context(), server.Redis)
	if errors.Is(err, server.ErrUnavailable) && os.Getenv("CI") != "true" {
		t.Skipf("SKIPPED, REDIS is missing: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 5 { // another process may take a free port first
		port, bus := freePort(t), freePort(t)
		var output bytes.Buffer
		c := exec.Command(program, "--port", port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", bus,
			"--cluster-announce-ip", "127.0.0.1", "--cluster-node-timeout", "2000", "--dir", dir, "--save", "", "--appendonly", "no")
		c.Stdout = &output
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { _ = c.Wait(); close(ended) }()
		addr = "127.0.0.1:" + port
		if answers(t, addr, ended) {
			t.Cleanup(func() {
				_ = c.Process.Kill()
				<-ended
			})
			return addr, bus
		}
		_ = c.Process.Kill()
		<-ended
		t.Logf("a cluster node did not start:\n%s", output.Bytes())
	}
	t.Fatal("no cluster node could be started")
	return "", ""
}

func answers(t testing.TB, addr string, ended <-chan struct{}) bool {
	for range 500 {
		if c, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr); err == nil {
			return c.Close() == nil
		}
		select {
		case <-ended:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
