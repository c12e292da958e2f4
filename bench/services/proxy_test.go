package services_test

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
)

// through opens a client behind a proxy, with one connection made.
func through(t *testing.T) (*services.Server, *services.Proxy, string, *redis.Client) {
	t.Helper()
	s := services.Redis(t)
	rawURL, p := services.Through(t, s.URL)
	client := dialRedis(t, rawURL)
	if err := client.Set(within(t, patience), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	return s, p, rawURL, client
}

// works asks on a new connection and on an old one, which may be broken once.
func works(t *testing.T, rawURL string, old *redis.Client) {
	t.Helper()
	_ = old.Ping(within(t, patience)).Err()
	for _, client := range []*redis.Client{old, dialRedis(t, rawURL)} {
		if v, err := client.Get(within(t, patience), "k").Result(); v != "v" || err != nil {
			t.Fatalf("%q, %v after the fault", v, err)
		}
	}
}

func TestProxyDownBreaksAndRefuses(t *testing.T) {
	_, p, rawURL, client := through(t)
	p.Down()
	p.Down()
	if err := client.Get(within(t, patience), "k").Err(); err == nil {
		t.Fatal("an answer through a proxy that is down")
	}
	if err := dialRedis(t, rawURL).Ping(within(t, patience)).Err(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("a new connection: %v, want refused", err)
	}
	p.Clear()
	if err := dialRedis(t, rawURL).Ping(within(t, patience)).Err(); err == nil {
		t.Fatal("Clear brought the proxy up")
	}
	p.Up()
	p.Up()
	works(t, rawURL, client)
}

func TestProxySlowDelaysAnswers(t *testing.T) {
	s, p, rawURL, client := through(t)
	p.Slow(60_000)
	for name, c := range map[string]*redis.Client{"old": client, "new": dialRedis(t, rawURL)} {
		var late net.Error
		if err := c.Incr(within(t, moment), "n").Err(); !errors.As(err, &late) || !late.Timeout() {
			t.Fatalf("%s connection: %v, want no answer in time", name, err)
		}
	}
	if v, err := dialRedis(t, s.URL).Get(within(t, patience), "n").Result(); v == "" || err != nil {
		t.Fatalf("the request did not arrive: %q, %v", v, err)
	}
	p.Slow(1)
	works(t, rawURL, client)
	p.Clear()
	works(t, rawURL, client)
}

// A reset and a cut lose the answer, not the request: that is what makes an
// outcome unknown.
func TestProxyResetAndCutLoseTheAnswerOnly(t *testing.T) {
	for name, fault := range map[string]func(*services.Proxy){
		"reset":        (*services.Proxy).Reset,
		"cut at once":  func(p *services.Proxy) { p.Cut(0) },
		"cut half-way": func(p *services.Proxy) { p.Cut(2) },
	} {
		t.Run(name, func(t *testing.T) {
			s, p, rawURL, client := through(t)
			fault(p)
			if v, err := client.Incr(within(t, patience), "old").Result(); err == nil {
				t.Fatalf("answer %d", v)
			}
			direct := dialRedis(t, s.URL)
			if n, err := direct.Get(within(t, patience), "old").Int(); n != 1 || err != nil {
				t.Fatalf("the request was carried out %d times, %v; want once", n, err)
			}
			p.Clear()
			works(t, rawURL, client)
		})
	}
}

func TestProxyResetIsAReset(t *testing.T) {
	_, p, _, _ := through(t)
	p.Reset()
	conn, err := net.Dial("tcp", p.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("%v, want a reset", err)
	}
}

func TestProxySilenceKeepsConnectionsOpen(t *testing.T) {
	_, p, rawURL, client := through(t)
	p.Silence()
	ctx, cancel := context.WithTimeout(t.Context(), moment)
	defer cancel()
	var late net.Error
	if err := client.Get(ctx, "k").Err(); !errors.As(err, &late) || !late.Timeout() {
		t.Fatalf("%v, want no answer in time", err)
	}
	p.Clear()
	works(t, rawURL, client)
}
