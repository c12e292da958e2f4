//go:build unix

package node

import (
	"fmt"
	"syscall"
)

// Freeze stops the node where it stands (SIGSTOP), and returns when it does:
// its connections stay open and nothing is answered, until Thaw.
func (p *Process) Freeze() error {
	err := p.cmd.Process.Signal(syscall.SIGSTOP)
	if err == nil {
		err = awaitStop(p.PID())
	}
	if err != nil {
		return fmt.Errorf("freeze node: %w", err)
	}
	return nil
}

// Thaw lets a frozen node go on (SIGCONT).
func (p *Process) Thaw() error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return fmt.Errorf("thaw node: %w", err)
	}
	return nil
}
