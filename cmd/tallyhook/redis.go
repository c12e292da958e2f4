package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// openRedis makes a client for the Redis that rawURL names. It dials nothing:
// a server that is away is found out by who uses the client. Close it.
//
//	redis://[USER:PASSWORD@]HOST[:6379][/DB][?OPTIONS]                    one server
//	redis-sentinel://[USER:PASSWORD@]HOST[:26379],…[/DB]?master=NAME…     the hosts are sentinels
//	redis-cluster://[USER:PASSWORD@]HOST[:6379],…[?OPTIONS]               the hosts are some of its nodes
//	rediss://, rediss-sentinel://, rediss-cluster://                      the same over TLS
//
// Either part before the @ may be empty, as in :PASSWORD@; characters that
// mean something in URLs are percent-encoded. Options:
//
//	password_file=FILE            the password, instead of in the URL
//	master=NAME                   Sentinel: the name of the group of servers
//	sentinel_user=USER            Sentinel: how the sentinels themselves know us
//	sentinel_password_file=FILE
//	ca=FILE                       TLS: certificates (PEM) to trust instead of the system's
//	cert=FILE, key=FILE           TLS: our own certificate
//	server_name=NAME              TLS: the name in the servers' certificates, when it is not their host's
//
// There is no way to leave certificates unchecked. The client retries nothing
// and gives up within a second or its caller's deadline: whoever asks a cache
// has something better to do than to wait. No error holds a password.
func openRedis(rawURL string) (redis.UniversalClient, error) {
	u, err := parseRedisURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.safe, err)
	}
	options, err := u.clientOptions()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.safe, err)
	}
	logging.Disable() // of the library's own, raw on standard error: what it says comes back as errors as well
	switch u.kind {
	case redisSentinel:
		return redis.NewFailoverClient(options.Failover()), nil
	case redisCluster:
		return redis.NewClusterClient(options.Cluster()), nil
	default:
		return redis.NewClient(options.Simple()), nil
	}
}

func (u *redisURL) clientOptions() (*redis.UniversalOptions, error) {
	password := u.password
	if file := u.options["password_file"]; file != "" {
		if password != "" {
			return nil, errors.New("there is a password in the URL and a password_file: want one of them")
		}
		var err error
		if password, err = readPassword(file); err != nil {
			return nil, fmt.Errorf("password_file: %w", err)
		}
	}
	if u.user != "" && password == "" {
		return nil, errors.New("there is a user without a password: want USER:PASSWORD@, or :PASSWORD@ when there is no user, or password_file=FILE")
	}
	o := &redis.UniversalOptions{
		Addrs: u.addrs, DB: u.db, Username: u.user, Password: password,
		MasterName: u.options["master"], SentinelUsername: u.options["sentinel_user"],
		ClientName: "tallyhook", DisableIdentity: true, // 7.0 does not know CLIENT SETINFO
		Protocol:                 2, // nothing of 3 is used
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},

		ContextTimeoutEnabled: true,
		MaxRetries:            -1, // who asks decides whether it is worth another wait
		DialerRetries:         1,
		DialTimeout:           500 * time.Millisecond,
		ReadTimeout:           time.Second,
		WriteTimeout:          time.Second,

		// A few goroutines of a node ask, each with a whole batch at a time.
		PoolSize:         16,
		PoolTimeout:      time.Second,
		PipelinePoolSize: -1, // one pool
		ReadBufferSize:   64 << 10,
		WriteBufferSize:  64 << 10,
		ConnMaxIdleTime:  5 * time.Minute,
	}
	var err error
	if file := u.options["sentinel_password_file"]; file != "" {
		if o.SentinelPassword, err = readPassword(file); err != nil {
			return nil, fmt.Errorf("sentinel_password_file: %w", err)
		}
	} else if o.SentinelUsername != "" {
		return nil, errors.New("there is a sentinel_user without a sentinel_password_file: want both")
	}
	if u.tls {
		o.TLSConfig, err = u.tlsConfig()
	}
	return o, err
}

const passwordFileBytesMax = 4 << 10

// readPassword reads a file that holds a password and perhaps a line's end.
func readPassword(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, passwordFileBytesMax+1))
	if err != nil {
		return "", err
	}
	text = bytes.TrimRight(text, "\r\n")
	if len(text) == 0 || len(text) > passwordFileBytesMax || bytes.ContainsAny(text, "\r\n") {
		return "", fmt.Errorf("%s: want one line with the password, of 1 to %d bytes", name, passwordFileBytesMax)
	}
	return string(text), nil
}

// tlsConfig leaves the server's name to the connection, each host its own,
// unless one is set.
func (u *redisURL) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.options["server_name"]}
	if file := u.options["ca"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate: want PEM", file)
		}
	}
	cert, key := u.options["cert"], u.options["key"]
	if cert == "" && key == "" {
		return c, nil
	}
	if cert == "" || key == "" {
		return nil, errors.New("options cert and key: want both or none")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert and key: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
