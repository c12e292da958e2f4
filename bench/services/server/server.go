// Package server runs real Redis, PostgreSQL and ClickHouse servers as
// processes of their own, for tests and measurements: it finds their programs
// or installs them, starts them on loopback, and stops, kills, freezes and
// thaws them.
//
// A Server belongs to the process that started it and dies with it. A shared
// server is kept by a keeper process (see Keep), found through a file in the
// temporary folder, and ends on request or when nobody has used it for long.
package server

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Kind names a sort of server.
type Kind string

// The servers that there are.
const (
	Redis      Kind = "redis"
	Postgres   Kind = "postgres"
	ClickHouse Kind = "clickhouse"
)

// Kinds are all kinds, in the order in which they are started and printed.
var Kinds = []Kind{Redis, Postgres, ClickHouse}

// ParseKind reads a kind's name.
func ParseKind(name string) (Kind, error) {
	if !slices.Contains(Kinds, Kind(name)) {
		return "", fmt.Errorf("no kind of server is called %q; there are %v", name, Kinds)
	}
	return Kind(name), nil
}

// Variable names the environment variable that gives the URL of a server that
// is already there; it wins over every server that this package would start.
func (k Kind) Variable() string {
	switch k {
	case Redis:
		return "TEST_REDIS_URL"
	case Postgres:
		return "TEST_POSTGRES_URL"
	case ClickHouse:
		return "TEST_CLICKHOUSE_URL"
	}
	panic("bug: no such kind of server: " + string(k))
}

// ErrUnavailable is in the error when a server's program is not on this
// machine and could not be installed.
var ErrUnavailable = errors.New("cannot be had on this machine")

// startTimeout bounds how long a server may take until it answers; a disk that
// many tests share makes even Redis slow to start.
const startTimeout = 60 * time.Second

// Config says how to start a server.
type Config struct {
	Dir string // folder for its data and its log, made when missing; "" is a new temporary folder, removed by Close
	// Durable makes PostgreSQL sync its commits to disk. Without it a server
	// keeps everything through the end of any process, even kill -9, because
	// the kernel has the written pages; only the end of the machine loses
	// some. Tests end processes, not machines.
	Durable bool
}

// Server is one server process. Its methods may be called at the same time.
type Server struct {
	URL     string // as clients need it, with the database and the password if there is one
	Version string // as the server's program calls itself

	kind   Kind
	recipe recipe
	dir    string
	ours   bool   // dir is removed by Close
	unlock func() // lets go of the folder; see sweep

	mu      sync.Mutex
	running *process // nil when stopped
	frozen  bool
}

// recipe is what differs between the kinds.
type recipe interface {
	prepare(dir string) error   // makes the data folder; done once
	command(dir string) command // how to start the process
	url() string                // where clients connect
}

// Start finds the program, or installs it, and starts a server of this kind.
// It returns when the server answers. The error is ErrUnavailable when there
// is no such program.
func Start(ctx context.Context, kind Kind, cfg Config) (*Server, error) {
	program, err := Find(ctx, kind)
	if err != nil {
		return nil, err
	}
	dir, ours := cfg.Dir, false
	if dir == "" {
		if dir, err = newFolder(kind); err != nil {
			return nil, err
		}
		ours = true
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	s, err := startNew(ctx, kind, program, dir, cfg)
	if err != nil {
		if ours {
			err = errors.Join(err, removeFolder(dir))
		}
		return nil, fmt.Errorf("start %s: %w", kind, err)
	}
	s.ours = ours
	return s, nil
}

func startNew(ctx context.Context, kind Kind, program, dir string, cfg Config) (*Server, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	var r recipe
	switch kind {
	case Redis:
		r = &redisRecipe{program: program, port: port}
	case Postgres:
		r, err = newPostgresRecipe(program, port, cfg.Durable)
	case ClickHouse:
		r, err = newClickHouseRecipe(ctx, program, port)
	}
	if err != nil {
		return nil, err
	}
	unlock, free, err := tryLock(dir + ".lock")
	if err != nil {
		return nil, err
	}
	if !free {
		return nil, fmt.Errorf("another server uses the folder %s", dir)
	}
	s := &Server{URL: r.url(), kind: kind, recipe: r, dir: dir, unlock: unlock}
	if err := r.prepare(dir); err != nil {
		unlock()
		return nil, err
	}
	if err := s.Start(ctx); err != nil {
		unlock()
		return nil, err
	}
	return s, nil
}

// Start starts a stopped server again, on the same port and the same data, and
// returns when it answers. A server that runs is left as it is.
func (s *Server) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil && s.running.alive() {
		return nil
	}
	log := filepath.Join(s.dir, "log")
	p, err := startProcess(s.recipe.command(s.dir), log)
	if err != nil {
		return err
	}
	if err := s.await(ctx, p); err != nil {
		p.kill()
		return fmt.Errorf("%w; its log ends:\n%s", err, tailOf(log))
	}
	s.running, s.frozen = p, false
	return nil
}

// await waits for the first answer.
func (s *Server) await(ctx context.Context, p *process) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	pause := time.Millisecond
	for {
		version, err := Ask(ctx, s.kind, s.URL)
		if err == nil {
			s.Version = version
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer within %s: %w", startTimeout, err)
		case <-p.done:
			return fmt.Errorf("it ended at once: %w", p.err)
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		}
	}
}

// Stop ends the server without a chance to tidy up: Redis and ClickHouse by
// kill -9, PostgreSQL by its immediate shutdown, which recovers from the log
// at the next start as after a crash. What Redis held is lost.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil
	}
	err := s.running.stop()
	if err == nil {
		s.running, s.frozen = nil, false
	}
	return err
}

// Freeze stops every process of the server where it stands (SIGSTOP): its
// connections stay open and nothing is answered, until Thaw.
func (s *Server) Freeze() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil || s.frozen {
		return nil
	}
	if err := s.running.freeze(); err != nil {
		return err
	}
	s.frozen = true
	return nil
}

// Thaw lets a frozen server go on (SIGCONT).
func (s *Server) Thaw() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.frozen {
		return nil
	}
	if err := s.running.thaw(); err != nil {
		return err
	}
	s.frozen = false
	return nil
}

// Processes gives the ids of the server's processes, the first one leading:
// what to add up for the CPU time that the server has used.
func (s *Server) Processes() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil
	}
	return s.running.tree()
}

// Ended is closed when the running process ends, whoever ended it. It is nil
// while the server is stopped.
func (s *Server) Ended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running == nil {
		return nil
	}
	return s.running.done
}

// Close stops the server and removes its folder if Start made it.
func (s *Server) Close() error {
	err := s.Stop()
	if s.ours {
		err = errors.Join(err, removeFolder(s.dir))
	}
	s.unlock()
	return err
}
