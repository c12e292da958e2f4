//go:build !linux

package server

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Elsewhere servers are not started: what makes them end with their parent and
// freeze as a whole is Linux's. Those that the environment names can be used.
var errUnsupported = fmt.Errorf("servers are started on Linux only, this is %s; name yours in TEST_REDIS_URL, TEST_POSTGRES_URL, TEST_CLICKHOUSE_URL: %w", runtime.GOOS, ErrUnavailable)

type process struct {
	done chan struct{}
	err  error
}

func startProcess(command, string) (*process, error) { return nil, errUnsupported }

func (p *process) alive() bool   { return false }
func (p *process) stop() error   { return errUnsupported }
func (p *process) freeze() error { return errUnsupported }
func (p *process) thaw() error   { return errUnsupported }
func (p *process) tree() []int   { return nil }
func (p *process) kill()         {}

func become(*exec.Cmd, *identity) {}
func detach(*exec.Cmd)            {}
func terminate(int) error         { return errUnsupported }
func ownedByUs(os.FileInfo) bool  { return true }

func lock(string) (func(), error)          { return nil, errUnsupported }
func share(string) (func(), error)         { return func() {}, nil }
func tryLock(string) (func(), bool, error) { return func() {}, true, nil }
