package main

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Kinds of Redis, as their schemes begin without TLS.
const (
	redisSingle   = "redis"
	redisSentinel = "redis-sentinel"
	redisCluster  = "redis-cluster"
)

// redisURL is a URL in parts.
type redisURL struct {
	safe     string // scheme and first host: all of it that may be printed
	kind     string
	tls      bool
	user     string
	password string
	addrs    []string
	db       int
	options  map[string]string
}

// parseRedisURL reads a URL by hand: net/url takes one host, and repeats in
// its errors what it could not read, passwords included.
func parseRedisURL(rawURL string) (u redisURL, err error) {
	u.safe = "redis URL"
	scheme, rest, ok := strings.Cut(rawURL, "://")
	u.kind = strings.Replace(scheme, "rediss", "redis", 1)
	u.tls = u.kind != scheme
	if !ok || !slices.Contains([]string{redisSingle, redisSentinel, redisCluster}, u.kind) {
		return u, errors.New("want redis://HOST:6379/0, redis-sentinel://HOST:26379,…/0?master=NAME or redis-cluster://HOST:6379,…, with rediss for TLS")
	}
	u.safe = scheme + "://"
	authority, rest := rest, ""
	if i := strings.IndexAny(authority, "/?#"); i >= 0 {
		authority, rest = authority[:i], authority[i:]
	}
	if strings.ContainsAny(rest, "@#") {
		return u, errors.New("characters such as / ? # @ in a user or password must be percent-encoded; or put the password into a file and give password_file=FILE")
	}
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		if err := u.login(authority[:i]); err != nil {
			return u, err
		}
		authority = authority[i+1:]
	}
	if err := u.hosts(authority); err != nil {
		return u, err
	}
	path, query, _ := strings.Cut(rest, "?")
	if err := u.database(path); err != nil {
		return u, err
	}
	return u, u.settings(query)
}

func (u *redisURL) login(info string) error {
	user, password, both := strings.Cut(info, ":")
	var err error
	if u.user, err = url.PathUnescape(user); err == nil {
		u.password, err = url.PathUnescape(password)
	}
	switch {
	case err != nil:
		return errors.New("the user or password is not percent-encoded as it should be: a % itself is written %25")
	case both && password == "":
		return errors.New("the password is empty: leave the part before @ away, or write USER:PASSWORD@")
	}
	return nil
}

func (u *redisURL) hosts(list string) error {
	port := "6379"
	if u.kind == redisSentinel {
		port = "26379"
	}
	for i, addr := range strings.Split(list, ",") {
		host, p, err := net.SplitHostPort(addr)
		if err != nil {
			host, p, err = net.SplitHostPort(addr + ":" + port)
		}
		if name, _, _ := strings.Cut(host, ":"); err != nil || host == "" {
			return fmt.Errorf("host %d %q: want HOST or HOST:PORT, and an IPv6 address in brackets", i+1, name)
		}
		if i == 0 {
			u.safe += host
		}
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("host %d %q: what follows its colon is no port: want 1 to 65535, and a password before an @", i+1, host)
		}
		u.addrs = append(u.addrs, net.JoinHostPort(host, p))
	}
	if u.kind == redisSingle && len(u.addrs) > 1 {
		return errors.New("several hosts: want redis-sentinel:// or redis-cluster://, or one host")
	}
	return nil
}

func (u *redisURL) database(path string) error {
	path = strings.TrimPrefix(path, "/")
	if path == "" {
		return nil
	}
	n, err := strconv.ParseUint(path, 10, 16)
	if err != nil {
		return errors.New("what follows the host and a slash is no number of a database: want for example redis://HOST:6379/0")
	}
	if u.kind == redisCluster && n != 0 {
		return fmt.Errorf("database %d: a cluster has database 0 only", n)
	}
	u.db = int(n)
	return nil
}

// settings reads the query and refuses what this kind of URL does not have.
func (u *redisURL) settings(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("the options behind the ? cannot be read: want NAME=VALUE&NAME=VALUE, percent-encoded")
	}
	known := []string{"password_file"}
	if u.kind == redisSentinel {
		known = append(known, "master", "sentinel_user", "sentinel_password_file")
	}
	overTLS := []string{"ca", "cert", "key", "server_name"}
	if u.tls {
		known = append(known, overTLS...)
	}
	u.options = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case slices.Contains(known, name):
		case slices.Contains(overTLS, name):
			return fmt.Errorf("option %s is for TLS: want a URL that begins with %s://", name, strings.Replace(u.kind, "redis", "rediss", 1))
		default:
			return fmt.Errorf("option %q is not known%s; have %s", name, meant(name, known), strings.Join(known, ", "))
		}
		if len(values[name]) > 1 || values[name][0] == "" {
			return fmt.Errorf("option %s: want one value", name)
		}
		u.options[name] = values[name][0]
	}
	if u.kind == redisSentinel && u.options["master"] == "" {
		return errors.New("option master is missing: want the name under which the sentinels watch the server, as in ?master=mymaster")
	}
	return nil
}
