//go:build linux

// Command engine serves the ClickHouse engine, a library, over HTTP, for tests.
// scripts/services finds the library and starts this.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tallyhook/tallyhook/bench/engine"
)

// Limits of the server; a query may take as long as it likes.
const (
	headerTimeout = 10 * time.Second
	stopTimeout   = 5 * time.Second
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "engine:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8123", "`address` to serve on")
	library := flag.String("library", "", "`path` of libchdb.so")
	data := flag.String("data", "", "`folder` of the database, made when missing")
	queue := flag.Int("queue", 1000, "queries that may wait")
	user := flag.String("user", "", "the only `name` that may connect")
	flag.Parse()
	if *library == "" || *data == "" || flag.NArg() > 0 {
		return errors.New("usage: engine -library libchdb.so -data FOLDER [-listen 127.0.0.1:8123] [-queue 1000] [-user NAME, password in ENGINE_PASSWORD]")
	}
	l, err := engine.Open(*library, *data, *queue)
	if err != nil {
		return err
	}
	scratch := *data + ".inserts" // a killed process leaves files there
	if err := errors.Join(os.RemoveAll(scratch), os.MkdirAll(scratch, 0o700)); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{
		Handler:           engine.NewServer(l, engine.Config{Scratch: scratch, User: *user, Password: os.Getenv("ENGINE_PASSWORD")}),
		ReadHeaderTimeout: headerTimeout,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := server.Shutdown(end); err != nil {
		return err
	}
	l.Close()
	return nil
}
