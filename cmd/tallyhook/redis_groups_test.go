package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
	"github.com/tallyhook/tallyhook/bench/services/server"
	"github.com/tallyhook/tallyhook/ingest"
	"github.com/tallyhook/tallyhook/source"
)

const redisWaitMax = time.Minute // for a server to start or a group to agree

// redisProcess is a redis-server of one test, for what services.Redis does not
// start: groups of servers.
type redisProcess struct {
	addr string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// startRedis starts a redis-server on a free port of loopback with settings
// such as "--cluster-enabled", "yes". It ends with the test.
func startRedis(t *testing.T, settings ...string) *redisProcess {
	t.Helper()
	port := freePort(t)
	p := &redisProcess{addr: net.JoinHostPort("127.0.0.1", port)}
	p.cmd = exec.Command("redis-server", append([]string{writeFile(t, t.TempDir(), "redis.conf", ""), "--port", port, "--bind", "127.0.0.1",
		"--dir", t.TempDir(), "--save", "", "--appendonly", "no", "--cluster-port", freePort(t)}, settings...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	awaitRedis(t, p.addr, func() error {
		c, err := net.Dial("tcp", p.addr)
		if err == nil {
			err = c.Close()
		}
		return err
	})
	return p
}

// kill ends the process as a crash would.
func (p *redisProcess) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // killed
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := server.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(port)
}

func awaitRedis(t *testing.T, what string, f func() error) {
	t.Helper()
	for end := time.Now().Add(redisWaitMax); ; time.Sleep(20 * time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain: %v", what, err)
		}
	}
}

// needRedisServer skips the test, or fails it where nothing is skipped, when
// there is no redis-server to start.
func needRedisServer(t *testing.T) {
	t.Helper()
	services.Redis(t)
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("SKIPPED, REDIS is missing: %v", err)
	}
}

// A client of sentinels finds the server, and after its death the one that
// they made its successor.
func TestOpenRedisSentinel(t *testing.T) {
	needRedisServer(t)
	first := startRedis(t, "--requirepass", "hunter2", "--masterauth", "hunter2")
	host, port, err := net.SplitHostPort(first.addr)
	if err != nil {
		t.Fatal(err)
	}
	startRedis(t, "--requirepass", "hunter2", "--masterauth", "hunter2", "--replicaof", host+" "+port)
	sentinel := startRedis(t, "--sentinel", "--requirepass", "sentinels")
	admin := redis.NewClient(&redis.Options{Addr: sentinel.addr, Password: "sentinels", DisableIdentity: true, Protocol: 2})
	defer admin.Close()
	for _, command := range [][]any{
		{"SENTINEL", "MONITOR", "mymaster", host, port, "1"},
		{"SENTINEL", "SET", "mymaster", "auth-pass", "hunter2"},
		{"SENTINEL", "SET", "mymaster", "down-after-milliseconds", "300"},
	} {
		if err := admin.Do(t.Context(), command...).Err(); err != nil {
			t.Fatalf("%v: %v", command, err)
		}
	}
	awaitRedis(t, "the sentinel to know the replica", func() error {
		info, err := admin.Do(t.Context(), "INFO", "sentinel").Text()
		if err == nil && !strings.Contains(info, "status=ok,address="+first.addr+",slaves=1") {
			err = errors.New(info)
		}
		return err
	})
	password := writeFile(t, t.TempDir(), "pw", "sentinels\n")
	nobody := "127.0.0.1:" + freePort(t) // one of several sentinels may be down
	c := opened(t, "redis-sentinel://:hunter2@"+nobody+","+sentinel.addr+"/0?master=mymaster&sentinel_password_file="+password)
	if err := writesAndReads(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	first.kill()
	awaitRedis(t, "the replica to take over", func() error { return writesAndReads(t.Context(), c) })

	wrong := opened(t, "redis-sentinel://:hunter2@"+sentinel.addr+"/0?master=mymaster")
	if err := writesAndReads(t.Context(), wrong); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("without the sentinels' password: %v", err)
	}
}

// A client of a cluster reaches all of its nodes through one of them, and what
// nodes share there stays shared: every command has one key.
func TestOpenRedisCluster(t *testing.T) {
	needRedisServer(t)
	nodes := startCluster(t, 3)
	rawURL := "redis-cluster://127.0.0.1:" + freePort(t) + "," + nodes[1].addr // the first one is down
	c := opened(t, rawURL)
	awaitRedis(t, "the cluster to answer", func() error { return writesAndReads(t.Context(), c) })

	var limiters []*ingest.RedisLimiter
	for range 2 {
		l := ingest.NewRedisLimiter(ingest.RedisLimiterConfig{Client: opened(t, rawURL), Prefix: "th:", Patience: redisWaitMax})
		t.Cleanup(func() { _ = l.Close() })
		awaitRedis(t, "the limiter to share", func() error {
			if s := l.Status(); s.Degraded {
				return errors.New(s.Err)
			}
			return nil
		})
		limiters = append(limiters, l)
	}
	peer, now := netip.MustParseAddr("192.0.2.1"), time.Now()
	for i := range 30 { // keys on every shard
		src, err := source.Compile(source.Spec{ID: fmt.Sprintf("s%d", i), Limits: source.Limits{PerTokenPerMin: 10, PerIPPerMin: 8}})
		if err != nil {
			t.Fatal(err)
		}
		granted := 0
		for j := range 40 {
			if ok, _ := limiters[j%2].Allow(src, peer, now); ok {
				granted++
			}
		}
		// The server's clock goes on meanwhile: one more after 7.5 seconds.
		if granted != 8 && time.Since(now) < 5*time.Second {
			t.Errorf("source %d: %d granted of 8", i, granted)
		}
	}
	for _, l := range limiters {
		if s := l.Status(); s.Degraded || s.Local != 0 {
			t.Errorf("status %+v", s)
		}
	}
}

// startCluster makes one cluster of n servers, each with its part of the slots.
func startCluster(t *testing.T, n int) []*redisProcess {
	t.Helper()
	const slots = 16384
	nodes := make([]*redisProcess, n)
	var admins []*redis.Client
	for i := range nodes {
		nodes[i] = startRedis(t, "--cluster-enabled", "yes", "--cluster-config-file", filepath.Join(t.TempDir(), "nodes.conf"))
		c := redis.NewClient(&redis.Options{Addr: nodes[i].addr, DisableIdentity: true, Protocol: 2})
		t.Cleanup(func() { _ = c.Close() })
		if err := c.ClusterAddSlotsRange(t.Context(), i*slots/n, (i+1)*slots/n-1).Err(); err != nil {
			t.Fatal(err)
		}
		admins = append(admins, c)
	}
	for i, c := range admins[1:] {
		bus, err := admins[i+1].ConfigGet(t.Context(), "cluster-port").Result()
		if err != nil {
			t.Fatal(err)
		}
		host, port, err := net.SplitHostPort(c.Options().Addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := admins[0].Do(t.Context(), "CLUSTER", "MEET", host, port, bus["cluster-port"]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range admins {
		awaitRedis(t, "the cluster to agree", func() error {
			info, err := c.ClusterInfo(t.Context()).Result()
			if err == nil && !(strings.Contains(info, "cluster_state:ok") && strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", n))) {
				err = errors.New(info)
			}
			return err
		})
	}
	return nodes
}
