package services

import (
	"context"
	"testing"

	"github.com/tallyhook/tallyhook/bench/services/server"
)

// Server is a server of one test. Its methods may be called from any
// goroutine; what goes wrong in them fails the test.
type Server struct {
	URL string // stays the same when the server is stopped and started

	t       testing.TB
	process *server.Server // nil: not ours, see foreign
}

// Stop ends the server at once, as a crash would: Redis forgets everything,
// PostgreSQL and ClickHouse find again what they had committed. Connections
// break, new ones are refused.
func (s *Server) Stop() { s.do("stop", (*server.Server).Stop) }

// Start starts a stopped server on the same port and returns when it answers.
func (s *Server) Start() {
	s.do("start", func(p *server.Server) error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), startTimeout)
		defer cancel()
		return p.Start(ctx)
	})
}

// Freeze stops every process of the server where it stands: connections stay
// open, new ones are taken by the kernel, and nothing is answered.
func (s *Server) Freeze() { s.do("freeze", (*server.Server).Freeze) }

// Thaw lets a frozen server go on; it answers what came in meanwhile.
func (s *Server) Thaw() { s.do("thaw", (*server.Server).Thaw) }

// Processes gives the process ids of the server, empty while it is stopped.
func (s *Server) Processes() []int {
	if s.process == nil {
		return nil
	}
	return s.process.Processes()
}

func (s *Server) do(what string, f func(*server.Server) error) {
	s.t.Helper()
	if s.process == nil {
		s.foreign(what)
		return
	}
	if err := f(s.process); err != nil {
		s.t.Errorf("%s the server: %v", what, err)
	}
}
