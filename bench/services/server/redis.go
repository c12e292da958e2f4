package server

import (
	"fmt"
	"strconv"
	"syscall"
)

// redisRecipe is a Redis that keeps nothing on disk: a stop loses everything,
// which is what the tests of a cache must bear.
type redisRecipe struct {
	program string
	port    int
}

func (r *redisRecipe) prepare(string) error { return nil }

func (r *redisRecipe) command(dir string) command {
	return command{end: syscall.SIGKILL, argv: []string{
		r.program, "--port", strconv.Itoa(r.port), "--bind", "127.0.0.1", "--dir", dir,
		"--save", "", "--appendonly", "no", "--daemonize", "no",
	}}
}

func (r *redisRecipe) url() string { return fmt.Sprintf("redis://127.0.0.1:%d/0", r.port) }
