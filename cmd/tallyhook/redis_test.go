package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tallyhook/tallyhook/bench/services"
)

func TestParseRedisURL(t *testing.T) {
	f := func(text string, want redisURL) {
		t.Helper()
		if want.options == nil {
			want.options = map[string]string{}
		}
		if got, err := parseRedisURL(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s is read as %+v, %v: want %+v", text, got, err, want)
		}
	}
	f("redis://cache", redisURL{safe: "redis://cache", kind: redisSingle, addrs: []string{"cache:6379"}})
	f("redis://cache:7000/3", redisURL{safe: "redis://cache", kind: redisSingle, addrs: []string{"cache:7000"}, db: 3})
	f("redis://[::1]:7000/", redisURL{safe: "redis://::1", kind: redisSingle, addrs: []string{"[::1]:7000"}})
	f("redis://[::1]", redisURL{safe: "redis://::1", kind: redisSingle, addrs: []string{"[::1]:6379"}})
	f("redis://app:s%2Fe%40c:r@cache/0", redisURL{safe: "redis://cache", kind: redisSingle, user: "app", password: "s/e@c:r", addrs: []string{"cache:6379"}})
	f("redis://:a+b@cache", redisURL{safe: "redis://cache", kind: redisSingle, password: "a+b", addrs: []string{"cache:6379"}})
	f("redis://a:b@c@cache", redisURL{safe: "redis://cache", kind: redisSingle, user: "a", password: "b@c", addrs: []string{"cache:6379"}})
	f("rediss://cache?ca=%2Fetc%2Fca.pem&server_name=redis.internal", redisURL{safe: "rediss://cache", kind: redisSingle, tls: true, addrs: []string{"cache:6379"},
		options: map[string]string{"ca": "/etc/ca.pem", "server_name": "redis.internal"}})
	f("redis-sentinel://app:pw@h1,h2:26380/2?master=mymaster", redisURL{safe: "redis-sentinel://h1", kind: redisSentinel, user: "app", password: "pw",
		addrs: []string{"h1:26379", "h2:26380"}, db: 2, options: map[string]string{"master": "mymaster"}})
	f("rediss-sentinel://h1?master=m&password_file=/run/pw", redisURL{safe: "rediss-sentinel://h1", kind: redisSentinel, tls: true, addrs: []string{"h1:26379"},
		options: map[string]string{"master": "m", "password_file": "/run/pw"}})
	f("redis-cluster://h1:6379,h2:6380,[::1]:6381/0", redisURL{safe: "redis-cluster://h1", kind: redisCluster, addrs: []string{"h1:6379", "h2:6380", "[::1]:6381"}})
	f("rediss-cluster://:pw@h1", redisURL{safe: "rediss-cluster://h1", kind: redisCluster, tls: true, password: "pw", addrs: []string{"h1:6379"}})
}

// Whatever is wrong with a URL, the error says what and how to go on, and no
// part of a password, wherever it was put.
func TestOpenRedisRefuses(t *testing.T) {
	dir := t.TempDir()
	empty := writeFile(t, dir, "empty", "\n")
	f := func(text string, want ...string) {
		t.Helper()
		c, err := openRedis(text)
		if err == nil {
			_ = c.Close()
			t.Errorf("%s is taken", text)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: error %q: want one with %q", text, err, w)
			}
		}
		if strings.Contains(err.Error(), "hunter") {
			t.Errorf("%s: error %q tells the password", text, err)
		}
	}
	for _, scheme := range []string{"", "cache:6379", "http://cache", "redis:cache", "redis-://cache", "redis-sentinels://cache", "redisss://cache", "valkey://cache"} {
		f(scheme, "redis URL", "redis-sentinel://")
	}
	f("redis://", "host 1", "want HOST")
	f("redis://:hunter2", "host 1", "want HOST")
	f("redis://app:hunter2", "redis://app: ", "password before an @")
	f("redis://app:hun/ter2@cache", "redis://: ", "percent-encoded", "password_file")
	f("redis://app:hunter?2@cache", "percent-encoded")
	f("redis://app:hunter#2@cache", "percent-encoded")
	f("redis://app:hunter%zz@cache", "%25")
	f("redis://app:@cache", "the password is empty")
	f("redis://hunter2@cache", "redis://cache: ", "a user without a password", ":PASSWORD@")
	f("redis://a:hunter2@::1", "brackets")
	f("redis://cache:0", "1 to 65535")
	f("redis://cache:70000", "1 to 65535")
	f("redis://h1,h2", "several hosts", "redis-cluster://")
	f("redis-cluster://h1,,h2", "host 2")
	f("redis-cluster://h1/1", "database 1", "database 0 only")
	f("redis://cache/zero", "number of a database")
	f("redis://cache/-1", "number of a database")
	f("redis-sentinel://h1/0", "option master is missing", "?master=")
	f("redis://cache?master=m", `"master" is not known`)
	f("redis-sentinel://h1?mastr=m", `"mastr"`, `did you mean "master"?`)
	f("redis://cache?pasword_file=x", `"pasword_file"`, `did you mean "password_file"?`)
	f("redis://cache?password=hunter2", `"password" is not known`, "password_file")
	f("rediss://cache?insecure=1", `"insecure" is not known`, "ca, cert, key, server_name")
	f("redis://cache?ca=x", "option ca is for TLS", "rediss://")
	f("redis-cluster://cache?key=x", "rediss-cluster://")
	f("redis://cache?password_file=", "password_file: want one value")
	f("redis://cache?password_file=a&password_file=b", "password_file: want one value")
	f("redis://cache?password_file=%zz", "percent-encoded")
	f("redis://:hunter2@cache?password_file="+empty, "want one of them")
	f("redis://cache?password_file="+empty, "want one line")
	f("redis://cache?password_file="+writeFile(t, dir, "two", "hunter\n2\n"), "want one line")
	f("redis://cache?password_file="+filepath.Join(dir, "none"), "password_file: ", "none")
	f("redis-sentinel://h1?master=m&sentinel_user=app", "sentinel_password_file")
	f("redis-sentinel://h1?master=m&sentinel_password_file="+empty, "sentinel_password_file: ")
	f("rediss://cache?ca="+empty, "ca: ", "PEM")
	f("rediss://cache?ca="+filepath.Join(dir, "none"), "ca: ")
	f("rediss://cache?cert=a", "cert and key: want both")
	f("rediss://cache?cert="+empty+"&key="+empty, "cert and key: ")
}

// Whatever surrounds a password, reading the URL ends in a list of addresses or
// in an error that does not hold it.
func FuzzParseRedisURL(f *testing.F) {
	f.Add("redis://app", "cache:6379/0")
	f.Add("rediss-sentinel://", "h1,h2/1?master=m&ca=/etc/ca.pem")
	f.Add("redis-cluster://a,b", "[::1]:7000")
	f.Add("redis://cache?x=1", "#")
	f.Add("redis://cache/%zz", "%")
	f.Fuzz(func(t *testing.T, before, after string) {
		u, err := parseRedisURL(before + ":hunter2@" + after)
		if err == nil && len(u.addrs) == 0 {
			t.Errorf("%+v has no address", u)
		}
		if err != nil && strings.Contains(u.safe+err.Error(), "hunter2") && !strings.Contains(before+after, "hunter") {
			t.Errorf("error %s: %v tells the password", u.safe, err)
		}
	})
}

func writeFile(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// opened is a client that ends with the test.
func opened(t *testing.T, rawURL string) redis.UniversalClient {
	t.Helper()
	c, err := openRedis(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// writesAndReads runs what a node runs: single commands, a script, a pipeline
// over keys that a cluster would spread.
func writesAndReads(ctx context.Context, c redis.UniversalClient) error {
	pipe := c.Pipeline()
	for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
		pipe.Set(ctx, key, "1", time.Minute)
		pipe.Eval(ctx, "return redis.call('GET', KEYS[1])", []string{key})
	}
	_, err := pipe.Exec(ctx)
	return err
}

func TestOpenRedisSingle(t *testing.T) {
	server := services.Redis(t)
	plain := opened(t, server.URL)
	if err := writesAndReads(t.Context(), plain); err != nil {
		t.Fatal(err)
	}
	if name, err := plain.ClientGetName(t.Context()).Result(); err != nil || name != "tallyhook" {
		t.Errorf("the client calls itself %q, %v", name, err)
	}
	addr := strings.TrimSuffix(strings.TrimPrefix(server.URL, "redis://"), "/0")
	if err := plain.ConfigSet(t.Context(), "requirepass", "hunter 2@/").Err(); err != nil {
		t.Fatal(err)
	}
	f := func(rawURL, want string) {
		t.Helper()
		err := writesAndReads(t.Context(), opened(t, rawURL))
		if (want == "") != (err == nil) || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter")) {
			t.Errorf("%s: %v, want %q", rawURL, err, want)
		}
	}
	f("redis://:hunter%202%40%2F@"+addr+"/1", "")
	f("redis://default:hunter%202%40%2F@"+addr, "")
	f("redis://"+addr+"?password_file="+writeFile(t, t.TempDir(), "pw", "hunter 2@/\r\n"), "")
	f("redis://:hunter3@"+addr, "WRONGPASS")
	f("redis://"+addr, "NOAUTH")
}

// certificates makes an authority and a certificate of it for "redis.test",
// and gives the names of the files ca, cert and key.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	make := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, []byte) {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if parent == nil {
			parent, parentKey = template, k
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &k.PublicKey, parentKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, k, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	until := time.Now().Add(time.Hour)
	authority, authorityKey, caPEM := make(&x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	_, k, certPEM := make(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "redis"}, NotAfter: until,
		DNSNames: []string{"redis.test"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, authority, authorityKey)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return writeFile(t, dir, "ca.pem", string(caPEM)), writeFile(t, dir, "cert.pem", string(certPEM)), writeFile(t, dir, "key.pem", string(keyPEM))
}

// Over TLS the server must be who it should be, and we show who we are. The
// server's TLS is Go's, in front of a real Redis: not every build has its own.
func TestOpenRedisTLS(t *testing.T) {
	server := services.Redis(t)
	backend := strings.TrimSuffix(strings.TrimPrefix(server.URL, "redis://"), "/0")
	ca, cert, key := certificates(t)
	addr := tlsInFrontOf(t, backend, ca, cert, key)
	f := func(options, want string) {
		t.Helper()
		err := writesAndReads(t.Context(), opened(t, "rediss://"+addr+options))
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", options, err, want)
		}
	}
	f("?ca="+ca+"&cert="+cert+"&key="+key+"&server_name=redis.test", "")
	f("?cert="+cert+"&key="+key+"&server_name=redis.test", "unknown authority")
	f("?ca="+ca+"&cert="+cert+"&key="+key, "certificate")
	f("?ca="+ca+"&cert="+cert+"&key="+key+"&server_name=other.test", "not other.test")
	f("?ca="+ca+"&server_name=redis.test", "certificate required")
}

// tlsInFrontOf listens with TLS, asks for a client's certificate, and passes
// on what it gets to backend.
func tlsInFrontOf(t *testing.T, backend, ca, cert, key string) (addr string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	authority, err := os.ReadFile(ca)
	if err != nil || !pool.AppendCertsFromPEM(authority) {
		t.Fatalf("read the authority: %v", err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go pass(c, backend)
		}
	}()
	return ln.Addr().String()
}

// pass copies between c and backend until either ends.
func pass(c net.Conn, backend string) {
	defer c.Close()
	if c.(*tls.Conn).Handshake() != nil {
		return
	}
	to, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	defer to.Close()
	done := make(chan struct{}, 2)
	for _, ends := range [][2]net.Conn{{c, to}, {to, c}} {
		go func() {
			_, _ = io.Copy(ends[0], ends[1])
			done <- struct{}{}
		}()
	}
	<-done
}
