package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"
)

// Ask gives the version of the server behind a URL; an error says that it does
// not answer. Errors never hold the URL, which may hold a password.
func Ask(ctx context.Context, kind Kind, rawURL string) (version string, err error) {
	switch kind {
	case Redis:
		version, err = askRedis(ctx, rawURL)
	case Postgres:
		version, err = askPostgres(ctx, rawURL)
	case ClickHouse:
		version, err = askClickHouse(ctx, rawURL)
	default:
		panic("bug: no such kind of server: " + string(kind))
	}
	if err != nil {
		return "", fmt.Errorf("%s does not answer: %w", kind, err)
	}
	return version, nil
}

func askRedis(ctx context.Context, rawURL string) (string, error) {
	options, err := redis.ParseURL(rawURL)
	if err != nil {
		return "", errors.New("its URL cannot be read; write redis://[user:password@]host:port/database")
	}
	options.MaxRetries = -1
	client := redis.NewClient(options)
	defer client.Close()
	info, err := client.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	_, version, _ := strings.Cut(info, "redis_version:")
	version, _, _ = strings.Cut(version, "\r\n")
	return version, nil
}

func askPostgres(ctx context.Context, rawURL string) (version string, err error) {
	conn, err := pgx.Connect(ctx, rawURL)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, "SHOW server_version").Scan(&version)
	return version, err
}

// answerBytesMax bounds what is read of an answer over HTTP.
const answerBytesMax = 64 << 10

func askClickHouse(ctx context.Context, rawURL string) (string, error) {
	return QueryClickHouse(ctx, rawURL, "SELECT version()")
}

// QueryClickHouse runs one statement over HTTP, outside any database, and
// gives its answer as text without the last line's end.
func QueryClickHouse(ctx context.Context, rawURL, statement string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", errors.New("its URL cannot be read; write http://[user:password@]host:port/database")
	}
	u.Path, u.RawQuery = "/", "default_format=TSVRaw"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(statement))
	if err != nil {
		return "", errors.New("its URL cannot be read; write http://[user:password@]host:port/database")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if cause := errors.Unwrap(err); cause != nil {
			err = cause // *url.Error repeats the URL
		}
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, answerBytesMax))
	if err != nil {
		return "", err
	}
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", res.StatusCode, text)
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}
